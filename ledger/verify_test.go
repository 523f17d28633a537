package ledger_test

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// verify runs the checker on a connection of its own.
func verify(t testing.TB, env *ledgertest.Env, cfg ledger.VerifyConfig) *ledger.Verdict {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cfg.Ledger = env.NewLedger()
	v, err := ledger.Verify(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// problems is the verdict's counts that are not null, by kind.
func problems(t testing.TB, v *ledger.Verdict) map[string]int {
	t.Helper()
	b, err := json.Marshal(v.Problems)
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]*int
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	found := make(map[string]int)
	for kind, n := range all {
		if n != nil {
			found[kind] = *n
		}
	}
	return found
}

// wantProblems reports a verdict whose problems are not exactly want; kinds not named are to be 0 or null.
func wantProblems(t testing.TB, v *ledger.Verdict, want map[string]int) {
	t.Helper()
	total := 0
	for kind, n := range problems(t, v) {
		if n != want[kind] {
			t.Errorf("%d problems of kind %s, want %d: %+v", n, kind, want[kind], v.Examples)
		}
		total += n
	}
	for kind, n := range want {
		if _, checked := problems(t, v)[kind]; !checked && n > 0 {
			t.Errorf("%s was not checked", kind)
		}
	}
	if v.OK != (total == 0) {
		t.Errorf("ok is %t with %d problems", v.OK, total)
	}
	for kind, n := range want {
		named := 0
		for _, e := range v.Examples {
			if e.Kind == kind {
				named++
			}
		}
		if n > 0 && named == 0 {
			t.Errorf("no example of %s: %+v", kind, v.Examples)
		}
	}
}

// put writes a document of a view.
func put(t testing.TB, env *ledgertest.Env, bucket, key string, value any) {
	t.Helper()
	body, ok := value.([]byte)
	if !ok {
		var err error
		if body, err = json.Marshal(value); err != nil {
			t.Fatal(err)
		}
	}
	kv, err := env.Ledger.JetStream().KeyValue(t.Context(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(t.Context(), key, body); err != nil {
		t.Fatal(err)
	}
}

// project writes all views as they are to be at the ledger's end, the simplest way there is.
func project(t testing.TB, env *ledgertest.Env) *ledger.CountsDocument {
	t.Helper()
	jobs, counts := map[string]*ledger.Job{}, ledger.Counts{}
	all := &ledger.CountsDocument{Form: ledger.ViewsForm()}
	err := env.Ledger.Replay(t.Context(), ledger.ReplayQuery{Foreign: true}, func(e *ledger.Entry) error {
		all.Position = e.Position()
		if e.Err != nil {
			all.Quarantined++
		}
		if set, ok := e.Data.(*schemas.TypeSet); ok {
			put(t, env, ledger.BucketConfig, ledger.TypeKey(set.Settings.Name), &ledger.TypeDocument{Settings: set.Settings,
				Position: e.Position(), Actor: e.Actor.String(), Reason: set.Reason, UpdatedAt: e.Time})
		}
		if e.Job == "" {
			return nil
		}
		key := ledger.JobKey(e.Org, e.Job)
		if jobs[key] == nil {
			jobs[key] = &ledger.Job{}
		}
		before := ledger.StandingOf(jobs[key])
		if !e.ApplyTo(jobs[key]) {
			all.Illegal++
		}
		counts.Apply(before, ledger.StandingOf(jobs[key]))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for key, j := range jobs {
		if !j.Exists() {
			continue
		}
		doc, err := ledger.Document(j)
		if err != nil {
			t.Fatal(err)
		}
		put(t, env, ledger.BucketJobs, key, doc)
	}
	for k, n := range counts {
		put(t, env, ledger.BucketCounts, k.String(), &ledger.CountDocument{Org: k.Org, Queue: k.Queue, Type: k.Type, Position: all.Position, Count: *n})
	}
	s, err := env.Ledger.JetStream().Stream(t.Context(), "KV_"+ledger.BucketJobs)
	if err != nil {
		t.Fatal(err)
	}
	all.Jobs, all.Config, all.Totals, all.JobsBucket = all.Position, all.Position, counts.Total(), s.CachedInfo().Created
	put(t, env, ledger.BucketCounts, ledger.KeyCountsAll, all)
	return all
}

// mixed is a ledger with jobs in several states, over two orgs, and a setting.
func mixed(t testing.TB, env *ledgertest.Env) {
	t.Helper()
	l := env.Ledger
	completeOne(t, l, "acme", "done")
	submitOne(t, l, "acme", "waiting")
	submitOne(t, l, "other", "running")
	runOne(t, l, "other", "running")
	submitOne(t, l, "other", "dead")
	fence := runOne(t, l, "other", "dead")
	endOne(t, l, "other", "dead", fence, ledger.Outcome{Kind: schemas.EventFailed, Error: &schemas.JobError{Class: schemas.ClassPermanent, Message: "no", Stack: "at main"}})
	set := schemas.NewEvent(ledger.ControlType("echo"), &schemas.TypeSet{Settings: schemas.TypeSettings{Name: "echo"}, Reason: "first"})
	if err := l.Append(t.Context(), set, 0); err != nil {
		t.Fatal(err)
	}
}

// A sound ledger is found sound, with and without views, whole or one org's, and parts that are not built
// or not there are null, never 0 (INTERFACE 2.5).
func TestVerifySound(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	mixed(t, env)
	last := end(t, env.Ledger)
	v := verify(t, env, ledger.VerifyConfig{Full: true})
	if want := map[string]int{"gap": 0, "decode": 0, "illegal": 0, "duplicate_id": 0, "payload": 0, "archive": 0, "carried": 0}; !reflect.DeepEqual(problems(t, v), want) {
		t.Errorf("without views the problems are %v, want %v", problems(t, v), want)
	}
	if !v.OK || v.FirstSeq != 1 || v.LastSeq != last || v.Events != int(last) || v.Jobs != 4 || v.Quarantined != 0 || v.Org != nil {
		t.Errorf("the verdict is %+v", v)
	}
	project(t, env)
	v = verify(t, env, ledger.VerifyConfig{Full: true})
	if want := map[string]int{"gap": 0, "decode": 0, "illegal": 0, "duplicate_id": 0, "payload": 0, "archive": 0, "carried": 0, "view": 0, "count": 0}; !reflect.DeepEqual(problems(t, v), want) {
		t.Errorf("with views the problems are %v, want %v: %+v", problems(t, v), want, v.Examples)
	}
	v = verify(t, env, ledger.VerifyConfig{Org: "other"})
	if !v.OK || v.Jobs != 2 || v.Events != 7 || v.Org == nil || *v.Org != "other" {
		t.Errorf("of one org the verdict is %+v", v)
	}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`{"ok":true,"org":"other","first_seq":1,"last_seq":`, `"chain":null`, `"index":null`, `"offer":null`, `"examples":[]`, `"duration_ms":`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the verdict does not hold %s:\n%s", want, text)
		}
	}
	// Views that lag behind, as they do beside a running system, are true where they stand.
	completeOne(t, env.Ledger, "acme", "later")
	step(t, env.Ledger, "acme", "waiting", &ledger.Cancel{Reason: "enough"})
	wantProblems(t, verify(t, env, ledger.VerifyConfig{}), nil)
}

// Each planted problem is found, is counted under its kind and no other, and is named.
func TestVerifyFindsWhatIsPlanted(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		plant func(t *testing.T, env *ledgertest.Env)
		want  map[string]int
		bad   int // quarantined
	}{
		"foreign message": {func(t *testing.T, env *ledgertest.Env) {
			publishRaw(t, env.Ledger, "jobs.acme.waiting", nil, "hello")
			publishRaw(t, env.Ledger, "control.x", nil, "hello")
			project(t, env)
		}, nil, 2},
		"event of a newer version": {func(t *testing.T, env *ledgertest.Env) {
			publishUndecodable(t, env.Ledger, "acme", "waiting")
			project(t, env)
		}, map[string]int{"decode": 1}, 1},
		"illegal event": {func(t *testing.T, env *ledgertest.Env) {
			j, err := env.Ledger.Fold(t.Context(), "acme", "done")
			if err != nil {
				t.Fatal(err)
			}
			e := schemas.NewEvent(schemas.JobSubject("acme", "done"), &schemas.Queued{Head: j.Head(), Policy: schemas.DefaultPolicy()})
			if err := env.Ledger.Append(t.Context(), e, j.LastSeq); err != nil {
				t.Fatal(err)
			}
			project(t, env)
		}, map[string]int{"illegal": 1}, 0},
		"second outcome of an attempt": {func(t *testing.T, env *ledgertest.Env) {
			e, err := env.Ledger.EventAt(t.Context(), 5)
			if err != nil || e.Name() != schemas.EventCompleted {
				t.Fatal(e, err)
			}
			again := schemas.NewEvent(e.Event.Subject, e.Data)
			if err := env.Ledger.Append(t.Context(), again, e.Seq); err != nil {
				t.Fatal(err)
			}
			project(t, env)
		}, map[string]int{"illegal": 1}, 0},
		"gap": {func(t *testing.T, env *ledgertest.Env) {
			s, err := env.Ledger.JetStream().Stream(t.Context(), ledger.StreamLedger)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Purge(t.Context(), jetstream.WithPurgeSubject("jobs.acme.done")); err != nil {
				t.Fatal(err)
			}
			project(t, env)
		}, map[string]int{"gap": 4}, 0},
		"gap at the end": {func(t *testing.T, env *ledgertest.Env) {
			submitOne(t, env.Ledger, "acme", "last")
			s, err := env.Ledger.JetStream().Stream(t.Context(), ledger.StreamLedger)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Purge(t.Context(), jetstream.WithPurgeSubject("jobs.acme.last")); err != nil {
				t.Fatal(err)
			}
		}, map[string]int{"gap": 1}, 0},
		"event id twice": {func(t *testing.T, env *ledgertest.Env) {
			e, err := env.Ledger.EventAt(t.Context(), 2)
			if err != nil || e.Name() != schemas.EventSubmitted {
				t.Fatal(e, err)
			}
			twin := schemas.NewEvent(schemas.JobSubject("acme", "twin"), e.Data)
			twin.ID = e.ID
			if err := env.Ledger.Append(t.Context(), twin, 0); err != nil {
				t.Fatal(err)
			}
			project(t, env)
		}, map[string]int{"duplicate_id": 1}, 0},
		"document changed": {func(t *testing.T, env *ledgertest.Env) {
			project(t, env)
			j, err := env.Ledger.Fold(t.Context(), "other", "running")
			if err != nil {
				t.Fatal(err)
			}
			j.Worker = "w-2"
			doc, err := ledger.Document(j)
			if err != nil {
				t.Fatal(err)
			}
			put(t, env, ledger.BucketJobs, "other.running", doc)
		}, map[string]int{"view": 1}, 0},
		"document of another life": {func(t *testing.T, env *ledgertest.Env) {
			project(t, env)
			j, err := env.Ledger.Fold(t.Context(), "other", "running")
			if err != nil {
				t.Fatal(err)
			}
			j.LastID = schemas.NewEventID()
			doc, err := ledger.Document(j)
			if err != nil {
				t.Fatal(err)
			}
			put(t, env, ledger.BucketJobs, "other.running", doc)
		}, map[string]int{"view": 1}, 0},
		"documents of no job, of no message, and no document at all": {func(t *testing.T, env *ledgertest.Env) {
			project(t, env)
			j, err := env.Ledger.Fold(t.Context(), "other", "running")
			if err != nil {
				t.Fatal(err)
			}
			j.ID = "nobody"
			doc, err := ledger.Document(j)
			if err != nil {
				t.Fatal(err)
			}
			put(t, env, ledger.BucketJobs, "other.nobody", doc)
			j.LastSeq = 10_000
			if doc, err = ledger.Document(j); err != nil {
				t.Fatal(err)
			}
			put(t, env, ledger.BucketJobs, "other.dead", doc)
			put(t, env, ledger.BucketJobs, "acme.waiting", []byte("{"))
		}, map[string]int{"view": 3}, 0},
		"document missing": {func(t *testing.T, env *ledgertest.Env) {
			project(t, env)
			remove(t, env, ledger.BucketJobs, "acme.done")
		}, map[string]int{"view": 1}, 0},
		"document stayed behind": {func(t *testing.T, env *ledgertest.Env) {
			j, err := env.Ledger.Fold(t.Context(), "acme", "waiting")
			if err != nil {
				t.Fatal(err)
			}
			doc, err := ledger.Document(j)
			if err != nil {
				t.Fatal(err)
			}
			step(t, env.Ledger, "acme", "waiting", &ledger.Cancel{Reason: "enough"})
			project(t, env)
			put(t, env, ledger.BucketJobs, "acme.waiting", doc)
		}, map[string]int{"view": 1}, 0},
		"setting changed": {func(t *testing.T, env *ledgertest.Env) {
			all := project(t, env)
			put(t, env, ledger.BucketConfig, ledger.TypeKey("echo"), &ledger.TypeDocument{Settings: schemas.TypeSettings{Name: "echo", Disabled: true}, Position: all.Position})
		}, map[string]int{"view": 1}, 0},
		"counter changed": {func(t *testing.T, env *ledgertest.Env) {
			all := project(t, env)
			put(t, env, ledger.BucketCounts, "acme.default.echo", &ledger.CountDocument{Org: "acme", Queue: "default", Type: "echo", Position: all.Position, Count: ledger.Count{Completed: 2}})
		}, map[string]int{"count": 1}, 0},
		"counter missing": {func(t *testing.T, env *ledgertest.Env) {
			project(t, env)
			remove(t, env, ledger.BucketCounts, "other.default.echo")
		}, map[string]int{"count": 1}, 0},
		"counter of no event": {func(t *testing.T, env *ledgertest.Env) {
			all := project(t, env)
			put(t, env, ledger.BucketCounts, "acme.default.none", &ledger.CountDocument{Org: "acme", Queue: "default", Type: "none", Position: schemas.Position{Seq: all.Seq, ID: "x"}})
			put(t, env, ledger.BucketCounts, "acme.default.ahead", &ledger.CountDocument{Org: "acme", Queue: "default", Type: "ahead", Position: schemas.Position{Seq: all.Seq + 9, ID: "x"}})
		}, map[string]int{"count": 2}, 0},
		"totals changed": {func(t *testing.T, env *ledgertest.Env) {
			all := project(t, env)
			all.Quarantined++
			put(t, env, ledger.BucketCounts, ledger.KeyCountsAll, all)
		}, map[string]int{"count": 1}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := ledgertest.Start(t)
			env.SkipVerify()
			mixed(t, env)
			tc.plant(t, env)
			v := verify(t, env, ledger.VerifyConfig{})
			wantProblems(t, v, tc.want)
			if v.Quarantined != tc.bad {
				t.Errorf("quarantined are %d, want %d", v.Quarantined, tc.bad)
			}
		})
	}
}

func remove(t testing.TB, env *ledgertest.Env, bucket, key string) {
	t.Helper()
	kv, err := env.Ledger.JetStream().KeyValue(t.Context(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	if err := kv.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
}

// Of many problems all are counted and 20 named.
func TestVerifyCountsAll(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	env.SkipVerify()
	for i := range 30 {
		publishUndecodable(t, env.Ledger, "acme", schemas.JobID(fmt.Sprint("job", i)))
	}
	v := verify(t, env, ledger.VerifyConfig{})
	if v.Problems.Decode == nil || *v.Problems.Decode != 30 || len(v.Examples) != 20 || v.OK {
		t.Errorf("the verdict is %+v", v)
	}
}

// Bytes that this version would have written otherwise are found by the full check alone.
func TestVerifyFull(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	env.SkipVerify()
	e := submitOne(t, env.Ledger, "acme", "one")
	m, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	m.Header[schemas.HeaderID] = []string{string(schemas.NewEventID())}
	publishRaw(t, env.Ledger, "jobs.acme.two", m.Header, strings.Replace(string(m.Data), ",", " ,", 1))
	wantProblems(t, verify(t, env, ledger.VerifyConfig{}), nil)
	wantProblems(t, verify(t, env, ledger.VerifyConfig{Full: true}), map[string]int{"decode": 1})
}
