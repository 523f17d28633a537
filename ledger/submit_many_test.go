package ledger_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// unhampered is a ledger that sends as it does outside of tests: where faults can be put between, each request goes by
// itself.
func unhampered(t *testing.T, env *ledgertest.Env) *ledger.Ledger {
	t.Helper()
	l, err := ledger.New(ledger.Config{Conn: env.Ledger.Conn(), Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func submitMany(t *testing.T, l *ledger.Ledger, requests []ledger.SubmitRequest) []ledger.Submission {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // a disk that others keep busy may stall longer than one call may take
	defer cancel()
	outcomes, err := l.SubmitMany(ctx, requests)
	if err != nil || len(outcomes) != len(requests) {
		t.Fatalf("%d outcomes of %d: %v", len(outcomes), len(requests), err)
	}
	return outcomes
}

// wantStored: each outcome is a job of its own that the ledger holds as the receipt says; its jobs follow each other.
func wantStored(t *testing.T, l *ledger.Ledger, outcomes []ledger.Submission, ordered bool) {
	t.Helper()
	seen := make(map[schemas.JobID]bool)
	var last schemas.Seq
	for i, o := range outcomes {
		if o.Err != nil || o.Receipt.Duplicate || seen[o.Receipt.ID] {
			t.Fatalf("request %d: %+v %v", i, o.Receipt, o.Err)
		}
		seen[o.Receipt.ID] = true
		if ordered && o.Receipt.Seq <= last {
			t.Errorf("request %d is stored at %d, the one before at %d", i, o.Receipt.Seq, last)
		}
		last = o.Receipt.Seq
		j, err := l.Fold(t.Context(), o.Receipt.Org, o.Receipt.ID)
		if err != nil || !j.Exists() || j.SubmittedSeq != o.Receipt.Seq {
			t.Fatalf("job %s of receipt %d: %+v %v", o.Receipt.ID, o.Receipt.Seq, j, err)
		}
	}
}

// many at once are stored as they would be one by one, in order; the checker has the last word.
func TestSubmitMany(t *testing.T) {
	t.Parallel()
	l := unhampered(t, ledgertest.Start(t))
	putSetting(t, l, &schemas.TypeSet{Settings: schemas.TypeSettings{Name: "echo"}})
	requests := make([]ledger.SubmitRequest, 200)
	for i := range requests {
		requests[i] = distinct(i)
		requests[i].NoDedup = i%2 == 0
	}
	wantStored(t, l, submitMany(t, l, requests), true)
	if outcomes := submitMany(t, l, nil); len(outcomes) != 0 {
		t.Error("nothing has outcomes")
	}
	_, err := l.SubmitMany(t.Context(), make([]ledger.SubmitRequest, ledger.SubmitManyMax+1))
	wantCode(t, err, ledger.CodeInvalidArgument, "")
}

// D4, R-07: each of many has the outcome that Submit would have given it, and touches no other.
func TestSubmitManyApart(t *testing.T) {
	t.Parallel()
	l := unhampered(t, ledgertest.Start(t))
	for _, s := range []schemas.TypeSettings{{Name: "echo"}, {Name: "flight", Dedup: schemas.DedupInFlight}} {
		putSetting(t, l, &schemas.TypeSet{Settings: s})
	}
	first := submit(t, l, distinct(1))
	own, key, large, asked := distinct(2), distinct(3), request("echo", `"`+strings.Repeat("x", schemas.ArgsMax)+`"`), distinct(4)
	own.ID, key.Key, asked.RequestID = "own", "k", uuid.New()
	otherKey, once := distinct(5), distinct(1)
	otherKey.Key, once.OnDuplicate = "k", ledger.DuplicateError
	outcomes := submitMany(t, l, []ledger.SubmitRequest{distinct(6), distinct(1), request("echo", `{`), request("none", `1`), own, key, large, asked,
		distinct(6), once, request("flight", `1`), request("flight", `1`), distinct(7)})
	var stored []ledger.Submission
	for i, want := range []ledger.Code{"", "same", ledger.CodeInvalidArgument, ledger.CodeUnknownType, "", "", "", "", "same", ledger.CodeDuplicate, "either", "either", ""} {
		switch o := outcomes[i]; {
		case want == "" || want == "same":
			if o.Err != nil || o.Receipt.Duplicate != (want != "") {
				t.Errorf("request %d: %+v %v, want %q", i, o.Receipt, o.Err, want)
			}
			if want == "" {
				stored = append(stored, o)
			}
		case want != "either":
			if e := ledger.AsError(o.Err); e == nil || e.Code != want {
				t.Errorf("request %d: %v, want %s", i, o.Err, want)
			}
		}
	}
	wantStored(t, l, stored, false)
	if a, b := outcomes[10], outcomes[11]; a.Err != nil || b.Err != nil || a.Receipt.ID != b.Receipt.ID || a.Receipt.Duplicate == b.Receipt.Duplicate {
		t.Errorf("the same work twice, exactly once: %+v %+v", a, b)
	}
	if outcomes[1].Receipt.ID != first.ID || outcomes[8].Receipt.ID != outcomes[0].Receipt.ID {
		t.Error("a duplicate names another job")
	}
	for i, r := range submitMany(t, l, []ledger.SubmitRequest{otherKey, asked, distinct(8)}) {
		switch {
		case i == 0 && (r.Err == nil || ledger.AsError(r.Err).Code != ledger.CodeIDConflict):
			t.Errorf("the key of other content: %+v %v", r.Receipt, r.Err)
		case i == 1 && (r.Err != nil || r.Receipt.ID != outcomes[7].Receipt.ID || r.Receipt.Duplicate):
			t.Errorf("the same request again: %+v %v", r.Receipt, r.Err)
		}
	}
}

// D3: an answer that is lost, or says nothing, never makes a second job and is never taken for a refusal.
func TestSubmitManyUnanswered(t *testing.T) {
	t.Parallel()
	l := unhampered(t, ledgertest.Start(t))
	putSetting(t, l, &schemas.TypeSet{Settings: schemas.TypeSettings{Name: "echo"}})
	l.HearMany(func(i int, answer []byte) []byte {
		switch i % 5 {
		case 1:
			return nil
		case 2:
			return []byte(`{"error":{"code":503,"err_code":10077,"description":"x"},"stream":"LEDGER","seq":0}`) // it may be stored
		case 3:
			return []byte{} // as if nobody took it
		case 4:
			return []byte(`{`)
		}
		return answer
	})
	requests := make([]ledger.SubmitRequest, 100)
	for i := range requests {
		requests[i] = distinct(i)
		requests[i].NoDedup = i%2 == 0
	}
	wantStored(t, l, submitMany(t, l, requests), false)
	if got := len(messages(t, l, "jobs.>")); got != len(requests) {
		t.Errorf("%d events of %d submits", got, len(requests))
	}
}

// a limit lets in as many of many as it has room for.
func TestSubmitManyLimits(t *testing.T) {
	t.Parallel()
	l := unhampered(t, doorCell(t))
	putSetting(t, l, &schemas.QueueSet{Settings: schemas.QueueSettings{Name: schemas.QueueDefault, MaxWaitingPerOrg: 3}})
	requests := make([]ledger.SubmitRequest, 10)
	for i := range requests {
		requests[i] = distinct(i)
	}
	got := make([]ledger.Code, len(requests))
	for i, o := range submitMany(t, l, requests) {
		if o.Err != nil {
			got[i] = ledger.AsError(o.Err).Code
		}
	}
	if text := fmt.Sprint(got[:3], got[3] == ledger.CodeQueueFull, got[9] == ledger.CodeQueueFull); text != "[  ] true true" {
		t.Errorf("a limit of 3: %q", got)
	}
}

// A context that has ended: what was not sent is not stored, and says so.
func TestSubmitManyEnded(t *testing.T) {
	t.Parallel()
	l := unhampered(t, ledgertest.Start(t))
	putSetting(t, l, &schemas.TypeSet{Settings: schemas.TypeSettings{Name: "echo"}})
	submit(t, l, distinct(0)) // the settings are known now
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	outcomes, err := l.SubmitMany(ctx, []ledger.SubmitRequest{distinct(1), distinct(2)})
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range outcomes {
		if o.Err != nil && ledger.AsError(o.Err).Code != ledger.CodeUnavailable {
			t.Errorf("request %d: %+v %v", i, o.Receipt, o.Err)
		}
	}
}

// A context that ends while many are sent: nothing more is sent, and what was not sent says so (D3).
func TestSubmitManyEnds(t *testing.T) {
	t.Parallel()
	const sent = 9
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var asked atomic.Int64
	l, err := ledger.New(ledger.Config{Conn: ledgertest.Start(t).Ledger.Conn(), Logger: zap.NewNop(),
		CheckArgs: func(*schemas.TypeSettings, json.RawMessage) error {
			if asked.Add(1) == sent+1 {
				cancel()
			}
			return nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	putSetting(t, l, &schemas.TypeSet{Settings: schemas.TypeSettings{Name: "echo"}})
	requests := make([]ledger.SubmitRequest, 100)
	for i := range requests {
		requests[i] = distinct(i)
	}
	outcomes, err := l.SubmitMany(ctx, requests)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range outcomes[sent:] {
		if e := ledger.AsError(o.Err); e == nil || e.Code != ledger.CodeUnavailable || errors.Is(o.Err, ledger.ErrUnknown) {
			t.Errorf("request %d: %+v %v", sent+i, o.Receipt, o.Err)
		}
	}
	submit(t, l, distinct(len(requests))) // behind all that were sent
	if got := len(messages(t, l, "jobs.>")); got != sent+1 {
		t.Errorf("%d events of %d submits that were sent", got, sent+1)
	}
}

// What a submit costs its client before anything is sent.
func BenchmarkSubmitPrepare(b *testing.B) {
	env := ledgertest.Start(b)
	l := env.Ledger
	if _, err := l.PutType(b.Context(), schemas.TypeSettings{Name: "echo"}, ledger.Meta{}, ""); err != nil {
		b.Fatal(err)
	}
	args := `"` + strings.Repeat("x", 256) + `"`
	for _, dedup := range []bool{false, true} {
		b.Run(fmt.Sprintf("dedup=%v", dedup), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := request("echo", args)
				r.NoDedup, r.Meta.Actor = !dedup, schemas.Actor{Type: "user", ID: "bench"}
				if err := ledger.PrepareSubmit(b.Context(), l, r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
