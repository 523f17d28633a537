package gateway_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// BenchmarkFloodedTenant is what one tenant waits for a get and a submit, one after the other, while nothing else happens, and while
// another one floods the service on 64 connections with gets, submits and lists: as many at a time as the name says.
// Clients, server and ledger share the machine. Run it with -benchtime 400x.
func BenchmarkFloodedTenant(b *testing.B) {
	for _, depth := range []int{1, 16} {
		b.Run(fmt.Sprintf("64x%d", depth), func(b *testing.B) {
			env := ledgertest.Start(b, ledgertest.WithLogins(), ledgertest.WithPort())
			env.RunServer(ledgertest.Indexed(b.TempDir()))
			w := &tenants{Env: env, t: b, admin: env.Client("acme")}
			calm := w.as("calm", schemas.RoleOperator, "user:calm")
			made, err := calm.Submit(b.Context(), ledger.SubmitRequest{Type: "echo", Delay: time.Hour})
			if err != nil {
				b.Fatal(err)
			}
			var n atomic.Int64
			measure := func() (gets, submits time.Duration) {
				var g, s []time.Duration
				for range b.N {
					begin := time.Now()
					if _, err := calm.Get(b.Context(), made.ID); err != nil {
						b.Fatal(err)
					}
					middle := time.Now()
					if _, err := calm.Submit(b.Context(), ledger.SubmitRequest{Type: "echo", Delay: time.Hour, Args: fmt.Appendf(nil, `{"n":%d}`, n.Add(1))}); err != nil {
						b.Fatal(err)
					}
					g, s = append(g, middle.Sub(begin)), append(s, time.Since(middle))
				}
				return p99(g), p99(s)
			}
			if _, err := calm.List(b.Context(), gateway.ListRequest{MinSeq: made.Seq}); err != nil {
				b.Fatal(err)
			}
			measure()
			idleGet, idleSubmit := measure()
			answered, refused, failed, stop := flood(b, w, depth)
			begin, before := time.Now(), answered.Load()
			get, submit := measure()
			rate := float64(answered.Load()-before) / time.Since(begin).Seconds()
			stop()
			b.ReportMetric(ms(idleGet), "idle-get-ms")
			b.ReportMetric(ms(get), "get-ms")
			b.ReportMetric(float64(get)/float64(idleGet), "get-ratio")
			b.ReportMetric(ms(idleSubmit), "idle-submit-ms")
			b.ReportMetric(ms(submit), "submit-ms")
			b.ReportMetric(float64(submit)/float64(idleSubmit), "submit-ratio")
			b.ReportMetric(rate, "flood/s")
			b.ReportMetric(float64(refused.Load()), "refused")
			b.ReportMetric(float64(failed.Load()), "failed")
		})
	}
}

// flood has an operator of org noisy ask on 64 connections, depth requests at a time on each, until stop. It returns once each
// connection was answered, or refused.
func flood(b *testing.B, w *tenants, depth int) (answered, refused, failed *atomic.Int64, stop func()) {
	const conns = 64
	answered, refused, failed = new(atomic.Int64), new(atomic.Int64), new(atomic.Int64)
	token := w.token("noisy", schemas.RoleOperator, "user:noisy")
	ctx, cancel := context.WithCancel(context.Background())
	var asking, begun sync.WaitGroup
	var n atomic.Int64
	for range conns {
		c := &gateway.Client{Conn: w.login(token, nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})), Org: "noisy", Timeout: time.Minute}
		made, err := c.Submit(b.Context(), ledger.SubmitRequest{Type: "echo", Delay: time.Hour, NoDedup: true})
		if err != nil {
			b.Fatal(err)
		}
		for range depth {
			begun.Add(1)
			asking.Go(func() {
				first := sync.OnceFunc(begun.Done)
				defer first()
				for ctx.Err() == nil {
					var err error
					switch n.Add(1) % 3 {
					case 0:
						_, err = c.Get(ctx, made.ID)
					case 1:
						_, err = c.Submit(ctx, ledger.SubmitRequest{Type: "echo", Delay: time.Hour, NoDedup: true})
					default:
						_, err = c.List(ctx, gateway.ListRequest{})
					}
					switch {
					case err == nil:
						answered.Add(1)
					case ledger.AsError(err).Code == ledger.CodeRateLimited:
						refused.Add(1)
					case ctx.Err() == nil: // whatever a server says that is behind: the flood goes on
						failed.Add(1)
					}
					first()
				}
			})
		}
	}
	begun.Wait()
	return answered, refused, failed, func() { cancel(); asking.Wait() }
}

func p99(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)*99/100]
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
