package main

import (
	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
)

// tracers make the spans of a process. A binary that is built without the tag otel makes none, nor does one whose
// environment names no place to send them to.
type tracers struct {
	submits  ledger.SubmitTracer // nil: none
	attempts handlers.Tracer     // nil: none
	stop     func()              // sends what waits
}
