package handlers_test

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
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

const (
	org      = schemas.OrgID("acme")
	queue    = schemas.QueueName("default")
	patience = time.Minute // for what must happen; a test that waits so long has failed
)

// leader is the least that a worker needs of one: it answers beats, queues and offers jobs.
type leader struct {
	t   *testing.T
	env *ledgertest.Env
	nc  *nats.Conn
	l   *ledger.Ledger // writes without faults

	mu     sync.Mutex
	mute   bool
	alone  bool // its offers are under a limit of one
	answer ledger.BeatAnswer
	beats  map[schemas.SessionID]*ledger.Beat // latest of each session
	heard  chan struct{}                      // capacity 1; filled by each beat
}

func newLeader(t *testing.T, env *ledgertest.Env) *leader {
	t.Helper()
	ld := &leader{t: t, env: env, nc: env.Connect(), l: env.NewLedger(), beats: make(map[schemas.SessionID]*ledger.Beat), heard: make(chan struct{}, 1)}
	ld.answer = ledger.BeatAnswer{Cell: env.Cell.ID, Epoch: 10, Position: 1 << 40}
	if _, err := ld.nc.Subscribe(ledger.SubjectBeat, ld.onBeat); err != nil {
		t.Fatal(err)
	}
	if err := ld.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return ld
}

func (ld *leader) onBeat(m *nats.Msg) {
	var b ledger.Beat
	if err := json.Unmarshal(m.Data, &b); err != nil {
		ld.t.Errorf("beat: %v", err)
		return
	}
	ld.mu.Lock()
	ld.beats[b.Session] = &b
	mute := ld.mute
	body, err := json.Marshal(&ld.answer)
	ld.mu.Unlock()
	select {
	case ld.heard <- struct{}{}:
	default:
	}
	if err != nil || mute {
		return
	}
	if err := m.Respond(body); err != nil {
		ld.t.Logf("answer to a beat: %v", err)
	}
}

// set changes what the leader answers.
func (ld *leader) set(f func(ld *leader)) {
	ld.mu.Lock()
	defer ld.mu.Unlock()
	f(ld)
}

// await returns the first beat that satisfies is.
func (ld *leader) await(what string, is func(b *ledger.Beat) bool) *ledger.Beat {
	ld.t.Helper()
	limit := time.After(patience)
	for {
		ld.mu.Lock()
		for _, b := range ld.beats {
			if is(b) {
				ld.mu.Unlock()
				return b
			}
		}
		ld.mu.Unlock()
		select {
		case <-ld.heard:
		case <-limit:
			ld.t.Fatalf("no beat: %s", what)
		}
	}
}

// spec is a job to queue; zero fields have defaults.
type spec struct {
	id       schemas.JobID
	typ      schemas.TypeName
	args     string
	resource string
	policy   func(p *schemas.Policy)
}

// queueJob submits a job and queues it, without an offer.
func (ld *leader) queueJob(s spec) *ledger.Job {
	ld.t.Helper()
	ctx := context.Background()
	if s.id == "" {
		s.id = schemas.NewJobID()
	}
	begin := &ledger.Begin{Spec: schemas.Submitted{Type: s.typ, Queue: queue, Priority: schemas.PriorityNormal,
		Resource: s.resource, Args: json.RawMessage(s.args)}}
	j, _, err := ld.l.Do(ctx, org, s.id, begin, ledger.Meta{Actor: schemas.Actor{Type: "user", ID: "ada"}})
	if err != nil {
		ld.t.Fatalf("begin: %v", err)
	}
	p := schemas.DefaultPolicy()
	if s.policy != nil {
		s.policy(&p)
	}
	j, _, err = ld.l.DoFrom(ctx, j, &ledger.Queue{Policy: p, Epoch: 10, Now: time.Now()}, ledger.Meta{})
	if err != nil {
		ld.t.Fatalf("queue: %v", err)
	}
	return j
}

// offer puts a job into WORK, once the ack of an earlier offer has taken that out.
func (ld *leader) offer(j *ledger.Job, epoch schemas.Seq) {
	ld.t.Helper()
	ld.mu.Lock()
	alone := ld.alone
	ld.mu.Unlock()
	body, err := (&ledger.Offer{Epoch: epoch, Cell: ld.env.Cell.ID, Job: j, Alone: alone}).Encode()
	if err != nil {
		ld.t.Fatalf("offer: %v", err)
	}
	const stands = 10077 // one message a subject
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(patience); ; <-tick.C {
		_, err = ld.l.JetStream().Publish(context.Background(), ledger.OfferSubject(j.Spec.Queue, j.Spec.Type, j.Org, j.ID), body)
		if err == nil {
			return
		}
		var refused *jetstream.APIError
		if !errors.As(err, &refused) || refused.ErrorCode != stands || time.Now().After(limit) {
			ld.t.Fatalf("offer: %v", err)
		}
	}
}

// give queues a job and offers it.
func (ld *leader) give(s spec) *ledger.Job {
	ld.t.Helper()
	j := ld.queueJob(s)
	ld.offer(j, 10)
	return j
}

// fold returns the job as it is now.
func (ld *leader) fold(id schemas.JobID) *ledger.Job {
	ld.t.Helper()
	j, err := ld.l.Fold(context.Background(), org, id)
	if err != nil {
		ld.t.Fatalf("fold %s: %v", id, err)
	}
	return j
}

// worker starts a worker; stop ends it and returns what Run returned. reports brings every settled attempt.
func (ld *leader) worker(cfg handlers.Config) (w *handlers.Worker, reports <-chan handlers.Report, stop func() error) {
	ld.t.Helper()
	ch := make(chan handlers.Report, 100_000)
	cfg.Ledger, cfg.Work, cfg.Live, cfg.Logger = ld.env.Ledger, ld.env.Connect(), ld.env.Connect(), zap.NewNop()
	cfg.Report = func(r handlers.Report) { ch <- r }
	w, err := handlers.New(cfg)
	if err != nil {
		ld.t.Fatal(err)
	}
	w.Hasten(50*time.Millisecond, 0, 0)
	return w, ch, ld.start(w)
}

// start runs w; stop ends it once, and is called at the end of the test if nobody has.
func (ld *leader) start(w *handlers.Worker) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(2 * patience):
			return fmt.Errorf("Run did not return")
		}
	})
	ld.t.Cleanup(func() { _ = stop() })
	return stop
}

// next returns the next report.
func next(t *testing.T, reports <-chan handlers.Report) handlers.Report {
	t.Helper()
	select {
	case r := <-reports:
		return r
	case <-time.After(patience):
		t.Fatal("no attempt was settled")
	}
	panic("unreachable")
}

func wait(t *testing.T, what string, ch <-chan struct{}) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(patience):
		t.Fatalf("waited in vain: %s", what)
	}
}

// names are the events of a job, in order.
func names(t *testing.T, env *ledgertest.Env, id schemas.JobID) []schemas.EventName {
	t.Helper()
	var out []schemas.EventName
	for _, e := range history(t, env, id) {
		out = append(out, e.Name())
	}
	return out
}

// echo returns its args.
var echo = handlers.HandlerFunc(func(_ context.Context, a *handlers.Attempt) (json.RawMessage, error) { return a.Args, nil })

// history reads a job's events from the stream, in order.
func history(t *testing.T, env *ledgertest.Env, id schemas.JobID) []*schemas.Event {
	t.Helper()
	return events(t, env, schemas.JobSubject(org, id).String())[id]
}

// events reads all job events under a subject, by job.
func events(t *testing.T, env *ledgertest.Env, subject string) map[schemas.JobID][]*schemas.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := env.Ledger.JetStream().OrderedConsumer(ctx, ledger.StreamLedger, jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}})
	if err != nil {
		t.Fatal(err)
	}
	info, err := c.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[schemas.JobID][]*schemas.Event)
	for left := int(info.NumPending); left > 0; {
		batch, err := c.Fetch(min(left, 1000))
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		for m := range batch.Messages() {
			meta, err := m.Metadata()
			if err != nil {
				t.Fatal(err)
			}
			e, err := schemas.Decode(m.Subject(), m.Headers(), m.Data(), schemas.Seq(meta.Sequence.Stream), meta.Timestamp)
			if err != nil {
				t.Fatalf("event %d: %v", meta.Sequence.Stream, err)
			}
			out[e.Job] = append(out[e.Job], e)
			got++
		}
		if left -= got; got == 0 {
			t.Fatalf("%d events did not come", left)
		}
	}
	return out
}
