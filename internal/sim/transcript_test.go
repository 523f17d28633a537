package sim_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
)

var cluster = flag.Bool("sim.cluster", false, "hold the model to a cluster of three, too")

// teller tells a transcript to a server, real or modelled, and notes what it answers.
type teller struct {
	t       testing.TB
	nc      *nats.Conn
	lines   []string
	restart func()
	slow    func(bool) // has writes be in flight for a while; of the model
}

func (l *teller) note(format string, args ...any) {
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
}

// pub publishes and notes the acknowledgement.
func (l *teller) pub(subject, body string, headers ...string) {
	m := &nats.Msg{Subject: subject, Data: []byte(body), Header: nats.Header{}}
	for i := 0; i < len(headers); i += 2 {
		m.Header.Set(headers[i], headers[i+1])
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	reply, err := l.nc.RequestMsgWithContext(ctx, m)
	if err != nil {
		l.note("pub %s %v: %v", subject, headers, err)
		return
	}
	l.note("pub %s %v: %s", subject, headers, ackOf(reply.Data))
}

// ackOf is what an answer says, without what differs from server to server.
func ackOf(body []byte) string {
	var a struct {
		Stream    string `json:"stream"`
		Seq       uint64 `json:"seq"`
		Duplicate bool   `json:"duplicate"`
		Success   bool   `json:"success"`
		Purged    int    `json:"purged"`
		Message   *struct {
			Subject string `json:"subject"`
			Seq     uint64 `json:"seq"`
			Header  []byte `json:"hdrs"`
			Data    []byte `json:"data"`
		} `json:"message"`
		Error *struct {
			Code        int    `json:"code"`
			ErrCode     int    `json:"err_code"`
			Description string `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(body, &a); err != nil {
		return "unreadable: " + string(body)
	}
	switch {
	case a.Error != nil:
		return fmt.Sprintf("error %d %d %s", a.Error.Code, a.Error.ErrCode, a.Error.Description)
	case a.Message != nil:
		return fmt.Sprintf("%s at %d: %q %q", a.Message.Subject, a.Message.Seq, a.Message.Header, a.Message.Data)
	case a.Stream == "WORK":
		return "WORK" // its sequences begin with the time of its creation
	case a.Stream != "":
		return fmt.Sprintf("%s %d duplicate %t", a.Stream, a.Seq, a.Duplicate)
	}
	return fmt.Sprintf("success %t purged %d", a.Success, a.Purged)
}

// ask sends a request to the JetStream API.
func (l *teller) ask(subject, body string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	reply, err := l.nc.RequestWithContext(ctx, "$JS.API."+subject, []byte(body))
	if err != nil {
		l.note("%s %s: %v", subject, body, err)
		return
	}
	l.note("%s %s: %s", subject, body, ackOf(reply.Data))
}

// direct asks for stored messages and notes every answer until the last.
func (l *teller) direct(body string) {
	inbox := l.nc.NewInbox()
	sub, err := l.nc.SubscribeSync(inbox)
	if err != nil {
		l.t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := l.nc.PublishRequest("$JS.API.DIRECT.GET.LEDGER", inbox, []byte(body)); err != nil {
		l.t.Fatal(err)
	}
	for {
		m, ok := l.next(sub, 2*time.Second)
		if !ok {
			l.note("direct %s: silence", body)
			return
		}
		h := m.Header
		l.note("direct %s: status %q seq %q of %q behind %q pending %q %q", body, h.Get("Status"), h.Get("Nats-Sequence"), h.Get("Nats-Subject"),
			h.Get("Nats-Last-Sequence"), h.Get("Nats-Num-Pending"), m.Data)
		if h.Get("Status") != "" || h.Get("Nats-Num-Pending") == "" {
			return
		}
	}
}

// next waits for a message, by a context: the client's own timers outlive a bubble.
func (l *teller) next(sub *nats.Subscription, d time.Duration) (*nats.Msg, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	m, err := sub.NextMsgWithContext(ctx)
	return m, err == nil
}

// pull asks a consumer of WORK for messages, without waiting if expires is 0, and notes what comes.
func (l *teller) pull(consumer string, batch int, expires time.Duration) (got []*nats.Msg) {
	body := fmt.Sprintf(`{"batch":%d,"expires":%d}`, batch, expires)
	if expires == 0 {
		body = fmt.Sprintf(`{"batch":%d,"no_wait":true}`, batch)
	}
	inbox := l.nc.NewInbox()
	sub, err := l.nc.SubscribeSync(inbox)
	if err != nil {
		l.t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := l.nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT.WORK."+consumer, inbox, []byte(body)); err != nil {
		l.t.Fatal(err)
	}
	for len(got) < batch {
		m, ok := l.next(sub, expires+3*time.Second)
		if !ok {
			l.note("pull %s: silence", body)
			return got
		}
		switch status := m.Header.Get("Status"); {
		case status == "100":
		case status != "":
			l.note("pull %s: status %s", body, status)
			return got
		default:
			meta, err := m.Metadata()
			if err != nil {
				l.t.Fatal(err)
			}
			l.note("pull %s: %s %q delivery %d, %d pending", body, m.Subject, m.Data, meta.NumDelivered, meta.NumPending)
			got = append(got, m)
		}
	}
	return got
}

// answer acks or naks a delivery, and waits until the server has taken it.
func (l *teller) answer(m *nats.Msg, body string) {
	if err := l.nc.Publish(m.Reply, []byte(body)); err != nil {
		l.t.Fatal(err)
	}
	l.flush()
}

func (l *teller) flush() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := l.nc.FlushWithContext(ctx); err != nil {
		l.t.Fatal(err)
	}
	// Acks are taken by the consumer behind the connection: a request to its stream comes behind them.
	_, _ = l.nc.RequestWithContext(ctx, "$JS.API.CONSUMER.INFO.WORK.default~t", nil)
}

func (l *teller) messages(stream string) {
	js, err := jetstream.New(l.nc)
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	s, err := js.Stream(ctx, stream)
	if err != nil {
		l.note("stream %s: %v", stream, err)
		return
	}
	l.note("stream %s: %d messages", stream, s.CachedInfo().State.Msgs)
}

func (l *teller) pause(d time.Duration) { _ = wait(context.Background(), d) }

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
	l.pull("default~t", 1, 0)
	got := l.pull("default~t", 5, 0)
	l.answer(got[0], "-NAK")
	again := l.pull("default~t", 1, 0)
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
	first := l.pull("default~t", 1, 0)
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
