package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// `job info --at` and `job count --at` say for every moment what a naive fold of the same events does, also where they
// lie in the archive.
func TestAtAMoment(t *testing.T) {
	w := startWorld(t)
	echoWorker(w)
	for i, typ := range []string{"echo", "fail", "echo"} {
		id := fmt.Sprint("job-", i)
		w.run("job", "submit", typ, "--wait", "--no-dedup", "--id", id)
	}
	w.must(exitOK, "job", "submit", "echo", "--id", "later", "--in", "1h")
	l, middle := w.NewLedger(), schemas.Seq(0)
	var entries []*ledger.Entry
	if err := l.Replay(t.Context(), ledger.ReplayQuery{}, func(e *ledger.Entry) error { entries = append(entries, e); return nil }); err != nil {
		t.Fatal(err)
	}
	check := func(at string, holds func(*ledger.Entry) bool) {
		t.Helper()
		jobs := map[schemas.JobID][]*ledger.Entry{}
		for _, e := range entries {
			if e.Org == "acme" && e.Job != "" {
				jobs[e.Job] = append(jobs[e.Job], e)
			}
		}
		want := map[string]int64{}
		for id, events := range jobs {
			j := &ledger.Job{Org: "acme", ID: id}
			for _, e := range events {
				if holds(e) {
					e.ApplyTo(j)
				}
			}
			got := w.run("job", "info", string(id), "--at", at, "-j")
			if !j.Exists() {
				if got.code != exitError || !strings.Contains(got.stderr, "not_found") {
					t.Errorf("%s at %s, before it existed: %+v", id, at, got)
				}
				continue
			}
			want[string(j.State)]++
			r := decode[struct {
				State   string
				Seq     schemas.Seq
				Attempt int
			}](t, got.stdout)
			if r.State != string(j.State) || r.Seq != j.LastSeq || r.Attempt != j.Attempt {
				t.Errorf("%s at %s is %+v, want %+v", id, at, r, j)
			}
		}
		count := decode[gateway.Count](t, w.must(exitOK, "job", "count", "--at", at, "-j").stdout)
		for _, item := range count.Items {
			if item.Count != want[item.Key] {
				t.Errorf("at %s %d jobs are %s, want %d", at, item.Count, item.Key, want[item.Key])
			}
		}
	}
	for i := 0; i < len(entries); i += 3 {
		middle = entries[i].Seq
		check(middle.String(), func(e *ledger.Entry) bool { return e.Seq <= middle })
	}
	then := entries[len(entries)/2].Time
	byThen := func(e *ledger.Entry) bool { return !e.Time.After(then) }
	check(then.Format("2006-01-02T15:04:05.999999999Z07:00"), byThen)
	last := entries[len(entries)-1].Seq
	archiver, err := ledger.NewArchiver(ledger.ArchiverConfig{Ledger: w.NewLedger(), Logger: zap.NewNop(), Window: time.Nanosecond, Durable: -1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := archiver.Look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if state, err := l.Archived(t.Context()); err != nil || state.Through.Seq == 0 {
		t.Fatalf("nothing was archived: %+v, %v", state, err)
	}
	check(then.Format("2006-01-02T15:04:05.999999999Z07:00"), byThen)
	if got := w.must(exitOK, "job", "info", "later", "--at", last.String()); !strings.Contains(got.stdout, "scheduled") {
		t.Errorf("%s", got.stdout)
	}
	w.must(exitUsage, "job", "info", "later", "--at", "nonsense")
	if got := w.must(exitOK, "job", "count", "--at", last.String(), "--by", "type", "--state", "dead_lettered"); got.stdout != "fail\t1\n" {
		t.Errorf("%q", got.stdout)
	}
}
