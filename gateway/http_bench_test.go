package gateway_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// BenchmarkSubmit is one submit of 32 at a time, client and servers in one process: over HTTP on connections that are kept,
// and the same by the NATS service.
func BenchmarkSubmit(b *testing.B) {
	b.Run("http", func(b *testing.B) {
		s := serveHTTP(b, gateway.HTTPConfig{})
		secret := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleOperator}).Secret
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32, MaxConnsPerHost: 32}}
		var n atomic.Int64
		var took waits
		b.SetParallelism(16)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				begin := time.Now()
				r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, s.url+"/v1/orgs/acme/jobs",
					strings.NewReader(fmt.Sprintf(`{"type":"echo","not_before":"1h","args":{"n":%d}}`, n.Add(1))))
				if err != nil {
					b.Error(err)
					return
				}
				r.Header.Set("Authorization", "Bearer "+secret)
				reply, err := client.Do(r)
				if err != nil {
					b.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, reply.Body)
				_ = reply.Body.Close()
				if reply.StatusCode != http.StatusCreated {
					b.Error(reply.Status)
					return
				}
				took.add(time.Since(begin))
			}
		})
		b.ReportMetric(took.at(99), "p99-ms")
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "submits/s")
	})
	b.Run("nats", func(b *testing.B) {
		w := start(b)
		var n atomic.Int64
		b.SetParallelism(16)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				_, err := w.client.Submit(b.Context(), ledger.SubmitRequest{Type: "echo", Delay: 3600e9, Args: fmt.Appendf(nil, `{"n":%d}`, n.Add(1))})
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "submits/s")
	})
}

// waits are how long each of many requests took.
type waits struct {
	mu  sync.Mutex
	all []time.Duration
}

func (w *waits) add(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, d)
}

// at is a percentile, in milliseconds.
func (w *waits) at(percent int) float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	slices.Sort(w.all)
	return float64(w.all[(len(w.all)-1)*percent/100].Microseconds()) / 1000
}
