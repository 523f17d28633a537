package gateway_test

import (
	"testing"
	"time"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/projector"
	"github.com/dartwing/jobledger/schemas"
)

// What happened is told by type, over time and as usage, of the asking org alone, and by the type, too (R-43, R-46, R-48,
//
func TestStats(t *testing.T) {
	t.Parallel()
	w := start(t)
	for _, id := range []schemas.JobID{"a", "b", "c"} {
		w.life(id, nil)
	}
	w.put("acme", "fails", nil)
	j := w.start("fails")
	w.do("fails", &ledger.Outcome{Fence: j.Fence, Generation: 1, Attempt: 1, Kind: schemas.EventFailed, Now: time.Now(),
		Error: &schemas.JobError{Class: schemas.ClassTransient, Message: "no"}})
	w.put("acme", "waits", nil)
	w.put("other", "theirs", nil)
	if err := projector.WaitFor(t.Context(), w.Ledger, w.end()); err != nil {
		t.Fatal(err)
	}
	s, err := w.client.Stats(t.Context(), gateway.StatsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Items) != 1 || len(s.Minutes) != ledger.StatMinutes || len(s.Hours) != ledger.StatHours || len(s.Days) != ledger.StatDays || s.Partial {
		t.Fatalf("stats %+v", s)
	}
	item := s.Items[0]
	for name, r := range map[string]gateway.FailureRate{"1h": item.Failures.Hour, "24h": item.Failures.Day, "30d": item.Failures.Month} {
		if r.Ended != 4 || r.Failed != 1 || *r.Rate != 0.25 {
			t.Errorf("failures of %s: %+v", name, r)
		}
	}
	if item.Samples != 3 || item.Wait.Samples != 4 || item.Total.Samples != 3 || *item.FailureRate != 0.25 {
		t.Errorf("the type's figures are %+v", item)
	}
	var sum gateway.StatPoint
	for _, p := range s.Minutes {
		sum.Submitted += p.Submitted
		sum.Started += p.Started
		sum.Completed += p.Completed
	}
	if last := s.Minutes[len(s.Minutes)-1]; sum.Submitted != 5 || sum.Started != 4 || sum.Completed != 3 || last.Waiting != 1 || s.Minutes[0].Waiting != 0 {
		t.Errorf("the minutes sum up to %+v, and end with %+v", sum, last)
	}
	if none, err := w.client.Stats(t.Context(), gateway.StatsRequest{Queue: []schemas.QueueName{"none"}}); err != nil || len(none.Items) != 0 {
		t.Errorf("of another queue: %+v, %v", none, err)
	}
	u, err := w.client.Usage(t.Context(), gateway.UsageRequest{From: time.Now().Add(-48 * time.Hour)})
	if err != nil || u.Submitted != 5 || u.Completed != 3 || u.Attempts != 4 || u.BytesOut != 3 || u.Partial || u.Org != "acme" {
		t.Errorf("usage %+v, %v", u, err)
	}
	if _, err := w.client.Usage(t.Context(), gateway.UsageRequest{From: time.Now().Add(-60 * 24 * time.Hour)}); code(err) != ledger.CodeInvalidArgument {
		t.Errorf("usage of long ago: %v", err)
	}
	typ, err := w.client.Type(t.Context(), "echo")
	if err != nil || typ.Stats == nil || typ.Stats.Samples != 3 || *typ.Stats.FailureRate != 0.25 {
		t.Errorf("the type tells %+v, %v", typ, err)
	}
}
