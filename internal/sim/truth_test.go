package sim_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// startWithin is the longest time between the storing of running and the start of its handler: a claim that
// took longer is not started (DESIGN D7).
const startWithin = 5*time.Second + 100*time.Millisecond

// truth is what a run is judged by. The model's ledger is read by the scheduler alone; what handlers and
// clients saw comes in under mu and is judged by the scheduler after each step.
type truth struct {
	wrong    []string
	calmAt   time.Time
	calm     chan struct{} // closed when nothing goes wrong any more
	lastAt   time.Time     // of the latest job event
	storedAt map[schemas.Seq]time.Time
	running  map[schemas.Seq]*attempt // by fence
	ended    map[string]schemas.Seq   // of each job subject, the fence of the attempt that ended last
	jobs     map[string]*account
	views    map[string]schemas.Seq // JOBS: sequence of each document
	receipts []ledger.Receipt
	starts   map[string]string
	ends     map[string][]schemas.State // by subject/generation: every way in which that life ended
	ticks    int                        // jobs that schedules made
	children int                        // jobs with parents that went on, or ended with one

	holds map[string]hold        // in force, by subject
	seats map[schemas.JobID]seat // of each job
	alone []*pressing            // handlers under the limit of one

	situations map[schemas.JobID]*situation // where jobs stand. Guarded by mu.

	mu      sync.Mutex
	news    []seen
	release func()
	hold    chan struct{}
	busy    map[string]int
}

// attempt is one running event and what became of it.
type attempt struct {
	id      schemas.EventID
	subject string
	number  int
	session schemas.SessionID
	worker  string
	ended   schemas.EventName
}

// account is what a job has used, counted from its events alone and not by ledger.Apply.
type account struct {
	used, losses, cellLosses, max, poison int
	late                                  map[schemas.Seq]int
}

// seen is what a handler or client saw.
type seen struct {
	receipt *ledger.Receipt
	party   string
	a       *handlers.Attempt
	alone   *pressing // nil: it is under no limit of one
	at      time.Time
}

func newTruth() *truth {
	t := &truth{storedAt: make(map[schemas.Seq]time.Time), running: make(map[schemas.Seq]*attempt), ended: make(map[string]schemas.Seq), jobs: make(map[string]*account),
		views: make(map[string]schemas.Seq), starts: make(map[string]string), ends: make(map[string][]schemas.State), situations: make(map[schemas.JobID]*situation),
		holds: make(map[string]hold), seats: make(map[schemas.JobID]seat), hold: make(chan struct{}), calm: make(chan struct{}), busy: make(map[string]int)}
	t.release = sync.OnceFunc(func() { close(t.hold) })
	return t
}

func (t *truth) fail(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wrong = append(t.wrong, fmt.Sprintf(format, args...))
}

func (t *truth) failed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.wrong) > 0
}

func (t *truth) failure() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.wrong) == 0 {
		return nil
	}
	return errors.New(strings.Join(t.wrong, "\n"))
}

// linger waits as a handler does that is deaf to its context; the end of the run ends it.
func (t *truth) linger(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.hold:
	}
}

func (t *truth) acknowledged(r ledger.Receipt) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.news = append(t.news, seen{receipt: &r, at: time.Now()})
}

// started notes that a handler begins.
func (t *truth) started(p *party, a *handlers.Attempt, pressed bool) (alone *pressing) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.busy[p.name]++
	if n := t.busy[p.name]; n > slotsPerWorker {
		t.wrong = append(t.wrong, fmt.Sprintf("%s runs %d handlers on %d slots", p.name, n, slotsPerWorker))
	}
	if pressed {
		alone = &pressing{id: a.ID, party: p}
	}
	t.news = append(t.news, seen{party: p.name, a: a, alone: alone, at: time.Now()})
	return alone
}

func (t *truth) returned(p *party, alone *pressing) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.busy[p.name]--
	if alone != nil {
		alone.returned = true
	}
}

// judge looks at what was seen since the last step.
func (w *world) judge() {
	t := w.truth
	t.mu.Lock()
	news := t.news
	t.news = nil
	t.mu.Unlock()
	for _, s := range news {
		if s.receipt != nil {
			t.receipts = append(t.receipts, *s.receipt)
			w.judgeReceipt(s.receipt)
			continue
		}
		w.judgeStart(&s)
		if s.alone != nil {
			w.judgeAlone(&s)
		}
	}
}

// judgeReceipt holds an acknowledgement to the ledger: the submit that it names is stored.
func (w *world) judgeReceipt(r *ledger.Receipt) {
	m := w.net.engine.streams["LEDGER"].at(uint64(r.Seq))
	if m == nil {
		w.truth.fail("acknowledged submit of %s is not in the ledger at %d", r.ID, r.Seq)
		return
	}
	e, err := decode(m)
	if err != nil {
		w.truth.fail("acknowledged submit of %s: %v", r.ID, err)
		return
	}
	if s, ok := e.Data.(*schemas.Submitted); !ok || e.Job != r.ID || s.Generation != r.Generation {
		w.truth.fail("acknowledged submit of %s (generation %d): %s of %s stands at %d", r.ID, r.Generation, e.Name(), e.Job, r.Seq)
	}
}

// judgeStart holds the start of a handler to the ledger: its claim is stored, is the only one, and is young.
func (w *world) judgeStart(s *seen) {
	t, a := w.truth, s.a
	key := fmt.Sprintf("%s generation %d attempt %d", a.ID, a.Generation, a.Number)
	if by, ok := t.starts[key]; ok {
		t.fail("%s was started twice: by %s and %s", key, by, s.party)
	}
	t.starts[key] = s.party
	r := t.running[a.Fence.Seq]
	switch {
	case r == nil || r.id != a.Fence.ID:
		t.fail("%s was started by %s, but its claim %d is not stored", key, s.party, a.Fence.Seq)
	case r.number != a.Number || !strings.HasSuffix(r.subject, "."+string(a.ID)):
		t.fail("%s was started by %s, but its claim says attempt %d of %s", key, s.party, r.number, r.subject)
	case s.at.Sub(t.storedAt[a.Fence.Seq]) > startWithin && len(a.Parents) == 0 || s.at.Sub(t.storedAt[a.Fence.Seq]) > startWithin+a.Timeout: // it reads its parents first
		t.fail("%s was started by %s %s after its claim was stored", key, s.party, s.at.Sub(t.storedAt[a.Fence.Seq]))
	}
}

func decode(m *message) (*schemas.Event, error) {
	return schemas.Decode(m.subject, headersOf(m.header), m.data, schemas.Seq(m.seq), m.at)
}

// stored is told of each message that the model's streams take.
func (w *world) stored(s *stream, m *message) {
	switch s.cfg.Name {
	case "LEDGER":
		w.truth.storedAt[schemas.Seq(m.seq)] = time.Now()
		if strings.HasPrefix(m.subject, "jobs.") {
			w.judgeEvent(m)
		} else {
			w.judgeControl(m)
		}
	case "WORK":
		w.judgeOffer(m)
	case "KV_JOBS":
		w.judgeView(s, m)
		w.net.trace.note("== view %d %s", m.seq, m.subject)
	case "KV_COUNTS":
		w.net.trace.note("== view %d %s %s", m.seq, m.subject, m.data)
	}
}

// judgeView holds a document of JOBS to the one before in the same bucket: its sequence never goes back.
func (w *world) judgeView(s *stream, m *message) {
	var doc struct {
		Seq schemas.Seq `json:"seq"`
	}
	if json.Unmarshal(m.data, &doc) != nil || doc.Seq == 0 {
		return
	}
	key := s.created.String() + m.subject
	if before := w.truth.views[key]; doc.Seq < before {
		w.truth.fail("view %s went back from %d to %d", m.subject, before, doc.Seq)
	}
	w.truth.views[key] = doc.Seq
}

// judgeEvent holds a stored event to the rules: it is legal where it stands, an attempt ends once, and what a
// job uses stays within its budget.
func (w *world) judgeEvent(m *message) {
	t := w.truth
	e, err := decode(m)
	if err != nil {
		t.fail("event %d cannot be read: %v", m.seq, err)
		return
	}
	t.lastAt = time.Now()
	j := w.net.hits.fold(m.subject)
	what := transition(j.State, j.CancelRequested, e.Name())
	w.net.hits.hit(what, "stored")
	w.net.hits.made[m.seq] = what
	w.net.trace.note("== %d %s %s", m.seq, m.subject, what)
	before := j.State
	if !ledger.Apply(j, e) {
		t.fail("event %d on %s is not legal: %s", m.seq, m.subject, what)
	}
	t.moved(j)
	if e.Name() == schemas.EventQueued && j.State == schemas.StateQueued {
		w.judgeQueued(j, t.seats[j.ID], m.seq)
	}
	if before != j.State {
		t.seats[j.ID] = seat{schemas.Seq(m.seq), w.net.engine.writer.role}
	}
	w.judgeParents(m.subject, m.seq, j, before, e)
	if d, ok := e.Data.(*schemas.Running); ok {
		t.running[e.Seq] = &attempt{id: e.ID, subject: m.subject, number: d.Attempt, session: d.Session, worker: d.Worker}
		return
	}
	if fence := fenceOf(e.Data); !fence.IsZero() {
		r := t.running[fence.Seq]
		switch {
		case r == nil || r.id != fence.ID || r.subject != m.subject:
			t.fail("event %d on %s ends an attempt %d that is none of the job's", m.seq, m.subject, fence.Seq)
		case r.ended != "":
			t.fail("attempt %d of %s ended twice: %s, and %s at %d", fence.Seq, m.subject, r.ended, e.Name(), m.seq)
		case workersWord(e.Name()) && w.net.engine.writer.name != r.worker:
			t.fail("attempt %d of %s is %s's, and %s ended it with %s at %d", fence.Seq, m.subject, r.worker, w.net.engine.writer.name, e.Name(), m.seq)
		default:
			r.ended = e.Name()
			t.ended[m.subject] = fence.Seq
		}
		if d, ok := e.Data.(*schemas.Lost); ok && r != nil {
			w.judgeLoss(r, fence.Seq, d, m.seq)
		}
	}
	if d, ok := e.Data.(*schemas.Checkpointed); ok {
		if r := t.running[d.Fence.Seq]; r != nil && r.worker != w.net.engine.writer.name {
			t.fail("the checkpoint %d of %s's attempt on %s is of %s", m.seq, r.worker, m.subject, w.net.engine.writer.name)
		}
	}
	if d, ok := e.Data.(*schemas.LateResult); ok {
		// Of an attempt before the latest a repeat is kept: the leader had ended it, and the fold knows no more how.
		if r := t.running[d.Fence.Seq]; r != nil && r.ended == d.Outcome && t.ended[m.subject] == d.Fence.Seq {
			t.fail("late result %d on %s repeats the outcome of attempt %d, which stands", m.seq, m.subject, d.Fence.Seq)
		}
	}
	t.count(m, e)
}

// workersWord reports an outcome that only the worker of the attempt can write.
func workersWord(e schemas.EventName) bool {
	return e == schemas.EventCompleted || e == schemas.EventFailed || e == schemas.EventReleased
}

// fenceOf returns the attempt that an event ends, zero if it ends none.
func fenceOf(data schemas.Data) schemas.Fence {
	switch d := data.(type) {
	case *schemas.Completed:
		return d.Fence
	case *schemas.Failed:
		return d.Fence
	case *schemas.TimedOut:
		return d.Fence
	case *schemas.Released:
		return d.Fence
	case *schemas.Lost:
		return d.Fence
	case *schemas.Canceled:
		return d.Fence
	case *schemas.DeadLettered:
		return d.Fence
	}
	return schemas.Fence{}
}

// judgeLoss asks for a reason when a worker is given up: since the claim it, or a server, had trouble.
func (w *world) judgeLoss(r *attempt, fence schemas.Seq, d *schemas.Lost, seq uint64) {
	w.judgeUnstarted(r, d, seq)
	began := w.truth.storedAt[fence].Add(-troubleLasts)
	for _, p := range w.parties {
		mine := p.name == r.worker
		if mine && (p.crashed || p.role != "worker") || (mine || p.role == "server") && (p.paused || p.troubledAt.After(began)) {
			return
		}
	}
	if !w.restartedAt.After(began) {
		w.truth.fail("attempt on %s was lost (%s) at %d although %s had no trouble", r.subject, d.Cause, seq, r.worker)
	}
}

// judgeUnstarted: a worker that lives and hears starts what it has claimed, or hands it back.
func (w *world) judgeUnstarted(r *attempt, d *schemas.Lost, seq uint64) {
	key := fmt.Sprintf("%s generation %d attempt %d", r.subject[strings.LastIndexByte(r.subject, '.')+1:], d.Generation, d.Attempt)
	if w.truth.starts[key] != "" || time.Since(w.restartedAt) < 2*troubleLasts {
		return
	}
	for _, p := range w.parties {
		if p.name == r.worker && p.role == "worker" && !p.crashed && !p.paused && time.Since(p.troubledAt) > 2*troubleLasts {
			w.truth.fail("%s was claimed by %s and neither started nor handed back; it is lost at %d", key, r.worker, seq)
		}
	}
}

// count keeps a job's account.
func (t *truth) count(m *message, e *schemas.Event) {
	a := t.jobs[m.subject]
	if a == nil {
		a = &account{late: make(map[schemas.Seq]int)}
		t.jobs[m.subject] = a
	}
	switch d := e.Data.(type) {
	case *schemas.Submitted, *schemas.Retried:
		a.used, a.losses, a.cellLosses = 0, 0, 0
	case *schemas.Queued:
		a.max, a.poison = d.Policy.MaxAttempts, d.Policy.PoisonLimit
	case *schemas.Failed, *schemas.TimedOut:
		a.used++
		a.losses = 0
	case *schemas.Lost:
		if d.Cause == schemas.LossWorkerGone {
			a.used++
			a.losses++
		}
	case *schemas.Released:
		if d.Cause != schemas.ReleaseLateClaim {
			a.losses = 0
		}
	case *schemas.LateResult:
		if a.late[d.Fence.Seq]++; a.late[d.Fence.Seq] > 1 {
			t.fail("attempt %d of %s has two late results", d.Fence.Seq, m.subject)
		}
	case *schemas.DeadLettered:
		if d.Reason == schemas.DeadRetriesExhausted && a.used+1 < a.max {
			t.fail("%s is given up at %d after %d of %d attempts", m.subject, m.seq, a.used+1, a.max)
		}
		if d.Reason == schemas.DeadPoison && d.Cause == schemas.LossWorkerGone && a.losses+1 < a.poison {
			t.fail("%s is called poison at %d after %d of %d losses", m.subject, m.seq, a.losses+1, a.poison)
		}
	}
	if a.max > 0 && a.used >= a.max {
		t.fail("%s goes on at %d after all of its %d attempts", m.subject, m.seq, a.max)
	}
	if a.poison > 0 && a.losses >= a.poison {
		t.fail("%s goes on at %d after %d losses in a row", m.subject, m.seq, a.losses)
	}
}

func (w *world) allFinished() bool {
	for _, j := range w.net.hits.folds {
		if j.Exists() && !j.State.Finished() {
			return false
		}
	}
	return true
}

func (w *world) unfinished() (out []string) {
	for _, subject := range sortedKeys(w.net.hits.folds) {
		if j := w.net.hits.folds[subject]; j.Exists() && !j.State.Finished() {
			out = append(out, fmt.Sprintf("%s is %s at %d", subject, j.State, j.LastSeq))
		}
	}
	return out
}
