package main

import (
	"fmt"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// demoProgress is the line that tells how far the batch is, on a terminal. Jobs
// report to it from several goroutines.
type demoProgress struct {
	*program
	on bool

	mu        sync.Mutex
	total     int
	sent      int
	completed int
	canceled  int
	dead      int
	latest    string // what a running job said last
}

func newDemoProgress(p *program, total int) *demoProgress {
	return &demoProgress{program: p, total: total, on: !p.flags.JSON && p.IsTerminal(p.Stderr) && p.Getenv("TERM") != "dumb"}
}

func (d *demoProgress) submitted() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sent++
	d.draw()
}

func (d *demoProgress) ended(state schemas.State) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch state {
	case schemas.StateCompleted:
		d.completed++
	case schemas.StateCanceled:
		d.canceled++
	default:
		d.dead++
	}
	d.draw()
}

// watch shows what the running jobs report, until stop is called.
func (d *demoProgress) watch(nc *nats.Conn) (stop func(), err error) {
	if !d.on {
		return func() {}, nil
	}
	sub, err := nc.Subscribe(ledger.ProgressSubject("*", "*"), func(m *nats.Msg) {
		if p, err := ledger.DecodeProgress(m.Subject, m.Data); err == nil {
			d.reported(p)
		}
	})
	if err != nil {
		return nil, err
	}
	return func() { _ = sub.Unsubscribe() }, nil // fails only when the connection is closed
}

func (d *demoProgress) reported(p *ledger.LiveProgress) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.latest = clip(quiet(fmt.Sprintf("%s %s", p.Type, progressFact(p.Record()))), latestMax)
	d.draw()
}

// latestMax is how much of a job's progress the line shows, in letters: all of it
// fits a terminal of 80.
const latestMax = 22

// eraseLine returns to the start of the line and clears it.
const eraseLine = "\r\x1b[K"

func (d *demoProgress) draw() {
	if !d.on {
		return
	}
	canceled := ""
	if d.canceled > 0 {
		canceled = fmt.Sprintf(", %d canceled", d.canceled)
	}
	fmt.Fprintf(d.Stderr, eraseLine+"  %d of %d submitted, %d completed%s, %d failed, %d to go",
		d.sent, d.total, d.completed, canceled, d.dead, d.total-d.completed-d.canceled-d.dead)
	if d.latest != "" {
		fmt.Fprintf(d.Stderr, "   %s", clip(d.latest, latestMax-len(canceled)))
	}
}

// clear removes the line for good, for what comes after it.
func (d *demoProgress) clear() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.on {
		fmt.Fprint(d.Stderr, eraseLine)
		d.on = false
	}
}
