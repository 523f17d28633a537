package cell_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// submitters is how many submit at a time.
const submitters = 8

// submit stores n jobs of a type under ids of its own and returns them once all are acknowledged. What is
// not acknowledged is sent again.
func (s *system) submit(typ schemas.TypeName, n int, change ...func(*ledger.SubmitRequest)) []schemas.JobID {
	s.t.Helper()
	ids := make([]schemas.JobID, n)
	var wg sync.WaitGroup
	for p := range submitters {
		wg.Go(func() {
			for i := p; i < n; i += submitters {
				ids[i] = schemas.JobID(fmt.Sprintf("%s-%05d", typ, i))
				r := ledger.SubmitRequest{Org: acme, Type: typ, ID: ids[i], Args: fmt.Appendf(nil, `{"n":%d}`, i), RegisterUnknown: true}
				for _, c := range change {
					c(&r)
				}
				s.submitOne(r)
			}
		})
	}
	wg.Wait()
	return ids
}

// submitOne submits one job.
func (s *system) submitOne(r ledger.SubmitRequest) {
	s.insist(s.env.Ledger, r, ledger.SettleTimeout, func() {})
}

// insist submits until it is acknowledged, the first time for at most so long and each time for twice as long as
// before, and calls vain when it was not. The error is the last one, when patience has run out.
func (s *system) insist(l *ledger.Ledger, r ledger.SubmitRequest, each time.Duration, vain func()) (ledger.Receipt, error) {
	for limit := time.Now().Add(patience); ; vain() {
		ctx, cancel := context.WithTimeout(context.Background(), each)
		receipt, err := l.Submit(ctx, r)
		cancel()
		if err == nil {
			return receipt, nil
		}
		if e := ledger.AsError(err); e.Code != ledger.CodeUnavailable || time.Now().After(limit) {
			s.t.Errorf("submit %s: %v", r.Args, err)
			return receipt, err
		}
		each = min(2*each, ledger.SettleTimeout)
	}
}

// load is what a size of the system tests means.
type load struct {
	inFlight int           // jobs that are not finished, kept up by new ones
	slots    int           // of each of the two workers that stay
	doomed   int           // slots of the worker that is killed
	short    time.Duration // what a job takes
	long     int           // jobs that outlive leases; they come first
	leases   float64       // and how many
	lease    time.Duration
}

// told is a handler for which the job's args say how long it takes; short ones end at once when hurry is closed.
func told(hurry <-chan struct{}) handlers.HandlerFunc {
	return func(ctx context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		var args struct {
			MS   schemas.Millis `json:"ms"`
			Long bool           `json:"long"`
		}
		if err := json.Unmarshal(a.Args, &args); err != nil {
			return nil, err
		}
		if args.Long {
			return a.Args, rest(ctx, args.MS.Duration())
		}
		ctx, stop := context.WithTimeout(ctx, args.MS.Duration())
		defer stop()
		select {
		case <-hurry:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return nil, ctx.Err()
			}
		}
		return a.Args, nil
	}
}

// flood keeps a load of jobs in flight.
type flood struct {
	s      *system
	load   load // but for its inFlight
	stop   atomic.Bool
	wg     sync.WaitGroup
	before int // jobs finished before it began

	mu    sync.Mutex
	most  int                      // jobs in flight
	acked map[string]schemas.JobID // by args, which no two jobs share
	vain  int                      // submits that were not acknowledged, and sent again
}

// resubmit is how long the first try to submit a job of a flood is waited for.
const resubmit = 300 * time.Millisecond

// newFlood begins to submit; at ends it. Each submitter has a connection of its own.
func (s *system) newFlood(l load) *flood {
	f := &flood{s: s, load: l, most: l.inFlight, acked: make(map[string]schemas.JobID)}
	s.mu.Lock()
	f.before = s.finished
	s.mu.Unlock()
	for p := range submitters {
		own := s.env.NewLedger()
		f.wg.Go(func() {
			for i := p; f.room(); i += submitters {
				r := f.request(i)
				receipt, err := s.insist(own, r, resubmit, f.inVain)
				if err != nil {
					return
				}
				f.mu.Lock()
				f.acked[string(r.Args)] = receipt.ID
				f.mu.Unlock()
				s.poke()
			}
		})
	}
	s.t.Cleanup(func() { f.end() })
	return f
}

// request is the i-th one. It is repeated under its id, its key or its request's id, in turn.
func (f *flood) request(i int) ledger.SubmitRequest {
	typ, takes := schemas.TypeName("red"), f.load.short
	switch {
	case i < f.load.long:
		typ, takes = "blue", time.Duration(f.load.leases*float64(f.load.lease))
	case i/submitters%2 == 0:
		typ = "blue"
	}
	r := ledger.SubmitRequest{Org: acme, Type: typ, RegisterUnknown: true, Args: fmt.Appendf(nil, `{"n":%d,"ms":%d,"long":%t}`, i, takes.Milliseconds(), i < f.load.long)}
	switch i % 3 {
	case 0:
		r.ID = schemas.JobID(fmt.Sprintf("%s-%06d", typ, i))
	case 1:
		r.Key = fmt.Sprintf("key-%06d", i)
	case 2:
		r.RequestID = uuid.New()
	}
	return r
}

// inVain counts a submit that was not acknowledged.
func (f *flood) inVain() {
	f.mu.Lock()
	f.vain++
	f.mu.Unlock()
	f.s.poke()
}

// stuck lets every submitter go on, and waits until so many submits were in vain.
func (f *flood) stuck() {
	f.s.t.Helper()
	f.mu.Lock()
	f.most += submitters
	enough := f.vain + submitters
	f.mu.Unlock()
	f.s.poke()
	f.s.await("submits in vain", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.vain >= enough
	})
}

// unfinished is how many acknowledged jobs have not ended, and free how many more there may be. s.mu is held.
func (f *flood) unfinished() (n, free int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n = len(f.acked) - (f.s.finished - f.before)
	return n, f.most - n
}

// room waits until another job may be in flight; false if there is to be none.
func (f *flood) room() bool {
	for {
		f.s.mu.Lock()
		changed := f.s.changed
		_, free := f.unfinished()
		f.s.mu.Unlock()
		if f.stop.Load() {
			return false
		}
		if free > 0 {
			return true
		}
		<-changed
	}
}

// awaitFull waits until as many jobs are in flight as may be.
func (f *flood) awaitFull() {
	f.s.t.Helper()
	f.s.await(fmt.Sprintf("%d jobs in flight", f.load.inFlight), func() bool { n, _ := f.unfinished(); return n >= f.load.inFlight })
}

// end lets the submitters finish what they have begun, and returns the jobs.
func (f *flood) end() []schemas.JobID {
	f.stop.Store(true)
	f.s.poke()
	f.wg.Wait()
	ids := make([]schemas.JobID, 0, len(f.acked))
	for _, id := range f.acked {
		ids = append(ids, id)
	}
	return ids
}

// once checks that each acknowledged job stands in the ledger once, under the id that was acknowledged, and
// that there is no other.
func (f *flood) once(told *story) {
	f.s.t.Helper()
	for args, id := range f.acked {
		if jobs := told.args[args]; len(jobs) != 1 || jobs[0] != id || told.submitted[id] != 1 {
			f.s.t.Errorf("job %s was acknowledged for %s; the ledger has it %d times, and for these args %v", id, args, told.submitted[id], jobs)
		}
	}
	for args, jobs := range told.args {
		if _, ok := f.acked[args]; !ok && args != waiting {
			f.s.t.Errorf("jobs %v with %s were not acknowledged", jobs, args)
		}
	}
	f.s.t.Logf("figures: %d jobs, each once; %d submits were sent again", len(f.acked), f.vain)
}
