package ledger_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// walkers moves some jobs at random, as people and workers do; some ids are used again and again.
type walkers struct {
	env  *ledgertest.Env
	t    *testing.T
	rand *rand.Rand
	n    int
	ids  []schemas.JobID
}

func newWalkers(t *testing.T, env *ledgertest.Env, seed uint64) *walkers {
	t.Logf("seed %d", seed)
	return &walkers{env: env, t: t, rand: rand.New(rand.NewPCG(seed, 42))}
}

// step moves one job, or begins one.
func (w *walkers) step() {
	w.n++
	if len(w.ids) == 0 || w.rand.IntN(4) == 0 {
		r := ledger.SubmitRequest{Org: schemas.OrgID(fmt.Sprint("org", w.rand.IntN(2))), Type: "t", Args: fmt.Appendf(nil, `{"n":%d}`, w.n)}
		switch w.rand.IntN(3) {
		case 0:
			r.ID = schemas.JobID(fmt.Sprint("again-", w.rand.IntN(6)))
		case 1:
			r.Delay = time.Hour
		}
		receipt, err := w.env.Ledger.Submit(w.t.Context(), r)
		if err == nil {
			w.ids = append(w.ids, schemas.JobID(string(r.Org)+"/"+string(receipt.ID)))
		}
		w.fine(err)
		return
	}
	at := w.ids[w.rand.IntN(len(w.ids))]
	org, id := schemas.OrgID(at[:4]), at[5:]
	j, err := w.env.Ledger.Fold(w.t.Context(), org, id)
	w.fine(err)
	_, _, err = w.env.Ledger.DoFrom(w.t.Context(), j, w.command(j), ledger.Meta{})
	w.fine(err)
}

// command is one of those that fit the state, mostly.
func (w *walkers) command(j *ledger.Job) ledger.Command {
	now := time.Now().Add(48 * time.Hour)
	switch pick := w.rand.IntN(8); {
	case pick == 0:
		return &ledger.Cancel{Reason: "chance"}
	case j.State == schemas.StateSubmitted, j.State == schemas.StateRetrying:
		return &ledger.Queue{Policy: schemas.DefaultPolicy(), Now: now}
	case j.State == schemas.StateQueued:
		return &ledger.Claim{Generation: j.Generation, Submitted: j.SubmittedSeq, Session: "s", Worker: "w"}
	case j.State == schemas.StateRunning:
		return w.outcome(j, now)
	case pick < 4 && j.State == schemas.StateDeadLettered:
		return &ledger.Resolve{Note: "seen"}
	default:
		return &ledger.Retry{Reason: "chance", Now: now}
	}
}

func (w *walkers) outcome(j *ledger.Job, now time.Time) ledger.Command {
	o := &ledger.Outcome{Kind: schemas.EventCompleted, Fence: j.Fence, Generation: j.Generation, Attempt: j.Attempt, Now: now}
	if w.rand.IntN(2) == 0 {
		o.Kind, o.RetryAfter, o.Error = schemas.EventFailed, time.Hour, &schemas.JobError{Class: schemas.ClassTransient, Message: "later"}
		if w.rand.IntN(2) == 0 {
			o.Error.Class = schemas.ClassPermanent
		}
	}
	return o
}

// fine fails at what is no answer of the machine.
func (w *walkers) fine(err error) {
	w.t.Helper()
	var own *ledger.Error
	if err != nil && !errors.Is(err, ledger.ErrNotFound) && !errors.As(err, &own) {
		w.t.Fatal(err)
	}
}

// rest ends every attempt, so that no running job holds the archive.
func (w *walkers) rest() {
	for _, at := range w.ids {
		j, err := w.env.Ledger.Fold(w.t.Context(), schemas.OrgID(at[:4]), at[5:])
		w.fine(err)
		if err == nil && j.State == schemas.StateRunning {
			_, _, err = w.env.Ledger.DoFrom(w.t.Context(), j, w.outcome(j, time.Now()), ledger.Meta{})
			w.fine(err)
		}
	}
}

// oneHistory is all that is in ARCHIVE and LEDGER.
func oneHistory(t *testing.T, l *ledger.Ledger) []*ledger.Entry {
	t.Helper()
	all := archived(t, l, 0, 1<<63, "")
	state, err := l.Archived(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for next := state.Through.Seq + 1; ; next = all[len(all)-1].Seq + 1 {
		entries, err := l.EventsFrom(t.Context(), next, 500)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 0 {
			return all
		}
		all = append(all, entries...)
	}
}

// talliesAgree holds the sum of the tallies to a fold of everything, of which a copy was kept.
func talliesAgree(t *testing.T, l *ledger.Ledger, all []*ledger.Entry) {
	t.Helper()
	sum, err := l.Tallied(t.Context(), time.Time{})
	if err != nil || sum.Missing != "" {
		t.Fatalf("%+v, %v", sum, err)
	}
	state, err := l.Archived(t.Context())
	if err != nil || sum.Position != state.Through {
		t.Fatalf("the tallies reach to %v, the archive to %v (%v)", sum.Position, state.Through, err)
	}
	want := ledger.TallyOf(all, 0, sum.Seq)
	if k, differ := sum.Differs(want); differ {
		t.Fatalf("counter %s: the tallies say %+v, the messages %+v; quarantined %d and %d, illegal %d and %d", k, sum.Counts[k], want.Counts[k],
			sum.Quarantined, want.Quarantined, sum.Illegal, want.Illegal)
	}
}

// Whatever jobs do and wherever the archive cuts, the tallies of its commits add up to what all messages up to its end
// amount to, also when segments are gone.
func TestTallies(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	env.SkipVerify() // segments are removed whose jobs live on
	if _, err := env.Ledger.PutType(t.Context(), schemas.TypeSettings{Name: "t", Reuse: schemas.ReuseFinished}, ledger.Meta{}, ""); err != nil {
		t.Fatal(err)
	}
	c := &crowd{Env: env, t: t}
	w := newWalkers(t, env, rand.Uint64())
	for range 6 {
		for range 60 {
			w.step()
		}
		w.rest()
		if err := env.Ledger.Conn().PublishMsg(&nats.Msg{Subject: "jobs.acme.foreign", Data: []byte("none of ours")}); err != nil {
			t.Fatal(err)
		}
		w.step() // behind the foreign message
		w.rest()
		c.leave(c.archiver(small(20 + w.rand.IntN(60))))
		talliesAgree(t, env.Ledger, oneHistory(t, env.Ledger))
	}
	all := oneHistory(t, env.Ledger)
	segments, err := env.Ledger.ArchiveSegments(t.Context())
	if err != nil || len(segments) < 6 {
		t.Fatalf("%d segments, %v", len(segments), err)
	}
	for _, s := range segments {
		if w.rand.IntN(2) == 0 {
			if err := env.Ledger.RemoveSegments(t.Context(), s.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	talliesAgree(t, env.NewLedger(), all)
}
