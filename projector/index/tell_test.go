package index_test

import (
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/projector/index"
	"github.com/dartwing/jobledger/schemas"
)

// all who ask for an index's rows hear of it while they wait; for who does not listen any more nothing is done.
func TestWhoAsksForRowsHears(t *testing.T) {
	env := ledgertest.Start(t)
	if _, err := env.Ledger.PutType(t.Context(), schemas.TypeSettings{Name: "mail"}, ledger.Meta{}, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := env.Ledger.Submit(t.Context(), ledger.SubmitRequest{Org: "a", Type: "mail"}); err != nil {
		t.Fatal(err)
	}
	x, _ := start(t, env, feed(t, env), t.TempDir(), func(x *index.Index) { x.PartEvery(5 * time.Millisecond) })
	caughtUp(t, env, x)
	var readers sync.WaitGroup
	reading, free := make(chan struct{}, index.LongMax), make(chan struct{})
	end := sync.OnceFunc(func() { close(free); readers.Wait() })
	defer end()
	for range index.LongMax { // so that no walk begins
		readers.Go(func() {
			if _, _, err := x.Each(t.Context(), &index.Query{Org: "a", Limit: 9, Now: time.Now()}, 9, func(ledger.Record) bool { reading <- struct{}{}; <-free; return true }); err != nil {
				t.Error(err)
			}
		})
	}
	for range index.LongMax {
		<-reading
	}
	conn := env.NewLedger().Conn()
	ask := func() *nats.Subscription {
		t.Helper()
		body, err := json.Marshal(ledger.IndexAsk{Server: "here", Rows: &ledger.IndexRows{}})
		if err != nil {
			t.Fatal(err)
		}
		sub, err := conn.SubscribeSync(conn.NewInbox())
		if err == nil {
			err = conn.PublishRequest(ledger.SubjectIndex, sub.Subject, body)
		}
		if err != nil {
			t.Fatal(err)
		}
		return sub
	}
	next := func(sub *nats.Subscription) (p ledger.IndexPart) {
		t.Helper()
		m, err := sub.NextMsg(patience)
		if err == nil {
			err = json.Unmarshal(m.Data, &p)
		}
		if err != nil || p.Error != "" {
			t.Fatalf("%+v, %v", p, err)
		}
		return p
	}
	gone, stays := ask(), ask()
	for _, sub := range []*nats.Subscription{gone, stays} {
		for n := range 4 {
			if p := next(sub); p.Part != n || p.Last {
				t.Fatalf("part %d: %+v", n, p)
			}
		}
	}
	if err := gone.Unsubscribe(); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(patience); x.Telling() > 1; <-tick.C {
		if time.Now().After(limit) {
			t.Fatal("rows are told to nobody")
		}
	}
	end()
	for {
		if p := next(stays); p.Last {
			if len(p.Sums) != 1 || p.Sums[0].Rows != 1 {
				t.Errorf("%+v", p)
			}
			break
		}
	}
}
