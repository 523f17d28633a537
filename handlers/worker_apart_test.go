package handlers_test

import (
	"context"
	"encoding/json"
	"runtime/debug"
	"testing"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// What a handler leaves on its goroutine, as a thread that it has locked and changed, does not come to the next job, which
// may be another org's: that one has a goroutine of its own.
func TestWorkerHandlersApart(t *testing.T) {
	t.Parallel()
	ld := newLeader(t, ledgertest.Start(t))
	const jobs = 20
	left := make(chan bool, jobs)
	_, reports, _ := ld.worker(serves("apart", handlers.HandlerFunc(func(context.Context, *handlers.Attempt) (json.RawMessage, error) {
		left <- debug.SetPanicOnFault(true) // of this goroutine
		return nil, nil
	})))
	for range jobs { // one after the other
		ld.give(spec{typ: "apart", args: `{}`})
		if r := next(t, reports); r.Outcome != schemas.EventCompleted {
			t.Errorf("report %+v", r)
		}
		if <-left {
			t.Fatal("a job runs on the goroutine of another one's handler")
		}
	}
}
