package ledger_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// The leader gives an attempt up in the very moment in which its worker completes it, many times: one of the
// two ends the attempt, each is told what became of its word, and a completion that came second is kept beside
// and changes nothing (R-22, R-910, C2).
func TestLossRacesCompletion(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	leader, worker := env.NewLedger(), env.NewLedger()
	const rounds, parallel = 120, 4
	var mu sync.Mutex
	won := map[schemas.EventName]int{}
	var wg sync.WaitGroup
	for p := range parallel {
		wg.Go(func() {
			for i := p; i < rounds; i += parallel {
				winner := raceLoss(t, env, leader, worker, schemas.JobID(fmt.Sprintf("race-%d", i)))
				mu.Lock()
				won[winner]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	t.Logf("of %d attempts %d were completed first, %d were lost first", rounds, won[schemas.EventCompleted], won[schemas.EventLost])
}

// raceLoss plays one round and returns the event that ended the attempt.
func raceLoss(t *testing.T, env *ledgertest.Env, leader, worker *ledger.Ledger, id schemas.JobID) schemas.EventName {
	a := &actor{t: t, l: env.Ledger, id: id}
	toSubmitted(a)
	toQueued(a)
	toRunning(a)
	j := a.fold()
	commands := []ledger.Command{&ledger.Lose{Fence: j.Fence, Cause: schemas.LossWorkerGone}, ending(schemas.EventCompleted, "")(j)}
	var errs [2]error
	var events [2]*schemas.Event
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for i, l := range []*ledger.Ledger{leader, worker} {
		wg.Go(func() {
			<-begin
			_, events[i], errs[i] = l.Do(t.Context(), sceneOrg, id, commands[i], ledger.Meta{})
		})
	}
	close(begin)
	wg.Wait()
	h, err := env.Ledger.History(t.Context(), sceneOrg, id)
	if err != nil || errs[1] != nil {
		t.Errorf("%s: %v, the completion: %v", id, err, errs[1])
		return ""
	}
	told := func(i int) schemas.EventName {
		if errs[i] != nil || events[i] == nil {
			return ""
		}
		return events[i].Name()
	}
	entries := h.Entries[3:]
	switch {
	case entries[0].Name() == schemas.EventCompleted && len(entries) == 1:
		if !errors.Is(errs[0], ledger.ErrStaleAttempt) || told(1) != schemas.EventCompleted || h.Job.State != schemas.StateCompleted {
			t.Errorf("%s was completed first: loss %v, worker heard %q, the job is %s", id, errs[0], told(1), h.Job.State)
		}
	case entries[0].Name() == schemas.EventLost && len(entries) == 2 && entries[1].Name() == schemas.EventLateResult:
		if errs[0] != nil || told(1) != schemas.EventLateResult || h.Job.State != schemas.StateQueued || h.Job.Result != nil {
			t.Errorf("%s was lost first: %v, worker heard %q, the job is %s", id, errs[0], told(1), h.Job.State)
		}
	default:
		t.Errorf("%s: %d events behind running, the first is %s", id, len(entries), entries[0].Name())
	}
	return entries[0].Name()
}

// A job begins with submitted and nothing else: whatever any writer says about a job that is not there is
// refused, and nothing is stored (R-224, C6).
func TestNothingRevivesAJobThatIsNotThere(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	before, err := env.Ledger.End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fence := schemas.Fence{Seq: 7, ID: schemas.NewEventID()}
	gone := &ledger.Job{Org: sceneOrg, ID: "gone", Generation: 1, SubmittedSeq: 5, Attempt: 1, Fence: fence}
	commands := []ledger.Command{
		queueCommand(nil), claimCommand(gone), &ledger.Cancel{Reason: "r"}, &ledger.Retry{Reason: "r", Now: time.Now()},
		&ledger.Resolve{Note: "n"}, &ledger.Resolve{Note: "n", Ignore: true}, &ledger.Carry{}, &ledger.Checkpoint{Fence: fence, Value: []byte(`1`)},
		&ledger.Lose{Fence: fence, Cause: schemas.LossWorkerGone}, &ledger.Overrun{Fence: fence, Now: time.Now()},
		&ledger.DeadLetter{Reason: schemas.DeadOrgDeleted},
	}
	for _, kind := range []schemas.EventName{schemas.EventCompleted, schemas.EventFailed, schemas.EventTimedOut, schemas.EventCanceled, schemas.EventReleased} {
		commands = append(commands, ending(kind, schemas.ClassTransient)(gone))
	}
	for _, c := range commands {
		if _, e, err := env.Ledger.Do(t.Context(), sceneOrg, gone.ID, c, ledger.Meta{}); err == nil {
			t.Errorf("%T on a job that is not there: %+v", c, e)
		}
		if _, e, err := env.Ledger.DoFrom(t.Context(), &ledger.Job{Org: sceneOrg, ID: gone.ID}, c, ledger.Meta{}); err == nil {
			t.Errorf("%T from an empty fold: %+v", c, e)
		}
	}
	if after, err := env.Ledger.End(t.Context()); err != nil || after.Seq != before.Seq {
		t.Errorf("the ledger went from %d to %d: %v", before.Seq, after.Seq, err)
	}
}

// A hundred writers add facts to a few jobs at once, each of whom may lose its connection in mid-write: every fact
// that was acknowledged is there, once, and none that was refused (R-22, R-37, C45).
func TestWritersLoseNoFact(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	const writers, facts, jobs = 100, 3, 20
	var actors [jobs]*actor
	for i := range actors {
		actors[i] = &actor{t: t, l: env.Ledger, id: schemas.JobID(fmt.Sprintf("billed-%d", i))}
		toSubmitted(actors[i])
		toQueued(actors[i])
		toRunning(actors[i])
	}
	var mu sync.Mutex
	acked, unknown := map[string]bool{}, map[string]bool{}
	var wg sync.WaitGroup
	for w := range writers {
		l, a := env.NewLedger(), actors[w%jobs]
		wg.Go(func() {
			for n := range facts {
				if w%7 == 0 && n == 1 { // its process dies while it writes
					time.AfterFunc(time.Duration(w)*time.Millisecond, l.Conn().Close)
				}
				fact := fmt.Sprintf("%d/%d", w, n)
				value, _ := json.Marshal(fact)
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
				_, e, err := l.Do(ctx, sceneOrg, a.id, &ledger.Checkpoint{Fence: a.fence, Value: value}, ledger.Meta{})
				cancel()
				mu.Lock()
				switch {
				case err == nil && e != nil:
					acked[fact] = true
				case errors.Is(err, ledger.ErrUnknown):
					unknown[fact] = true
				case ledger.AsError(err).Code != ledger.CodeUnavailable:
					t.Errorf("fact %s: %v", fact, err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	stored := map[string]int{}
	err := env.Ledger.Replay(t.Context(), ledger.ReplayQuery{Org: sceneOrg, Event: schemas.EventCheckpointed}, func(e *ledger.Entry) error {
		var fact string
		err := json.Unmarshal(e.Data.(*schemas.Checkpointed).Checkpoint, &fact)
		stored[fact]++
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for fact := range acked {
		if stored[fact] != 1 {
			t.Errorf("fact %s was acknowledged and is stored %d times", fact, stored[fact])
		}
	}
	for fact, n := range stored {
		if n != 1 || !acked[fact] && !unknown[fact] {
			t.Errorf("fact %s is stored %d times, acknowledged: %t, fate unknown: %t", fact, n, acked[fact], unknown[fact])
		}
	}
	t.Logf("%d facts acknowledged, %d of unknown fate, %d stored", len(acked), len(unknown), len(stored))
	if len(acked) < writers*facts/2 {
		t.Errorf("only %d facts were acknowledged", len(acked))
	}
}

// The worker of a job's earlier life speaks when the id has been given to new work, which runs: its result is kept
// under the life it belongs to, once, and the new run is untouched (R-22, R-910, C8).
func TestLateResultOfAnEarlierLife(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	a := &actor{t: t, l: env.Ledger, id: "again"}
	toSubmitted(a)
	toQueued(a)
	toRunning(a)
	earlier := a.fold()
	a.do(&ledger.DeadLetter{Reason: schemas.DeadOrgDeleted})
	toSubmitted(a)
	toQueued(a)
	toRunning(a)
	now := a.fold()
	for range 2 {
		for _, kind := range []schemas.EventName{schemas.EventCompleted, schemas.EventFailed} {
			if _, _, err := env.NewLedger().Do(t.Context(), sceneOrg, a.id, ending(kind, schemas.ClassPermanent)(earlier), ledger.Meta{}); err != nil {
				t.Errorf("%s of an earlier life: %v", kind, err)
			}
		}
	}
	after := a.fold()
	if after.State != schemas.StateRunning || after.Generation != 2 || after.Fence != now.Fence || after.Result != nil || len(after.Late) != 1 {
		t.Errorf("the new run: %s, generation %d, fence %v for %v, %d late results", after.State, after.Generation, after.Fence, now.Fence, len(after.Late))
	}
	toCompleted(a)
	if j := a.fold(); j.State != schemas.StateCompleted || j.Generation != 2 {
		t.Errorf("the new run ended as %s in generation %d", j.State, j.Generation)
	}
}
