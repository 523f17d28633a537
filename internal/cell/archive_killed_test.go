//go:build unix

package cell_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

var (
	killsFlag    = flag.Int("kills", 4, "how often TestKilledWhileArchiving kills the server; `make archive-kills` does 200 times")
	killSeedFlag = flag.Uint64("kills.seed", 0, "seed of TestKilledWhileArchiving; 0: a new one, which it prints")
)

const (
	brief   = schemas.OrgID("brief") // its history goes after 30 days of the remover's calendar; acme's stays for ever
	parked  = schemas.TypeName("parked")
	swift   = schemas.TypeName("swift")
	lasts   = 30 * time.Millisecond // a job of type swift
	parking = 20                    // jobs that nobody serves before the end: they are carried again and again
	// mostOpen is how many acknowledged jobs have not run yet, at most.
	mostOpen = 60
	// aimMax is how long a kill waits for what it is to meet; it comes then all the same.
	aimMax = 20 * time.Second
)

// archiveSteps are what a server that archives and removes writes, in this order; anyTime is any moment.
var archiveSteps = []string{anyTime, "carry", "setting", "page", "index", "filter", "tally", "commit", "purge", "remove", "delete"}

const anyTime = "any time"

// stepOf names the step that a message is part of; empty if of none.
func stepOf(m *nats.Msg) string {
	switch s := m.Subject; {
	case strings.HasPrefix(s, "archive.page."):
		return "page"
	case s == "archive.index":
		return "index"
	case s == "catalog.record":
		var r struct{ Kind string }
		_ = json.Unmarshal(m.Data, &r) // one that cannot be read is no step
		return r.Kind
	case strings.HasPrefix(s, "catalog."):
		return strings.TrimPrefix(s, "catalog.")
	case strings.HasPrefix(s, "$JS.API.STREAM.PURGE."):
		return "purge"
	case strings.HasPrefix(s, "$JS.API.STREAM.MSG.DELETE."):
		return "delete"
	case strings.HasPrefix(s, "jobs.") && strings.HasSuffix(strings.Join(m.Header[schemas.HeaderType], ""), "."+string(schemas.EventCarried)):
		return "carry"
	case strings.HasPrefix(s, "control.") && len(m.Header[schemas.HeaderCausationID]) > 0:
		return "setting"
	}
	return ""
}

// archiveStorm is a ledger whose server is killed again and again while it archives, and what the test knows of it by
// itself.
type archiveStorm struct {
	t   *testing.T
	rnd *rand.Rand
	l   *ledger.Ledger
	nc  *nats.Conn
	url string

	// asking is held for reading by who submits, until that is acknowledged: to hold it is to have no submit on its way.
	asking sync.RWMutex
	room   chan struct{} // one for each job that has not run
	stop   chan struct{} // closed when no more is to be submitted

	mu     sync.Mutex
	acked  map[schemas.OrgID][]schemas.JobID
	starts map[attemptKey]int // handlers that began
	ran    map[schemas.JobID]bool
	last   string // step that was heard last
	aim    string
	count  int           // of aim to go
	met    chan struct{} // closed when count is 0
}

// TestKilledWhileArchiving kills (kill -9) a server process again and again while it archives, carries, purges, and removes
// what is past its retention, under submits and a worker: at random moments, and as it makes each step of that. In the end
// every sequence is once in archive or ledger, or in a segment that was removed; what was acknowledged is there once, and ran once
// in each attempt, as those who ran it tell; jobs that wait were carried and run; a replay is the same before and behind the archive;
// and the checker, which folds all from zero and compares the views, finds nothing (R-230, R-40, R-22, R-112, R-117, DESIGN D13).
func TestKilledWhileArchiving(t *testing.T) {
	t.Parallel()
	a := archiving{Dir: t.TempDir(), Port: steadyPort(t), Began: time.Now()}
	server := startArchiving(t, a)
	s := newArchiveStorm(t, fmt.Sprintf("nats://127.0.0.1:%d", a.Port))
	server.serve()
	server.hear("that it is ready")
	leave := s.work(swift, 4, lasts)
	var load sync.WaitGroup
	for _, org := range []schemas.OrgID{acme, acme, brief} {
		own := s.connect()
		load.Go(func() { s.submits(own, org) })
	}
	met, vain, deck := make(map[string]int), 0, []string{}
	for i := range max(1, *killsFlag) {
		if len(deck) == 0 {
			deck = slices.Clone(archiveSteps)
			s.rnd.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		}
		aim := deck[0]
		deck = deck[1:]
		if !s.await(aim) {
			vain++
		}
		server.kill()
		server = startArchiving(t, a)
		s.asking.Lock() // nothing is on its way: what was stored and not acknowledged is found before it leaves
		met[s.found()]++
		s.asking.Unlock()
		server.serve()
		t.Logf("kill %d at %s", i+1, aim)
	}
	server.hear("that it is ready")
	close(s.stop)
	load.Wait()
	leaveParked := s.work(parked, parking, 0)
	s.awaitAll()
	leave()
	leaveParked()
	s.judge()
	var text []string
	for _, what := range slices.Sorted(maps.Keys(met)) {
		text = append(text, fmt.Sprintf("%s %d", what, met[what]))
	}
	t.Logf("figures: %d kills in %s, of which %d did not meet what they waited for; met: %s", *killsFlag, time.Since(a.Began).Round(time.Second), vain, strings.Join(text, ", "))
}

func newArchiveStorm(t *testing.T, url string) *archiveStorm {
	t.Helper()
	seed := cmp.Or(*killSeedFlag, rand.Uint64())
	t.Logf("seed %d", seed)
	s := &archiveStorm{t: t, url: url, rnd: rand.New(rand.NewPCG(seed, 0)), room: make(chan struct{}, mostOpen), stop: make(chan struct{}),
		acked: make(map[schemas.OrgID][]schemas.JobID), starts: make(map[attemptKey]int), ran: make(map[schemas.JobID]bool)}
	s.l = s.connect()
	s.nc = s.l.Conn()
	if _, err := ledger.Provision(t.Context(), s.l, ledger.ProvisionConfig{Version: "0.0.0", Retention: ledger.RetentionForever}); err != nil {
		t.Fatal(err)
	}
	set := &schemas.OrgSet{Settings: schemas.OrgSettings{Name: brief, RetentionDays: schemas.RetentionDaysMin}}
	if _, err := s.l.Put(t.Context(), ledger.Meta{}, set.Place(), func(schemas.Setting) (schemas.Setting, error) { return set, nil }); err != nil {
		t.Fatal(err)
	}
	for i := range parking {
		id := schemas.JobID(fmt.Sprintf("parked-%03d", i))
		if _, err := s.l.Submit(t.Context(), ledger.SubmitRequest{Org: acme, Type: parked, ID: id, RegisterUnknown: true}); err != nil {
			t.Fatal(err)
		}
		s.acked[acme] = append(s.acked[acme], id)
	}
	listening := s.connect().Conn()
	for _, subject := range []string{"archive.>", "catalog.>", "jobs.>", "control.>", "$JS.API.STREAM.PURGE.LEDGER", "$JS.API.STREAM.MSG.DELETE.>"} {
		if _, err := listening.Subscribe(subject, s.heard); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// connect opens a ledger on a connection that outlives the server.
func (s *archiveStorm) connect() *ledger.Ledger {
	s.t.Helper()
	nc, err := nats.Connect(s.url, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.ReconnectJitter(0, 0),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // or each kill is told on stderr
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(nc.Close)
	l, err := ledger.New(ledger.Config{Conn: nc, Logger: zap.NewNop()})
	if err != nil {
		s.t.Fatal(err)
	}
	return l
}

// heard takes a message that the server is just told of.
func (s *archiveStorm) heard(m *nats.Msg) {
	step := stepOf(m)
	if step == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = step
	if step != s.aim || s.count == 0 {
		return
	}
	if s.count--; s.count == 0 {
		close(s.met)
	}
}

// await returns at a step of the archiver or remover, the first or one of the next, or a moment later; at a random time for
// anyTime. false: it never came.
func (s *archiveStorm) await(aim string) bool {
	met := make(chan struct{})
	s.mu.Lock()
	s.aim, s.count, s.met = aim, 1+s.rnd.IntN(3), met
	s.mu.Unlock()
	if aim == anyTime {
		_ = rest(s.t.Context(), time.Duration(s.rnd.Int64N(int64(archivingWindow))))
		return true
	}
	limit := time.NewTimer(aimMax)
	defer limit.Stop()
	select {
	case <-met:
	case <-limit.C:
		return false
	}
	if s.rnd.IntN(2) == 0 {
		_ = rest(s.t.Context(), time.Duration(s.rnd.Int64N(int64(3*time.Millisecond))))
	}
	return true
}

// submits stores one job after the other, as a publisher would that takes no for no answer, while there is room.
func (s *archiveStorm) submits(l *ledger.Ledger, org schemas.OrgID) {
	for n := 0; ; n++ {
		select {
		case s.room <- struct{}{}:
		case <-s.stop:
			return
		}
		if !s.submit(l, org) {
			return
		}
	}
}

func (s *archiveStorm) submit(l *ledger.Ledger, org schemas.OrgID) bool {
	s.asking.RLock()
	defer s.asking.RUnlock()
	id := schemas.NewJobID()
	each := resubmit
	for limit := time.Now().Add(patience); ; each = min(2*each, ledger.SettleTimeout) {
		ctx, cancel := context.WithTimeout(context.Background(), each)
		_, err := l.Submit(ctx, ledger.SubmitRequest{Org: org, Type: swift, ID: id, RegisterUnknown: true})
		cancel()
		if err == nil {
			s.mu.Lock()
			s.acked[org] = append(s.acked[org], id)
			s.mu.Unlock()
			return true
		}
		if ledger.AsError(err).Code != ledger.CodeUnavailable || time.Now().After(limit) {
			s.t.Errorf("submit %s: %v", id, err)
			return false
		}
	}
}

// work runs a worker of a type until leave is called, at the latest at the end of the test.
func (s *archiveStorm) work(typ schemas.TypeName, slots int, takes time.Duration) (leave func()) {
	s.t.Helper()
	handle := func(ctx context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		s.mu.Lock()
		s.starts[attemptKey{a.ID, a.Generation, a.Number}]++
		again := s.ran[a.ID]
		s.ran[a.ID] = true
		s.mu.Unlock()
		if typ == swift && !again {
			<-s.room
		}
		return nil, rest(ctx, takes)
	}
	w, err := handlers.New(handlers.Config{Ledger: s.connect(), Slots: slots, Name: string(typ), Logger: logger(s.t),
		Serves: []handlers.Registration{{Type: typ, Handler: handlers.HandlerFunc(handle)}}})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	leave = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("worker %s ended with %v", typ, err)
		}
	})
	s.t.Cleanup(leave)
	return leave
}

// found says what the dead server left; the next one does not archive yet.
func (s *archiveStorm) found() string {
	s.t.Helper()
	state, err := s.l.Archived(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	var first schemas.Seq
	until(s.t, "LEDGER to say where it begins", func() bool {
		hot, err := s.l.JetStream().Stream(s.t.Context(), ledger.StreamLedger)
		if err == nil {
			first = schemas.Seq(hot.CachedInfo().State.FirstSeq)
		}
		return err == nil
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case first <= state.Through.Seq:
		return "a commit not purged"
	case slices.Contains([]string{"page", "index", "filter", "tally"}, s.last):
		return "a segment without a commit"
	case s.last == "carry" || s.last == "setting":
		return "carried, and nothing written"
	case s.last == "remove" || s.last == "delete":
		return "removed, and not all deleted"
	case s.last == "":
		return "nothing"
	}
	return "all purged"
}

// awaitAll returns when every acknowledged job has ended; of brief's some may be past their retention.
func (s *archiveStorm) awaitAll() {
	s.t.Helper()
	for org, ids := range s.acked {
		for _, id := range ids {
			s.awaitEnd(org, id)
		}
	}
}

func (s *archiveStorm) awaitEnd(org schemas.OrgID, id schemas.JobID) {
	s.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(patience); ; <-tick.C {
		j, err := s.l.Fold(s.t.Context(), org, id)
		switch {
		case err == nil && j.State == schemas.StateCompleted, s.goneWell(org, id, err):
			return
		case time.Now().After(limit):
			h, failed := s.l.History(s.t.Context(), org, id)
			var story []string
			for i := 0; failed == nil && i < len(h.Entries); i++ {
				story = append(story, fmt.Sprintf("%d %s", h.Entries[i].Seq, h.Entries[i].Name()))
			}
			s.t.Fatalf("waited in vain for the end of %s.%s: %+v, %v; its history: %s", org, id, j, err, strings.Join(story, ", "))
		}
	}
}

// goneWell reports whether an error says that a job is past its retention, and it may be.
func (s *archiveStorm) goneWell(org schemas.OrgID, id schemas.JobID, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Is(err, ledger.ErrNotFound) && org == brief && s.ran[id]
}
