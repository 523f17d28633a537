package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// follower collects what a watch tells.
type follower struct {
	t     testing.TB
	told  chan *gateway.LiveEvent
	ended chan error
	stop  context.CancelFunc
}

// follow begins a watch, and returns once everything that comes is told.
func (w *world) follow(r gateway.WatchRequest) *follower {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	f := &follower{w.t, make(chan *gateway.LiveEvent, 10_000), make(chan error, 1), cancel}
	began := make(chan struct{})
	r.Began = func(schemas.Position) error { close(began); return nil }
	go func() {
		f.ended <- w.client.Watch(ctx, r, func(ev *gateway.LiveEvent) error { f.told <- ev; return nil })
	}()
	select {
	case <-began:
	case err := <-f.ended:
		w.t.Fatalf("the watch ended: %v", err)
	}
	return f
}

func (f *follower) next() *gateway.LiveEvent {
	f.t.Helper()
	select {
	case ev := <-f.told:
		return ev
	case err := <-f.ended:
		f.t.Fatalf("the watch ended: %v", err)
	case <-time.After(2 * time.Minute):
		f.t.Fatal("nothing is told")
	}
	return nil
}

// until returns what is told up to the event at seq.
func (f *follower) until(seq schemas.Seq) (seqs []schemas.Seq) {
	f.t.Helper()
	for {
		ev := f.next()
		if ev.Seq == nil {
			continue
		}
		seqs = append(seqs, *ev.Seq)
		if *ev.Seq >= seq {
			return seqs
		}
	}
}

// life takes a job of an org through its life and returns the sequence of its end.
func (w *world) life(id schemas.JobID, tags map[string]string) schemas.Seq {
	w.t.Helper()
	w.put("acme", id, tags)
	w.finish(w.start(id), `1`)
	return w.end()
}

func (w *world) put(org schemas.OrgID, id schemas.JobID, tags map[string]string) {
	w.t.Helper()
	if _, err := w.Ledger.Submit(w.t.Context(), ledger.SubmitRequest{Org: org, ID: id, Type: "echo", Tags: tags, RegisterUnknown: true,
		Meta: ledger.Meta{Actor: schemas.Actor{Type: "user", ID: "ada"}}}); err != nil {
		w.t.Fatal(err)
	}
}

// replayed are the events that a watch has to tell, by the ledger itself.
func (w *world) replayed(from, to schemas.Seq, want func(*ledger.Entry) bool) (seqs []schemas.Seq) {
	w.t.Helper()
	q := ledger.ReplayQuery{Org: "acme", From: ledger.ReplayBound{Seq: from}, To: ledger.ReplayBound{Seq: to}}
	if err := w.Ledger.Replay(w.t.Context(), q, func(e *ledger.Entry) error {
		if want == nil || want(e) {
			seqs = append(seqs, e.Seq)
		}
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
	return seqs
}

func (w *world) same(what string, got, want []schemas.Seq) {
	w.t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) || len(want) == 0 {
		w.t.Errorf("%s is told %v, want %v", what, got, want)
	}
}

// Everything of the org is told once, in order, and nothing of another one; a filter is asked about the job as it is
// behind the event, also where only its submitted tells.
func TestWatchTellsEverythingOnce(t *testing.T) {
	t.Parallel()
	w := start(t)
	w.life("before", map[string]string{"env": "prod"}) // begun before anybody asks: its record is read
	w.put("acme", "waits", map[string]string{"env": "prod"})
	from := w.end() + 1
	whole := w.follow(gateway.WatchRequest{})
	tagged := w.follow(gateway.WatchRequest{Filter: gateway.Filter{Where: "tag.env:prod owner:user:ada"}})
	ended := w.follow(gateway.WatchRequest{Filter: gateway.Filter{State: []schemas.State{schemas.StateCompleted}}})
	one := w.follow(gateway.WatchRequest{Jobs: []schemas.JobID{"prod-3"}})
	prod := map[schemas.JobID]bool{"waits": true}
	for i := range 10 {
		id := schemas.JobID(fmt.Sprintf("%s-%d", []string{"test", "prod"}[i%2], i))
		prod[id] = i%2 == 1
		w.put("other", id, nil)
		w.life(id, map[string]string{"env": string(id[:4])})
	}
	w.finish(w.start("waits"), `1`)
	last := w.end()
	w.same("who follows all", whole.until(last), w.replayed(from, last, nil))
	w.same("who filters", tagged.until(last), w.replayed(from, last, func(e *ledger.Entry) bool { return prod[e.Job] }))
	w.same("who waits for ends", ended.until(last), w.replayed(from, last, func(e *ledger.Entry) bool { return e.Name() == schemas.EventCompleted }))
	of3 := w.replayed(from, last, func(e *ledger.Entry) bool { return e.Job == "prod-3" })
	w.same("who follows a job", one.until(of3[len(of3)-1]), of3)
}

// Who knows a position goes on behind it, on whichever server and however that began, as long as it remembers; else it
// is told position_expired, as it is where the position is not of this ledger.
func TestWatchResumes(t *testing.T) {
	t.Parallel()
	w := start(t)
	first := w.life("a", nil)
	e, err := w.Ledger.EventAt(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	last := w.life("b", nil)
	w.stop()
	w.another(nil) // it was not there when all that happened
	got := w.follow(gateway.WatchRequest{After: e.Position()})
	w.same("who goes on", got.until(last), w.replayed(first+1, last, nil))
	expired := func(what string, at schemas.Position) {
		t.Helper()
		err := w.client.Watch(t.Context(), gateway.WatchRequest{After: at}, func(*gateway.LiveEvent) error { return errors.New("told") })
		if code(err) != ledger.CodePositionExpired {
			t.Errorf("%s: %v", what, err)
		}
	}
	expired("another event", schemas.Position{Seq: first, ID: schemas.NewEventID()})
	expired("behind the end", schemas.Position{Seq: last + 1000})
	w.refused(ledger.CodePositionExpired, "acme.events", fmt.Sprintf(`{"after":%d}`, last+1000))
	w.refused(ledger.CodeInvalidArgument, "acme.events", `{"where":"nonsense:1"}`)
}

// another starts a second gateway, as of another server, and returns it and how to stop it.
func (w *world) another(change func(*gateway.Config)) (*gateway.Gateway, func()) {
	w.t.Helper()
	f, err := ledger.NewFeed(ledger.FeedConfig{Ledger: w.NewLedger()})
	if err != nil {
		w.t.Fatal(err)
	}
	ready := make(chan struct{})
	cfg := gateway.Config{Ledger: w.NewLedger(), Conn: w.Connect(), Feed: f, Logger: zap.NewNop(), RegisterUnknown: true, Ready: func() { close(ready) }}
	if change != nil {
		change(&cfg)
	}
	g, err := gateway.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	run(w.t, func(ctx context.Context) error { _ = f.Run(ctx); return nil })
	stop := run(w.t, g.Run)
	<-ready
	return g, stop
}

// Of two servers each answers some of the requests; both stop and start again and every connection is cut, and nothing is
// told twice or left out.
func TestWatchOverRestarts(t *testing.T) {
	t.Parallel()
	w := start(t)
	_, stop := w.another(nil)
	from := w.end() + 1
	f := w.follow(gateway.WatchRequest{})
	var got []schemas.Seq
	for round := range 3 {
		last := w.life(schemas.JobID(fmt.Sprint("job-", round)), nil)
		switch round {
		case 0:
			w.stop()
		case 1:
			w.another(nil)
			stop()
		case 2:
			w.Restart()
			last = w.life("behind", nil)
		}
		got = append(got, f.until(last)...)
	}
	w.same("the watch", got, w.replayed(from, got[len(got)-1], nil))
}

// A ring that is too small for what a slow subscription has not taken tells it to reset, once; it goes on behind. One that
// keeps up is told everything, and what happens elsewhere makes nobody slow.
func TestSlowSubscriptionResets(t *testing.T) {
	t.Parallel()
	w := start(t)
	g, _ := w.another(nil)
	live := g.Live()
	live.SetRing(16 << 10) // some thirty events
	subscribe := func(r gateway.LiveRequest) *gateway.Subscription {
		s, err := live.Subscribe(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	slow, all, elsewhere := subscribe(gateway.LiveRequest{Org: "acme"}), subscribe(gateway.LiveRequest{}), subscribe(gateway.LiveRequest{Org: "quiet"})
	from, first := w.end(), schemas.Seq(0)
	seen := from
	for i := range 40 {
		last := w.life(schemas.JobID(fmt.Sprint("job-", i)), nil)
		if first == 0 {
			first = last
		}
		for seen < last {
			events, err := all.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, ev := range events {
				if ev.Push == gateway.PushReset || *ev.Seq <= seen {
					t.Fatalf("who keeps up is told %s at %d behind %d", ev.Push, *ev.Seq, seen)
				}
				seen = *ev.Seq
			}
		}
	}
	events, err := slow.Next(t.Context())
	if err != nil || len(events) != 1 || events[0].Push != gateway.PushReset || *events[0].Seq != w.end() {
		t.Errorf("the slow one is told %v, %v", events, err)
	}
	w.put("acme", "one-more", nil)
	w.put("quiet", "one", nil)
	for _, s := range []*gateway.Subscription{slow, elsewhere} {
		if events, err := s.Next(t.Context()); err != nil || len(events) != 1 || events[0].Event != schemas.EventSubmitted {
			t.Errorf("then %v, %v", events, err)
		}
	}
	if _, err := live.Subscribe(t.Context(), gateway.LiveRequest{Org: "acme", After: &first}); code(err) != ledger.CodePositionExpired {
		t.Errorf("behind what the ring holds: %v", err)
	}
	for _, s := range []*gateway.Subscription{slow, all, elsewhere} {
		s.Close()
		s.Close()
	}
	if n := live.Subscriptions(); n != 0 {
		t.Errorf("%d subscriptions are left", n)
	}
}

// Progress is told in its place among the events: never that of an attempt that ended or was followed by another, and none
// twice, in whatever order the two paths bring it; a filter holds for it, too. A hold is told to
// those who may see it.
func TestWatchProgress(t *testing.T) {
	t.Parallel()
	w := start(t)
	f := w.follow(gateway.WatchRequest{})
	none := w.follow(gateway.WatchRequest{Filter: gateway.Filter{Tags: map[string]string{"env": "other"}}})
	expect := func(want string) {
		t.Helper()
		got := ""
		if ev := f.next(); ev.Progress != nil {
			got = fmt.Sprintf("attempt %d: %d %%", *ev.Attempt, ev.Progress.Percent)
		} else if got = string(ev.Event); ev.Hold != nil {
			got += " " + ev.Hold.Scope.String()
		}
		if got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	}
	w.put("acme", "job-1", nil)
	first := w.start("job-1")
	for _, want := range []string{"submitted", "queued", "running"} {
		expect(want)
	}
	nc := w.Connect()
	say := func(j *ledger.Job, n uint64, percent int) {
		t.Helper()
		p := &ledger.LiveProgress{Org: j.Org, Job: j.ID, Type: "echo", Generation: 1, Attempt: j.Attempt, Fence: j.Fence, N: n,
			Progress: schemas.Progress{Percent: percent}}
		m, err := p.Encode()
		if err := errors.Join(err, nc.PublishMsg(m), nc.Flush()); err != nil {
			t.Fatal(err)
		}
	}
	say(first, 1, 10)
	expect("attempt 1: 10 %")
	say(first, 1, 11) // a refresh
	if err := nc.Publish(ledger.ProgressSubject("acme", "job-1"), []byte("not ours")); err != nil {
		t.Fatal(err)
	}
	say(first, 2, 20)
	expect("attempt 1: 20 %")
	w.do("job-1", &ledger.Lose{Fence: first.Fence, Cause: schemas.LossWorkerGone})
	expect("lost")
	say(first, 3, 30) // its worker lives on
	second := w.do("job-1", &ledger.Claim{Generation: 1, Submitted: first.SubmittedSeq, Session: "session", Worker: "w-2"})
	expect("running")
	say(first, 4, 40)
	say(second, 1, 1)
	expect("attempt 2: 1 %")
	w.finish(second, `1`)
	expect("completed")
	say(second, 2, 99) // overtaken by the outcome
	if _, err := w.client.SetHold(t.Context(), gateway.HoldRequest{Scope: schemas.HoldScope{Org: "acme", Type: "echo"}, On: true, Reason: "test"}); err != nil {
		t.Fatal(err)
	}
	expect("hold_set org acme, type echo")
	f.stop()
	none.stop()
	if err := <-f.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
	if len(f.told)+len(none.told) != 0 {
		t.Errorf("also told %d, and %d to who asked for other jobs", len(f.told), len(none.told))
	}
}

// Who may see some jobs hears of those alone, of each as it is then, and of nothing that is about no job.
func TestLiveOfWhatIsVisible(t *testing.T) {
	t.Parallel()
	w := start(t)
	g, _ := w.another(nil)
	s, err := g.Live().Subscribe(t.Context(), gateway.LiveRequest{Org: "acme", Visible: func(r *ledger.Record) bool { return r.ID == "mine" && *r.Owner == "user:ada" }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := w.client.SetHold(t.Context(), gateway.HoldRequest{Scope: schemas.HoldScope{Org: "acme", Type: "echo"}, On: true, Reason: "test"}); err != nil {
		t.Fatal(err)
	}
	w.life("theirs", nil)
	last := w.life("mine", nil)
	var got []schemas.Seq
	for len(got) == 0 || got[len(got)-1] < last {
		events, err := s.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range events {
			got = append(got, *ev.Seq)
		}
	}
	w.same("who sees one job", got, w.replayed(1, last, func(e *ledger.Entry) bool { return e.Job == "mine" }))
}
