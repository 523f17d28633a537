package ledger_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// equal content blocks by the earlier job's policy, another org or type never. A dead letter blocks
// nothing, at once (C7).
func TestDuplicateByContent(t *testing.T) {
	t.Parallel()
	env := submitEnv(t)
	l := env.Ledger
	one := submit(t, l, request("echo", `{"a":1,"b":[1.0,"x"]}`))
	same := request("echo", ` {"b":[1,"x"],"a":1e0}`)
	if again := submit(t, l, same); !again.Duplicate || again.ID != one.ID || again.Seq != one.Seq || again.State != schemas.StateSubmitted {
		t.Errorf("equal content: %+v, want a duplicate of %+v", again, one)
	}
	same.OnDuplicate = ledger.DuplicateError
	receipt, err := l.Submit(t.Context(), same)
	if e := wantCode(t, err, ledger.CodeDuplicate, ""); e.Details["id"] != one.ID || receipt.ID != one.ID {
		t.Errorf("on request an error: %+v %+v", receipt, e)
	}
	end, err := l.End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := l.SubmitRaw(t.Context(), same, nil) // nobody hears the error, and nothing is refused: nothing is recorded
	if now, bad := l.End(t.Context()); err != nil || bad != nil || raw.ID != one.ID || !raw.Duplicate || now != end {
		t.Errorf("on request an error, raw: %+v %v; the ledger ends at %+v %v, before at %+v", raw, err, now, bad, end)
	}
	for name, change := range map[string]func(r *ledger.SubmitRequest){
		"org": func(r *ledger.SubmitRequest) { r.Org = "other" }, "type": func(r *ledger.SubmitRequest) { r.Type = "flight" },
		"no dedup": func(r *ledger.SubmitRequest) { r.NoDedup = true }, "own id": func(r *ledger.SubmitRequest) { r.ID = "mine" },
		"child": func(r *ledger.SubmitRequest) { r.Parents = []schemas.ParentRef{{ID: one.ID}} },
		"batch": func(r *ledger.SubmitRequest) { r.Batch = "b" },
		"key":   func(r *ledger.SubmitRequest) { r.Key = "k" },
	} {
		r := request("echo", `{"a":1,"b":[1,"x"]}`)
		change(&r)
		if other := submit(t, l, r); other.Duplicate || other.ID == one.ID {
			t.Errorf("other %s: %+v is taken for a duplicate", name, other)
		}
	}
	for _, c := range []struct {
		typ    schemas.TypeName
		end    schemas.State
		blocks bool
	}{
		{"echo", schemas.StateCompleted, true}, {"echo", schemas.StateCanceled, false}, {"echo", schemas.StateDeadLettered, false},
		{"flight", schemas.StateCompleted, false}, {"flight", schemas.StateCanceled, false}, {"flight", schemas.StateDeadLettered, false},
		{"plain", schemas.StateSubmitted, false},
	} {
		r := request(c.typ, `{"end":"`+string(c.end)+`"}`)
		last := submit(t, l, r)
		for range 3 { // each of which has to go further along the chain
			finish(t, l, last.ID, c.end)
			next := submit(t, l, r)
			if next.Duplicate != c.blocks || (next.Seq == last.Seq) != c.blocks {
				t.Errorf("%s after %s: %+v, want blocked: %t", c.typ, c.end, next, c.blocks)
			}
			if c.blocks || c.end == schemas.StateSubmitted {
				break
			}
			if again := submit(t, l, r); !again.Duplicate || again.Seq != next.Seq {
				t.Errorf("%s: %+v, want a duplicate of %+v", c.typ, again, next)
			}
			last = next
		}
	}
}

// D4: work that may be in flight once lives under one derived id, by generations.
func TestInFlightIsExact(t *testing.T) {
	t.Parallel()
	env := submitEnv(t, ledgertest.WithWindow(100*time.Millisecond))
	r := request("flight", `{"n":1}`)
	one := submit(t, env.Ledger, r)
	if !strings.HasPrefix(string(one.ID), schemas.ReservedPrefix) {
		t.Errorf("id is %s, want a derived one", one.ID)
	}
	waitPast(t, env.Ledger, one.Seq, 150*time.Millisecond)
	if again := submit(t, env.Ledger, r); !again.Duplicate || again.ID != one.ID {
		t.Errorf("past the stream's window, unfinished: %+v, want a duplicate", again)
	}
	finish(t, env.Ledger, one.ID, schemas.StateCompleted)
	if two := submit(t, env.Ledger, r); two.Duplicate || two.ID != one.ID || two.Generation != 2 {
		t.Errorf("after the end: %+v, want generation 2 of %s", two, one.ID)
	}
	r.Key = "k"
	keyed := submit(t, env.Ledger, r)
	r.Args = []byte(`{"n":2}`)
	_, err := env.Ledger.Submit(t.Context(), r)
	wantCode(t, err, ledger.CodeIDConflict, "key")
	finish(t, env.Ledger, keyed.ID, schemas.StateCompleted)
	if next := submit(t, env.Ledger, r); next.Duplicate || next.Generation != 2 {
		t.Errorf("key after its job ended: %+v, want a new generation", next)
	}
}

// waitPast returns when the stream's clock is so far past the event at seq.
func waitPast(t *testing.T, l *ledger.Ledger, seq schemas.Seq, age time.Duration) {
	t.Helper()
	e, err := l.EventAt(t.Context(), seq)
	if err != nil {
		t.Fatal(err)
	}
	timer := time.NewTimer(time.Until(e.Time.Add(age)))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

// INTERFACE 2.4: same org, key and content is the same job; other content under the key is a conflict.
func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	env := submitEnv(t)
	for _, typ := range []schemas.TypeName{"echo", "plain"} {
		r := request(typ, `{"n":1}`)
		r.Key = "caller's key: any bytes \r\n\x00 " + string(typ)
		one := submit(t, env.Ledger, r)
		if again := submit(t, env.Ledger, r); !again.Duplicate || again.ID != one.ID {
			t.Errorf("%s: same key and content: %+v", typ, again)
		}
		other := r
		other.Args = []byte(`{"n":2}`)
		_, err := env.Ledger.Submit(t.Context(), other)
		wantCode(t, err, ledger.CodeIDConflict, "key")
		elsewhere := other
		elsewhere.Org = "other"
		if r := submit(t, env.Ledger, elsewhere); r.Duplicate {
			t.Errorf("the same key in another org is a duplicate: %+v", r)
		}
		free := r
		free.Key = "another"
		free.Org = schemas.OrgID("org-" + typ)
		if first := submit(t, env.Ledger, free); first.Duplicate {
			t.Errorf("another key: %+v", first)
		}
	}
}

// the caller's own id.
func TestOwnID(t *testing.T) {
	t.Parallel()
	env := submitEnv(t)
	l, ctx := env.Ledger, env.Context()
	short := schemas.Millis(1)
	for _, s := range []schemas.TypeSettings{
		{Name: "finished", WindowMS: &short}, {Name: "failed", WindowMS: &short, Reuse: schemas.ReuseFailed}, {Name: "never", WindowMS: &short, Reuse: schemas.ReuseNever},
	} {
		if _, err := l.PutType(ctx, s, ledger.Meta{}, ""); err != nil {
			t.Fatal(err)
		}
	}
	own := func(id schemas.JobID, typ schemas.TypeName, args string) ledger.SubmitRequest {
		r := request(typ, args)
		r.ID = id
		return r
	}
	one := submit(t, l, own("own-1", "echo", `{"n":1}`))
	if one.ID != "own-1" || one.Duplicate {
		t.Errorf("own id: %+v", one)
	}
	// Unfinished, and finished inside the window: equal content is this job, other content a conflict.
	for _, end := range []schemas.State{"", schemas.StateCompleted} {
		finish(t, l, "own-1", end)
		if again := submit(t, l, own("own-1", "echo", `{"n":1.0}`)); !again.Duplicate || again.Seq != one.Seq {
			t.Errorf("equal content (%s): %+v", end, again)
		}
		_, err := l.Submit(ctx, own("own-1", "echo", `{"n":2}`))
		wantCode(t, err, ledger.CodeIDConflict, "id")
		_, err = l.Submit(ctx, own("own-1", "plain", `{"n":1}`))
		if end == "" {
			wantCode(t, err, ledger.CodeIDConflict, "id")
		}
	}
	// Past the window the type's policy says when a new generation may begin.
	for _, c := range []struct {
		typ   schemas.TypeName
		end   schemas.State
		again bool
	}{
		{"finished", schemas.StateCompleted, true}, {"finished", schemas.StateCanceled, true}, {"finished", schemas.StateDeadLettered, true},
		{"failed", schemas.StateCompleted, false}, {"failed", schemas.StateCanceled, true}, {"failed", schemas.StateDeadLettered, true},
		{"never", schemas.StateCompleted, false}, {"never", schemas.StateCanceled, false}, {"never", schemas.StateDeadLettered, false},
	} {
		id := schemas.JobID(fmt.Sprintf("own-%s-%s", c.typ, c.end))
		first := submit(t, l, own(id, c.typ, `{"n":1}`))
		finish(t, l, id, c.end)
		waitPast(t, l, first.Seq, 20*time.Millisecond)
		if c.again {
			next := submit(t, l, own(id, c.typ, `{"n":2}`))
			if next.Duplicate || next.Generation != 2 {
				t.Errorf("%s after %s: %+v, want generation 2", c.typ, c.end, next)
			}
			continue
		}
		if same := submit(t, l, own(id, c.typ, `{"n":1}`)); !same.Duplicate || same.Seq != first.Seq {
			t.Errorf("%s after %s: %+v, want the job that holds the id", c.typ, c.end, same)
		}
		_, err := l.Submit(ctx, own(id, c.typ, `{"n":2}`))
		wantCode(t, err, ledger.CodeIDConflict, "id")
	}
}

// a window shorter than the stream's is honoured, by the stream's clock.
func TestWindowShorterThanTheStreams(t *testing.T) {
	t.Parallel()
	env := submitEnv(t)
	window := schemas.Millis(100)
	if _, err := env.Ledger.PutType(env.Context(), schemas.TypeSettings{Name: "short", WindowMS: &window}, ledger.Meta{}, ""); err != nil {
		t.Fatal(err)
	}
	one := submit(t, env.Ledger, request("short", `1`))
	waitPast(t, env.Ledger, one.Seq, 110*time.Millisecond)
	two := submit(t, env.Ledger, request("short", `1`))
	if two.Duplicate || two.ID == one.ID {
		t.Errorf("past its window: %+v, want a new job", two)
	}
	_, err := env.Ledger.PutType(env.Context(), schemas.TypeSettings{Name: "long", WindowMS: ptr(schemas.MillisOf(time.Hour))}, ledger.Meta{}, "")
	wantCode(t, err, ledger.CodeInvalidArgument, "dedup_window_ms")
}

func ptr[T any](v T) *T { return &v }

// D4: a job canceled as a duplicate stands for the job that it names.
func TestCanceledAsDuplicateIsFollowed(t *testing.T) {
	t.Parallel()
	env := submitEnv(t)
	r := request("echo", `{"n":1}`)
	two := submit(t, env.Ledger, r)
	r.NoDedup = true
	one := submit(t, env.Ledger, r)
	(&actor{t: t, l: env.Ledger, id: two.ID}).do(&ledger.Cancel{Reason: "duplicate", DuplicateOf: &schemas.JobRef{ID: one.ID, Generation: 1}})
	r.NoDedup = false
	if got := submit(t, env.Ledger, r); !got.Duplicate || got.ID != one.ID || got.State != schemas.StateSubmitted {
		t.Errorf("submit again: %+v, want a duplicate of %s", got, one.ID)
	}
	finish(t, env.Ledger, one.ID, schemas.StateCanceled)
	if got := submit(t, env.Ledger, r); got.Duplicate {
		t.Errorf("after the end of the one it stands for: %+v, want a new job", got)
	}
}

// Of N identical submissions at once exactly one is accepted, also while replies are lost, and again after each
// end that does not block (R-906, C30).
func TestParallelIdenticalSubmits(t *testing.T) {
	t.Parallel()
	env := submitEnv(t)
	ledgers := []*ledger.Ledger{env.Ledger, env.NewLedger(), env.NewLedger()}
	key, own := request("plain", `{"n":"key"}`), request("plain", `{"n":"own"}`)
	key.Key, own.ID = "once", "once"
	for name, r := range map[string]ledger.SubmitRequest{
		"content": request("echo", `{"n":"content"}`), "in flight": request("flight", `{"n":"flight"}`), "key": key, "own id": own,
	} {
		t.Run(name, func(t *testing.T) {
			for round := range 4 {
				env.Faults.Inject(ledgertest.Fault{Event: schemas.EventSubmitted, Kind: ledgertest.LoseReply, Times: 5})
				env.Faults.Inject(ledgertest.Fault{Event: schemas.EventSubmitted, Kind: ledgertest.LoseRequest, Times: 5})
				won := race(t, ledgers, 24, r)
				env.Faults.Clear()
				if name == "own id" {
					return // inside the window its job stands for it in any state
				}
				finish(t, env.Ledger, won.ID, []schemas.State{schemas.StateCanceled, schemas.StateDeadLettered}[round%2])
			}
		})
	}
}

// race submits r n times at once and returns the accepted receipt; all others must be duplicates of it.
func race(t *testing.T, ledgers []*ledger.Ledger, n int, r ledger.SubmitRequest) ledger.Receipt {
	t.Helper()
	receipts := make([]ledger.Receipt, n)
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { receipts[i], errs[i] = ledgers[i%len(ledgers)].Submit(t.Context(), r) })
	}
	wg.Wait()
	var won *ledger.Receipt
	for i := range receipts {
		if errs[i] != nil {
			t.Fatalf("submit: %v", errs[i])
		}
		if !receipts[i].Duplicate {
			if won != nil {
				t.Fatalf("two were accepted: %+v and %+v", *won, receipts[i])
			}
			won = &receipts[i]
		}
	}
	if won == nil {
		t.Fatalf("none was accepted: %+v", receipts)
	}
	for _, r := range receipts {
		if r.ID != won.ID || r.Seq != won.Seq {
			t.Fatalf("%+v is not a duplicate of %+v", r, *won)
		}
	}
	return *won
}

// D4 (b): of a singleton there is one unfinished job for each type and key, whatever its content, for any length of
// time; without a key, one of the type. Each end begins a new generation under the same id.
func TestSingleton(t *testing.T) {
	t.Parallel()
	env := submitEnv(t, ledgertest.WithWindow(100*time.Millisecond))
	l := env.Ledger
	for _, typ := range []schemas.TypeName{"sync", "other"} {
		if _, err := l.PutType(env.Context(), schemas.TypeSettings{Name: typ, Dedup: schemas.DedupSingleton}, ledger.Meta{}, ""); err != nil {
			t.Fatal(err)
		}
	}
	keyed := func(typ schemas.TypeName, key, args string) ledger.SubmitRequest {
		r := request(typ, args)
		r.Key = key
		return r
	}
	one := submit(t, l, keyed("sync", "box-1", `1`))
	waitPast(t, l, one.Seq, 150*time.Millisecond)
	if again := submit(t, l, keyed("sync", "box-1", `{"other":"content"}`)); !again.Duplicate || again.ID != one.ID || again.Seq != one.Seq {
		t.Errorf("the same key, past the window: %+v, want a duplicate of %+v", again, one)
	}
	whole := submit(t, l, request("sync", `1`))
	for name, r := range map[string]ledger.SubmitRequest{"key": keyed("sync", "box-2", `1`), "type": keyed("other", "box-1", `1`)} {
		if got := submit(t, l, r); got.Duplicate || got.ID == one.ID || got.ID == whole.ID {
			t.Errorf("another %s: %+v", name, got)
		}
	}
	if again := submit(t, l, request("sync", `2`)); !again.Duplicate || again.ID != whole.ID {
		t.Errorf("without a key: %+v, want the one of the type, %s", again, whole.ID)
	}
	for i, end := range []schemas.State{schemas.StateCompleted, schemas.StateCanceled, schemas.StateDeadLettered} {
		finish(t, l, one.ID, end)
		next := race(t, []*ledger.Ledger{l, env.NewLedger()}, 12, keyed("sync", "box-1", `1`))
		if next.ID != one.ID || next.Generation != i+2 {
			t.Errorf("after %s: %+v, want generation %d", end, next, i+2)
		}
	}
	free := request("sync", `1`)
	free.NoDedup = true
	if got := submit(t, l, free); got.Duplicate {
		t.Errorf("without dedup: %+v", got)
	}
}
