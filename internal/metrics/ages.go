package metrics

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// agesAsked is how many events a look asks the ledger for, and agesMax how many answers are kept.
	agesAsked = 16
	agesMax   = 1024
	// ageTimeout bounds one question.
	ageTimeout = 2 * time.Second
)

// ages learn from the ledger when events were stored that are from before this server's start: nobody else knows. Who
// asks for one is told at the next scrape.
type ages struct {
	mu     sync.Mutex
	known  map[schemas.Seq]time.Time
	wanted map[schemas.Seq]bool
}

// of returns when an event was stored, or has it looked up.
func (a *ages) of(seq schemas.Seq) (time.Time, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, ok := a.known[seq]
	if !ok && len(a.wanted) < agesAsked {
		if a.wanted == nil {
			a.wanted = map[schemas.Seq]bool{}
		}
		a.wanted[seq] = true
	}
	return at, ok && !at.IsZero()
}

// forget forgets all: the ledger went back to older data.
func (a *ages) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.known, a.wanted = nil, nil
}

// look asks for what is wanted. What is not in the hot ledger any more stays unknown.
func (a *ages) look(ctx context.Context, l *ledger.Ledger) {
	a.mu.Lock()
	wanted := a.wanted
	a.wanted = nil
	if len(a.known) > agesMax {
		a.known = nil
	}
	a.mu.Unlock()
	for seq := range wanted {
		once, cancel := context.WithTimeout(ctx, ageTimeout)
		e, err := l.EventAt(once, seq)
		cancel()
		var at time.Time
		if err == nil {
			at = e.Time
		} else if !errors.Is(err, ledger.ErrNotFound) {
			return // it is asked for again
		}
		a.mu.Lock()
		if a.known == nil {
			a.known = map[schemas.Seq]time.Time{}
		}
		a.known[seq] = at
		a.mu.Unlock()
	}
}
