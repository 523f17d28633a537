package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// holdList are the holds that are on.
type holdList struct {
	read bool
	on   []schemas.HoldSettings // never changed
	at   schemas.Position       // of the event that laid or lifted the latest of them, or of an earlier one
	seen schemas.Position       // of the latest control event when at was asked for
}

// Held says by which setting a job must not start at a stream time: a hold, or its org's state; empty if by none. It is
// what a worker asks before a claim (R-18, R-50, R-229, DESIGN D7). The settings are read from the ledger itself, not
// from the view CONFIG, which stands still while nobody leads; they are as they were at since or later, and nothing is
// asked if that is known. A breaker is judged by the leader alone.
//
// The error is an *Error with code unavailable when the ledger does not answer within ctx: then nothing is known.
func (l *Ledger) Held(ctx context.Context, j *Job, now, since time.Time) (by string, err error) {
	if err := l.settings.holdLooks.since(ctx, since, func(began time.Time) error { return l.lookAtHolds(ctx, began) }); err != nil {
		return "", err
	}
	holds := l.settings.holdList().on
	for i := range holds {
		h := &holds[i]
		if h.InForce(now) && HeldBy(h.Scope, j) {
			return fmt.Sprintf("hold on %s", h.Scope), nil
		}
	}
	// The org's settings are as old as the look: they are held until a control event changes some.
	org, err := l.Org(ctx, j.Org)
	if err != nil {
		return "", err
	}
	if org.Parked() {
		return fmt.Sprintf("org %s is %s", j.Org, org.State), nil
	}
	return "", nil
}

// lookAtHolds reads the holds, if any has changed, as they are at a time or later.
func (l *Ledger) lookAtHolds(ctx context.Context, since time.Time) error {
	if err := l.lookSince(ctx, since); err != nil {
		return err
	}
	have, seen := l.settings.holdList(), l.settings.position()
	if have.read && have.seen == seen {
		return nil
	}
	at, err := l.lastControl(ctx, controlHolds)
	if err != nil {
		return err
	}
	if !have.read || have.at != at {
		// One that is laid while they are read may be missing in them; its event is then not the one at this position.
		if have, err = l.readHolds(ctx); err != nil {
			return err
		}
	}
	have.at, have.seen = at, seen
	l.settings.putHolds(have)
	return nil
}

func (l *Ledger) readHolds(ctx context.Context) (holdList, error) {
	all, err := l.Settings(ctx, KindHold)
	if err != nil {
		return holdList{}, err
	}
	list := holdList{read: true}
	for _, e := range all {
		if h := e.Data.(*schemas.HoldSet).Settings; h.On {
			list.on = append(list.on, h)
		}
	}
	return list, nil
}

func (c *settingsCache) holdList() holdList {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.holds
}

func (c *settingsCache) putHolds(h holdList) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holds = h
}
