package dispatcher_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/dispatcher"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var nop = zap.NewNop()

// patience bounds every wait for something that should come.
const patience = time.Minute

// host is a running host with the feed it reads.
type host struct {
	*dispatcher.Host
	t    *testing.T
	stop func()
}

// shortTimes let a test see a lease end.
func shortTimes() dispatcher.HostTimes {
	return dispatcher.HostTimes{
		Core:      dispatcher.Times{Lease: 1500 * time.Millisecond, Reoffer: 200 * time.Millisecond, CancelMargin: 200 * time.Millisecond, Sweep: 20 * time.Millisecond},
		LeaseTTL:  time.Second,
		Renew:     200 * time.Millisecond,
		Reconcile: 100 * time.Millisecond,
	}
}

func startHost(t *testing.T, env *ledgertest.Env, name string, change ...func(*dispatcher.Config)) *host {
	t.Helper()
	feed, err := ledger.NewFeed(ledger.FeedConfig{Ledger: env.NewLedger()})
	if err != nil {
		t.Fatal(err)
	}
	cfg := dispatcher.Config{Ledger: env.NewLedger(), Feed: feed, Server: name, Logger: zap.NewNop(), Times: shortTimes()}
	for _, f := range change {
		f(&cfg)
	}
	h, err := dispatcher.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Add(2)
	go func() {
		defer wg.Done()
		if err := feed.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("feed: %v", err)
		}
	}()
	go func() {
		defer wg.Done()
		if err := h.Run(ctx); err != nil {
			t.Errorf("host: %v", err)
		}
	}()
	var once sync.Once
	out := &host{Host: h, t: t, stop: func() { once.Do(func() { cancel(); wg.Wait() }) }}
	t.Cleanup(out.stop)
	return out
}

// eventually waits until is true. Hosts work by themselves and are watched from outside.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for: %s", patience, what)
		}
		<-tick.C
	}
}

func (h *host) leads() *host {
	h.t.Helper()
	eventually(h.t, "the host leads", func() bool { return h.Status().Leading })
	return h
}

// fakeWorker speaks the wire of a worker: it beats, takes offers and claims.
type fakeWorker struct {
	t       *testing.T
	env     *ledgertest.Env
	nc      *nats.Conn
	session schemas.SessionID
	slots   int
	pairs   []ledger.Serves
	cancels chan ledger.CancelSignal

	mu    sync.Mutex
	names map[schemas.Seq]ledger.AttemptRef
	last  ledger.BeatAnswer
}

func newWorker(t *testing.T, env *ledgertest.Env, slots int, types ...schemas.TypeName) *fakeWorker {
	t.Helper()
	w := &fakeWorker{t: t, env: env, nc: env.Connect(), session: schemas.NewSessionID(), slots: slots,
		cancels: make(chan ledger.CancelSignal, 16), names: make(map[schemas.Seq]ledger.AttemptRef)}
	for _, typ := range types {
		w.pairs = append(w.pairs, ledger.Serves{Queue: schemas.QueueDefault, Type: typ})
	}
	sub, err := w.nc.Subscribe(ledger.SubjectCancel(w.session), func(m *nats.Msg) {
		var c ledger.CancelSignal
		if json.Unmarshal(m.Data, &c) == nil {
			w.cancels <- c
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sub.Unsubscribe() })
	return w
}

// beat beats once; false if nobody answered.
func (w *fakeWorker) beat() bool {
	w.mu.Lock()
	b := ledger.Beat{Session: w.session, Worker: "fake", Slots: w.slots, Serves: w.pairs}
	for _, ref := range w.names {
		b.Attempts = append(b.Attempts, ref)
	}
	w.mu.Unlock()
	body, err := json.Marshal(&b)
	if err != nil {
		w.t.Error(err)
	}
	m, err := w.nc.Request(ledger.SubjectBeat, body, 2*time.Second)
	if err != nil {
		return false
	}
	var a ledger.BeatAnswer
	if err := json.Unmarshal(m.Data, &a); err != nil {
		w.t.Error(err)
	}
	w.mu.Lock()
	w.last = a
	w.mu.Unlock()
	return true
}

// alive beats until the test, or the returned function, ends it.
func (w *fakeWorker) alive() (die func()) {
	eventually(w.t, "a beat is answered", w.beat)
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		t := time.NewTicker(200 * time.Millisecond)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				w.beat()
			case <-done:
				return
			}
		}
	}()
	var once sync.Once
	die = func() { once.Do(func() { close(done); wg.Wait() }) }
	w.t.Cleanup(die)
	return die
}

// take pulls one offer of a type and claims its job.
func (w *fakeWorker) take(typ schemas.TypeName) (*ledger.Offer, *ledger.Job) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		o, ack := w.pull(typ)
		if o == nil {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		j, e, err := w.env.Ledger.DoFrom(ctx, o.Job, &ledger.Claim{Generation: o.Job.Generation, Submitted: o.Job.SubmittedSeq,
			Session: w.session, Worker: "fake"}, ledger.Meta{})
		cancel()
		ack()
		if err != nil {
			continue // not ours to run any more
		}
		w.mu.Lock()
		w.names[e.Seq] = ledger.AttemptRef{Org: j.Org, Job: j.ID, Attempt: j.Attempt, Fence: j.Fence}
		w.mu.Unlock()
		return o, j
	}
	w.t.Fatalf("no offer of type %s came", typ)
	return nil, nil
}

// pull asks for one offer and waits a moment.
func (w *fakeWorker) pull(typ schemas.TypeName) (*ledger.Offer, func()) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	js, err := jetstream.New(w.nc)
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := js.Consumer(ctx, ledger.StreamWork, ledger.ConsumerName(schemas.QueueDefault, typ))
	if err != nil {
		return nil, nil
	}
	m, err := c.Next(jetstream.FetchMaxWait(500 * time.Millisecond))
	if err != nil {
		return nil, nil
	}
	o, err := ledger.DecodeOffer(m.Data())
	if err != nil {
		w.t.Fatal(err)
	}
	return o, func() { _ = m.Ack() }
}

func (w *fakeWorker) complete(j *ledger.Job) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, _, err := w.env.Ledger.Do(ctx, j.Org, j.ID, &ledger.Outcome{Fence: j.Fence, Generation: j.Generation, Attempt: j.Attempt,
		Kind: schemas.EventCompleted, Result: []byte(`"done"`)}, ledger.Meta{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	delete(w.names, j.Fence.Seq)
	w.mu.Unlock()
}

func putType(t *testing.T, env *ledgertest.Env, names ...schemas.TypeName) {
	t.Helper()
	for _, n := range names {
		if _, err := env.Ledger.PutType(env.Context(), schemas.TypeSettings{Name: n}, ledger.Meta{}, ""); err != nil {
			t.Fatal(err)
		}
	}
}

func submit(t *testing.T, env *ledgertest.Env, typ schemas.TypeName, id string) ledger.Receipt {
	t.Helper()
	r, err := env.Ledger.Submit(env.Context(), ledger.SubmitRequest{Org: "acme", Type: typ, ID: schemas.JobID(id),
		Args: json.RawMessage(fmt.Sprintf(`{"id":%q}`, id))})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func stateOf(t *testing.T, env *ledgertest.Env, id string) *ledger.Job {
	t.Helper()
	j, err := env.Ledger.Fold(env.Context(), "acme", schemas.JobID(id))
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// One job's journey: submitted, queued by the leader, offered, claimed, completed (DESIGN, a job's journey).
func TestJourney(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	putType(t, env, "a")
	h := startHost(t, env, "s1").leads()
	submit(t, env, "a", "j1")
	w := newWorker(t, env, 2, "a")
	w.alive()
	o, j := w.take("a")
	if string(o.Job.Spec.Args) != `{"id":"j1"}` || o.Epoch != h.Status().Epoch || o.Cell != env.Cell.ID {
		t.Errorf("offer %+v with args %s of epoch %d in cell %s", o, o.Job.Spec.Args, h.Status().Epoch, env.Cell.ID)
	}
	if o.Job.Policy.TimeoutMS != schemas.DefaultPolicy().TimeoutMS {
		t.Errorf("policy %+v", o.Job.Policy)
	}
	w.complete(j)
	eventually(t, "the core holds nothing", func() bool {
		s := h.Status().Core
		return s.Queued+s.Running+s.Waiting+s.InFlight == 0 && s.Slots == 2
	})
}

// A type without a live worker gets nothing Queued (DESIGN D5).
func TestUnservedTypesWait(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	putType(t, env, "a", "b")
	h := startHost(t, env, "s1").leads()
	w := newWorker(t, env, 2, "a")
	w.alive()
	submit(t, env, "b", "other")
	submit(t, env, "a", "mine")
	_, j := w.take("a")
	w.complete(j)
	eventually(t, "the other waits", func() bool { return h.Status().Core.Waiting == 1 })
	if s := stateOf(t, env, "other").State; s != schemas.StateSubmitted {
		t.Errorf("a job that nobody serves is %s", s)
	}
	x, err := env.Ledger.Explain(env.Context(), stateOf(t, env, "other"))
	if err != nil {
		t.Fatal(err)
	}
	if x.Place != ledger.PlaceLane || x.Epoch != h.Status().Epoch || len(x.Blockers) != 1 || x.Blockers[0].Kind != ledger.BlockNoWorker {
		t.Errorf("the leader explains %+v", x)
	}
}

// An attempt whose worker falls silent is lost and offered again; the late outcome is refused.
func TestSilentWorkerLosesItsAttempt(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	putType(t, env, "a")
	startHost(t, env, "s1").leads()
	w := newWorker(t, env, 1, "a")
	die := w.alive()
	submit(t, env, "a", "j")
	_, first := w.take("a")
	die()
	w2 := newWorker(t, env, 1, "a")
	w2.alive()
	_, second := w2.take("a")
	if second.Attempt != 2 || second.Losses != 1 || second.Used != 1 {
		t.Errorf("second attempt %d after %d losses, %d used", second.Attempt, second.Losses, second.Used)
	}
	eventually(t, "the old fence is called invalid", func() bool {
		w.beat()
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.last.Invalid) == 1 && w.last.Invalid[0] == first.Fence.Seq
	})
	w2.complete(second)
}

// A job lasts for many leases while its worker beats: it is one attempt all along, no time that passes gives it to
// another worker that is free; when its worker dies it has that one's within the lease + 5 s (R-23, R-908, C4).
func TestLongJobKeepsItsWorker(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	putType(t, env, "a")
	const lease, leases = 2 * time.Second, 4
	startHost(t, env, "s1", func(c *dispatcher.Config) { c.Times.Core.Lease = lease }).leads()
	w := newWorker(t, env, 1, "a")
	die := w.alive()
	submit(t, env, "a", "long")
	_, first := w.take("a")
	free := newWorker(t, env, 1, "a")
	free.alive()
	for end := time.NewTimer(leases * lease); ; {
		if o, _ := free.pull("a"); o != nil {
			t.Fatalf("a running job is offered again: %+v", o.Job)
		}
		if j := stateOf(t, env, "long"); j.State != schemas.StateRunning || j.Fence != first.Fence {
			t.Fatalf("the job is %s in attempt %d", j.State, j.Attempt)
		}
		select {
		case <-end.C:
		default:
			continue // pull waits
		}
		break
	}
	die()
	died := time.Now()
	_, second := free.take("a")
	took := time.Since(died)
	t.Logf("the job was another worker's %s after its first had died: aim, the lease of %s and 5s", took.Round(time.Millisecond), lease)
	if second.Attempt != 2 || second.Losses != 1 {
		t.Errorf("attempt %d after %d losses", second.Attempt, second.Losses)
	}
	free.complete(second)
}

// The worker is told of a cancel, by signal and by the next answer; when it does nothing the leader ends the
// attempt after grace and margin.
func TestCancelOfARunningJob(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	grace := schemas.Millis(100)
	if _, err := env.Ledger.PutType(env.Context(), schemas.TypeSettings{Name: "a", GraceMS: &grace}, ledger.Meta{}, ""); err != nil {
		t.Fatal(err)
	}
	startHost(t, env, "s1").leads()
	w := newWorker(t, env, 1, "a")
	w.alive()
	submit(t, env, "a", "j")
	_, j := w.take("a")
	if _, _, err := env.Ledger.Do(env.Context(), j.Org, j.ID, &ledger.Cancel{Reason: "enough"}, ledger.Meta{}); err != nil {
		t.Fatal(err)
	}
	select {
	case c := <-w.cancels:
		if c.Fence != j.Fence {
			t.Errorf("signal names %+v", c)
		}
	case <-time.After(patience):
		t.Error("no signal came")
	}
	eventually(t, "the leader ends it", func() bool {
		j := stateOf(t, env, "j")
		return j.State == schemas.StateCanceled && j.CancelForced && j.CancelReason == "enough"
	})
}

// An offer is removed when its job is canceled before the claim (DESIGN D7).
func TestCancelOfAQueuedJobRemovesItsOffer(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	putType(t, env, "a")
	startHost(t, env, "s1").leads()
	newWorker(t, env, 1, "a").alive()
	submit(t, env, "a", "j")
	eventually(t, "the offer stands", func() bool { return workMessages(t, env) == 1 })
	if _, _, err := env.Ledger.Do(env.Context(), "acme", "j", &ledger.Cancel{Reason: "enough"}, ledger.Meta{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the offer is gone", func() bool { return workMessages(t, env) == 0 })
}

// workMessages is the number of offers in WORK, -1 if it is not there.
func workMessages(t *testing.T, env *ledgertest.Env) int {
	t.Helper()
	s, err := env.Ledger.JetStream().Stream(env.Context(), ledger.StreamWork)
	if err != nil {
		return -1
	}
	return int(s.CachedInfo().State.Msgs)
}
