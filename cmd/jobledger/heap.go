package main

import (
	"bytes"
	"context"
	"os"
	"path"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A server's live heap is small beside what a busy one allocates, so the collector runs often and does the same work again.
// While it is busy its heap may grow by some memory more than the runtime's own rule gives it, which is given back when it is
// idle. Whoever sets GOGC has the runtime's rule alone; GOMEMLIMIT holds in any case, for the runtime itself keeps to it.
const (
	// heapRoomMax is the most that is added to the runtime's own goal, and heapRoomShare what part of the memory that the
	// process may use it is at most: an eighth leaves a container of 512 MiB its other 448.
	heapRoomMax, heapRoomShare = 256 << 20, 8
	// heapPercent is the runtime's own rule: twice what is live. heapPercentFold is how much the heap may grow until the ledger is
	// folded, measured at 1,200,000 events on two processors: 204,000 events/s at 200, 189,000 at 100. heapPercentMax bounds
	// what a live heap that grows fast between two looks may come to.
	heapPercent, heapPercentFold, heapPercentMax = 100, 200, 400
	// heapBusy is how many bytes a second a busy server allocates at least: some hundred jobs. heapIdle is how long it stays
	// busy behind the last such look.
	heapBusy, heapIdle = 16 << 20, 10 * time.Second
	// heapLook is the time between two looks.
	heapLook = time.Second / 2
)

// heapRule says how much the heap may grow. It is pure.
type heapRule struct {
	extra     uint64 // bytes beyond the runtime's own goal while busy
	at        time.Time
	allocated uint64    // since the process began, at at
	busy      time.Time // when it last was
}

// percent is what the heap may grow by, of what is live, from now on.
func (r *heapRule) percent(now time.Time, live, allocated uint64, folding bool) int {
	if spent := now.Sub(r.at); spent > 0 && !r.at.IsZero() && float64(allocated-r.allocated) >= heapBusy*spent.Seconds() {
		r.busy = now
	}
	r.at, r.allocated = now, allocated
	percent := heapPercent
	if !r.busy.IsZero() && now.Sub(r.busy) < heapIdle {
		percent = int(min(heapPercent+heapPercent*r.extra/max(live, 1), heapPercentMax))
	}
	if folding {
		percent = max(percent, heapPercentFold)
	}
	return percent
}

// heapFolds lets the heap grow as heapRule says, unless the environment says how it shall. folded tells that the ledger is
// folded; end ends all of it, and waits for that.
func (p *program) heapFolds() (folded, end func()) {
	if p.Getenv("GOGC") != "" {
		return func() {}, func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var folding atomic.Bool
	folding.Store(true)
	before := debug.SetGCPercent(heapPercentFold)
	rule := &heapRule{extra: min(heapRoomMax, memoryOf(os.ReadFile)/heapRoomShare)}
	var group sync.WaitGroup
	group.Go(func() { rule.keep(ctx, &folding) })
	return func() { folding.Store(false) }, func() {
		cancel()
		group.Wait()
		debug.SetGCPercent(before)
	}
}

// keep has the runtime keep to the rule until ctx ends.
func (r *heapRule) keep(ctx context.Context, folding *atomic.Bool) {
	look := time.NewTicker(heapLook)
	defer look.Stop()
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}}
	for set := heapPercentFold; ; {
		select {
		case <-ctx.Done():
			return
		case now := <-look.C:
			metrics.Read(samples)
			percent := r.percent(now, samples[0].Value.Uint64(), samples[1].Value.Uint64(), folding.Load())
			if moved := max(percent-set, set-percent); moved > set/heapRoomShare || moved > 0 && percent == heapPercent { // to set it stops the world for a moment
				debug.SetGCPercent(percent)
				set = percent
				if percent == heapPercent { // idle: without this the next collection may be minutes away, and keep what it frees
					debug.FreeOSMemory()
				}
			}
		}
	}
}

// memoryOf is how much memory this process may use, as far as Linux tells: what the machine has, or what its control groups
// leave it. Elsewhere it is not known, and taken as enough.
func memoryOf(read func(string) ([]byte, error)) uint64 {
	most := uint64(heapRoomMax * heapRoomShare)
	atMost := func(text string, unit uint64) {
		if n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 64); err == nil { // "max" is no number
			most = min(most, n*unit)
		}
	}
	if info, err := read("/proc/meminfo"); err == nil {
		if _, behind, ok := bytes.Cut(info, []byte("MemTotal:")); ok {
			kib, _, _ := bytes.Cut(behind, []byte("kB"))
			atMost(string(kib), 1<<10)
		}
	}
	groups, _ := read("/proc/self/cgroup")
	for line := range strings.Lines(string(groups)) {
		controllers, group, _ := strings.Cut(strings.TrimSpace(strings.TrimLeft(line, "0123456789")), ":/")
		root, file := "/sys/fs/cgroup", "memory.max"
		if controllers == ":memory" { // control groups of version 1
			root, file = "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
		}
		for dir := path.Join("/", group); ; dir = path.Dir(dir) { // each of them binds
			if limit, err := read(path.Join(root, dir, file)); err == nil {
				atMost(string(limit), 1)
			}
			if dir == "/" {
				break
			}
		}
	}
	return most
}
