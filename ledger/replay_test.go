package ledger_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// replay collects what a query hands out, in both formats.
func replay(t testing.TB, l *ledger.Ledger, q ledger.ReplayQuery) (seqs []schemas.Seq, ndjson, cloud string) {
	t.Helper()
	var a, b bytes.Buffer
	err := l.Replay(t.Context(), q, func(e *ledger.Entry) error {
		seqs = append(seqs, e.Seq)
		line := ledger.LineOf(e)
		text, err := line.Encode(true)
		if err != nil {
			return err
		}
		ce, err := ledger.CloudEvent(e)
		if err != nil {
			return err
		}
		a.Write(append(text, '\n'))
		b.Write(append(ce, '\n'))
		return nil
	})
	if err != nil {
		t.Fatalf("replay %+v: %v", q, err)
	}
	return seqs, a.String(), b.String()
}

// span is the sequences from first to last.
func span(first, last schemas.Seq) []schemas.Seq {
	var s []schemas.Seq
	for ; first <= last; first++ {
		s = append(s, first)
	}
	return s
}

// Every matching event comes once, ascending, both bounds inclusive; two replays are byte-equal, also when
// the ledger has grown (INTERFACE 2.5).
func TestReplaySelects(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	l := env.Ledger
	first := end(t, l)
	fill(t, env, "acme", 60) // the last of acme's events lie far before the end
	mid := end(t, l)
	fill(t, env, "other", 60)
	completeOne(t, l, "acme2", "one")
	last := end(t, l)
	from, err := l.EventAt(t.Context(), mid+1)
	if err != nil {
		t.Fatal(err)
	}
	to, err := l.EventAt(t.Context(), last-1)
	if err != nil {
		t.Fatal(err)
	}
	var running []schemas.Seq
	for s := first + 3; s <= mid; s += 4 {
		running = append(running, s)
	}
	var timed []schemas.Seq
	for _, s := range span(1, last) {
		e, err := l.EventAt(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		if !e.Time.Before(from.Time) && !e.Time.After(to.Time) {
			timed = append(timed, s)
		}
	}
	for name, tc := range map[string]struct {
		q    ledger.ReplayQuery
		want []schemas.Seq
	}{
		"all":               {ledger.ReplayQuery{}, span(1, last)},
		"from a sequence":   {ledger.ReplayQuery{From: ledger.ReplayBound{Seq: 100}}, span(100, last)},
		"to a sequence":     {ledger.ReplayQuery{To: ledger.ReplayBound{Seq: 100}}, span(1, 100)},
		"one event":         {ledger.ReplayQuery{From: ledger.ReplayBound{Seq: 7}, To: ledger.ReplayBound{Seq: 7}}, span(7, 7)},
		"beyond the end":    {ledger.ReplayQuery{From: ledger.ReplayBound{Seq: last}, To: ledger.ReplayBound{Seq: last + 100}}, span(last, last)},
		"behind the end":    {ledger.ReplayQuery{From: ledger.ReplayBound{Seq: last + 1}}, nil},
		"bounds crossed":    {ledger.ReplayQuery{From: ledger.ReplayBound{Seq: 9}, To: ledger.ReplayBound{Seq: 8}}, nil},
		"an org":            {ledger.ReplayQuery{Org: "acme"}, span(first+1, mid)},
		"an org, from":      {ledger.ReplayQuery{Org: "acme", From: ledger.ReplayBound{Seq: mid - 2}}, span(mid-2, mid)},
		"an org, to":        {ledger.ReplayQuery{Org: "other", To: ledger.ReplayBound{Seq: mid + 3}}, span(mid+1, mid+3)},
		"no such org":       {ledger.ReplayQuery{Org: "nobody"}, nil},
		"an event":          {ledger.ReplayQuery{Org: "acme", Event: schemas.EventRunning}, running},
		"a type":            {ledger.ReplayQuery{Org: "acme", Type: "echo"}, span(first+1, mid)},
		"no such type":      {ledger.ReplayQuery{Type: "none"}, nil},
		"a job":             {ledger.ReplayQuery{Org: "acme2", Job: "one"}, span(last-3, last)},
		"a job, bounds":     {ledger.ReplayQuery{Org: "acme2", Job: "one", From: ledger.ReplayBound{Seq: last - 1}, To: ledger.ReplayBound{Seq: last - 1}}, span(last-1, last-1)},
		"between two times": {ledger.ReplayQuery{From: ledger.ReplayBound{Time: from.Time}, To: ledger.ReplayBound{Time: to.Time}}, timed},
		"in the future":     {ledger.ReplayQuery{From: ledger.ReplayBound{Time: time.Now().Add(time.Hour)}}, nil},
		"long ago":          {ledger.ReplayQuery{To: ledger.ReplayBound{Time: time.Now().Add(-time.Hour)}}, nil},
	} {
		seqs, ndjson, cloud := replay(t, l, tc.q)
		if !slices.Equal(seqs, tc.want) {
			t.Errorf("%s: replayed %v, want %v", name, seqs, tc.want)
		}
		if again, n2, c2 := replay(t, l, tc.q); !slices.Equal(again, seqs) || n2 != ndjson || c2 != cloud {
			t.Errorf("%s: two replays differ", name)
		}
	}
	for _, q := range []ledger.ReplayQuery{{Job: "one"}, {Org: "a.b"}, {Org: "acme", Job: "*"}, {From: ledger.ReplayBound{Seq: 1, Time: time.Now()}}} {
		if err := l.Replay(t.Context(), q, nil); ledger.AsError(err) == nil || ledger.AsError(err).Code != ledger.CodeInvalidArgument {
			t.Errorf("%+v: %v", q, err)
		}
	}
}

// The two formats are what INTERFACE 2.5 and 5 say.
func TestReplayFormats(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	env.SkipVerify()
	l := env.Ledger
	e := schemas.NewEvent(schemas.JobSubject("acme", "one"), &schemas.Submitted{Type: "echo", Queue: "default", Generation: 1,
		Priority: schemas.PriorityNormal, Args: json.RawMessage("{\n\"a\":1e400}"), Reason: "because"})
	e.Actor, e.CausationID, e.Traceparent = schemas.Actor{Type: "user", ID: "ada lovelace"}, "cause", "00-x-y-01"
	slot := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	e.Meant = &slot
	if err := l.Append(t.Context(), e, 0); err != nil {
		t.Fatal(err)
	}
	newer := publishUndecodable(t, l, "acme", "two")
	stored, err := l.EventAt(t.Context(), e.Seq)
	if err != nil {
		t.Fatal(err)
	}
	at := stored.Time.Format(time.RFC3339Nano)
	_, ndjson, cloud := replay(t, l, ledger.ReplayQuery{Org: "acme", To: ledger.ReplayBound{Seq: e.Seq}})
	data := `{"type":"echo","queue":"default","priority":"normal","generation":1,"reason":"because","args":{ "a":1e400}}`
	wantLine := fmt.Sprintf(`{"seq":%d,"time":%q,"event":"submitted","actor":"user:ada lovelace","generation":1,"attempt":null,"from":null,"to":"submitted","reason":"because","org":"acme","id":"one","type":"echo","data":%s}`+"\n", e.Seq, at, data)
	if ndjson != wantLine {
		t.Errorf("ndjson:\n%swant\n%s", ndjson, wantLine)
	}
	wantCloud := fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/orgs/acme","type":"jobledger.v1.submitted","subject":"one","time":"2030-01-02T03:04:05Z","datacontenttype":"application/json","authtype":"user","authid":"ada lovelace","causationid":"cause","traceparent":"00-x-y-01","sequence":"%020d","recordedtime":%q,"data":%s}`+"\n", e.ID, uint64(e.Seq), at, data)
	if cloud != wantCloud {
		t.Errorf("cloudevents:\n%swant\n%s", cloud, wantCloud)
	}
	// What this version cannot decode is still an event; what is none is left out.
	publishRaw(t, l, "jobs.acme.three", nil, "no event")
	seqs, _, cloud := replay(t, l, ledger.ReplayQuery{Org: "acme", From: ledger.ReplayBound{Seq: newer}})
	if !slices.Equal(seqs, []schemas.Seq{newer}) || !bytes.Contains([]byte(cloud), []byte(`"type":"jobledger.v2.paused"`)) {
		t.Errorf("behind %d came %v:\n%s", newer, seqs, cloud)
	}
}

// A replay goes on where it was when the server restarts under it, and hands out nothing twice.
func TestReplayGoesOnOverARestart(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	fill(t, env, "acme", 1000)
	last := end(t, env.Ledger)
	for name, q := range map[string]ledger.ReplayQuery{"all": {To: ledger.ReplayBound{Seq: last}}, "an org": {Org: "acme", To: ledger.ReplayBound{Seq: last}}} {
		var seqs []schemas.Seq
		restarted := false
		err := env.Ledger.Replay(t.Context(), q, func(e *ledger.Entry) error {
			if e.Seq > last/2 && !restarted {
				restarted = true
				env.Restart()
			}
			seqs = append(seqs, e.Seq)
			return nil
		})
		want := span(1, last)
		if q.Org != "" {
			want = span(2, last)
		}
		if err != nil || !slices.Equal(seqs, want) {
			t.Errorf("%s: replayed %d events, want %d: %v", name, len(seqs), len(want), err)
		}
	}
}

// A replay ends with what its receiver returns, or with its context.
func TestReplayEndsEarly(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	fill(t, env, "acme", 1000) // more than one batch of what a tail hands out
	enough := errors.New("enough")
	n := 0
	if err := env.Ledger.Replay(t.Context(), ledger.ReplayQuery{}, func(*ledger.Entry) error { n++; return enough }); err != enough || n != 1 {
		t.Errorf("after %d events the replay returned %v", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := env.Ledger.Replay(ctx, ledger.ReplayQuery{}, func(*ledger.Entry) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a canceled replay returned %v", err)
	}
}
