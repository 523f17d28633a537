package ledger_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// parts are the segments of a job that left while it waited, and again when it was over.
func (r *retained) parts(j *keptJob) (open, later string) {
	r.t.Helper()
	all, err := r.Ledger.ArchiveSegments(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, s := range all {
		subjects, err := r.Ledger.SegmentJobs(r.t.Context(), s.ID)
		if err != nil {
			r.t.Fatal(err)
		}
		switch _, holds := subjects[schemas.JobSubject(j.org, j.id).String()]; {
		case holds && s.Class == "open":
			open = s.ID
		case holds:
			later = s.ID
		}
	}
	if open == "" || later == "" {
		r.t.Fatalf("segments are %+v", all)
	}
	return open, later
}

// A removal that hides more jobs than one record has room for writes several, which count with it only; one that was
// decided before a legal hold was laid is refused at the first (R-40, DESIGN D6).
func TestRemovalHidesMany(t *testing.T) {
	t.Parallel()
	r := newRetained(t, 400)
	var jobs []*keptJob
	for range 7 {
		jobs = append(jobs, r.make("a", "t", "waiting"))
	}
	r.leave()
	for _, j := range jobs {
		r.do(j, &ledger.Cancel{Reason: "not wanted"})
		j.over, j.again, j.state = true, true, schemas.StateCanceled
	}
	r.leave()
	open, later := r.parts(jobs[0])

	// One that decided before a hold was laid writes nothing that counts.
	l := r.NewLedger()
	l.HideMax(2)
	remove, err := l.RemoveLater(t.Context(), later)
	if err != nil {
		t.Fatal(err)
	}
	r.hold(schemas.LegalScope{Org: "a"}, true)
	if err := remove(); err == nil {
		t.Error("a legal hold was laid, and the removal went on")
	}
	r.check()
	r.hold(schemas.LegalScope{Org: "a"}, false)

	if err := l.RemoveBecause(t.Context(), later, "test"); err != nil {
		t.Fatal(err)
	}
	for _, j := range jobs {
		j.may = true
		r.gone(j)
	}
	r.check()
	subjects, err := r.NewLedger().SegmentJobs(t.Context(), open)
	if err != nil || len(subjects) != len(jobs) {
		t.Fatal(subjects, err)
	}
	for subject, shown := range subjects {
		if shown {
			t.Errorf("%s is shown, without its end", subject)
		}
	}
	kinds, err := l.Records(t.Context())
	if text := fmt.Sprint(kinds); err != nil || !strings.HasSuffix(text, "hide hide hide hide remove]") {
		t.Errorf("the records are %s, %v", text, err)
	}
}

// A record that no server takes, since it is too large, ends the removal with that as its error.
func TestRemovalTooLarge(t *testing.T) {
	t.Parallel()
	r := newRetained(t, 400)
	r.make("a", "t", "done")
	r.leave()
	all, err := r.Ledger.ArchiveSegments(t.Context())
	if err != nil || len(all) == 0 {
		t.Fatal(all, err)
	}
	err = r.Ledger.RemoveBecause(t.Context(), all[0].ID, strings.Repeat("because ", int(r.Ledger.Conn().MaxPayload())/8))
	if e := ledger.AsError(err); e == nil || e.Code != ledger.CodePayloadTooLarge {
		t.Errorf("a record that is too large: %v", err)
	}
	r.check()
}
