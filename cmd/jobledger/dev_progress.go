package main

import (
	"fmt"
	"sync"

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
	dead      int
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
	if state == schemas.StateCompleted {
		d.completed++
	} else {
		d.dead++
	}
	d.draw()
}

// eraseLine returns to the start of the line and clears it.
const eraseLine = "\r\x1b[K"

func (d *demoProgress) draw() {
	if d.on {
		fmt.Fprintf(d.Stderr, eraseLine+"  %d of %d submitted, %d completed, %d failed, %d to go", d.sent, d.total, d.completed, d.dead, d.total-d.completed-d.dead)
	}
}

// clear removes the line, for what comes after it.
func (d *demoProgress) clear() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.on {
		fmt.Fprint(d.Stderr, eraseLine)
	}
}
