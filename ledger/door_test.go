package ledger_test

import (
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

func putSetting(t *testing.T, l *ledger.Ledger, set schemas.Setting) {
	t.Helper()
	if _, err := l.Put(t.Context(), ledger.Meta{}, set.Place(), func(schemas.Setting) (schemas.Setting, error) { return set, nil }); err != nil {
		t.Fatal(err)
	}
}

func doorCell(t *testing.T) *ledgertest.Env {
	t.Helper()
	env, _ := ledgertest.Cell(t)
	for _, s := range []schemas.TypeSettings{{Name: "echo"}, {Name: "flight", Dedup: schemas.DedupInFlight}} {
		putSetting(t, env.Ledger, &schemas.TypeSet{Settings: s})
	}
	return env
}

// distinct is a request for work that nobody asked for before.
func distinct(i int) ledger.SubmitRequest { return request("echo", fmt.Sprintf(`{"i":%d}`, i)) }

// seen waits until the counters hold all that is stored.
func seen(t *testing.T, l *ledger.Ledger) {
	t.Helper()
	end, err := l.End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	counts, err := l.JetStream().KeyValue(t.Context(), ledger.BucketCounts)
	if err != nil {
		t.Fatal(err)
	}
	all, err := counts.Watch(t.Context(), ledger.KeyCountsAll)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = all.Stop() }()
	limit := time.After(time.Minute)
	for {
		select {
		case e := <-all.Updates():
			var doc ledger.CountsDocument
			if e != nil && json.Unmarshal(e.Value(), &doc) == nil && doc.Seq >= end.Seq {
				return
			}
		case <-limit:
			t.Fatalf("the counters do not reach %s", end.Seq)
		}
	}
}

// over the waiting limit of a queue a submit is refused with limit and count, and nothing is
// recorded; jobs that wait for their time are not counted; work that is there already is answered as ever.
func TestQueueFull(t *testing.T) {
	t.Parallel()
	env := doorCell(t)
	l := env.Ledger
	putSetting(t, l, &schemas.QueueSet{Settings: schemas.QueueSettings{Name: schemas.QueueDefault, MaxWaitingPerOrg: 3}})
	scheduled := distinct(100)
	scheduled.Delay = time.Hour
	submit(t, l, scheduled)
	flight, own := request("flight", `1`), request("echo", `2`)
	own.ID = "own"
	repeated := request("echo", `3`)
	repeated.RequestID = uuid.New()
	submit(t, l, flight)
	submit(t, l, own)
	third := submit(t, l, repeated)
	seen(t, l)
	before := len(messages(t, l, "jobs.>"))
	_, err := l.Submit(t.Context(), distinct(4))
	if e := wantCode(t, err, ledger.CodeQueueFull, ""); e.Details["limit"] != 3 || e.Details["count"] != int64(3) || e.Details["queue"] != schemas.QueueDefault {
		t.Errorf("details are %v", e.Details)
	}
	other := distinct(4)
	other.ID = "other"
	_, err = l.Submit(t.Context(), other)
	wantCode(t, err, ledger.CodeQueueFull, "")
	for name, r := range map[string]ledger.SubmitRequest{"in flight": flight, "own id": own, "strict window": request("echo", `3`)} {
		if got, err := l.Submit(t.Context(), r); err != nil || !got.Duplicate {
			t.Errorf("work that is there already (%s): %+v %v", name, got, err)
		}
	}
	if got, err := l.Submit(t.Context(), repeated); err != nil || got.Duplicate || got.ID != third.ID || got.Seq != third.Seq {
		t.Errorf("the same request again: %+v %v", got, err)
	}
	if after := len(messages(t, l, "jobs.>")); after != before {
		t.Errorf("%d events were recorded for submits that were refused", after-before)
	}
	elsewhere, free := distinct(5), distinct(6)
	elsewhere.Queue, free.NoLimits = "elsewhere", true
	submit(t, l, elsewhere)
	submit(t, l, free)
	scheduled = distinct(101)
	scheduled.Delay = time.Hour
	submit(t, l, scheduled)
	for _, id := range []schemas.JobID{"own", third.ID} {
		(&actor{t: t, l: l, id: id}).do(&ledger.Cancel{})
	}
	seen(t, l)
	deadline := time.Now().Add(time.Minute)
	for _, err = l.Submit(t.Context(), distinct(7)); err != nil; _, err = l.Submit(t.Context(), distinct(7)) {
		if time.Now().After(deadline) {
			t.Fatalf("two have ended, and still: %v", err)
		}
	}
}

// several doors together exceed a limit by no more than what they take in while the view is a second old,
// here by nothing once it has caught up; the org's limit counts over its queues.
func TestOrgLimitOverDoors(t *testing.T) {
	t.Parallel()
	env := doorCell(t)
	const limit = 20
	putSetting(t, env.Ledger, &schemas.OrgSet{Settings: schemas.OrgSettings{Name: sceneOrg, MaxWaiting: limit}})
	doors := []*ledger.Ledger{env.Ledger, env.NewLedger(), env.NewLedger()}
	var in, n atomic.Int64
	var wg sync.WaitGroup
	for _, l := range doors {
		for range 4 {
			wg.Go(func() {
				for range 2 * limit {
					r := distinct(int(n.Add(1)))
					r.Queue = schemas.QueueName([]string{"a", "b", "c"}[n.Load()%3])
					if _, err := l.Submit(t.Context(), r); err == nil {
						in.Add(1)
					} else if ledger.AsError(err).Code != ledger.CodeQueueFull {
						t.Errorf("submit: %v", err)
					}
				}
			})
		}
	}
	wg.Wait()
	if got := in.Load(); got < limit || got > int64(len(doors))*(limit+4) {
		t.Errorf("%d were let in, the limit is %d at each of %d doors", got, limit, len(doors))
	}
	seen(t, env.Ledger)
	for i, l := range doors {
		for deadline := time.Now().Add(time.Minute); ; {
			_, err := l.Submit(t.Context(), distinct(1000+i))
			if err != nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("door %d lets in beyond the limit that others have filled", i)
			}
		}
	}
}

// a submit rate refuses with limit, remaining and reset, gives back what was not used, and lets in
// again when the time has come.
func TestSubmitRate(t *testing.T) {
	t.Parallel()
	env := doorCell(t)
	l := env.Ledger
	putSetting(t, l, &schemas.TypeSet{Settings: schemas.TypeSettings{Name: "echo", SubmitRate: &schemas.Rate{Count: 2, PerMS: 1000}}})
	submit(t, l, distinct(1))
	if again := submit(t, l, distinct(1)); !again.Duplicate {
		t.Fatalf("%+v", again)
	}
	submit(t, l, distinct(2))
	begun := time.Now()
	_, err := l.Submit(t.Context(), distinct(3))
	if time.Since(begun) < 300*time.Millisecond { // else the machine was too busy to say
		e := wantCode(t, err, ledger.CodeRateLimited, "")
		if e.Details["limit"] != 2 || e.Details["remaining"] != 0 || e.Details["reset_s"].(float64) <= 0 || e.Details["reset_s"].(float64) > 0.5 {
			t.Errorf("details are %v", e.Details)
		}
	}
	elsewhere := distinct(3)
	elsewhere.Org = "other"
	submit(t, l, elsewhere)
	deadline := time.Now().Add(time.Minute)
	for _, err = l.Submit(t.Context(), distinct(4)); err != nil; _, err = l.Submit(t.Context(), distinct(4)) {
		if time.Now().After(deadline) {
			t.Fatalf("long after: %v", err)
		}
	}
}

// a type may be closed to an org, a queue belong to one, and a deleted org submits nothing; a
// suspended one does.
func TestClosedDoors(t *testing.T) {
	t.Parallel()
	env := submitEnv(t)
	l := env.Ledger
	putSetting(t, l, &schemas.TypeSet{Settings: schemas.TypeSettings{Name: "plain", DisabledOrgs: []schemas.OrgID{sceneOrg}}})
	putSetting(t, l, &schemas.QueueSet{Settings: schemas.QueueSettings{Name: "theirs", Owner: "other"}})
	putSetting(t, l, &schemas.OrgSet{Settings: schemas.OrgSettings{Name: "gone", State: schemas.OrgDeleted}})
	putSetting(t, l, &schemas.OrgSet{Settings: schemas.OrgSettings{Name: "late", State: schemas.OrgSuspended}})
	for _, c := range []struct {
		org   schemas.OrgID
		typ   schemas.TypeName
		queue schemas.QueueName
		code  ledger.Code
	}{
		{sceneOrg, "plain", "", ledger.CodeTypeDisabled}, {"other", "plain", "", ""},
		{sceneOrg, "echo", "theirs", ledger.CodePermissionDenied}, {"other", "echo", "theirs", ""},
		{"gone", "echo", "", ledger.CodeOrgNotFound}, {"late", "echo", "", ""},
	} {
		_, err := l.Submit(t.Context(), ledger.SubmitRequest{Org: c.org, Type: c.typ, Queue: c.queue, NoLimits: true})
		if c.code == "" && err != nil || c.code != "" && ledger.AsError(err).Code != c.code {
			t.Errorf("%s submits %s to %q: %v, want %q", c.org, c.typ, c.queue, err, c.code)
		}
	}
}

// A limit that another process sets, or lifts, holds here after at most a second.
func TestLimitsAreFresh(t *testing.T) {
	t.Parallel()
	env := submitEnv(t)
	l, there := env.Ledger, env.NewLedger()
	submit(t, l, distinct(1))
	for i, max := range []int{1, 0} {
		putSetting(t, there, &schemas.QueueSet{Settings: schemas.QueueSettings{Name: "q1", MaxWaitingPerOrg: max}})
		deadline := time.Now().Add(time.Minute)
		for n := 0; ; n++ {
			_, err := l.Submit(t.Context(), distinct(1000*(i+1)+n))
			if full := ledger.AsError(err); (full != nil && full.Code == ledger.CodeQueueFull) == (max > 0) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("a limit of %d does not arrive: %v", max, err)
			}
		}
	}
}

// What the door costs a submit that no limit binds, and one that some do.
func BenchmarkDoor(b *testing.B) {
	env, _ := ledgertest.Cell(b)
	l := env.Ledger
	for name, max := range map[string]int{"no limit": 0, "limits": 10_000_000} {
		set := &schemas.QueueSet{Settings: schemas.QueueSettings{Name: schemas.QueueName("q" + fmt.Sprint(max)), MaxWaitingPerOrg: max}}
		for _, s := range []schemas.Setting{set, &schemas.TypeSet{Settings: schemas.TypeSettings{Name: "bench"}}} {
			if _, err := l.Put(b.Context(), ledger.Meta{}, s.Place(), func(schemas.Setting) (schemas.Setting, error) { return s, nil }); err != nil {
				b.Fatal(err)
			}
		}
		b.Run(name, func(b *testing.B) {
			r := ledger.SubmitRequest{Org: sceneOrg, Type: "bench", Queue: set.Settings.Name, Args: []byte(`{"n":1}`)}
			for b.Loop() {
				if err := ledger.AtTheDoor(b.Context(), l, &r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
