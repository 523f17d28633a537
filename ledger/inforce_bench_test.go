package ledger_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// BenchmarkControl is the look for changed settings that every process which submits makes once a second, by how many
// orgs have settings: one that begins anew, and one that reads on.
func BenchmarkControl(b *testing.B) {
	for _, orgs := range []int{1, 1_000, 50_000} {
		env := ledgertest.Start(b)
		env.SkipVerify()
		settings(b, env, orgs)
		fill(b, env, "acme", 1_000)
		for _, look := range []struct {
			name string
			at   func(context.Context) (schemas.Position, error)
		}{{"anew", env.Ledger.LastControl}, {"on", env.Ledger.LatestControl}, {"end", env.Ledger.End}} {
			b.Run(fmt.Sprintf("orgs=%d/%s", orgs, look.name), func(b *testing.B) {
				for b.Loop() {
					if _, err := look.at(b.Context()); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// settings sets so many orgs.
func settings(b *testing.B, env *ledgertest.Env, orgs int) {
	b.Helper()
	begin := time.Now()
	ch := make(chan int)
	done := make(chan error)
	const writers = 64
	for range writers {
		go func() {
			var err error
			for i := range ch {
				set := &schemas.OrgSet{Settings: schemas.OrgSettings{Name: schemas.OrgID(fmt.Sprint("o", i)), Weight: 1}}
				if err == nil {
					err = env.Ledger.Append(b.Context(), schemas.NewEvent(set.Place(), set), 0)
				}
			}
			done <- err
		}()
	}
	for i := range orgs {
		ch <- i
	}
	close(ch)
	for range writers {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	b.Logf("%d orgs set in %s", orgs, time.Since(begin).Round(time.Millisecond))
}
