package main

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// INTERFACE 2.5: bench flow loses nothing, runs nothing twice, and says so
// under these keys.
func TestBenchFlow(t *testing.T) {
	selected := writeConfig(t, map[string]string{"nats/context/a.json": `{"url":"nats://127.0.0.1:1"}`, "jobledger/context.txt": "a\n"})
	env := map[string]string{"XDG_CONFIG_HOME": selected} // nobody named that server to this command
	got := runMain(t, env, "bench", "flow", "--jobs", "200", "--orgs", "3", "--json")
	if got.code != exitOK {
		t.Fatalf("exit %d\nstdout: %s\nstderr: %s", got.code, got.stdout, got.stderr)
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal([]byte(got.stdout), &keys); err != nil {
		t.Fatalf("%v: %s", err, got.stdout)
	}
	want := []string{"batch", "bytes_per_job", "completed", "cpu", "cpu_us_per_job", "done_ms", "done_per_s", "duplicates",
		"durability", "elapsed_s", "events", "events_per_s", "failed", "jobs", "lost", "orgs", "payload_bytes", "rate",
		"replicas", "rss_bytes", "slots", "start_ms", "submit_ms", "submit_per_s", "submitted", "version", "workers"}
	if have := slices.Sorted(maps.Keys(keys)); !slices.Equal(have, want) {
		t.Errorf("keys %v\nwant %v", have, want)
	}
	var r flowResult
	if err := json.Unmarshal([]byte(got.stdout), &r); err != nil {
		t.Fatal(err)
	}
	if r.Submitted != 200 || r.Completed != 200 || r.Failed != 0 || r.Lost != 0 || r.Duplicates != 0 {
		t.Errorf("not all jobs ran once: %s", got.stdout)
	}
	if r.Events < 800 || r.ElapsedS <= 0 || r.Done.Max < r.Start.P50 || r.BytesPerJob < 500 {
		t.Errorf("figures that cannot be: %s", got.stdout)
	}
}

// INTERFACE 2.3: submits and work are measured alone too, with the same keys, and leave nothing unfinished.
func TestBenchParts(t *testing.T) {
	t.Parallel()
	for part, args := range map[string][]string{"submit": {"--batch", "40"}, "work": {"--batch", "1000", "--slots", "8"}} {
		got := runMain(t, map[string]string{"XDG_CONFIG_HOME": t.TempDir()}, append([]string{"bench", part, "--jobs", "100", "--json"}, args...)...)
		r := decode[flowResult](t, got.stdout)
		if got.code != exitOK || r.Submitted != 100 || r.Completed != 100 || r.Lost != 0 || r.Duplicates != 0 || r.Events < 400 {
			t.Errorf("bench %s: exit %d: %s %s", part, got.code, got.stdout, got.stderr)
		}
		if r.SubmitPerS <= 0 || r.ElapsedS <= 0 || (r.DonePerS > 0) != (part == "work") || r.BytesPerJob < 100 || r.EventsPerS <= 0 {
			t.Errorf("bench %s: figures that cannot be: %s", part, got.stdout)
		}
	}
}

// A second outcome of one attempt is counted, a late result is none, and an
// acknowledged job without an end is lost.
func TestBenchTrack(t *testing.T) {
	track := newFlowTrack([]schemas.OrgID{"o"})
	fence := schemas.Fence{Seq: 3, ID: "x"}
	completed := &schemas.Completed{AttemptHead: schemas.AttemptHead{Fence: fence}}
	for i, data := range []schemas.Data{&schemas.Submitted{}, &schemas.Queued{}, &schemas.Running{}, completed, completed,
		&schemas.LateResult{AttemptHead: schemas.AttemptHead{Fence: fence}}} {
		e := schemas.NewEvent(schemas.JobSubject("o", "j"), data)
		e.Seq, e.Time = schemas.Seq(i+1), time.Unix(int64(i), 0)
		track.event(&ledger.Entry{Event: e})
	}
	track.acknowledged("j", time.Millisecond)
	track.acknowledged("gone", time.Millisecond)
	if track.duplicates != 1 || track.acked-track.done != 1 || track.jobs["j"].state != schemas.StateCompleted {
		t.Errorf("duplicates %d, acknowledged %d, done %d, state %s", track.duplicates, track.acked, track.done, track.jobs["j"].state)
	}
}

func TestBenchUsage(t *testing.T) {
	for _, args := range [][]string{{"--jobs", "0"}, {"--payload", "1"}, {"--batch", "1001"}, {"--embedded", "--server", "nats://127.0.0.1:1"}} {
		if got := runMain(t, nil, append([]string{"bench", "flow"}, args...)...); got.code != exitUsage {
			t.Errorf("%v: exit %d, want %d: %s", args, got.code, exitUsage, got.stderr)
		}
	}
}

// A cell that runs elsewhere is measured through its server, and what only that
// server knows is null.
func TestBenchRunningCell(t *testing.T) {
	w := startWorld(t)
	var r flowResult
	if err := json.Unmarshal([]byte(w.must(exitOK, "bench", "flow", "--jobs", "50", "--rate", "200", "--json").stdout), &r); err != nil {
		t.Fatal(err)
	}
	if r.Completed != 50 || r.Lost != 0 || r.Duplicates != 0 || r.Durability != nil || r.ElapsedS < 0.2 {
		t.Errorf("%+v", r)
	}
}
