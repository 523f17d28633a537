//go:build unix

package storm_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

var archiveKillsFlag = flag.Int("archive-kills", 0, "kills of the server that archives, in each case; 0: a few")

const (
	// archiveHot is the hot window of these tests, far below the least that the program sets: the test writes it into
	// LEDGER's metadata itself. It is longer than anybody waits here before sending again what was not acknowledged.
	archiveHot = 6 * time.Second
	// archiveRest is between a commit and its purge (ledger.ArchiverConfig.Durable).
	archiveRest = 3 * time.Second
	parkedType  = "parked"
	parkedJobs  = 40
)

// archiveCase is a cell whose archiving server is killed again and again.
type archiveCase struct {
	*cell
	l       *ledger.Ledger
	rnd     *rand.Rand
	active  time.Duration  // how long a step takes beside its rest, as measured
	met     map[string]int // kills, by what they met
	carried int            // events when the last kill was looked at
}

// TestArchiveKilled has a server of its own NATS, and then the leader of two on a NATS cluster of three, archive without
// a pause under submits and workers, and kills it (kill -9) at random moments of that, often. The one history, out of
// archive and ledger, has every sequence once and every acknowledged job once, an attempt has one outcome, jobs that wait
// are carried and run in the end, the checker finds nothing, and a replay gives the same bytes before and behind one
// more step of the archive (R-230, R-112, R-117, R-22, DESIGN D13).
//
//	go test ./internal/storm -v -full -run TestArchiveKilled -archive-kills=200 -timeout 0
func TestArchiveKilled(t *testing.T) {
	begin(t)
	fullOnly(t)
	t.Run("its own NATS", func(t *testing.T) {
		t.Parallel() // both wait more than they work
		h := newHome(t)
		c := &archiveCase{cell: &cell{home: h}, rnd: random(t), met: make(map[string]int)}
		args := []string{"server", "run", "--listen", fmt.Sprintf("127.0.0.1:%d", freePorts(t, 1)[0]), "--store", filepath.Join(h.dir, "store")}
		start := func(i int) *process {
			p, ready := c.server(fmt.Sprintf("s%d", i), args...)
			c.url, c.servers = ready.NATSURL, []*process{p}
			return p
		}
		p := start(0)
		c.setOut()
		p.kill() // the next one knows the window
		c.storm(func(i int) *process {
			p := start(i + 1)
			p.await("that it leads", func() bool { return p.leading > 0 })
			return p
		}, killsOr(5))
		drain(c.servers...)
	})
	t.Run("a cluster of three", func(t *testing.T) {
		t.Parallel()
		c := &archiveCase{cell: bareCell(t, 3), rnd: random(t), met: make(map[string]int)}
		if _, err := ledger.Provision(t.Context(), openLedger(t, c.url), ledger.ProvisionConfig{Replicas: 3}); err != nil {
			t.Fatal(err)
		}
		c.setOut()
		c.serve("s0")
		c.storm(func(i int) *process {
			c.servers = slices.DeleteFunc(c.servers, func(p *process) bool {
				select {
				case <-p.gone:
					return true
				default:
					return false
				}
			})
			before := c.latestEpoch()
			if i == 0 {
				before = 0
			}
			c.serve(fmt.Sprintf("s%d", i+1))
			c.o.await("another leader", func() bool { return c.o.epoch > 0 && (i == 0 || c.o.epoch >= before) })
			return c.leader()
		}, killsOr(2))
		c.end()
	})
}

// killsOr is how often this run is to kill.
func killsOr(few int) int {
	if *archiveKillsFlag > 0 {
		return *archiveKillsFlag
	}
	return few
}

// setOut sets the hot window, and begins to follow the ledger.
func (c *archiveCase) setOut() {
	c.t.Helper()
	c.l = openLedger(c.t, c.url)
	s, err := c.l.JetStream().Stream(c.t.Context(), ledger.StreamLedger)
	if err != nil {
		c.t.Fatal(err)
	}
	config := s.CachedInfo().Config
	config.Metadata = maps.Clone(config.Metadata)
	config.Metadata["jobledger.hot_window"] = archiveHot.String()
	if _, err := c.l.JetStream().UpdateStream(c.t.Context(), config); err != nil {
		c.t.Fatal(err)
	}
	c.o = observeHistory(c.t, c.url)
}

// storm starts servers, kills the one that archives so often, and judges. next starts another server and returns the one
// that leads.
func (c *archiveCase) storm(next func(i int) *process, kills int) {
	c.t.Helper()
	p := next(0)
	c.o.awaitEnd(c.l) // it has found the server again
	load := startLoad(c.t, c.o, c.url, typeName, 100, backlogUsual/10)
	var workers []*process
	for i := range 3 {
		workers = append(workers, c.worker(fmt.Sprintf("w%d", i+1), c.url, typeName, 4, "sleep 0.3"))
	}
	parked := c.park()
	c.o.awaitFinished(100)
	begun := time.Now()
	for c.active == 0 { // the first step shows how long it takes
		since := time.Now()
		if moved, err := c.l.AskArchive(c.t.Context(), time.Now().Add(-archiveHot), nil); err == nil && moved.Segments > 0 {
			c.active = max(time.Since(since)-archiveRest, 20*time.Millisecond)
		}
		c.o.awaitFinished(c.o.count() + 10)
	}
	for i := range kills {
		c.killArchiving(p)
		p = next(i + 1)
		c.met[c.found()]++
		c.o.awaitFinished(c.o.count() + 20)
	}
	took := time.Since(begun)
	workers = append(workers, c.worker("parked", c.url, parkedType, 8, "true"))
	acked := append(load.enough(), parked...)
	c.o.awaitAll(acked)
	drain(workers...)
	s := tell(c.t, c.home, c.url, acked)
	c.oneHistory(s)
	replayed := c.replaysAlike()
	stale := c.staleDocuments()
	s.verify(c.home, c.url)
	state := c.state()
	var met []string
	for _, what := range slices.Sorted(maps.Keys(c.met)) {
		met = append(met, fmt.Sprintf("%s %d", what, c.met[what]))
	}
	s.figures(fmt.Sprintf("; %d kills in %s, a step took %s and a rest of %s; met: %s; %d of %d events in %d segments; %d bytes replayed alike; %d documents of JOBS came back with the server's files",
		kills, took.Round(time.Second), c.active.Round(time.Millisecond), archiveRest, strings.Join(met, ", "),
		state.Events, int(state.Through.Seq), state.Segments, replayed, stale))
}

// staleDocuments has the views written anew if documents of jobs that are over came back, and returns how many. With a hot
// window the latest document of such a job expires, which NATS notes in the block; the one that it had replaced went by
// the limit of one a subject, which NATS does not note. A server that is killed before its index is written reads the
// blocks anew, and finds the older one alone. Nothing is decided from it; everything else must be right.
func (c *archiveCase) staleDocuments() int {
	c.t.Helper()
	verdict, text, err := c.check(binary, c.url)
	if verdict.OK {
		return 0
	}
	p := verdict.Problems
	if p.View == nil || *p.View == 0 {
		c.t.Fatalf("the checker: %v: %s", err, text)
	}
	c.must("log", "rebuild", "--force", "--server", c.url)
	return *p.View
}

// park submits jobs that nobody serves yet: they are carried over and over.
func (c *archiveCase) park() (ids []schemas.JobID) {
	c.t.Helper()
	for i := range parkedJobs {
		id := schemas.JobID(fmt.Sprintf("%s-%03d", parkedType, i))
		if _, err := c.l.Submit(c.t.Context(), ledger.SubmitRequest{Org: acme, Type: parkedType, ID: id, RegisterUnknown: true}); err != nil {
			c.t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

// killArchiving has the leader archive step by step, and kills it at some moment: half the time while it works, else
// while it works or rests.
func (c *archiveCase) killArchiving(p *process) {
	ctx, stop := context.WithCancel(c.t.Context())
	asking := make(chan struct{})
	go func() {
		defer close(asking)
		for ctx.Err() == nil {
			_, err := c.l.AskArchive(ctx, time.Now().Add(-archiveHot-100*time.Millisecond), nil)
			if err != nil && ctx.Err() == nil && !errors.Is(err, ledger.ErrNoArchiver) && ledger.AsError(err).Code != ledger.CodeUnavailable {
				c.t.Errorf("archive: %v", err)
			}
			during(c.t, 5*time.Millisecond)
		}
	}()
	most := c.active + c.active/2
	if c.rnd.IntN(2) == 0 {
		most += archiveRest + c.active
	}
	during(c.t, time.Duration(c.rnd.Int64N(int64(most))))
	p.kill()
	stop()
	<-asking
}

func (c *archiveCase) state() ledger.ArchiveState {
	c.t.Helper()
	state, err := c.l.Archived(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	return state
}

// found says what the dead server left. It is asked before the next one archives: only an operator makes that do so
// within its first two minutes.
func (c *archiveCase) found() string {
	c.t.Helper()
	js := c.l.JetStream()
	state := c.state()
	if state.Segments == 0 {
		return "nothing archived"
	}
	catalog, err := js.Stream(c.t.Context(), "CATALOG")
	if err != nil {
		c.t.Fatal(err)
	}
	last, err := catalog.GetLastMsgForSubject(c.t.Context(), "catalog.record")
	if err != nil {
		c.t.Fatal(err)
	}
	var record struct {
		Segments []struct {
			High uint64 `json:"high"`
		} `json:"segments"`
	}
	if err := json.Unmarshal(last.Data, &record); err != nil || len(record.Segments) == 0 {
		c.t.Fatalf("the last record is %s: %v", last.Data, err)
	}
	var high uint64
	for _, g := range record.Segments {
		high = max(high, g.High)
	}
	first := schemas.Seq(streamInfo(c.t, js, ledger.StreamLedger).State.FirstSeq)
	c.o.mu.Lock()
	carried := c.o.carried
	c.o.mu.Unlock()
	defer func() { c.carried = carried }()
	switch {
	case first <= state.Through.Seq:
		return "commit without purge"
	case streamInfo(c.t, js, "ARCHIVE").State.LastSeq > high:
		return "pages without commit"
	case carried > c.carried:
		return "carried, nothing written"
	}
	return "all purged"
}

// oneHistory reads archive and ledger as one: every sequence is there once, and every job was submitted once.
func (c *archiveCase) oneHistory(s *story) {
	c.t.Helper()
	submits := make(map[schemas.JobID]int)
	var at schemas.Seq
	err := openLedger(c.t, c.url).Replay(c.t.Context(), ledger.ReplayQuery{}, func(e *ledger.Entry) error {
		if e.Seq != at+1 {
			c.t.Errorf("event %d follows %d", e.Seq, at)
		}
		at = e.Seq
		if e.Err != nil {
			c.t.Errorf("event %d: %v", e.Seq, e.Err)
		} else if e.Name() == schemas.EventSubmitted {
			submits[e.Job]++
		}
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
	for id, n := range submits {
		if n != 1 {
			c.t.Errorf("job %s was submitted %d times", id, n)
		}
	}
	if len(submits) != len(s.jobs) {
		c.t.Errorf("%d jobs were submitted, %d are in the history of %s", len(submits), len(s.jobs), acme)
	}
}

// replaysAlike replays everything up to now, has what is left move to the archive, and replays the same again. It returns
// how many bytes that is.
func (c *archiveCase) replaysAlike() int {
	c.t.Helper()
	end, err := c.l.End(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	replay := func() (string, int) {
		out, talk, err := c.try(binary, []string{"JOBLEDGER_ORG="}, "log", "replay", "--format", "cloudevents", "--to", fmt.Sprint(end.Seq), "--server", c.url)
		if err != nil || out == "" {
			c.t.Fatalf("log replay: %v: %s", err, talk)
		}
		return fmt.Sprintf("%x", sha256.Sum256([]byte(out))), len(out)
	}
	before, n := replay()
	through := c.state().Through
	for limit := time.After(patience); c.state().Through.Seq < end.Seq; {
		_, _, _ = c.try(binary, nil, "log", "archive", "--before", (archiveHot + time.Second).String(), "--server", c.url) // what is too young stays
		select {
		case <-limit:
			c.t.Fatalf("the archive ends at %d, not at %d", c.state().Through.Seq, end.Seq)
		default:
		}
	}
	if after, m := replay(); before != after || through.Seq >= end.Seq {
		c.t.Errorf("a replay to %d has %d bytes with the archive up to %d, %d bytes with all of it there; are they the same: %t", end.Seq, n, through.Seq, m, before == after)
	}
	return n
}
