package sim_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// What a handler does in one attempt.
const (
	doReturn  = "return"  // at once
	doWork    = "work"    // some seconds of it, and obeys its context
	doFail    = "fail"    // transient
	doBury    = "bury"    // permanent
	doCancel  = "cancel"  // ends the job as canceled
	doSleep   = "sleep"   // until the timeout, and obeys its context
	doHang    = "hang"    // past the timeout, deaf to its context, and then succeeds after all
	doPanic   = "panic"   // no comment
	doLinger  = "linger"  // obeys its context a moment late
	doLong    = "long"    // more than a lease
	doReplies = "replies" // returns an error of a remote side that asks for a later retry
	doTardy   = "tardy"   // deaf to its context, succeeds after its timeout
	doFinish  = "finish"  // told to stop, it ends its work first
	doSave    = "save"    // saves checkpoints, the last one when it is told to stop
)

// plan is one job that is asked for.
type plan struct {
	n        int
	at       time.Duration // after the client's start
	typ      schemas.TypeName
	id       schemas.JobID
	attempts []string // what the handler does in each; the last one repeats
	delay    time.Duration
	deadline time.Duration
	max      int
	later    []change
	key      string
	from     time.Time // when it is asked for
	wants    int       // how many parents are to be chosen when it is
	pick     *rand.Rand
	parents  []schemas.ParentRef
	resource string
	timeout  *schemas.Millis // nil: the type's

	mu    sync.Mutex
	stage int           // 0: to be submitted; then the number of the next change
	as    schemas.JobID // the job that stands for it
}

// change is a command that is given after a while.
type change struct {
	when  *moment // waited for first; nil: at once
	after time.Duration
	name  string
	again bool // the job is submitted again afterwards
}

func (c *change) command(now time.Time) ledger.Command {
	switch c.name {
	case "cancel":
		return &ledger.Cancel{Reason: "the simulation asks"}
	case "cancel all":
		return &ledger.Cancel{Reason: "the simulation asks", Cascade: true}
	case "retry alone":
		return &ledger.Retry{Reason: "the simulation asks", WaiveParents: true, Now: now}
	case "retry":
		return &ledger.Retry{Reason: "the simulation asks", Now: now}
	case "resolve":
		return &ledger.Resolve{Note: "seen"}
	case "ignore":
		return &ledger.Resolve{Note: "seen", Ignore: true}
	case "carry":
		return &ledger.Carry{}
	case "delete org":
		return &ledger.DeadLetter{Reason: schemas.DeadOrgDeleted}
	}
	return nil
}

func newPlan(r *rand.Rand, n int, long bool) *plan {
	p := &plan{n: n, at: time.Duration(r.Int64N(int64(stormFor - 8*time.Second))), typ: typePlain, max: 1 + r.IntN(4)}
	if r.IntN(4) == 0 {
		p.typ = typeOnce
	}
	if r.IntN(3) > 0 {
		p.id = schemas.JobID(fmt.Sprintf("job-%d", n))
	} else if r.IntN(2) == 0 {
		p.key = fmt.Sprintf("key-%d", n/3) // some share it
	}
	acts := []string{doReturn, doReturn, doWork, doWork, doFail, doFail, doBury, doCancel, doSleep, doHang, doPanic, doLinger, doReplies, doFinish, doSave}
	for range 1 + r.IntN(4) {
		p.attempts = append(p.attempts, acts[r.IntN(len(acts))])
	}
	if p.key != "" {
		p.attempts = []string{doWork} // equal keys stand for equal content
		p.typ, p.max = typePlain, 3
		return p
	}
	if r.IntN(5) == 0 {
		p.resource = press
	}
	if r.IntN(5) == 0 {
		p.delay = spread(r, 10*time.Millisecond, 5*time.Second)
	}
	if r.IntN(5) == 0 {
		p.deadline = spread(r, 10*time.Millisecond, 20*time.Second)
	}
	if r.IntN(6) == 0 && long {
		p.typ, p.timeout, p.deadline, p.attempts = typePlain, new(schemas.MillisOf(longTimeout)), 0, []string{doLong}
	}
	changes := []string{"cancel", "cancel", "cancel", "retry", "retry", "resolve", "ignore", "carry", "delete org"}
	for range r.IntN(5) {
		p.later = append(p.later, change{after: spread(r, time.Millisecond, 8*time.Second), name: changes[r.IntN(len(changes))],
			again: p.id != "" && r.IntN(4) == 0})
	}
	return p
}

// work is what travels in the args.
type work struct {
	N        int      `json:"n"`
	Attempts []string `json:"attempts"`
	Press    bool     `json:"press,omitempty"` // under the limit of one
}

func (p *plan) request() ledger.SubmitRequest {
	n := p.n
	if p.key != "" {
		n = p.n / 3
	}
	r := ledger.SubmitRequest{Org: testOrg, Type: p.typ, ID: p.id, Key: p.key, Args: mustJSON(work{N: n, Attempts: p.attempts, Press: p.resource == press}),
		Delay: p.delay, DeadlineIn: p.deadline, Parents: p.parents, Resource: p.resource}
	if p.key == "" {
		r.Override = &schemas.Override{MaxAttempts: &p.max, TimeoutMS: p.timeout}
	}
	return r
}

var errRemote = errors.New("the remote side is not well")

// handler does what the args say, and tells the truth what was started where.
func (w *world) handler(p *party) handlers.Handler {
	return handlers.HandlerFunc(func(ctx context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		if p.isCrashed() {
			return nil, errRemote // a ghost: its process is dead
		}
		var j work
		if err := json.Unmarshal(a.Args, &j); err != nil {
			return nil, err
		}
		alone := w.truth.started(p, a, j.Press)
		defer w.truth.returned(p, alone)
		r := w.net.random("handler", j.N, a.Number)
		switch j.Attempts[min(a.Number, len(j.Attempts))-1] {
		case doWork:
			return nil, wait(ctx, spread(r, 10*time.Millisecond, 5*time.Second))
		case doLong:
			return nil, wait(ctx, spread(r, 21*time.Second, 30*time.Second))
		case doFail:
			return nil, handlers.Transient(errRemote)
		case doReplies:
			return nil, handlers.RetryAfter(errRemote, 3*time.Second)
		case doBury:
			return nil, handlers.Permanent(errRemote)
		case doCancel:
			return nil, handlers.Canceled("not needed")
		case doSleep:
			<-ctx.Done()
			return nil, ctx.Err()
		case doLinger:
			<-ctx.Done()
			w.truth.linger(300 * time.Millisecond)
			return nil, context.Cause(ctx)
		case doHang:
			w.truth.linger(10 * time.Second)
			return json.RawMessage(`"late"`), nil
		case doTardy:
			w.tarry(a)
		case doFinish:
			<-ctx.Done()
			w.truth.linger(300 * time.Millisecond)
		case doSave:
			return nil, save(ctx, a, r)
		case doPanic:
			panic("the simulation panics")
		}
		return json.RawMessage(`"done"`), nil
	})
}

// tarry outlasts the attempt's timeout: until its job is where the late result is to find it.
func (w *world) tarry(a *handlers.Attempt) {
	at, ok := w.lateAt[a.ID]
	if !ok || a.Number > 1 {
		w.truth.linger(a.Timeout + tardyBy)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), tardyMost)
	defer cancel()
	_ = w.truth.await(ctx, a.ID, at)
}

const (
	tardyBy   = 2 * time.Second
	tardyMost = 20 * time.Second
)

// save keeps checkpoints for a while, and a last one when it is told to stop.
func save(ctx context.Context, a *handlers.Attempt, r *rand.Rand) error {
	for i := range 1 + r.IntN(5) {
		if err := a.SaveCheckpoint(ctx, json.RawMessage(strconv.Itoa(i))); err != nil && ctx.Err() == nil {
			return handlers.Transient(err)
		}
		if wait(ctx, 700*time.Millisecond) != nil {
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.Grace/2)
			defer cancel()
			_ = a.SaveCheckpoint(last, json.RawMessage(`"last"`)) // its attempt may be closed already
			return ctx.Err()
		}
	}
	return nil
}

func (p *party) isCrashed() bool {
	p.world.net.mu.Lock()
	defer p.world.net.mu.Unlock()
	return p.crashed
}
