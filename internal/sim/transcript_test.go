package sim_test

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
)

var cluster = flag.Bool("sim.cluster", false, "hold the model to a cluster of three, too")

// The transcripts. Each begins on a provisioned cell.
var transcripts = map[string]func(l *teller){
	"expectations":  tellExpectations,
	"window":        tellWindow,
	"direct get":    tellDirect,
	"work queue":    tellWork,
	"redelivery":    tellRedelivery,
	"memory loss":   tellLoss,
	"buckets":       tellBuckets,
	"push consumer": tellPush,
}

const expect = "Nats-Expected-Last-Subject-Sequence"

// tellExpectations: 10071 names the last sequence; what stands there is found by next_by_subj.
func tellExpectations(l *teller) {
	l.pub("jobs.o.a", "1", expect, "0")
	l.pub("jobs.o.a", "2", expect, "0")
	l.pub("jobs.o.a", "3", expect, "2")
	l.pub("jobs.o.b", "4", expect, "0")
	l.pub("jobs.o.a", "5", expect, "99")
	l.pub("jobs.o.a", "6")
	l.ask("STREAM.MSG.GET.LEDGER", `{"last_by_subj":"jobs.o.a"}`)
	l.ask("STREAM.MSG.GET.LEDGER", `{"seq":3,"next_by_subj":"jobs.o.a"}`)
	l.ask("STREAM.MSG.GET.LEDGER", `{"seq":6,"next_by_subj":"jobs.o.a"}`)
	l.ask("STREAM.MSG.GET.LEDGER", `{"last_by_subj":"jobs.o.c"}`)
	l.ask("STREAM.MSG.GET.LEDGER", `{"seq":99}`)
	l.ask("STREAM.MSG.GET.LEDGER", `{"last_by_subj":">"}`)
}

// tellWindow: a message id is remembered under its sequence. What a retry hears depends on the order of checks.
func tellWindow(l *teller) {
	l.pub("jobs.o.a", "1", expect, "0", "Nats-Msg-Id", "x")
	l.pub("jobs.o.a", "1", expect, "0", "Nats-Msg-Id", "x")
	l.pub("jobs.o.b", "2", "Nats-Msg-Id", "x")
	l.pub("jobs.o.b", "2", expect, "0", "Nats-Msg-Id", "x")
	l.pub("jobs.o.b", "2", expect, "0", "Nats-Msg-Id", "y")
	l.pause(windowForTest + 300*time.Millisecond)
	l.pub("jobs.o.c", "3", expect, "0", "Nats-Msg-Id", "x")
}

func tellDirect(l *teller) {
	for i := range 5 {
		l.pub([]string{"jobs.o.a", "jobs.o.b"}[i%2], fmt.Sprint(i))
	}
	l.direct(`{"seq":2,"next_by_subj":"jobs.o.a","batch":2}`)
	l.direct(`{"seq":2,"next_by_subj":"jobs.o.a","batch":64,"max_bytes":8388608}`)
	l.direct(`{"seq":3,"batch":64}`)
	l.direct(`{"seq":4}`)
	l.direct(`{"seq":99}`)
	l.direct(`{"seq":2,"next_by_subj":"jobs.o.c","batch":64}`)
}

// tellWork: one offer a subject; acks act on the sequence, whichever delivery they answer; a nak is given out again.
func tellWork(l *teller) {
	l.makeConsumer(5 * time.Second)
	l.pub("work.default.t.o.a", "1")
	l.pub("work.default.t.o.a", "2")
	l.pub("work.default.t.o.b", "3")
	l.ready("default~t", 2)
	l.pull("default~t", 1, 0)
	got := l.pull("default~t", 5, 0)
	if len(got) == 0 {
		return // the other one has more to say
	}
	l.answer(got[0], "-NAK")
	again := l.pull("default~t", 1, 5*time.Second)
	if len(again) == 0 {
		return
	}
	l.answer(got[0], "+ACK") // of the first delivery
	l.answer(again[0], "+ACK")
	l.messages("WORK")
	l.pub("work.default.t.o.b", "4")
	l.pub("work.default.t.o.c", "5")
	l.messages("WORK")
	l.pull("default~none", 1, 0)
	l.ask("STREAM.PURGE.WORK", `{"filter":"work.default.t.o.c"}`)
	l.pull("default~t", 1, 300*time.Millisecond)
	l.messages("WORK")
}

// tellRedelivery: what is not acked comes again after the wait, also when its taker is gone.
func tellRedelivery(l *teller) {
	l.makeConsumer(400 * time.Millisecond)
	l.pub("work.default.t.o.a", "1")
	l.ready("default~t", 1)
	first := l.pull("default~t", 1, 0)
	if len(first) == 0 {
		return
	}
	l.pull("default~t", 1, 2000*time.Millisecond)
	l.answer(first[0], "+ACK")
	l.pull("default~t", 1, 600*time.Millisecond)
	l.messages("WORK")
}

// tellLoss: a restart takes away what lives in memory, and forgets no message id.
func tellLoss(l *teller) {
	l.makeConsumer(5 * time.Second)
	l.pub("jobs.o.a", "1", expect, "0", "Nats-Msg-Id", "x")
	l.pub("work.default.t.o.a", "1")
	l.pub("$KV.LEASE.leader", "me")
	l.restart()
	l.messages("LEDGER")
	l.messages("WORK")
	l.messages("KV_LEASE")
	l.messages("KV_JOBS")
	l.pub("jobs.o.b", "1", "Nats-Msg-Id", "x")
	l.pub("jobs.o.a", "2", expect, "0")
}

// tellBuckets: the lease's key ends by itself and stands in the way of nobody then.
func tellBuckets(l *teller) {
	l.pub("$KV.LEASE.leader", "me", expect, "0", "Nats-TTL", "1s")
	l.pub("$KV.LEASE.leader", "you", expect, "0", "Nats-TTL", "1s")
	l.pub("$KV.LEASE.leader", "me", expect, "1", "Nats-TTL", "1s")
	l.ask("STREAM.MSG.GET.KV_LEASE", `{"seq":1}`)
	l.pause(2200 * time.Millisecond)
	l.ask("STREAM.MSG.GET.KV_LEASE", `{"last_by_subj":"$KV.LEASE.leader"}`)
	l.pub("$KV.LEASE.leader", "you", expect, "0", "Nats-TTL", "1s")
	l.pub("$KV.JOBS.o.a", "1")
	l.pub("$KV.JOBS.o.a", "2", expect, "1")
	l.messages("KV_JOBS")
}

// tellPush: a push consumer numbers what it delivers, begins where it is told, and says when it is idle.
func tellPush(l *teller) {
	for i := range 4 {
		l.pub("jobs.o.a", fmt.Sprint(i))
	}
	const inbox = "deliver.here"
	sub, err := l.nc.SubscribeSync(inbox)
	if err != nil {
		l.t.Fatal(err)
	}
	l.ask("CONSUMER.CREATE.LEDGER.p", fmt.Sprintf(`{"stream_name":"LEDGER","config":{"name":"p","deliver_subject":%q,"deliver_policy":"by_start_sequence","opt_start_seq":3,"ack_policy":"none","idle_heartbeat":500000000,"flow_control":true,"mem_storage":true,"num_replicas":1,"inactive_threshold":5000000000}}`, inbox))
	for range 4 {
		m, ok := l.next(sub, 3*time.Second)
		if !ok {
			l.note("push: silence")
			return
		}
		if m.Header.Get("Status") != "" {
			l.note("push: status %s behind %s, %s", m.Header.Get("Status"), m.Header.Get("Nats-Last-Consumer"), m.Header.Get("Nats-Last-Stream"))
			continue
		}
		meta, err := m.Metadata()
		if err != nil {
			l.t.Fatal(err)
		}
		l.note("push: %s %d as %d, %d pending", m.Subject, meta.Sequence.Stream, meta.Sequence.Consumer, meta.NumPending)
	}
}

func (l *teller) makeConsumer(ackWait time.Duration) {
	l.ask("CONSUMER.DURABLE.CREATE.WORK.default~t", fmt.Sprintf(`{"stream_name":"WORK","config":{"durable_name":"default~t","filter_subject":"work.default.t.*.*","ack_policy":"explicit","deliver_policy":"all","ack_wait":%d,"max_deliver":-1,"num_replicas":1,"mem_storage":true}}`, ackWait))
}

// windowForTest is LEDGER's duplicate window in the transcripts.
const windowForTest = time.Second

// TestModelIsTheEngine tells the same transcripts to the model and to the embedded server.
func TestModelIsTheEngine(t *testing.T) {
	model := make(map[string][]string)
	for name, tell := range transcripts { // first: no client outside may be at work beside a bubble
		model[name] = tellModel(t, tell, 1)
	}
	emptyPools()
	for _, name := range sortedKeys(transcripts) {
		t.Run(name, func(t *testing.T) {
			env := ledgertest.Start(t, ledgertest.WithWindow(windowForTest))
			env.SkipVerify() // the transcripts are no events
			real := &teller{t: t, nc: env.Connect()}
			real.restart = func() { env.Stop(); env.StartServer(); real.nc = env.Connect() }
			transcripts[name](real)
			same(t, real.lines, model[name])
		})
	}
}

// TestModelIsTheCluster does so for what is different on three replicas.
func TestModelIsTheCluster(t *testing.T) {
	if !*cluster {
		t.Skip("starts three servers: make planted")
	}
	model := tellModel(t, tellWindow, 3)
	inFlight := tellModel(t, tellInFlight, 3)
	emptyPools()
	env := ledgertest.StartCluster(t, ledgertest.WithWindow(windowForTest))
	env.SkipVerify()
	real := &teller{t: t, nc: env.Connect()}
	tellWindow(real)
	same(t, real.lines, model)
	real.lines = nil
	for round := 0; len(real.lines) == 0 && round < inFlightRounds; round++ {
		real.race(fmt.Sprintf("jobs.o.race%d", round))
	}
	same(t, real.lines, inFlight)
}

// inFlightRounds is how often two writers meet until one must have met the other's write in flight.
const inFlightRounds = 2000

// tellInFlight: while a write is in flight, another one of the same subject is refused with 10164, without a number.
func tellInFlight(l *teller) {
	l.slow(true)
	l.race("jobs.o.race")
	l.slow(false)
}

// race sends two events of one subject at once, and notes what happened when the second met the first in flight.
func (l *teller) race(subject string) {
	inbox := l.nc.NewInbox()
	sub, err := l.nc.SubscribeSync(inbox)
	if err != nil {
		l.t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	for range 2 {
		if err := l.nc.PublishMsg(&nats.Msg{Subject: subject, Reply: inbox, Header: nats.Header{expect: {"0"}}}); err != nil {
			l.t.Fatal(err)
		}
	}
	stored, refused := 0, ""
	for range 2 {
		m, ok := l.next(sub, 5*time.Second)
		switch {
		case !ok:
			l.t.Fatal("no answer")
		case strings.HasPrefix(ackOf(m.Data), "LEDGER"):
			stored++
		default:
			refused = ackOf(m.Data)
		}
	}
	if strings.Contains(refused, "10164") {
		l.note("%d stored, the other: %s", stored, refused)
	}
}

func same(t *testing.T, real, model []string) {
	t.Helper()
	if a, b := strings.Join(real, "\n"), strings.Join(model, "\n"); a != b {
		t.Errorf("the engine says:\n%s\n\nthe model says:\n%s", a, b)
	}
}

// tellModel tells a transcript to the model of so many replicas.
func tellModel(t *testing.T, tell func(*teller), replicas int) []string {
	t.Helper()
	l := &teller{t: t}
	bubble(t, func() {
		n := newNetwork(1)
		n.engine.r3 = replicas > 1
		w := &world{net: n, log: zap.NewNop(), truth: newTruth()}
		n.world = w
		p := w.spawn("teller", func(ctx context.Context, p *party) (err error) {
			if l.nc, err = p.connect("teller"); err != nil {
				return err
			}
			own, err := ledger.New(ledger.Config{Conn: l.nc, Logger: w.log})
			if err != nil {
				return err
			}
			if _, err := ledger.Provision(ctx, own, ledger.ProvisionConfig{Replicas: replicas, DuplicateWindow: windowForTest}); err != nil {
				return err
			}
			l.restart = func() { l.restartModel(n) }
			l.slow = func(on bool) {
				n.engine.unanswered = func(string) engineFault { return map[bool]engineFault{true: engineInFlight}[on] }
			}
			tell(l)
			return nil
		})
		if err := n.run(p.hasEnded); err != nil {
			t.Error(err)
		}
		if p.err != nil {
			t.Error(p.err)
		}
	})
	return l.lines
}

// restartModel restarts the engine and waits until the client is connected again.
func (l *teller) restartModel(n *network) {
	again := l.nc.StatusChanged(nats.CONNECTED)
	defer l.nc.RemoveStatusListener(again)
	n.at(time.Now(), func() {
		n.sever(false, func(*conn) bool { return true })
		n.engine.restart()
	})
	n.wake()
	<-again
}
