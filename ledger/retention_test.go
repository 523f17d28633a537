package ledger_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

const day = 24 * time.Hour

// retained is a ledger whose history grows old by a clock of its own: what is written is of today, and the remover's today
// is some days ahead. Beside it stands what a person would say must be there.
type retained struct {
	*ledgertest.Env
	t     *testing.T
	ahead time.Duration
	cell  int // days
	orgs  map[schemas.OrgID]int
	types map[schemas.TypeName]int
	holds map[schemas.LegalScope]bool
	jobs  []*keptJob
	arch  *ledger.Archiver
	rem   *ledger.Remover
}

// keptJob is a job as the model knows it.
type keptJob struct {
	org   schemas.OrgID
	typ   schemas.TypeName
	id    schemas.JobID
	over  bool
	again bool // it was over, and was begun again: what was before may go by its first end
	may   bool // its time was over at some look
	story string
	state schemas.State
}

func newRetained(t *testing.T, small int) *retained {
	t.Helper()
	return retainedOn(t, ledgertest.Start(t), small)
}

func retainedOn(t *testing.T, env *ledgertest.Env, small int) *retained {
	t.Helper()
	r := &retained{Env: env, t: t, cell: 90, orgs: map[schemas.OrgID]int{}, types: map[schemas.TypeName]int{}, holds: map[schemas.LegalScope]bool{}}
	for _, typ := range []schemas.TypeName{"t", "u"} {
		r.setType(typ, 0)
	}
	var err error
	r.arch, err = ledger.NewArchiver(ledger.ArchiverConfig{Ledger: r.Ledger, Logger: zap.NewNop(), Durable: -1, SegmentEvents: small})
	if err != nil {
		t.Fatal(err)
	}
	r.rem = r.remover(r.Ledger)
	return r
}

func (r *retained) remover(l *ledger.Ledger) *ledger.Remover {
	r.t.Helper()
	m, err := ledger.NewRemover(ledger.RemoverConfig{Ledger: l, Logger: zap.NewNop(), Wait: -1, Now: func() time.Time { return time.Now().Add(r.ahead) }})
	if err != nil {
		r.t.Fatal(err)
	}
	return m
}

func (r *retained) setType(typ schemas.TypeName, days int) {
	r.t.Helper()
	if _, err := r.Ledger.PutType(r.t.Context(), schemas.TypeSettings{Name: typ, RetentionDays: days}, ledger.Meta{}, "test"); err != nil {
		r.t.Fatal(err)
	}
	r.types[typ] = days
}

func (r *retained) setOrg(org schemas.OrgID, days int) {
	r.t.Helper()
	set := &schemas.OrgSet{Settings: schemas.OrgSettings{Name: org, RetentionDays: days}, Reason: "test"}
	if _, err := r.Ledger.Put(r.t.Context(), ledger.Meta{}, set.Place(), func(schemas.Setting) (schemas.Setting, error) { return set, nil }); err != nil {
		r.t.Fatal(err)
	}
	r.orgs[org] = days
}

func (r *retained) hold(s schemas.LegalScope, on bool) {
	r.t.Helper()
	if _, err := r.Ledger.SetLegalHold(r.t.Context(), s, on, ledger.Meta{}, "a case"); err != nil {
		r.t.Fatal(err)
	}
	r.holds[s] = on
}

func (r *retained) do(j *keptJob, c ledger.Command) *ledger.Job {
	r.t.Helper()
	is, _, err := r.Ledger.Do(r.t.Context(), j.org, j.id, c, ledger.Meta{})
	if err != nil {
		r.t.Fatalf("%s.%s: %T: %v", j.org, j.id, c, err)
	}
	return is
}

func (r *retained) run(j *keptJob, kind schemas.EventName) {
	r.t.Helper()
	at := time.Now().Add(time.Hour)
	is := r.do(j, &ledger.Queue{Policy: schemas.DefaultPolicy(), Now: at})
	is = r.do(j, &ledger.Claim{Generation: is.Generation, Submitted: is.SubmittedSeq, Session: "s", Worker: "w"})
	o := &ledger.Outcome{Kind: kind, Fence: is.Fence, Generation: is.Generation, Attempt: is.Attempt, Now: at}
	if kind == schemas.EventFailed {
		o.Error = &schemas.JobError{Class: schemas.ClassPermanent, Message: "broken"}
	}
	r.do(j, o)
}

// make makes a job that is done, canceled, a dead letter (open or closed), or waits.
func (r *retained) make(org schemas.OrgID, typ schemas.TypeName, kind string) *keptJob {
	r.t.Helper()
	j := &keptJob{org: org, typ: typ}
	req := ledger.SubmitRequest{Org: org, Type: typ, Args: fmt.Appendf(nil, `{"n":%d}`, len(r.jobs))}
	if len(r.jobs)%2 == 0 {
		req.ID = schemas.JobID(fmt.Sprintf("job-%d", len(r.jobs)))
	}
	receipt, err := r.Ledger.Submit(r.t.Context(), req)
	if err != nil {
		r.t.Fatal(err)
	}
	j.id = receipt.ID
	switch kind {
	case "done":
		r.run(j, schemas.EventCompleted)
	case "canceled":
		r.do(j, &ledger.Cancel{Reason: "not wanted"})
	case "resolved":
		r.run(j, schemas.EventFailed)
		r.do(j, &ledger.Resolve{Note: "seen"})
	case "dead":
		r.run(j, schemas.EventFailed)
	}
	j.over = kind == "done" || kind == "canceled" || kind == "resolved"
	r.jobs = append(r.jobs, j)
	r.remember(j)
	return j
}

// remember takes a job's story as it is: ids and bodies of its events, but for carried.
func (r *retained) remember(j *keptJob) {
	r.t.Helper()
	h, err := r.Ledger.History(r.t.Context(), j.org, j.id)
	if err != nil {
		r.t.Fatal(err)
	}
	j.story, j.state = storyOf(h), h.Job.State
}

func storyOf(h *ledger.JobHistory) string {
	var s strings.Builder
	for _, e := range h.Entries {
		if e.Name() != schemas.EventCarried {
			fmt.Fprintf(&s, "%s %x\n", e.ID, sha256.Sum256(e.Body))
		}
	}
	return s.String()
}

// leave moves all that is stored by now to the archive.
func (r *retained) leave() {
	r.t.Helper()
	end, err := r.Ledger.End(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	e, err := r.Ledger.EventAt(r.t.Context(), end.Seq)
	if err == nil {
		_, err = r.arch.LookBefore(r.t.Context(), e.Time)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// keeps is how many days a job is kept, by what is set now; held: a hold stands on it.
func (r *retained) keeps(org schemas.OrgID, typ schemas.TypeName) int {
	if d := max(r.orgs[org], r.types[typ]); d > 0 {
		return d
	}
	return r.cell
}

func (r *retained) held(j *keptJob) bool {
	for s, on := range r.holds {
		if on && s.Org == j.org && (s.Type == "" || s.Type == j.typ) && (s.Job == "" || s.Job == j.id) {
			return true
		}
	}
	return false
}

func (r *retained) days() int { return int(r.ahead / day) }

// look removes what is over, and compares what is left with the model.
func (r *retained) look() ledger.RetainPlan {
	r.t.Helper()
	for _, j := range r.jobs {
		if j.over && !r.held(j) && r.days() >= r.keeps(j.org, j.typ) {
			j.may = true
		}
	}
	plan, err := r.rem.Look(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	r.check()
	return plan
}

// check shows that nothing is gone before its time, that what is there is what it was, and that no segment is there
// which nothing keeps.
func (r *retained) check() {
	r.t.Helper()
	l, ctx := r.NewLedger(), r.t.Context()
	for _, j := range r.jobs {
		h, err := l.History(ctx, j.org, j.id)
		switch {
		case errors.Is(err, ledger.ErrNotFound):
			if !j.may {
				r.t.Fatalf("day %d: %s.%s (%s, %s, over %t, held %t) is gone before its time: %v", r.days(), j.org, j.id, j.typ, j.state, j.over, r.held(j), err)
			}
			if _, err := l.Fold(ctx, j.org, j.id); !errors.Is(err, ledger.ErrNotFound) {
				r.t.Fatalf("day %d: %s.%s: no history, and the fold says %v", r.days(), j.org, j.id, err)
			}
		case err != nil:
			r.t.Fatal(err)
		case h.Job.State != j.state:
			r.t.Fatalf("day %d: %s.%s is %s, was %s", r.days(), j.org, j.id, h.Job.State, j.state)
		case !j.again && storyOf(h) != j.story:
			r.t.Fatalf("day %d: %s.%s has another story", r.days(), j.org, j.id)
		}
		if h != nil {
			for i, illegal := range h.Illegal {
				if illegal {
					r.t.Fatalf("%s.%s: %s is illegal", j.org, j.id, h.Entries[i].Name())
				}
			}
		}
	}
	r.segments(l)
	v, err := ledger.Verify(ctx, ledger.VerifyConfig{Ledger: l, Full: true})
	if err != nil || !v.OK {
		r.t.Fatalf("day %d: %+v, %v", r.days(), v, err)
	}
}

// segments shows that each segment which is left is kept by something.
func (r *retained) segments(l *ledger.Ledger) {
	r.t.Helper()
	all, err := l.ArchiveSegments(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	state, err := l.Archived(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, s := range all {
		if s.Class == "control" || s.Class == "open" {
			continue
		}
		subjects, err := l.SegmentJobs(r.t.Context(), s.ID)
		if err != nil {
			r.t.Fatal(err)
		}
		kept := r.days() < r.classDays(s.Class) || s.Ended.After(state.ThroughAt)
		for _, j := range r.jobs {
			if _, ok := subjects[schemas.JobSubject(j.org, j.id).String()]; ok {
				kept = kept || !j.over || r.held(j) || r.days() < r.keeps(j.org, j.typ)
			}
		}
		if !kept {
			r.t.Fatalf("day %d: segment %s of class %q is past its time, and there", r.days(), s.ID, s.Class)
		}
	}
}

func (r *retained) classDays(class string) int {
	parts := strings.Split(class, ":")
	switch parts[0] {
	case "org":
		return r.keeps(schemas.OrgID(parts[1]), "")
	case "type":
		return r.keeps("", schemas.TypeName(parts[1]))
	case "both":
		return r.keeps(schemas.OrgID(parts[1]), schemas.TypeName(parts[2]))
	}
	return r.cell
}

// end finishes whatever is not over, releases every hold, and shows that nothing is left when all times are over.
func (r *retained) end() {
	r.t.Helper()
	for _, j := range r.jobs {
		switch {
		case j.over:
			continue
		case j.state == schemas.StateDeadLettered:
			r.do(j, &ledger.Resolve{Note: "at last"})
		default:
			r.do(j, &ledger.Cancel{Reason: "at last"})
			j.state = schemas.StateCanceled
		}
		j.over, j.again = true, true
	}
	for s, on := range r.holds {
		if on {
			r.hold(s, false)
		}
	}
	r.leave()
	r.leave() // what the first has carried was behind its end
	r.ahead += 400 * day
	r.look()
	for _, j := range r.jobs {
		if _, err := r.NewLedger().History(r.t.Context(), j.org, j.id); !errors.Is(err, ledger.ErrNotFound) {
			r.t.Errorf("%s.%s is there when its time is over: %v", j.org, j.id, err)
		}
	}
}

// Random jobs, settings and holds, as days pass: nothing goes before its time, what nothing keeps goes, what is held or not
// over stays, and what stays is what it was, byte for byte.
func TestRetentionModel(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(*retentionSeed, 0))
	r := newRetained(t, 40)
	pick := func(words ...string) string { return words[rnd.IntN(len(words))] }
	days := []int{0, 0, 30, 45, 120, 200}
	for range 12 {
		for range 8 {
			r.make(schemas.OrgID(pick("a", "b", "c")), schemas.TypeName(pick("t", "u")), pick("done", "done", "canceled", "resolved", "dead", "waiting"))
		}
		j := r.jobs[rnd.IntN(len(r.jobs))]
		switch rnd.IntN(6) {
		case 0:
			r.setOrg(schemas.OrgID(pick("a", "b")), days[rnd.IntN(len(days))])
		case 1:
			r.setType("u", days[rnd.IntN(len(days))])
		case 2:
			r.hold(schemas.LegalScope{Org: j.org, Type: j.typ}, true)
		case 3:
			r.hold(schemas.LegalScope{Org: j.org, Job: j.id}, true)
		case 4:
			for s, on := range r.holds {
				if on {
					r.hold(s, false)
				}
			}
		case 5:
			if !j.over || j.may {
				break
			}
			if j.state != schemas.StateCompleted {
				r.do(j, &ledger.Retry{Reason: "once more", Now: time.Now()})
				j.over, j.again = false, true
				r.remember(j)
			}
		}
		if rnd.IntN(3) > 0 {
			r.leave()
		}
		r.ahead += time.Duration(1+rnd.IntN(30)) * day
		r.look()
	}
	r.end()
}

var retentionSeed = flag.Uint64("retention.seed", 7, "of TestRetentionModel")

// errStoppedAt is a remover that dies.
var errStoppedAt = errors.New("the remover stops here")

// A remover that dies before any durable step is followed by one that goes on; the messages of what is removed stay for a
// day (R-40, STYLE 21).
func TestRemoverStoppedAnywhere(t *testing.T) {
	t.Parallel()
	r := newRetained(t, 20)
	r.setOrg("b", 30)
	for i := range 24 {
		r.make([]schemas.OrgID{"a", "b"}[i%2], "t", []string{"done", "canceled", "dead"}[i%3])
	}
	r.leave()
	messages := func() uint64 {
		s, err := r.Ledger.JetStream().Stream(t.Context(), ledger.StreamArchive)
		if err != nil {
			t.Fatal(err)
		}
		return s.CachedInfo().State.Msgs
	}
	r.ahead = 100 * day
	for _, j := range r.jobs {
		j.may = j.over
	}
	all := messages()
	until := func() {
		t.Helper()
		for stop := 0; ; stop++ {
			if stop > 200 {
				t.Fatal("it never comes to its end")
			}
			m, steps := r.remover(r.NewLedger()), 0
			m.At(func(string) error {
				if steps++; steps > 1+stop%3 {
					return errStoppedAt
				}
				return nil
			})
			_, err := m.Look(t.Context())
			if err != nil && !errors.Is(err, errStoppedAt) {
				t.Fatal(err)
			}
			if stop == 0 {
				r.Restart()
			}
			if err == nil {
				return
			}
		}
	}
	until()
	r.check()
	if got := messages(); got != all {
		t.Errorf("ARCHIVE has %d messages, had %d: those of a removed segment stay for a day", got, all)
	}
	r.ahead += day + time.Hour
	until()
	r.check()
	whole(t, r.Env, archived(t, r.NewLedger(), 0, 1<<63, ""))
	if got := messages(); got >= all {
		t.Errorf("ARCHIVE has %d messages still, had %d", got, all)
	}
}

// Two removers at once, and one that decided before a legal hold was laid: one of the two is refused and decides anew, and
// nothing goes once the hold is laid (R-40, DESIGN D6).
func TestRemoversAndHolds(t *testing.T) {
	t.Parallel()
	r := newRetained(t, 10)
	for i := range 30 {
		r.make([]schemas.OrgID{"a", "b"}[i%2], "t", "canceled")
	}
	r.setOrg("a", 60)
	r.leave()
	r.ahead = 95 * day
	r.rem.At(func(step string) error {
		if step == "remove" && !r.holds[schemas.LegalScope{Org: "a"}] {
			r.hold(schemas.LegalScope{Org: "a"}, true)
		}
		return nil
	})
	plan := r.look()
	if plan.Held == 0 || plan.Segments == 0 {
		t.Errorf("%+v: segments of a are held, and those of b gone", plan)
	}
	r.rem.At(nil)
	r.hold(schemas.LegalScope{Org: "a"}, false)
	errs := make(chan error, 2)
	for range 2 {
		m := r.remover(r.NewLedger())
		go func() {
			_, err := m.Look(context.WithoutCancel(t.Context()))
			errs <- err
		}()
	}
	for range 2 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	for _, j := range r.jobs {
		j.may = true
	}
	r.check()
	if state, err := r.NewLedger().Archived(t.Context()); err != nil || state.Jobs != 0 || state.Removed == 0 {
		t.Errorf("%+v, %v: jobs are left", state, err)
	}
	if err := ledger.AsError(func() error {
		_, err := r.Ledger.SetLegalHold(t.Context(), schemas.LegalScope{Org: "a"}, false, ledger.Meta{}, "again")
		return err
	}()); err == nil || err.Code != ledger.CodeNotFound {
		t.Errorf("released twice: %v", err)
	}
}
