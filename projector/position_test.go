package projector

import (
	"context"
	"errors"
	"testing"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// TestPositionFollowsApply: the position moves behind the fold, never before it. An event whose fold fails once leaves
// position, counters and documents as they were, so neither going on nor a restart from the stored position skips it
// (STYLE 7, R-42).
func TestPositionFollowsApply(t *testing.T) {
	unread := errors.New("the ledger cannot be read now")
	failing := true
	read := func(_ context.Context, _ jobKey, seq schemas.Seq) (*ledger.Job, error) {
		if failing {
			return nil, unread
		}
		j := plainJob()
		if j.LastSeq >= seq {
			t.Errorf("the fold before %d was asked for, and the job is at %d", seq, j.LastSeq)
		}
		return j, nil
	}
	j := plainJob()
	event := func() *schemas.Event {
		data, err := ledger.Decide(j, &ledger.Queue{Policy: schemas.DefaultPolicy(), Epoch: 1, Now: j.LastAt})
		if err != nil {
			t.Fatal(err)
		}
		e := schemas.NewEvent(schemas.JobSubject(j.Org, j.ID), data)
		e.Seq, e.Time = j.LastSeq+2, j.LastAt
		return e
	}
	stored := schemas.Position{Seq: j.LastSeq + 1, ID: "another"}
	open := func() *views {
		v := newViews(read)
		v.at, v.jobsAt, v.countsAt, v.configAt = stored, stored, stored, stored
		return v
	}
	v, e := open(), event()
	if err := v.apply(t.Context(), e, nil); !errors.Is(err, unread) {
		t.Fatalf("apply, of a job that cannot be read: %v", err)
	}
	if v.at != stored || v.moved || len(v.dirtyJobs) != 0 || len(v.dirtyCounts) != 0 || len(v.counts) != 0 {
		t.Errorf("an event that was not folded moved the views to %v, with %d documents and %d counters changed", v.at, len(v.dirtyJobs), len(v.dirtyCounts))
	}
	failing = false
	for name, v := range map[string]*views{"tried again": v, "after a restart": open()} {
		for range 2 { // the second time changes nothing
			if err := v.apply(t.Context(), e, nil); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if v.at != (schemas.Position{Seq: e.Seq, ID: e.ID}) || len(v.dirtyJobs) != 1 || v.dirtyJobs[0].job.State != schemas.StateQueued {
			t.Errorf("%s: the views are at %v with %d documents changed, want the event folded once", name, v.at, len(v.dirtyJobs))
		}
		if n := v.counts.Total(); n.Queued != 1 {
			t.Errorf("%s: the counters are %+v, want one job queued", name, n)
		}
	}
}
