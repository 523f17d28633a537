package gateway

import (
	"fmt"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// What the ring costs a server for each event, whoever follows.
func BenchmarkLiveAdd(b *testing.B) {
	v := newLive(nil, nil, nil, zap.NewNop())
	v.begin(schemas.Position{})
	entries := make([]*ledger.Entry, 1000)
	for i := range entries {
		e := schemas.NewEvent(schemas.JobSubject(schemas.OrgID(fmt.Sprint("org-", i%50)), schemas.JobID(fmt.Sprint("job-", i))),
			&schemas.Queued{Head: schemas.Head{From: schemas.StateSubmitted, Type: "echo", Queue: "default", Generation: 1}})
		e.Seq, e.Time = schemas.Seq(i+1), time.Now()
		entries[i] = &ledger.Entry{Event: e}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		e := entries[i%len(entries)]
		v.add([]*ledger.Entry{e}, []*liveItem{newLiveItem(e)})
	}
	b.ReportMetric(float64(len(v.all.items)), "events-held")
}
