package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Progress travels from a handler's call to a line of `job watch` within R-102's 2 s, always; the figures are
// printed. `job info` shows checklist and checkpoint while the job runs, and the last progress behind its end.
func TestJobProgress(t *testing.T) {
	w := startWorld(t)
	id := strings.TrimSpace(w.must(exitOK, "job", "submit", "sync").stdout)
	out, stop := w.background("job", "watch", id, "--json")
	text, _ := w.background("job", "watch", id)
	if first, err := text.next(); err != nil || !strings.Contains(first, id) {
		t.Fatalf("%q, %v", first, err)
	}
	report := make(chan int)
	worker, err := handlers.New(handlers.Config{Ledger: w.NewLedger(), Work: w.Connect(), Live: w.Connect(), Logger: zap.NewNop(),
		Serves: []handlers.Registration{{Type: "sync", Handler: handlers.HandlerFunc(func(ctx context.Context, a *handlers.Attempt) (json.RawMessage, error) {
			if err := a.SaveCheckpoint(ctx, json.RawMessage(`{"page":7}`)); err != nil {
				return nil, err
			}
			for n := range report {
				a.Progress(schemas.Progress{Percent: n, Message: fmt.Sprint("page ", n), Steps: []schemas.Step{
					{Name: "fetch", State: "done"}, {Name: "store", State: "in_progress"}, {Name: "check", State: "pending"}}})
			}
			return nil, handlers.Permanent(context.Canceled)
		})}}})
	if err != nil {
		t.Fatal(err)
	}
	w.component(worker.Run)
	const reports = 20
	var took []time.Duration
	for n := 1; n <= reports; n++ {
		report <- n
		at := time.Now()
		for {
			line, err := out.next()
			if err != nil {
				t.Fatal(err)
			}
			got := decode[watchLine](t, line)
			if got.Event != "progress" {
				continue
			}
			if got.Seq != nil || *got.ID != schemas.JobID(id) || *got.Attempt != 1 || got.Progress.Percent != n || len(got.Progress.Steps) != 3 {
				t.Fatalf("watch prints %s", line)
			}
			break
		}
		took = append(took, time.Since(at))
	}
	slices.Sort(took)
	t.Logf("from the handler's call to a line of job watch: p50 %s, p95 %s, max %s", took[reports/2], took[reports*95/100], took[reports-1])
	info := w.must(exitOK, "job", "info", id).stdout
	for _, want := range []string{"20 %, page 20\n", "  [x] fetch\n", "  [>] store\n", "  [ ] check\n", "Checkpoint: 10 bytes"} {
		if !strings.Contains(info, want) {
			t.Errorf("job info does not show %q:\n%s", want, info)
		}
	}
	close(report)
	for _, err := out.next(); err == nil; _, err = out.next() {
	}
	stop()
	if got := text.String(); !strings.Contains(got, "attempt 1  20 %, page 20  [x] fetch [>] store [ ] check\n") {
		t.Errorf("watch prints\n%s", got)
	}
	r := decode[ledger.Record](t, w.must(exitOK, "job", "info", id, "--json").stdout)
	if r.State != schemas.StateDeadLettered || r.Progress.Percent != 20 || len(r.Progress.Steps) != 3 || *r.CheckpointBytes != 10 ||
		*r.Attempts[0].CheckpointBytes != 10 {
		t.Errorf("the record at the end is %+v", r)
	}
}

// A long checklist is counted, not listed.
func TestProgressText(t *testing.T) {
	p := &ledger.RecordProgress{Percent: 30}
	for i := range 20 {
		state := "pending"
		if i < 5 {
			state = "done"
		}
		p.Steps = append(p.Steps, schemas.Step{Name: fmt.Sprint("step ", i), State: state})
	}
	p.Steps[5].State = "in_progress"
	if got, want := progressText(p), "30 %  5 of 20 steps done, now step 5"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// The demo's line shows what a running job reports, on a terminal, until it is removed.
func TestDemoProgressLine(t *testing.T) {
	w := startWorld(t)
	out := newLines()
	p := &program{Main: &Main{Stderr: out, Getenv: func(string) string { return "" }, IsTerminal: func(any) bool { return true }}}
	show := newDemoProgress(p, 39)
	nc := w.Connect()
	stop, err := show.watch(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	show.submitted()
	live := &ledger.LiveProgress{Org: "acme", Job: "j", Type: "sample", Fence: schemas.Fence{Seq: 1, ID: "x"}, N: 1,
		Progress: schemas.Progress{Percent: 40, Message: "step\x1b[2J 5 of 10"}}
	m, err := live.Encode()
	if err == nil {
		err = w.Connect().PublishMsg(m)
	}
	if err != nil {
		t.Fatal(err)
	}
	const want = "1 of 39 submitted, 0 completed, 0 failed, 39 to go   sample 40 %, step\uFFFD[2J …"
	for limit := time.After(time.Minute); !strings.HasSuffix(out.String(), want); {
		select {
		case <-out.more:
		case <-limit:
			t.Fatalf("the line is %q", out.String())
		}
	}
	stop()
	show.clear()
	show.reported(live)
	if !strings.HasSuffix(out.String(), eraseLine) {
		t.Errorf("drawn behind its end: %q", out.String())
	}
}
