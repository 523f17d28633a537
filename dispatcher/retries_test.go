package dispatcher

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// TestRetriesDueAtOnce: ten thousand jobs of two orgs failed, and are all due again within one second, in an order that
// is not that of their failures. Each org's are queued oldest due first, and as long as both orgs have jobs waiting
// they take turns, though one has four times as many.
func TestRetriesDueAtOnce(t *testing.T) {
	const many, few = 8_000, 2_000
	w := newWorld()
	p := &player{w}
	p.run([]string{"lead"})
	p.run([]string{"beat", "w1", "slots=9000", "serves=q/t"})
	keys := make([]string, 0, many+few)
	for i := range many + few {
		org := "many"
		if i%5 == 0 {
			org = "few"
		}
		keys = append(keys, fmt.Sprintf("%s/j%05d", org, i))
	}
	for _, org := range []string{"many", "few"} {
		p.run([]string{"set", "org", org, "running=0"})
	}
	claim := func(key string) *ledger.Job {
		t.Helper()
		j := w.jobs[key]
		if _, err := w.do(key, &ledger.Claim{Generation: 1, Submitted: j.SubmittedSeq, Session: "w1", Worker: "w1"}); err != nil {
			t.Fatal(err)
		}
		return j
	}
	end := func(key string, kind schemas.EventName, after time.Duration) {
		t.Helper()
		j := claim(key)
		o := &ledger.Outcome{Fence: j.Fence, Generation: 1, Attempt: j.Attempt, Kind: kind, Now: w.now}
		if kind == schemas.EventFailed {
			o.Error, o.RetryAfter = &schemas.JobError{Class: schemas.ClassTransient, Message: "busy"}, after
		}
		if _, err := w.do(key, o); err != nil {
			t.Fatal(err)
		}
	}
	// queue lets the core decide one thing at a time until n jobs were queued, and ends the attempt of each.
	queue := func(n int, then func(key string)) {
		t.Helper()
		for queued := 0; queued < n; {
			ds := w.decide(1)
			if len(ds) == 0 {
				t.Fatalf("nothing is decided after %d of %d jobs", queued, n)
			}
			for _, d := range ds {
				w.settle(d)
				if d.Kind == DecideQueue {
					queued++
					then(w.name(d.ID))
				}
			}
		}
	}
	for _, key := range keys {
		if err := w.submit(key, schemas.Submitted{}); err != nil {
			t.Fatal(err)
		}
	}
	const wait = 2 * time.Minute // above the backoff of a first failure
	rnd := rand.New(rand.NewPCG(1, 2))
	queue(len(keys), func(key string) {
		end(key, schemas.EventFailed, wait+time.Duration(rnd.IntN(1000))*time.Millisecond)
	})
	if n := len(w.decide(1)); n != 0 {
		t.Fatalf("%d decisions before anything is due", n)
	}
	w.now = w.now.Add(wait + time.Second)
	last := map[schemas.OrgID]time.Time{}
	turns := map[schemas.OrgID]int{}
	queue(len(keys), func(key string) {
		j := w.jobs[key]
		// The fold forgets when the retry was due as it is queued: its failure tells.
		due := retryDue(w, j)
		if due.Before(last[j.Org]) {
			t.Errorf("%s, due at %s, is queued behind one due at %s", key, due, last[j.Org])
		}
		last[j.Org] = due
		turns[j.Org]++
		if d := turns["many"] - turns["few"]; (d > 1 || d < -1) && turns["few"] < few {
			t.Errorf("%v jobs are queued while both orgs have some waiting", turns)
		}
		end(key, schemas.EventCompleted, 0)
	})
	if turns["many"] != many || turns["few"] != few {
		t.Errorf("queued again: %v", turns)
	}
}

// retryDue is when the retry behind a job's latest failure was due.
func retryDue(w *world, j *ledger.Job) time.Time {
	e := w.log[j.LastFence.Seq] // the event behind its running
	return e.Time.Add(e.Data.(*schemas.Failed).DelayMS.Duration())
}
