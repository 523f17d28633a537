package main

import (
	"io/fs"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

// A busy server's heap may grow by a bounded amount beyond the runtime's own rule; an idle one's may not, and one that folds
// may as before.
func TestHeapRule(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	r := &heapRule{extra: heapRoomMax}
	at := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	allocated := uint64(0)
	for _, look := range []struct {
		what            string
		later           time.Duration
		live, allocates uint64 // allocates since the look before
		folding         bool
		want            int
	}{
		{"the first look tells no rate", 0, 64 * mib, 900 * mib, false, heapPercent},
		{"folding", time.Second, 64 * mib, mib, true, heapPercentFold},
		{"folded, idle", time.Second, 64 * mib, mib, false, heapPercent},
		{"busy, much is live", time.Second, 1024 * mib, 400 * mib, false, 125},
		{"busy, less is live", time.Second, 128 * mib, 400 * mib, false, 300},
		{"busy, hardly anything is live", time.Second, mib, 400 * mib, false, heapPercentMax},
		{"busy while it folds", time.Second, 1024 * mib, 400 * mib, true, heapPercentFold},
		{"a pause is not idleness", heapIdle - time.Second, 1024 * mib, 0, false, 125},
		{"idle: it is given back", time.Second, 1024 * mib, 0, false, heapPercent},
		{"nothing is live", time.Second, 0, 400 * mib, false, heapPercentMax},
	} {
		at, allocated = at.Add(look.later), allocated+look.allocates
		if have := r.percent(at, look.live, allocated, look.folding); have != look.want {
			t.Errorf("%s: %d percent, want %d", look.what, have, look.want)
		}
	}
}

// The memory a process may use is the least of what the machine has and what any of its control groups leaves it.
func TestMemoryOf(t *testing.T) {
	t.Parallel()
	const mib, most = 1 << 20, heapRoomMax * heapRoomShare
	for name, c := range map[string]struct {
		files map[string]string
		want  uint64
	}{
		"not Linux":           {nil, most},
		"a large machine":     {map[string]string{"/proc/meminfo": "MemTotal:       24529280 kB\nMemFree: 1 kB\n"}, most},
		"a small machine":     {map[string]string{"/proc/meminfo": "MemTotal:         524288 kB\n"}, 512 * mib},
		"nothing is readable": {map[string]string{"/proc/meminfo": "", "/proc/self/cgroup": "nonsense"}, most},
		"a unit in a slice": {map[string]string{"/proc/self/cgroup": "0::/system.slice/jobledger.service\n",
			"/sys/fs/cgroup/system.slice/jobledger.service/memory.max": "max\n", "/sys/fs/cgroup/system.slice/memory.max": "1073741824\n"}, 1024 * mib},
		"a container": {map[string]string{"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.max": "268435456\n"}, 256 * mib},
		"version 1": {map[string]string{"/proc/self/cgroup": "4:cpu,cpuacct:/a\n3:memory:/docker/b\n",
			"/sys/fs/cgroup/memory/memory.limit_in_bytes": "134217728\n"}, 128 * mib},
	} {
		have := memoryOf(func(name string) ([]byte, error) {
			if text, ok := c.files[name]; ok {
				return []byte(text), nil
			}
			return nil, fs.ErrNotExist
		})
		if have != c.want {
			t.Errorf("%s: %d bytes, want %d", name, have, c.want)
		}
	}
}

// GOGC, where it is set, is left alone; else the heap is kept by the rule until the end, and is then as before.
func TestHeapFolds(t *testing.T) { // not parallel: the setting is the process's
	before := debug.SetGCPercent(150)
	defer debug.SetGCPercent(before)
	percent := func() int {
		sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(sample)
		return int(sample[0].Value.Uint64())
	}
	for gogc, want := range map[string]int{"50": 150, "": heapPercentFold} {
		p := &program{Main: &Main{Getenv: func(string) string { return gogc }}}
		folded, end := p.heapFolds()
		if have := percent(); have != want {
			t.Errorf("with GOGC %q it folds at %d percent, want %d", gogc, have, want)
		}
		folded()
		end()
		if have := percent(); have != 150 {
			t.Errorf("with GOGC %q it leaves %d percent, want 150", gogc, have)
		}
	}
}
