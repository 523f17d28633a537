package ledger_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// crowd is a ledger with jobs of all kinds, and what they were before anything left.
type crowd struct {
	*ledgertest.Env
	t       *testing.T
	jobs    map[schemas.JobID]*ledger.Job
	stories map[schemas.JobID][]schemas.EventID
	kinds   map[schemas.JobID]string
}

// kindsOfJobs are the ways in which a job can stand when it is to leave.
var kindsOfJobs = []string{"done", "canceled", "resolved", "delayed", "waiting", "child", "retrying", "queued", "dead", "again", "singleton"}

func newCrowd(t *testing.T, each int) *crowd {
	c := &crowd{Env: ledgertest.Start(t), t: t, jobs: make(map[schemas.JobID]*ledger.Job), stories: make(map[schemas.JobID][]schemas.EventID),
		kinds: make(map[schemas.JobID]string)}
	for _, s := range []schemas.TypeSettings{{Name: "t"}, {Name: "single", Dedup: schemas.DedupSingleton}} {
		if _, err := c.Ledger.PutType(t.Context(), s, ledger.Meta{Actor: schemas.Actor{Type: "user", ID: "ada"}}, "for the test"); err != nil {
			t.Fatal(err)
		}
	}
	for i := range each {
		for _, kind := range kindsOfJobs {
			c.kinds[c.make(kind, i)] = kind
		}
	}
	for id := range c.kinds {
		c.remember(id)
	}
	return c
}

func (c *crowd) remember(id schemas.JobID) {
	c.t.Helper()
	h, err := c.Ledger.History(c.t.Context(), "acme", id)
	if err != nil {
		c.t.Fatalf("%s: %v", id, err)
	}
	c.jobs[id], c.stories[id] = h.Job, c.story(h)
}

// story is the ids of a job's events that are no carried.
func (c *crowd) story(h *ledger.JobHistory) (ids []schemas.EventID) {
	for _, e := range h.Entries {
		if e.Name() != schemas.EventCarried {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

func (c *crowd) do(id schemas.JobID, cmd ledger.Command) *ledger.Job {
	c.t.Helper()
	j, _, err := c.Ledger.Do(c.t.Context(), "acme", id, cmd, ledger.Meta{})
	if err != nil {
		c.t.Fatalf("%s: %T: %v", id, cmd, err)
	}
	return j
}

func (c *crowd) start(id schemas.JobID) *ledger.Job {
	c.t.Helper()
	j := c.do(id, &ledger.Queue{Policy: schemas.DefaultPolicy(), Now: time.Now().Add(time.Hour)})
	return c.do(id, &ledger.Claim{Generation: j.Generation, Submitted: j.SubmittedSeq, Session: "s", Worker: "w"})
}

func (c *crowd) end(id schemas.JobID, kind schemas.EventName, e *schemas.JobError) {
	c.t.Helper()
	j := c.start(id)
	o := &ledger.Outcome{Kind: kind, Fence: j.Fence, Generation: j.Generation, Attempt: j.Attempt, Now: time.Now(), Error: e, RetryAfter: time.Hour}
	if kind == schemas.EventCompleted {
		o.Result = []byte(`{"sum": 9007199254740993}`)
	}
	c.do(id, o)
}

// make makes a job of a kind.
func (c *crowd) make(kind string, i int) schemas.JobID {
	c.t.Helper()
	r := ledger.SubmitRequest{Org: "acme", Type: "t", ID: schemas.JobID(fmt.Sprintf("%s-%d", kind, i)), Args: fmt.Appendf(nil, `{ "n":%d }`, i)}
	switch kind {
	case "delayed":
		r.Delay = 24 * time.Hour
	case "child":
		r.Parents = []schemas.ParentRef{{ID: schemas.JobID(fmt.Sprintf("waiting-%d", i)), Generation: 1, OnFailure: schemas.ParentRun}}
	case "singleton":
		r.Type, r.ID, r.Key = "single", "", fmt.Sprint("k", i)
	}
	receipt, err := c.Ledger.Submit(c.t.Context(), r)
	if err != nil {
		c.t.Fatalf("submit %s: %v", kind, err)
	}
	id := receipt.ID
	permanent := &schemas.JobError{Class: schemas.ClassPermanent, Message: "broken"}
	switch kind {
	case "done":
		c.end(id, schemas.EventCompleted, nil)
	case "canceled":
		c.do(id, &ledger.Cancel{Reason: "not wanted"})
	case "resolved":
		c.end(id, schemas.EventFailed, permanent)
		c.do(id, &ledger.Resolve{Note: "seen"})
	case "retrying":
		c.end(id, schemas.EventFailed, &schemas.JobError{Class: schemas.ClassTransient, Message: "try later"})
	case "queued":
		c.do(id, &ledger.Queue{Policy: schemas.DefaultPolicy(), Now: time.Now().Add(time.Hour)})
	case "dead":
		c.end(id, schemas.EventFailed, permanent)
	case "again":
		c.end(id, schemas.EventFailed, permanent)
		c.do(id, &ledger.Retry{Reason: "once more", Now: time.Now()})
	}
	return id
}

func (c *crowd) archiver(change ...func(*ledger.ArchiverConfig)) *ledger.Archiver {
	c.t.Helper()
	cfg := ledger.ArchiverConfig{Ledger: c.Ledger, Logger: zap.NewNop(), Durable: -1}
	for _, f := range change {
		f(&cfg)
	}
	a, err := ledger.NewArchiver(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	return a
}

func small(n int) func(*ledger.ArchiverConfig) {
	return func(cfg *ledger.ArchiverConfig) { cfg.SegmentEvents = n }
}

// leave moves what is stored by now and may leave; what it appends itself stands behind that and stays.
func (c *crowd) leave(a *ledger.Archiver) ledger.Moved {
	c.t.Helper()
	moved, err := a.LookBefore(c.t.Context(), c.cutAt(c.end0()))
	if err != nil {
		c.t.Fatal(err)
	}
	return moved
}

func (c *crowd) end0() schemas.Position {
	c.t.Helper()
	end, err := c.Ledger.End(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	return end
}

// cutAt is the time of a message: it leaves, and what comes behind it does not.
func (c *crowd) cutAt(p schemas.Position) time.Time {
	c.t.Helper()
	e, err := c.Ledger.EventAt(c.t.Context(), p.Seq)
	if err != nil {
		c.t.Fatal(err)
	}
	return e.Time
}

// historiesMax is how many histories one check reads one by one. Each loads a block of ARCHIVE for each segment that holds
// some of the job, of 8 MiB at most, and the server keeps what it unpacked of a block only until memory is collected: of
// thousands of jobs in a dozen segments each history unpacks nearly all there is.
const historiesMax = 300

// check compares every job with what it was: nothing lost, nothing doubled, nothing forgotten. What all of them are it
// learns in one pass, by replay; that a look for one of them finds the same is read of all indexes and filters, and of as
// many jobs as historiesMax, which lie evenly among all. So it reads the archive twice, however many jobs there are.
func (c *crowd) check(l *ledger.Ledger) {
	c.t.Helper()
	ids := c.inOrder()
	c.checkReplayed(l)
	for _, id := range ids {
		is, err := l.Fold(c.t.Context(), "acme", id)
		if err != nil {
			c.t.Fatalf("%s: %v", id, err)
		}
		sameButPlace(c.t, string(id), is, c.jobs[id])
	}
	if lost, err := l.ArchiveLost(c.t.Context()); err != nil || len(lost) > 0 {
		c.t.Fatalf("what is in the archive and is not found: %v, %v", lost, err)
	}
	n := min(len(ids), historiesMax)
	for i := range n {
		c.checkHistory(l, ids[i*len(ids)/n])
	}
}

// inOrder are the ids in the order of the pages: jobs whose events lie beside each other follow each other.
func (c *crowd) inOrder() []schemas.JobID { return slices.Sorted(maps.Keys(c.jobs)) }

// checkReplayed compares every job with what a replay of them all amounts to.
func (c *crowd) checkReplayed(l *ledger.Ledger) {
	c.t.Helper()
	jobs, stories := make(map[schemas.JobID]*ledger.Job), make(map[schemas.JobID][]schemas.EventID)
	err := l.Replay(c.t.Context(), ledger.ReplayQuery{Org: "acme", FullSpeed: true}, func(e *ledger.Entry) error {
		if jobs[e.Job] == nil {
			jobs[e.Job] = &ledger.Job{Org: e.Org, ID: e.Job}
		}
		if !e.ApplyTo(jobs[e.Job]) {
			return fmt.Errorf("illegal at %d: %s of %s", e.Seq, e.Name(), e.Job)
		}
		if e.Name() != schemas.EventCarried {
			stories[e.Job] = append(stories[e.Job], e.ID)
		}
		return nil
	})
	if err != nil {
		c.t.Fatalf("replay: %v", err)
	}
	for id, was := range c.jobs {
		if got := stories[id]; !slices.Equal(got, c.stories[id]) {
			c.t.Fatalf("%s: the replay is %v, was %v", id, got, c.stories[id])
		}
		sameButPlace(c.t, string(id)+" by replay", jobs[id], was)
	}
}

// checkHistory compares a job with what its own history says.
func (c *crowd) checkHistory(l *ledger.Ledger, id schemas.JobID) {
	c.t.Helper()
	h, err := l.History(c.t.Context(), "acme", id)
	if err != nil {
		c.t.Fatalf("%s: %v", id, err)
	}
	if got := c.story(h); !slices.Equal(got, c.stories[id]) {
		c.t.Fatalf("%s: the history is %v, was %v", id, got, c.stories[id])
	}
	if slices.Contains(h.Illegal, true) {
		c.t.Fatalf("%s: illegal events: %v", id, h.Illegal)
	}
	sameButPlace(c.t, string(id)+" by history", h.Job, c.jobs[id])
}

// sameButPlace compares jobs in all but the subject's last message.
func sameButPlace(t *testing.T, what string, got, want *ledger.Job) {
	t.Helper()
	g, w := *got, *want
	for _, j := range []*ledger.Job{&g, &w} {
		j.LastSeq, j.LastID, j.LastAt, j.Archived, j.Emptied = 0, "", time.Time{}, false, false
	}
	a, errA := json.Marshal(&g)
	b, errB := json.Marshal(&w)
	if errA != nil || errB != nil || !bytes.Equal(a, b) {
		t.Fatalf("%s is\n%s\nwant\n%s", what, a, b)
	}
}

// hotBegins checks that what LEDGER holds of unfinished jobs begins them: a leader that folds LEDGER alone has them all.
func (c *crowd) hotBegins() {
	c.t.Helper()
	for _, id := range c.inOrder() {
		j := c.jobs[id]
		is, err := c.Ledger.Fold(c.t.Context(), "acme", id)
		if err != nil {
			c.t.Fatal(err)
		}
		open := !j.State.Finished() || j.State == schemas.StateDeadLettered && j.Resolution == schemas.ResolutionOpen
		if is.Archived == open {
			c.t.Errorf("%s (%s): archived %t", id, c.kinds[id], is.Archived)
		}
	}
}
