package cell_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// The policies that race. "raw" is strict, by a publisher that sends no message id: the fold alone is its judge.
var racingTypes = []schemas.TypeSettings{
	{Name: "strict"}, {Name: "raw"}, {Name: "flight", Dedup: schemas.DedupInFlight}, {Name: "single", Dedup: schemas.DedupSingleton},
}

const (
	racingWindow   = 2 * time.Second
	racingContents = 3 // of each type
)

// racers submit, cancel and resolve the same few works, as fast as they can and over the edge of their window, while
// workers complete them and fail.
type racers struct {
	*system
	doors map[schemas.TypeName]*ledger.Ledger
	mu    sync.Mutex
	known []schemas.JobID
	run   map[string]int // handlers that run, by type and content, counted outside the ledger
	twice []string
}

// D4, R-06, R-308, C30: a window of 2 s, all policies; submits, cancels, completions and resolutions race over its edge, on two
// doors, with and without message ids: a job that an earlier one blocks never runs, and ends as its duplicate.
func TestDedupRace(t *testing.T) {
	t.Parallel()
	env, _ := ledgertest.Cell(t)
	s := &racers{system: newSystem(t, env), doors: map[schemas.TypeName]*ledger.Ledger{}, run: map[string]int{}}
	raw, err := ledger.New(ledger.Config{Conn: env.Connect(), Logger: zap.NewNop(), Intercept: func(next ledger.PublishFunc) ledger.PublishFunc {
		return func(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
			m.Header.Del(schemas.HeaderMsgID)
			return next(ctx, m)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	window := schemas.MillisOf(racingWindow)
	for _, typ := range racingTypes {
		typ.WindowMS, typ.MaxAttempts, typ.PoisonLimit = &window, 1, 1
		if _, err := env.Ledger.PutType(t.Context(), typ, ledger.Meta{}, ""); err != nil {
			t.Fatal(err)
		}
		s.doors[typ.Name] = env.NewLedger()
		if typ.Name == "raw" {
			s.doors[typ.Name] = raw
		}
		s.worker("w-"+string(typ.Name), typ.Name, 8, s.handle)
	}
	long := 2*racingWindow + time.Second
	if *full {
		long = time.Minute
	}
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	var all sync.WaitGroup
	for _, typ := range racingTypes {
		for n := range 3 {
			all.Go(func() { s.submits(ctx, typ.Name, rand.New(rand.NewPCG(uint64(n), 1))) })
		}
	}
	all.Go(func() { s.acts(ctx, rand.New(rand.NewPCG(7, 7))) })
	all.Wait()
	s.awaitAllEnds()
	s.judge()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, what := range s.twice {
		t.Errorf("two handlers ran at once for %s", what)
	}
}

// awaitAllEnds waits until every job in the ledger has ended, also one whose submit was given up and stored all the same.
func (s *racers) awaitAllEnds() {
	s.t.Helper()
	for limit := time.Now().Add(patience); ; {
		jobs, open := map[schemas.JobID]*ledger.Job{}, 0
		err := s.env.Ledger.Replay(s.t.Context(), ledger.ReplayQuery{Org: acme}, func(e *ledger.Entry) error {
			j := jobs[e.Job]
			if j == nil {
				j = &ledger.Job{Org: e.Org, ID: e.Job}
				jobs[e.Job] = j
			}
			e.ApplyTo(j)
			return nil
		})
		if err != nil {
			s.t.Fatal(err)
		}
		for _, j := range jobs {
			if !j.State.Finished() {
				open++
			}
		}
		if open == 0 {
			return
		}
		if time.Now().After(limit) {
			s.t.Fatalf("%d of %d jobs have not ended", open, len(jobs))
		}
		_ = rest(s.t.Context(), 50*time.Millisecond)
	}
}

// handle takes a few milliseconds and ends one way or another; what is canceled stops at once.
func (s *racers) handle(ctx context.Context, a *handlers.Attempt) (json.RawMessage, error) {
	what := string(a.Type) + " " + string(a.Args)
	if a.Type == "single" {
		what = "single" // one of the type, whatever its content
	}
	s.mu.Lock()
	if s.run[what]++; s.run[what] > 1 && (a.Type == "flight" || a.Type == "single") {
		s.twice = append(s.twice, what)
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.run[what]--
		s.mu.Unlock()
	}()
	if err := rest(ctx, time.Duration(rand.IntN(40))*time.Millisecond); err != nil {
		return nil, err
	}
	if rand.IntN(3) == 0 {
		return nil, handlers.Permanent(errors.New("no luck"))
	}
	return a.Args, nil
}

// submits submits the type's works; every now and then it waits until the edge of the window.
func (s *racers) submits(ctx context.Context, typ schemas.TypeName, draw *rand.Rand) {
	for ctx.Err() == nil {
		r := ledger.SubmitRequest{Org: acme, Type: typ, Args: fmt.Appendf(nil, `{"n":%d}`, draw.IntN(racingContents))}
		receipt, err := s.doors[typ].Submit(ctx, r)
		if err != nil {
			if ctx.Err() == nil {
				s.t.Errorf("submit: %v", err)
			}
			continue
		}
		if !receipt.Duplicate {
			s.mu.Lock()
			s.known = append(s.known, receipt.ID)
			s.mu.Unlock()
		}
		pause := time.Duration(draw.IntN(30)) * time.Millisecond
		if draw.IntN(20) == 0 {
			pause = racingWindow - time.Duration(draw.IntN(20))*time.Millisecond
		}
		_ = rest(ctx, pause)
	}
}

// acts cancels and resolves what was submitted lately, in whatever state that is.
func (s *racers) acts(ctx context.Context, draw *rand.Rand) {
	for ctx.Err() == nil {
		_ = rest(ctx, time.Duration(draw.IntN(10))*time.Millisecond)
		s.mu.Lock()
		n := len(s.known)
		id := schemas.JobID("")
		if n > 0 {
			id = s.known[n-1-draw.IntN(min(n, 20))]
		}
		s.mu.Unlock()
		if id == "" {
			continue
		}
		var cmd ledger.Command = &ledger.Cancel{Reason: "race"}
		if draw.IntN(2) == 0 {
			cmd = &ledger.Resolve{Note: "race"}
		}
		_, _, err := s.env.Ledger.Do(ctx, acme, id, cmd, ledger.Meta{})
		var state *ledger.StateError
		if err != nil && ctx.Err() == nil && !errors.As(err, &state) {
			s.t.Errorf("act on %s: %v", id, err)
		}
	}
}

// life is one generation of a job.
type life struct {
	id  schemas.JobID
	gen int
}

// judge reads the ledger in its order: at each submitted it asks of every earlier life of the same work whether that
// one blocks it, as it stands there; what is blocked must not have run.
func (s *racers) judge() {
	jobs, blocked, lives := map[schemas.JobID]*ledger.Job{}, map[life]life{}, map[string][]*ledger.Entry{}
	stood := map[life]schemas.State{}
	submitted, ran := 0, 0
	err := s.env.NewLedger().Replay(s.t.Context(), ledger.ReplayQuery{Org: acme}, func(e *ledger.Entry) error {
		j := jobs[e.Job]
		if j == nil {
			j = &ledger.Job{Org: e.Org, ID: e.Job}
			jobs[e.Job] = j
		}
		if d, ok := e.Data.(*schemas.Submitted); ok {
			submitted++
			work := ledger.DedupID(e.Org, d)
			for _, earlier := range lives[work] {
				of := earlier.Data.(*schemas.Submitted)
				was := life{earlier.Job, of.Generation}
				if _, itself := blocked[was]; !itself && ledger.Blocks(of, stood[was], e.Time.Sub(earlier.Time)) {
					blocked[life{e.Job, d.Generation}] = was
				}
			}
			lives[work] = append(lives[work], e)
		}
		e.ApplyTo(j)
		at := life{e.Job, j.Generation}
		stood[at] = j.State
		if e.Name() == schemas.EventRunning {
			ran++
			if by, ok := blocked[at]; ok {
				s.t.Errorf("job %s (generation %d) runs at %s although %s (generation %d) blocked it", e.Job, j.Generation, e.Seq, by.id, by.gen)
			}
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	for b, by := range blocked {
		if j := jobs[b.id]; j.Generation == b.gen && (j.State != schemas.StateCanceled || j.DuplicateOf == nil) && j.CancelReason != "race" {
			s.t.Errorf("job %s, which %s blocked, is %s and no duplicate", b.id, by.id, j.State)
		}
	}
	if len(blocked) == 0 || ran == 0 {
		s.t.Errorf("%d jobs, of which %d ran and %d were blocked: nothing raced", submitted, ran, len(blocked))
	}
	s.t.Logf("%d jobs were submitted, %d ran, %d were canceled as duplicates", submitted, ran, len(blocked))
}
