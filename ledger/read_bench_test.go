package ledger_test

import (
	"slices"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// benchJobs is how many jobs of four events the reading benchmarks have to read.
const benchJobs = 25_000

// BenchmarkFeed reads a whole ledger through a cursor: connection, decoding, hand-over. It reports the time
// of one pass over 100,000 events, message by message and in packs.
func BenchmarkFeed(b *testing.B) {
	env := ledgertest.Start(b, ledgertest.WithPort())
	fill(b, env, "acme", benchJobs)
	last := end(b, env.Ledger)
	for name, l := range map[string]*ledger.Ledger{"single": env.NewLedger(), "packed": env.NewReader()} {
		b.Run(name, func(b *testing.B) {
			f := startFeed(b, ledger.FeedConfig{Ledger: l})
			b.ReportAllocs()
			for b.Loop() {
				c := f.Subscribe(schemas.Position{})
				n := len(read(b, c, last))
				c.Close()
				if n != int(last) {
					b.Fatalf("read %d of %d", n, last)
				}
			}
			b.ReportMetric(float64(last)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkFeedLatency is the time from before an append to the moment a fold holds the event, beside the
// append's own time.
func BenchmarkFeedLatency(b *testing.B) {
	env := ledgertest.Start(b)
	f := startFeed(b, ledger.FeedConfig{Ledger: env.NewLedger()})
	c := f.Subscribe(schemas.Position{})
	defer c.Close()
	read(b, c, end(b, env.Ledger))
	at := schemas.JobSubject("acme", "one")
	var expect schemas.Seq
	var seen, acked []time.Duration
	for b.Loop() {
		e := schemas.NewEvent(at, &schemas.Submitted{Type: "echo", Queue: "default", Priority: schemas.PriorityNormal, Generation: 1})
		start := time.Now()
		done := make(chan time.Duration, 1)
		go func() {
			if err := env.Ledger.Append(b.Context(), e, expect); err != nil {
				b.Error(err)
			}
			done <- time.Since(start)
		}()
		entries, err := c.Next(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		seen = append(seen, time.Since(start))
		acked = append(acked, <-done)
		expect = entries[len(entries)-1].Seq
	}
	env.SkipVerify() // one subject submitted over and over is no story
	slices.Sort(seen)
	slices.Sort(acked)
	b.ReportMetric(float64(seen[len(seen)/2].Microseconds()), "us-seen-p50")
	b.ReportMetric(float64(seen[len(seen)*99/100].Microseconds()), "us-seen-p99")
	b.ReportMetric(float64(acked[len(acked)/2].Microseconds()), "us-ack-p50")
}

// BenchmarkReplay reads the whole ledger, and encodes it as the command does: message by message, and in packs as the
// command has them.
func BenchmarkReplay(b *testing.B) {
	env := ledgertest.Start(b, ledgertest.WithPort())
	fill(b, env, "acme", benchJobs)
	last := end(b, env.Ledger)
	packed := env.NewReader()
	for _, bench := range []struct {
		name   string
		l      *ledger.Ledger
		encode func(b []byte, e *ledger.Entry) ([]byte, error)
	}{
		{"single/read", env.Ledger, nil}, {"packed/read", packed, nil},
		{"single/ndjson", env.Ledger, appendLine}, {"packed/ndjson", packed, appendLine},
		{"packed/cloudevents", packed, ledger.AppendCloudEvent},
	} {
		b.Run(bench.name, func(b *testing.B) {
			var room []byte
			for b.Loop() {
				n := 0
				err := bench.l.Replay(b.Context(), ledger.ReplayQuery{}, func(e *ledger.Entry) (err error) {
					if n++; bench.encode != nil {
						room, err = bench.encode(room[:0], e)
					}
					return err
				})
				if err != nil || n != int(last) {
					b.Fatal(n, err)
				}
			}
			b.ReportMetric(float64(last)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

func appendLine(b []byte, e *ledger.Entry) ([]byte, error) {
	line := ledger.LineOf(e)
	return line.Append(b, true), nil
}
