package ledgertest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Walk moves some jobs of type "t" in two orgs at random, as people and workers do; some ids are used again and again.
type Walk struct {
	env  *Env
	t    testing.TB
	Rand *rand.Rand
	n    int
	ids  []schemas.JobID
}

// NewWalk returns a walk that is repeated with the same seed.
func NewWalk(env *Env, t testing.TB, seed uint64) *Walk {
	t.Helper()
	t.Logf("seed %d", seed)
	if _, err := env.Ledger.PutType(t.Context(), schemas.TypeSettings{Name: "t", Reuse: schemas.ReuseFinished}, ledger.Meta{}, ""); err != nil {
		t.Fatal(err)
	}
	return &Walk{env: env, t: t, Rand: rand.New(rand.NewPCG(seed, 42))}
}

// Step moves one job, or begins one.
func (w *Walk) Step() {
	w.n++
	if len(w.ids) == 0 || w.Rand.IntN(4) == 0 {
		r := ledger.SubmitRequest{Org: schemas.OrgID(fmt.Sprint("org", w.Rand.IntN(2))), Type: "t", Args: fmt.Appendf(nil, `{"n":%d}`, w.n)}
		switch w.Rand.IntN(3) {
		case 0:
			r.ID = schemas.JobID(fmt.Sprint("again-", w.Rand.IntN(6)))
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
	at := w.ids[w.Rand.IntN(len(w.ids))]
	org, id := schemas.OrgID(at[:4]), at[5:]
	j, err := w.env.Ledger.Fold(w.t.Context(), org, id)
	w.fine(err)
	_, _, err = w.env.Ledger.DoFrom(w.t.Context(), j, w.command(j), ledger.Meta{})
	w.fine(err)
}

// command is one of those that fit the state, mostly.
func (w *Walk) command(j *ledger.Job) ledger.Command {
	now := time.Now().Add(48 * time.Hour)
	switch pick := w.Rand.IntN(8); {
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

func (w *Walk) outcome(j *ledger.Job, now time.Time) ledger.Command {
	o := &ledger.Outcome{Kind: schemas.EventCompleted, Fence: j.Fence, Generation: j.Generation, Attempt: j.Attempt, Now: now}
	if w.Rand.IntN(2) == 0 {
		o.Kind, o.RetryAfter, o.Error = schemas.EventFailed, time.Hour, &schemas.JobError{Class: schemas.ClassTransient, Message: "later"}
		if w.Rand.IntN(2) == 0 {
			o.Error.Class = schemas.ClassPermanent
		}
	}
	return o
}

// fine fails at what is no answer of the machine.
func (w *Walk) fine(err error) {
	w.t.Helper()
	var own *ledger.Error
	if err != nil && !errors.Is(err, ledger.ErrNotFound) && !errors.As(err, &own) {
		w.t.Fatal(err)
	}
}

// Rest ends every attempt, so that no running job holds the archive.
func (w *Walk) Rest() {
	for _, at := range w.ids {
		j, err := w.env.Ledger.Fold(w.t.Context(), schemas.OrgID(at[:4]), at[5:])
		w.fine(err)
		if err == nil && j.State == schemas.StateRunning {
			_, _, err = w.env.Ledger.DoFrom(w.t.Context(), j, w.outcome(j, time.Now()), ledger.Meta{})
			w.fine(err)
		}
	}
}
