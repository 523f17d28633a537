package handlers

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Bounds and defaults of a worker.
const (
	SlotsDefault  = 10
	SlotsMax      = 4_000            // a beat names every attempt, and must fit into a message of 1 MiB
	ServesMax     = 256              // pairs of queue and type; each holds a subscription and an open pull
	DrainDefault  = 30 * time.Second
	nameMax       = 128              // bytes
	exitIdleFloor = 100 * time.Millisecond
)

// Registration says who runs the jobs of one type in one queue.
type Registration struct {
	Queue   schemas.QueueName // empty: schemas.QueueDefault
	Type    schemas.TypeName  // required
	Handler Handler           // required
	// Classify is the type's own mapping from errors to classes, asked after the handler's marks. It
	// returns "" for an error that it does not know. May be nil.
	Classify func(error) schemas.ErrorClass
	// Exclusive: at most one attempt of this type may run anywhere, so its handler is stopped when this worker
	// is cut off from the leader, before another could start (DESIGN D7).
	Exclusive bool
}

// Config describes a worker. The zero value of an optional field means its default.
type Config struct {
	// Ledger takes the claims and outcomes. Required.
	Ledger *ledger.Ledger
	// Work is the connection for offers, beats and cancel signals, so that they do not queue behind appends
	// (ENGINE 10). Default: the ledger's.
	Work *nats.Conn
	// Live is the connection for progress, so that no flood of it delays what goes over the others. Default: Work.
	Live *nats.Conn
	// Serves are the types to work for, at most ServesMax. Required. Their handlers share the slots; those that
	// have a method Close() error are closed when Run ends, and before when a drain gives up waiting for them.
	Serves []Registration
	// Slots is how many handlers run at once, 1 to SlotsMax. Default SlotsDefault.
	Slots int
	// Name is shown to people. Default: the host's name.
	Name string
	// Version of the program, shown to people.
	Version string
	// Grace is how long a drain waits for handlers before it hands their jobs back. Default DrainDefault;
	// negative: not at all.
	Grace time.Duration
	// MaxJobs ends Run after that many attempts. 0: no bound.
	MaxJobs int
	// ExitIdle ends Run when no attempt has run for so long. 0: never.
	ExitIdle time.Duration
	// Report is called when an attempt's outcome is settled, from several goroutines at once. May be nil.
	Report func(Report)
	// Tracer makes spans of attempts. nil: none are made, and handlers are given the trace context of the submit.
	Tracer Tracer
	// Right is asked before each claim whether the job may still run as its principal. nil: every job may.
	Right ledger.Right
	// Logger is required; use zap.NewNop() for none.
	Logger *zap.Logger
}

// Report tells how one attempt ended.
type Report struct {
	Org      schemas.OrgID
	ID       schemas.JobID
	Type     schemas.TypeName
	Attempt  int
	Outcome  schemas.EventName // the event stored: completed, failed, dead_lettered, late_result, ...; empty: nothing was left to store
	Duration time.Duration
	Error    *schemas.JobError // nil where the attempt did not fail
}

func (c *Config) validate() error {
	switch {
	case c.Ledger == nil:
		return errors.New("handlers: Config.Ledger is required")
	case c.Logger == nil:
		return errors.New("handlers: Config.Logger is required")
	case len(c.Serves) == 0 || len(c.Serves) > ServesMax:
		return fmt.Errorf("handlers: Config.Serves holds %d types: give 1 to %d", len(c.Serves), ServesMax)
	case c.Slots < 0 || c.Slots > SlotsMax:
		return fmt.Errorf("handlers: Config.Slots is %d: give 1 to %d", c.Slots, SlotsMax)
	case c.MaxJobs < 0:
		return fmt.Errorf("handlers: Config.MaxJobs is %d: it cannot be negative", c.MaxJobs)
	case c.ExitIdle != 0 && c.ExitIdle < exitIdleFloor:
		return fmt.Errorf("handlers: Config.ExitIdle is %s: give at least %s", c.ExitIdle, exitIdleFloor)
	}
	seen := make(map[ledger.Serves]bool)
	for i := range c.Serves {
		r := &c.Serves[i]
		pair := ledger.Serves{Queue: r.Queue, Type: r.Type}
		if err := errors.Join(schemas.CheckToken("queue", string(r.Queue)), schemas.CheckToken("type", string(r.Type))); err != nil {
			return fmt.Errorf("handlers: Config.Serves: %w", err)
		}
		if r.Handler == nil {
			return fmt.Errorf("handlers: type %s has no handler", r.Type)
		}
		if seen[pair] {
			return fmt.Errorf("handlers: type %s of queue %s is registered twice", r.Type, r.Queue)
		}
		seen[pair] = true
	}
	return nil
}

// withDefaults returns a copy of c with every optional field set.
func (c Config) withDefaults() Config {
	c.Serves = append([]Registration(nil), c.Serves...)
	for i := range c.Serves {
		if c.Serves[i].Queue == "" {
			c.Serves[i].Queue = schemas.QueueDefault
		}
	}
	if c.Work == nil && c.Ledger != nil {
		c.Work = c.Ledger.Conn()
	}
	if c.Live == nil {
		c.Live = c.Work
	}
	if c.Slots == 0 {
		c.Slots = SlotsDefault
	}
	if c.Grace == 0 {
		c.Grace = DrainDefault
	}
	if c.Name == "" {
		c.Name, _ = os.Hostname() // shown to people only
	}
	c.Name = cut(c.Name, nameMax)
	if c.Report == nil {
		c.Report = func(Report) {}
	}
	return c
}
