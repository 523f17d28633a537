package ledger

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/schemas"
)

// busyCounter is the document of a counter with statistics as large as they come.
func busyCounter(t testing.TB) (*CountDocument, []byte) {
	t.Helper()
	doc := &CountDocument{Org: "acme", Queue: "default", Type: "echo", Position: schemas.Position{Seq: 7, ID: schemas.EventID(bytes.Repeat([]byte{'a'}, 8))},
		Count: Count{Queued: 3, Completed: 4}, Stats: new(Stats)}
	draw := rand.New(rand.NewPCG(1, 1))
	for i := range 40 * 24 * 60 {
		run := time.Duration(draw.ExpFloat64() * float64(time.Minute))
		doc.Stats.Add(time.Unix(int64(i)*60, 0), &Sample{Ended: true, Completed: true, Run: run, HasRun: true, Wait: run / 3, HasWait: true, Total: 2 * run, HasTotal: true}, 3, 3)
	}
	body, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return doc, body
}

// The door reads of a counter what it judges by, and not its statistics: whoever submits pays for the numbers only, and one
// whose statistics are of a form yet to come still counts.
func TestDoorReadsNoStatistics(t *testing.T) {
	t.Parallel()
	doc, body := busyCounter(t)
	stats, err := json.Marshal(doc.Stats)
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range [][]byte{body, bytes.Replace(body, stats, []byte(`"of another form"`), 1)} {
		c := &orgCounts{queues: map[schemas.QueueName]Count{}, types: map[schemas.TypeName]int64{}}
		if err := c.add(&nats.Msg{Data: body}); err != nil {
			t.Fatal(err)
		}
		if c.at != doc.Seq || c.queues["default"] != doc.Count || c.types["echo"] != 7 || c.all != doc.Count {
			t.Errorf("read is %+v, want %+v", c, doc.Count)
		}
	}
}

// What the door pays for a counter with full statistics, and what it would with them.
func BenchmarkCounterDecode(b *testing.B) {
	_, body := busyCounter(b)
	for name, to := range map[string]func() any{"head": func() any { return new(CountHead) }, "whole": func() any { return new(CountDocument) }} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if err := json.Unmarshal(body, to()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
