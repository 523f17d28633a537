package projector_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// A server of another version led before: it wrote other documents of the same events, counted otherwise, and passed
// over settings that it could not read. The next leader writes all of that anew; it deletes nothing, and no document
// goes back (DESIGN D8, D9).
func TestViewsOfAnotherVersion(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	env.SkipVerify() // the stories hold an event that nobody can read
	stop := project(t, env, feed(t, env))
	stories(t, env)
	caughtUp(t, env)
	stop()
	want := documents(t, env, ledger.BucketConfig)

	created := bucketsCreated(t, env)
	for key, doc := range documents(t, env, ledger.BucketJobs) {
		putDocument(t, env, ledger.BucketJobs, key, strings.Replace(doc, "{", `{"older":"form",`, 1))
	}
	for key, doc := range documents(t, env, ledger.BucketCounts) {
		if key != ledger.KeyCountsAll {
			putDocument(t, env, ledger.BucketCounts, key, strings.Replace(doc, "{", `{"older":"form",`, 1))
			continue
		}
		var all ledger.CountsDocument
		if err := json.Unmarshal([]byte(doc), &all); err != nil {
			t.Fatal(err)
		}
		all.Form, all.Quarantined, all.Illegal = "", 99, 99
		text, err := json.Marshal(&all)
		if err != nil {
			t.Fatal(err)
		}
		putDocument(t, env, ledger.BucketCounts, key, string(text))
	}
	for key := range want {
		if strings.HasPrefix(key, "type.") {
			continue
		}
		if err := bucket(t, env, ledger.BucketConfig).Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	ahead := forward(t, env)

	project(t, env, feed(t, env))
	awaitForm(t, env)
	check(t, env)
	for key, doc := range documents(t, env, ledger.BucketConfig) {
		if want[key] != doc {
			t.Errorf("CONFIG/%s is\n%s\nwant\n%s", key, doc, want[key])
		}
		delete(want, key)
	}
	for key := range want {
		t.Errorf("CONFIG/%s is not there", key)
	}
	if now := bucketsCreated(t, env); now != created {
		t.Errorf("buckets were created at %v, before at %v", now, created)
	}
	complete(t, env.Ledger, "one-more")
	check(t, env)
	if seen := ahead(); seen == 0 {
		t.Error("no put was seen")
	}
}

func bucket(t *testing.T, env *ledgertest.Env, name string) jetstream.KeyValue {
	t.Helper()
	kv, err := env.Ledger.JetStream().KeyValue(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

func putDocument(t *testing.T, env *ledgertest.Env, name, key, doc string) {
	t.Helper()
	if _, err := bucket(t, env, name).PutString(t.Context(), key, doc); err != nil {
		t.Fatal(err)
	}
}

func bucketsCreated(t *testing.T, env *ledgertest.Env) (at [3]time.Time) {
	t.Helper()
	for i, name := range []string{ledger.BucketJobs, ledger.BucketCounts, ledger.BucketConfig} {
		s, err := env.Ledger.JetStream().Stream(t.Context(), "KV_"+name)
		if err != nil {
			t.Fatal(err)
		}
		at[i] = s.CachedInfo().Created
	}
	return at
}

// awaitForm returns when COUNTS/all is of this version.
func awaitForm(t *testing.T, env *ledgertest.Env) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	w, err := bucket(t, env, ledger.BucketCounts).Watch(ctx, ledger.KeyCountsAll)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Stop() }()
	for {
		select {
		case e := <-w.Updates():
			var all ledger.CountsDocument
			if e != nil && json.Unmarshal(e.Value(), &all) == nil && all.Form == ledger.ViewsForm() {
				return
			}
		case <-ctx.Done():
			t.Fatal("the views are not of this version's form")
		}
	}
}

// forward watches the documents of jobs and counters from now on. The function that it returns tells how many were
// put by then; one that went back is an error.
func forward(t *testing.T, env *ledgertest.Env) (seen func() int) {
	t.Helper()
	var watches []jetstream.KeyWatcher
	for _, name := range []string{ledger.BucketJobs, ledger.BucketCounts} {
		w, err := bucket(t, env, name).WatchAll(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		watches = append(watches, w)
	}
	return func() (puts int) {
		for _, w := range watches {
			at, behind := map[string]schemas.Seq{}, false
			for more := true; more; {
				select {
				case e := <-w.Updates():
					if behind = behind || e == nil; e == nil {
						continue
					}
					var p schemas.Position
					if err := json.Unmarshal(e.Value(), &p); err != nil {
						t.Errorf("%s: %v", e.Key(), err)
					}
					if p.Seq < at[e.Key()] {
						t.Errorf("%s went back from %d to %d", e.Key(), at[e.Key()], p.Seq)
					}
					if at[e.Key()] = p.Seq; behind {
						puts++
					}
				case <-time.After(time.Second): // what was put has long been stored
					more = false
				}
			}
			if err := w.Stop(); err != nil {
				t.Error(err)
			}
		}
		return puts
	}
}
