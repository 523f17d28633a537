package main

import (
	"context"
	"sync"
	"time"
)

// paceCredit is how far a pace makes up for what was late: a server that stood still for longer has lost those jobs, and its
// figures show it.
const paceCredit = time.Second

// pace lets jobs through at a steady rate.
type pace struct {
	every time.Duration // from one job to the next; 0: at once

	mu  sync.Mutex
	due time.Time // of the next job
}

// newPace begins now; 0 jobs a second are all at once.
func newPace(rate int) *pace {
	p := &pace{due: time.Now()}
	if rate > 0 {
		p.every = time.Second / time.Duration(rate)
	}
	return p
}

// wait returns when the next n jobs are due.
func (p *pace) wait(ctx context.Context, n int) error {
	if p.every == 0 {
		return nil
	}
	p.mu.Lock()
	now := time.Now()
	if now.Sub(p.due) > paceCredit {
		p.due = now.Add(-paceCredit)
	}
	due := p.due
	p.due = due.Add(time.Duration(n) * p.every)
	p.mu.Unlock()
	if early := due.Sub(now); early > 0 {
		return rest(ctx, early)
	}
	return ctx.Err()
}
