package index_test

import (
	"sync"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/projector/index"
	"github.com/dartwing/jobledger/schemas"
)

// slow readers, however many, stop neither the fold, which reads rows of its own, nor the pages of lists.
func TestSlowReadersStopNobody(t *testing.T) {
	env := ledgertest.Start(t)
	f, dir := feed(t, env), t.TempDir()
	if _, err := env.Ledger.PutType(t.Context(), schemas.TypeSettings{Name: "mail"}, ledger.Meta{}, ""); err != nil {
		t.Fatal(err)
	}
	receipt, err := env.Ledger.Submit(t.Context(), ledger.SubmitRequest{Org: "a", Type: "mail"})
	if err != nil {
		t.Fatal(err)
	}
	x, stop := start(t, env, f, dir)
	caughtUp(t, env, x)
	stop()
	x, _ = start(t, env, f, dir) // which holds no fold in memory: it reads the row
	caughtUp(t, env, x)
	q := &index.Query{Org: "a", Limit: 9, Now: time.Now()}
	var readers sync.WaitGroup
	reading, free := make(chan struct{}, index.ReadersMax), make(chan struct{})
	end := sync.OnceFunc(func() { close(free); readers.Wait() })
	defer end()
	for range index.ReadersMax {
		readers.Go(func() {
			if _, _, err := x.Each(t.Context(), q, 9, func(ledger.Record) bool { reading <- struct{}{}; <-free; return true }); err != nil {
				t.Error(err)
			}
		})
	}
	for range index.LongMax {
		<-reading
	}
	j, err := env.Ledger.Fold(t.Context(), "a", receipt.ID)
	if err == nil {
		_, _, err = env.Ledger.DoFrom(t.Context(), j, &ledger.Cancel{Reason: "test"}, ledger.Meta{})
	}
	if err != nil {
		t.Error(err)
	}
	caughtUp(t, env, x)
	if page, err := x.Find(t.Context(), q); err != nil || len(page.Records) != 1 || page.Records[0].State != schemas.StateCanceled {
		t.Errorf("found %+v, %v", page, err)
	}
	end()
	check(t, env, x)
}
