package ledger_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// everything is what a reader of LEDGER alone sees of each message.
func everything(t *testing.T, l *ledger.Ledger) []*ledger.Entry {
	t.Helper()
	var all []*ledger.Entry
	for {
		entries, err := l.EventsFrom(t.Context(), schemas.Seq(len(all)+1), 500)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 0 {
			return all
		}
		all = append(all, entries...)
	}
}

// archived is what the archive holds of one org, or all of it.
func archived(t *testing.T, l *ledger.Ledger, from, to schemas.Seq, org schemas.OrgID) []*ledger.Entry {
	t.Helper()
	var all []*ledger.Entry
	if err := l.ArchivedRange(t.Context(), from, to, org, func(entries []*ledger.Entry) error {
		all = append(all, entries...)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// sameEntries compares entries in all that a reader can see.
func sameEntries(t *testing.T, what string, got, want []*ledger.Entry) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d messages, want %d", what, len(got), len(want))
	}
	for i, w := range want {
		g := got[i]
		if fmt.Sprint(g.Err) != fmt.Sprint(w.Err) || !bytes.Equal(g.Body, w.Body) || g.RawSubject != w.RawSubject ||
			!reflect.DeepEqual(g.Header, w.Header) || !reflect.DeepEqual(g.Event, w.Event) {
			t.Fatalf("%s: message %d is\n%+v %+v\nwant\n%+v %+v", what, w.Seq, g, g.Event, w, w.Event)
		}
	}
}

// strangers stores messages that are no events of ours, or odd ones.
func strangers(t *testing.T, env *ledgertest.Env, r *rand.Rand) {
	t.Helper()
	store := func(m *nats.Msg) {
		if _, err := env.Ledger.JetStream().PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	raw := func(subject string, body []byte, h nats.Header) {
		store(&nats.Msg{Subject: subject, Data: body, Header: h})
	}
	raw("jobs.acme.stranger", []byte("hello"), nil)
	raw("jobs.acme.stranger", nil, nats.Header{"X-Two": {"a", "b", ""}, "x-two": {"other case"}})
	raw("jobs.acme.more.tokens", []byte{0, 1, 2}, nats.Header{"Empty": {""}})
	raw("jobs.käse.brot", []byte("no org"), nats.Header{"Nats-Subject": {"jobs.other.lie"}, "Nats-Sequence": {"7"}})
	raw("control.odd", []byte(`{}`), nats.Header{"Status": {"404"}, "ce-id": {"x"}, "ce-type": {"jobledger.v9.new"}, "ce-source": {"/cell"}})
	raw("jobs.acme.newer", []byte(`{}`), nats.Header{"CE-ID": {"y"}, "ce-type": {"jobledger.v1.unheard_of"}, "ce-source": {"/orgs/acme"}})
	big := make([]byte, 700<<10) // more than one message of the archive holds
	for i := range big {
		big[i] = byte(r.Uint32())
	}
	raw("jobs.big.one", big, nats.Header{"A": {"1"}})
	raw("jobs.big.one", big[:300<<10], nil)
	for range 40 {
		h := nats.Header{}
		for range r.IntN(4) {
			key := fmt.Sprintf("K%d", r.IntN(6))
			h[key] = append(h[key], fmt.Sprintf("v%d", r.IntN(100)))
		}
		raw(fmt.Sprintf("jobs.org%d.job%d", r.IntN(3), r.IntN(4)), big[:r.IntN(2000)], h)
	}
}

// Every message comes back from the archive as a reader of LEDGER sees it: by range, by org, by job (DESIGN D13).
func TestArchiveGivesBackWhatItTook(t *testing.T) {
	t.Parallel()
	for name, writer := range map[string]func(*ledgertest.Env) *ledger.Ledger{
		"one by one": func(env *ledgertest.Env) *ledger.Ledger { return env.Ledger },
		"in packs":   (*ledgertest.Env).NewReader,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testArchiveGivesBack(t, writer)
		})
	}
}

func testArchiveGivesBack(t *testing.T, writer func(*ledgertest.Env) *ledger.Ledger) {
	env := ledgertest.Start(t, ledgertest.WithPort())
	env.SkipVerify() // foreign messages
	r := rand.New(rand.NewPCG(1, 2))
	fill(t, env, "acme", 60)
	strangers(t, env, r)
	fill(t, env, "zeta", 40)
	all := everything(t, env.Ledger)
	if err := writer(env).ArchiveThrough(t.Context(), 0, 150); err != nil {
		t.Fatal(err)
	}
	last := all[len(all)-1]
	for _, l := range []*ledger.Ledger{env.Ledger, env.NewLedger()} {
		state, err := l.Archived(t.Context())
		if err != nil || state.Through != last.Position() || int(state.Events) != len(all) || state.First != 1 || state.Segments != (len(all)+149)/150 {
			t.Fatalf("%+v, %v, want all %d up to %+v", state, err, len(all), last.Position())
		}
		sameEntries(t, "all", archived(t, l, 0, 1<<63, ""), all)
		sameEntries(t, "middle", archived(t, l, 100, 321, ""), all[99:321])
		sameEntries(t, "behind", archived(t, l, last.Seq+1, last.Seq+10, ""), nil)
		jobs, orgs := make(map[schemas.Subject][]*ledger.Entry), make(map[schemas.OrgID][]*ledger.Entry)
		for _, e := range all {
			if e.Org != "" {
				jobs[e.Subject] = append(jobs[e.Subject], e)
			}
			if e.Org != "" || e.RawSubject == "jobs.acme.more.tokens" {
				org := e.Org
				if org == "" {
					org = "acme"
				}
				orgs[org] = append(orgs[org], e)
			}
		}
		for org, want := range orgs {
			sameEntries(t, "org "+string(org), archived(t, l, 0, last.Seq, org), want)
		}
		for at, want := range jobs {
			got, err := l.ArchivedSubject(t.Context(), at.Org, at.Job)
			if err != nil {
				t.Fatal(err)
			}
			sameEntries(t, at.String(), got, want)
		}
		if got, err := l.ArchivedSubject(t.Context(), "acme", schemas.NewJobID()); err != nil || got != nil {
			t.Errorf("a job that never was: %d messages, %v", len(got), err)
		}
	}
}

// A cell whose archive is empty says so, and finds nothing in it.
func TestArchiveEmpty(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	state, err := env.Ledger.Archived(t.Context())
	if err != nil || state != (ledger.ArchiveState{}) {
		t.Errorf("%+v, %v", state, err)
	}
	if got, err := env.Ledger.ArchivedSubject(t.Context(), "acme", "x"); err != nil || got != nil {
		t.Errorf("%d messages, %v", len(got), err)
	}
	if got := archived(t, env.Ledger, 0, 1<<63, ""); got != nil {
		t.Errorf("%d messages", len(got))
	}
}
