package dispatcher

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// world is a ledger without a server: events are decided and folded by package ledger, kept in a slice and
// fed to a core as far as the test wants.
type world struct {
	core *twins
	now  time.Time
	mono time.Duration
	log  []*schemas.Event
	fed  int
	auto bool // every event is fed at once
	jobs map[string]*ledger.Job
	byID map[schemas.Seq]*ledger.Job
	work uint64
	air  []Decision // given out, not settled

	refusing bool // no tick is submitted
	// asked is the length of the log when a look-up was given out, by its number.
	asked map[uint64]int
	// cascaded: somebody canceled a job with all that wait for it.
	cascaded bool
	// removed are jobs whose history has left the archive.
	removed map[schemas.JobID]bool
	// batches names the batches that a transcript speaks of: see player.run.
	batches map[string]string
}

func newWorld() *world {
	return &world{core: newTwins(), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), auto: true,
		jobs: make(map[string]*ledger.Job), byID: make(map[schemas.Seq]*ledger.Job), asked: make(map[uint64]int)}
}

// put appends an event and folds it.
func (w *world) put(e *schemas.Event) *schemas.Event {
	e.Seq, e.Time = schemas.Seq(len(w.log)+1), w.now
	w.log = append(w.log, e)
	if e.Job != "" {
		key := string(e.Org) + "/" + string(e.Job)
		j, ok := w.jobs[key]
		if !ok {
			j = new(ledger.Job)
			w.jobs[key] = j
		}
		ledger.Apply(j, e)
		switch e.Data.(type) {
		case *schemas.Submitted, *schemas.Carried:
			w.byID[e.Seq] = j
		}
	}
	if w.auto {
		w.feed(len(w.log))
	}
	return e
}

// feed applies events up to the n-th.
func (w *world) feed(n int) {
	for ; w.fed < min(n, len(w.log)); w.fed++ {
		w.core.Apply(w.log[w.fed])
	}
}

// do carries a command out on a job.
func (w *world) do(key string, c ledger.Command) (*schemas.Event, error) {
	j := w.jobs[key]
	if j == nil {
		j = new(ledger.Job)
	}
	data, err := ledger.Decide(j, c)
	if err != nil || data == nil {
		return nil, err
	}
	org, id, _ := strings.Cut(key, "/")
	return w.put(schemas.NewEvent(schemas.JobSubject(schemas.OrgID(org), schemas.JobID(id)), data)), nil
}

func (w *world) submit(key string, s schemas.Submitted) error {
	if s.Type == "" {
		s.Type = "t"
	}
	if s.Queue == "" {
		s.Queue = "q"
	}
	if s.Priority == "" {
		s.Priority = schemas.PriorityNormal
	}
	_, err := w.do(key, &ledger.Begin{Spec: s})
	return err
}

func (w *world) name(id schemas.Seq) string {
	j, ok := w.byID[id]
	if !ok {
		return fmt.Sprint(id)
	}
	return string(j.Org) + "/" + string(j.ID)
}

func (w *world) decide(max int) []Decision {
	out := w.core.Decide(w.now, w.mono, max)
	for _, d := range out {
		if d.Kind != DecideRemove && d.Kind != DecideSignal {
			w.air = append(w.air, d)
		}
		if d.Kind == DecideLookup {
			w.asked[d.N] = len(w.log)
		}
	}
	return out
}

// command is what the host does for a decision, without the I/O.
func (w *world) command(d Decision, j *ledger.Job) ledger.Command {
	switch d.Kind {
	case DecideQueue:
		return &ledger.Queue{Policy: schemas.DefaultPolicy(), Epoch: w.core.epoch, Now: w.now}
	case DecideExpire:
		return &ledger.DeadLetter{Reason: schemas.DeadExpired}
	case DecideDissolve:
		return &ledger.DeadLetter{Reason: schemas.DeadOrgDeleted, Error: orgGone()}
	case DecideDuplicate:
		e := w.log[d.Of-1] // its submitted, or what carried it
		of := w.jobs[string(e.Org)+"/"+string(e.Job)]
		return &ledger.Cancel{DuplicateOf: &schemas.JobRef{ID: of.ID, Generation: of.Generation}}
	case DecideDependency:
		return w.dependency(&d, j)
	case DecideLose:
		return &ledger.Lose{Fence: d.Fence, Cause: d.Cause}
	case DecideOverrun:
		return &ledger.Overrun{Fence: d.Fence, Now: w.now}
	case DecideEndCancel:
		return &ledger.EndCancel{Fence: d.Fence}
	}
	return nil
}

// settle carries a decision out and settles it; it says what happened.
func (w *world) settle(d Decision) string {
	w.air = slices.DeleteFunc(w.air, func(o Decision) bool { return o.N == d.N })
	switch d.Kind {
	case DecideLookup:
		return w.lookUp(d)
	case DecideTick:
		return w.settleTick(d)
	}
	j := w.byID[d.ID]
	if d.Kind == DecideOffer {
		if j == nil || j.SubmittedSeq != d.ID || j.State != schemas.StateQueued {
			w.core.Settle(d, Result{Outcome: Gone})
			return "gone"
		}
		w.work++
		w.core.Settle(d, Result{Outcome: Stored, Work: w.work})
		return fmt.Sprintf("offer %d", w.work)
	}
	if j == nil || j.SubmittedSeq != d.ID {
		w.core.Settle(d, Result{Outcome: Gone})
		return "gone"
	}
	if w.waits(&d, j) {
		w.core.Settle(d, Result{Outcome: Later, Until: w.now.Add(laterPause)})
		return "waits"
	}
	cmd := w.command(d, j)
	if cmd == nil {
		w.core.Settle(d, Result{Outcome: Gone})
		return "gone"
	}
	e, err := w.do(w.name(d.ID), cmd)
	if until := laterOf(j.NotBefore, j.RetryAt); err != nil && d.Kind == DecideQueue && until.After(w.now) &&
		(j.State == schemas.StateSubmitted || j.State == schemas.StateRetrying) {
		w.core.Settle(d, Result{Outcome: Later, Until: until})
		return "later"
	}
	if err != nil || e == nil {
		w.core.Settle(d, Result{Outcome: Gone})
		return "gone"
	}
	r := Result{Outcome: Stored, Event: e}
	if e.Name() == schemas.EventQueued {
		w.work++
		r.Work = w.work
	}
	w.core.Settle(d, r)
	if r.Work != 0 {
		return fmt.Sprintf("%s offer %d", e.Name(), r.Work)
	}
	return string(e.Name())
}

// heapBytes is the live heap.
func heapBytes() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
