package index_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/internal/where"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/projector/index"
	"github.com/dartwing/jobledger/schemas"
)

// patience is how long a test waits for what must happen.
const patience = 2 * time.Minute

func feed(t testing.TB, env *ledgertest.Env) *ledger.Feed {
	t.Helper()
	f, err := ledger.NewFeed(ledger.FeedConfig{Ledger: env.NewLedger()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = f.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return f
}

// start runs an index until stop is called, at the latest at the end of the test.
func start(t testing.TB, env *ledgertest.Env, f *ledger.Feed, dir string, change ...func(*index.Index)) (x *index.Index, stop func()) {
	t.Helper()
	x, err := index.New(index.Config{Ledger: env.NewLedger(), Feed: f, Dir: dir, Server: "here", Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range change {
		c(x)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- x.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the index ended with %v", err)
		}
	})
	t.Cleanup(stop)
	return x, stop
}

func caughtUp(t testing.TB, env *ledgertest.Env, x *index.Index) schemas.Seq {
	t.Helper()
	end, err := env.Ledger.End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := x.WaitFor(ctx, end.Seq); err != nil {
		t.Fatal(err)
	}
	return end.Seq
}

// folded is every job as a fold from zero says, with the counts.
func folded(t testing.TB, env *ledgertest.Env) (map[string]*ledger.Job, ledger.Counts) {
	t.Helper()
	jobs, counts := map[string]*ledger.Job{}, ledger.Counts{}
	err := env.Ledger.Replay(t.Context(), ledger.ReplayQuery{Foreign: true}, func(e *ledger.Entry) error {
		if e.Job == "" {
			return nil
		}
		k := string(e.Org) + "." + string(e.Job)
		if jobs[k] == nil {
			jobs[k] = &ledger.Job{Org: e.Org, ID: e.Job}
		}
		was := ledger.StandingOf(jobs[k])
		ledger.Counted(jobs[k], e.Event, e.Err)
		counts.Apply(was, ledger.StandingOf(jobs[k]))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(jobs, func(_ string, j *ledger.Job) bool { return !j.Exists() })
	return jobs, counts
}

func document(t testing.TB, j *ledger.Job) string {
	t.Helper()
	doc, err := ledger.Document(j)
	if err != nil {
		t.Fatal(err)
	}
	return string(doc)
}

// check compares the index with a fold from zero: every row, byte for byte, and every counter.
func check(t testing.TB, env *ledgertest.Env, x *index.Index) {
	t.Helper()
	caughtUp(t, env, x)
	want, counts := folded(t, env)
	rows := 0
	err := x.Rows(t.Context(), func(j *ledger.Job, _, _ []byte) {
		rows++
		k := string(j.Org) + "." + string(j.ID)
		if want[k] == nil {
			t.Errorf("%s is in the index only", k)
		} else if have, want := document(t, j), document(t, want[k]); have != want {
			t.Errorf("row\n%s; want\n%s", have, want)
		}
	})
	if err != nil || rows != len(want) {
		t.Errorf("%d rows, %v; want %d", rows, err, len(want))
	}
	have, _, err := x.Counts(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for k, n := range counts {
		if have[k] != *n {
			t.Errorf("%s: %+v; want %+v", k, have[k], *n)
		}
	}
	for k, n := range have {
		if counts[k] == nil && n != (ledger.Count{}) {
			t.Errorf("%s is counted in the index only", k)
		}
	}
}

// R-117, DESIGN D2: an index that is killed at any moment, or thrown away, equals a fold from zero when it is back.
func TestIndexEqualsFoldAfterKills(t *testing.T) {
	env := ledgertest.Start(t)
	f := feed(t, env)
	dir := t.TempDir()
	walk := ledgertest.NewWalk(env, t, rand.Uint64())
	for range 4 {
		x, stop := start(t, env, f, dir)
		for range 60 {
			walk.Step()
		}
		if walk.Rand.IntN(3) == 0 {
			x.Rebuild()
		}
		stop() // wherever it is
		walk.Step()
	}
	x, _ := start(t, env, f, dir)
	walk.Rest()
	check(t, env, x)
	x.Rebuild()
	check(t, env, x)
	for limit := time.Now().Add(patience); ; {
		v, err := ledger.Verify(t.Context(), ledger.VerifyConfig{Ledger: env.NewLedger(), Full: true})
		if err != nil || !v.OK {
			t.Fatalf("verify: %+v, %v", v, err)
		}
		if v.Problems.Index != nil && len(v.Indexes) == 1 && v.Indexes[0].Checked && v.Indexes[0].Rows > 0 {
			break
		}
		if time.Now().After(limit) {
			t.Fatalf("the index was not checked: %+v", v)
		}
	}
}

// DESIGN D2: a damaged file, and one that was written at an event which the ledger does not hold, are folded anew.
func TestIndexOfAnotherLedgerIsThrownAway(t *testing.T) {
	dir := t.TempDir()
	for i := range 2 {
		env := ledgertest.Start(t)
		f := feed(t, env)
		walk := ledgertest.NewWalk(env, t, rand.Uint64())
		for range 20 {
			walk.Step()
		}
		x, stop := start(t, env, f, dir)
		check(t, env, x)
		stop()
		if i == 0 {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, "index.sqlite"), []byte("no database, whatever it is called"), 0o600); err != nil {
			t.Fatal(err)
		}
		x, _ = start(t, env, f, dir)
		check(t, env, x)
	}
}

// populate stores jobs of many kinds in org "a", and a few beside them.
func populate(t testing.TB, env *ledgertest.Env, r *rand.Rand, n int) {
	t.Helper()
	schema := `{"properties":{"user":{"properties":{"id":{"x-index":true},"mail":{"x-redact":true}}}}}`
	for _, s := range []schemas.TypeSettings{{Name: "mail-send", Schema: json.RawMessage(schema)}, {Name: "mail-drop", Schema: json.RawMessage(schema)}, {Name: "report"}} {
		if _, err := env.Ledger.PutType(t.Context(), s, ledger.Meta{}, ""); err != nil {
			t.Fatal(err)
		}
	}
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	parents := map[schemas.OrgID][]schemas.JobID{}
	for _, org := range []schemas.OrgID{"a", "b"} {
		for _, id := range []schemas.JobID{"p1", "b1"} { // one of them has the name of a batch
			if _, err := env.Ledger.Submit(t.Context(), ledger.SubmitRequest{Org: org, ID: id, Type: "report", Args: json.RawMessage(`{"user":{"mail":"u9@x"}}`)}); err != nil {
				t.Fatal(err)
			}
			parents[org] = append(parents[org], id)
		}
	}
	for i := range n {
		req := ledger.SubmitRequest{Org: schemas.OrgID(pick("a", "a", "a", "b")), Type: schemas.TypeName(pick("mail-send", "mail-drop", "report")), NoDedup: true,
			Args:  fmt.Appendf(nil, `{"user":{"id":%d,"mail":"u%d@x"},"to":["%s"]}`, i%5, i%5, pick("north", "south")),
			Queue: schemas.QueueName(pick("default", "bulk")), Principal: "user:" + pick("ada", "bob"), Batch: pick("", "b1", "b2"),
			Tags: map[string]string{"env": pick("test", "prod")}, Meta: ledger.Meta{Actor: schemas.Actor{Type: "user", ID: "root"}}}
		if r.IntN(3) == 0 {
			req.Tags = nil
		}
		for _, id := range parents[req.Org] {
			if r.IntN(3) == 0 {
				req.Parents = append(req.Parents, schemas.ParentRef{ID: id})
			}
		}
		receipt, err := env.Ledger.Submit(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		if len(req.Parents) == 0 { // else it waits
			move(t, env, r, req.Org, receipt.ID)
		}
	}
}

// move takes a job some way.
func move(t testing.TB, env *ledgertest.Env, r *rand.Rand, org schemas.OrgID, id schemas.JobID) {
	t.Helper()
	now := time.Now()
	for range r.IntN(6) {
		j, err := env.Ledger.Fold(t.Context(), org, id)
		if err != nil {
			t.Fatal(err)
		}
		var c ledger.Command
		switch j.State {
		case schemas.StateSubmitted:
			if c = ledger.Command(&ledger.Queue{Policy: schemas.DefaultPolicy(), Now: now}); r.IntN(8) == 0 {
				c = &ledger.Cancel{Reason: "chance"}
			}
		case schemas.StateQueued:
			c = &ledger.Claim{Generation: j.Generation, Submitted: j.SubmittedSeq, Session: "s", Worker: "w"}
		case schemas.StateRunning:
			o := &ledger.Outcome{Kind: schemas.EventCompleted, Fence: j.Fence, Generation: j.Generation, Attempt: j.Attempt, Now: now, Result: json.RawMessage(`{"sent":true}`)}
			if class := []schemas.ErrorClass{"", schemas.ClassTransient, schemas.ClassPermanent}[r.IntN(3)]; class != "" {
				o.Kind, o.RetryAfter, o.Result = schemas.EventFailed, time.Hour, nil
				o.Error = &schemas.JobError{Class: class, Message: fmt.Sprintf("Host 10.0.0.%d refused", r.IntN(3))}
			}
			c = o
		case schemas.StateDeadLettered:
			c = &ledger.Resolve{Note: "seen"}
		default:
			return
		}
		if _, _, err := env.Ledger.DoFrom(t.Context(), j, c, ledger.Meta{}); err != nil {
			t.Fatal(err)
		}
	}
}

// terms meet what populate stores.
var terms = []string{"state:completed", "state:dead_lettered,retrying", "state:sub*", "type:mail-*", "type:report", "type:none", "queue:bulk",
	"priority:normal,high", "owner:user:ada", "owner:user:*", "owner:*", "batch:b1,b2", "batch:*", "parent:p1", "parent:b1", "parent:b1,p1", "parent:none", "parent:*", "tag.env:test", "tag.env:*", "tag.none:x", "error:REFUSED",
	"error:host*", "error:*", "error:10.0.0.2", "class:permanent", "class:t*", "group:*", "resolution:open", "resolution:*", "reason:ready", "reason:permanent_error",
	"reason:*", "id:none", "id:0*", "attempt:1", "attempt:<1", "submitted:<1h", "submitted:>1h", "submitted:>1ms", "finished:<1h", "finished:>1h", "finished:*",
	"args.user.id:3", "args.user.id:1,2", "args.user.id:4*", "args.to:north", "args:SOUTH", "args:*", "args.user.mail:u1@x", "args:@x", "result.sent:true", "result:*"}

// what a filter finds, page by page, is what its match chooses among all jobs, newest first; and nothing is found
// by what its schema marks x-redact.
func TestFindAgainstModel(t *testing.T) {
	env := ledgertest.Start(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 7))
	populate(t, env, r, 60)
	x, _ := start(t, env, feed(t, env), t.TempDir())
	check(t, env, x)
	all, now := []ledger.Record{}, time.Now()
	if err := x.Rows(t.Context(), func(j *ledger.Job, args, result []byte) {
		if strings.Contains(string(args), "@x") != (j.Spec.Type == "report") {
			t.Errorf("of a job of type %s %s is kept", j.Spec.Type, args)
		}
		record := ledger.RecordOf(j)
		record.Args, record.Result = args, result
		all = append(all, record)
	}); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(all, func(a, b ledger.Record) int { return cmp.Compare(b.SubmittedSeq, a.SubmittedSeq) })
	for i := range 60 + 2*len(terms) {
		text := terms[i%len(terms)]
		if i%(2*len(terms)) >= len(terms) {
			text = "-" + text
		}
		if i >= 2*len(terms) {
			text += " " + []string{"", "-"}[r.IntN(2)] + terms[r.IntN(len(terms))]
		}
		w, err := where.Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		var want []schemas.JobID
		for i := range all {
			if all[i].Org == "a" && w.Match(&all[i], now) {
				want = append(want, all[i].ID)
			}
		}
		if have := pages(t, x, "a", &w, 1+r.IntN(9), now); !slices.Equal(have, want) {
			t.Errorf("%s: %d jobs %v; want %d %v", text, len(have), have, len(want), want)
		}
	}
	for _, group := range all {
		if group.State == schemas.StateDeadLettered && group.Org == "a" {
			w, _ := where.Parse("group:" + where.GroupOf(&group).Key() + " id:" + string(group.ID))
			if have := pages(t, x, "a", &w, 9, now); !slices.Equal(have, []schemas.JobID{group.ID}) {
				t.Errorf("%s: %v", w.String(), have)
			}
		}
	}
}

// pages reads all pages of a query.
func pages(t testing.TB, x *index.Index, org schemas.OrgID, w *where.Where, limit int, now time.Time) (ids []schemas.JobID) {
	t.Helper()
	q := index.Query{Org: org, Where: *w, Limit: limit, Now: now}
	for {
		page, err := x.Find(t.Context(), &q)
		if err != nil {
			t.Fatalf("%s: %v", w.String(), err)
		}
		for _, r := range page.Records {
			ids = append(ids, r.ID)
		}
		if len(page.Records) > limit {
			t.Fatalf("%s: a page of %d", w.String(), len(page.Records))
		}
		if q.Before = page.Next; page.Next == 0 {
			return ids
		}
	}
}
