package cell_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/internal/cell"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// shortLease is the shortest through which a worker with the usual beats lives.
const shortLease = ledger.BeatEvery + 3*time.Second

func leaseOf(d time.Duration) func(*cell.Config) {
	return func(c *cell.Config) { c.Times.Core.Lease = d }
}

// holding runs until free is closed.
func holding(free <-chan struct{}) handlers.HandlerFunc {
	return func(ctx context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		select {
		case <-free:
			return a.Args, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// lostNow counts attempts that were given up; mu is held.
func (s *system) lostNow() (n int) {
	for _, e := range s.entries {
		if _, ok := e.Data.(*schemas.Lost); ok {
			n++
		}
	}
	return n
}

// A hundred workers die at once in the middle of their work: a lease later none of their jobs stands in
// running, and another worker does them all (R-23, C1).
func TestHundredWorkersKilled(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	env.RunServer(leaseOf(shortLease))
	s := newSystem(t, env)
	free := make(chan struct{})
	const n = 100
	kills := make([]func(), n)
	for i := range kills {
		kills[i] = s.worker(fmt.Sprintf("doomed-%d", i), "hold", 1, holding(free))
	}
	ids := s.submit("hold", n)
	s.awaitStarts(n)
	began := time.Now()
	for _, kill := range kills {
		kill()
	}
	s.await("a loss for each of them", func() bool { return s.lostNow() >= n })
	t.Logf("%d jobs of dead workers were given up within %s of their deaths, with a lease of %s", n, time.Since(began).Round(time.Millisecond), shortLease)
	if running := s.states()[schemas.StateRunning]; running != 0 {
		t.Errorf("%d jobs stand in running, and nobody runs them", running)
	}
	close(free)
	s.worker("steady", "hold", 20, holding(free))
	s.awaitFinished(ids)
	lost := s.check(ids).lost
	if len(lost) != n {
		t.Errorf("%d attempts were lost, want %d", len(lost), n)
	}
	for _, id := range ids {
		if j := s.jobs[id]; j.State != schemas.StateCompleted || j.Attempt != 2 || j.Worker != "steady" {
			t.Errorf("job %s is %s after %d attempts, by %s", id, j.State, j.Attempt, j.Worker)
		}
	}
}

// The only worker of a type dies. Another one, which serves other types of the same queue, goes on with its own,
// and touches none of the jobs it knows nothing of; they run when somebody serves them again (C3).
func TestBystanderEndsNothing(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	env.RunServer(leaseOf(shortLease))
	s := newSystem(t, env)
	free := make(chan struct{})
	const slots = 4
	kill := s.worker("red", "red", slots, holding(free))
	s.worker("blue", "blue", slots, lasting(time.Millisecond))
	red := s.submit("red", 3*slots)
	s.awaitStarts(slots)
	kill()
	blue := s.submit("blue", 100)
	s.await("the dead worker's losses", func() bool { return s.lostNow() >= slots })
	for i := range 100 {
		id := schemas.JobID(fmt.Sprintf("bluer-%d", i))
		s.submitOne(ledger.SubmitRequest{Org: acme, Type: "blue", ID: id})
		blue = append(blue, id)
	}
	s.awaitFinished(blue)
	s.mu.Lock()
	for _, id := range red {
		if j := s.jobs[id]; j.State.Finished() || j.Losses > 1 {
			t.Errorf("job %s, which nobody serves, is %s after %d losses", id, j.State, j.Losses)
		}
	}
	s.mu.Unlock()
	close(free)
	s.worker("red again", "red", slots, holding(free))
	s.awaitFinished(red)
	s.check(slices.Concat(red, blue))
	for _, id := range red {
		if j := s.jobs[id]; j.State != schemas.StateCompleted || j.Worker != "red again" {
			t.Errorf("job %s is %s, by %s", id, j.State, j.Worker)
		}
	}
}

// An org with ten jobs takes its turns beside one with hundreds: its ten are among the next starts (R-16, C20).
func TestQuietOrgTakesItsTurns(t *testing.T) {
	t.Parallel()
	env, _ := ledgertest.Cell(t)
	s := newSystem(t, env)
	const backlog, few, among = 400, 10, 60
	s.worker("w", "turn", 8, lasting(50*time.Millisecond))
	ids := s.submit("turn", backlog)
	s.awaitStarts(20)
	var last schemas.Seq
	var wg sync.WaitGroup
	var mu sync.Mutex
	quiet := make([]schemas.JobID, few)
	for i := range quiet {
		quiet[i] = schemas.JobID(fmt.Sprintf("quiet-%d", i))
		wg.Go(func() {
			r, err := env.NewLedger().Submit(t.Context(), ledger.SubmitRequest{Org: "quiet", Type: "turn", ID: quiet[i]})
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			last = max(last, r.Seq)
			mu.Unlock()
		})
	}
	wg.Wait()
	s.awaitFinished(quiet)
	s.mu.Lock()
	starts, left := 0, few
	for _, e := range s.entries {
		if e.Name() != schemas.EventRunning || e.Seq < last && e.Org != "quiet" {
			continue
		}
		if e.Org == "quiet" {
			left--
		}
		if starts++; left == 0 {
			break
		}
	}
	s.mu.Unlock()
	t.Logf("the ten jobs of the quiet org were among the first %d starts after its submits, with %d of another org waiting", starts, backlog)
	if left > 0 || starts > among {
		t.Errorf("%d starts, %d jobs of the quiet org not among them; want all within %d", starts, left, among)
	}
	s.awaitFinished(ids)
}

// Four equal workers share the work about equally: it goes to free slots (C25).
func TestEqualWorkersShareTheWork(t *testing.T) {
	t.Parallel()
	env, _ := ledgertest.Cell(t)
	s := newSystem(t, env)
	const workers, n = 4, 400
	for i := range workers {
		s.worker(fmt.Sprintf("w-%d", i), "shared", 4, lasting(20*time.Millisecond))
	}
	ids := s.submit("shared", n)
	s.awaitFinished(ids)
	s.allCompleted(ids)
	by := map[string]int{}
	for _, id := range ids {
		by[s.jobs[id].Worker]++
	}
	t.Logf("of %d jobs they took %v", n, by)
	for i := range workers {
		if share := by[fmt.Sprintf("w-%d", i)]; share < n*10/100 || share > n*50/100 { // about a quarter, if none of them stands still for a moment
			t.Errorf("worker %d took %d of %d jobs, want 10 to 50 %%", i, share, n)
		}
	}
}

// On an idle system each job starts at its first offer (C43); how soon is printed, and never asserted on a shared
// machine.
func TestIdlePickUp(t *testing.T) {
	t.Parallel()
	env, _ := ledgertest.Cell(t)
	s := newSystem(t, env)
	const n = 60
	s.worker("w", "echo", 2, lasting(0))
	waits := make([]time.Duration, n)
	for i := range waits {
		id := schemas.JobID(fmt.Sprintf("one-%d", i))
		s.submitOne(ledger.SubmitRequest{Org: acme, Type: "echo", ID: id, RegisterUnknown: true})
		s.awaitFinished([]schemas.JobID{id})
		if j := s.jobs[id]; j.Attempt != 1 {
			t.Errorf("%s took %d attempts", id, j.Attempt)
		}
		waits[i] = s.jobs[id].StartedAt.Sub(s.jobs[id].SubmittedAt)
	}
	slices.Sort(waits)
	t.Logf("from submit to start on an idle system: p50 %s (aim 5ms), p95 %s, max %s (aim 25ms)", waits[n/2], waits[n*95/100], waits[n-1])
}
