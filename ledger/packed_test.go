package ledger_test

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// Over a connection that packs messages, as the feed of a server with the ledger in its own process has, a fold reads what
// it reads over any other, events and what is none, and goes on over restarts without gap or repetition (DESIGN D8).
func TestFeedPacked(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t, ledgertest.WithPort())
	env.SkipVerify()
	packed := env.NewReader()
	// What has left the rings is read from the stream.
	in := startFeed(t, ledger.FeedConfig{Ledger: packed, Capacity: 16}).Subscribe(schemas.Position{})
	single := startFeed(t, ledger.FeedConfig{Ledger: env.NewLedger(), Capacity: 16}).Subscribe(schemas.Position{})
	defer in.Close()
	defer single.Close()
	var got, want []*ledger.Entry
	for i := range 2 {
		if i > 0 {
			env.Restart()
		}
		fill(t, env, "acme", 150)
		publishRaw(t, env.Ledger, "jobs.acme.other", nil, "hello")
		publishRaw(t, env.Ledger, "jobs.acme.other", nats.Header{"ce-id": {"a", "b"}, "X-Other": {"1"}}, "")
		publishUndecodable(t, env.Ledger, "acme", schemas.JobID(fmt.Sprint("newer-", i)))
		fill(t, env, "beta", 150)
		last := end(t, env.Ledger)
		got, want = append(got, read(t, in, last)...), append(want, read(t, single, last)...)
		checkWhole(t, got, 1, last)
	}
	if len(got) != len(want) {
		t.Fatalf("read %d, want %d", len(got), len(want))
	}
	for i, g := range got {
		w := want[i]
		same := reflect.DeepEqual(g.Event, w.Event) && reflect.DeepEqual(g.Header, w.Header) && string(g.Body) == string(w.Body)
		if !same || g.RawSubject != w.RawSubject || fmt.Sprint(g.Err) != fmt.Sprint(w.Err) {
			t.Fatalf("entry %d is %+v of %+v, want %+v of %+v", g.Seq, g, g.Event, w, w.Event)
		}
	}
	t.Logf("%d entries came in %d messages", len(got), packed.Conn().Stats().InMsgs)
}
