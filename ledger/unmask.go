package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dartwing/jobledger/schemas"
)

// Unmask notes that somebody is about to be shown what a schema redacts of a job's args. When it returns the event,
// that is stored: only then may it be shown. Whether there is such a job, and whose it is, is the caller's to ask.
//
// The event stands on a subject of its own and not on the job's: a look at a job must neither move it, so that a command
// that was meant for it as it stood is refused, nor bring it back from ARCHIVE, nor make it unreadable for a program of
// a version that does not know the event (DESIGN D8).
func (l *Ledger) Unmask(ctx context.Context, u *schemas.Unmasked, m Meta) (*schemas.Event, error) {
	if err := u.Validate(); err != nil {
		return nil, badField("reason", err)
	}
	return l.control(ctx, u.Place(), func(ctx context.Context) (*schemas.Event, error) {
		var expect schemas.Seq
		err := l.reading(ctx, func(ctx context.Context) error {
			last, err := l.leaderGet(ctx, getRequest{LastFor: u.Place().String()})
			if err == nil {
				expect = last.Seq
			}
			return err
		})
		if err != nil && !errors.Is(err, errNoMessage) {
			return nil, fmt.Errorf("the latest on %s: %w", u.Place(), err)
		}
		e := m.event(u.Place(), u)
		return e, l.Append(ctx, e, expect)
	})
}

// Unmaskings are the events of all who were shown what is redacted of a job's args, oldest first, those in ARCHIVE too.
func (l *Ledger) Unmaskings(ctx context.Context, org schemas.OrgID, id schemas.JobID) ([]*Entry, error) {
	if err := errors.Join(schemas.CheckToken("org", string(org)), schemas.CheckToken("job", string(id))); err != nil {
		return nil, badField("job", err)
	}
	at := schemas.UnmaskPlace(org, id)
	hot, err := l.subject(ctx, at)
	if err != nil {
		return nil, coded(fmt.Errorf("unmaskings on %s: %w", at, err))
	}
	s, err := l.completed(ctx, at, hot)
	if err != nil {
		return nil, coded(err)
	}
	return slices.DeleteFunc(slices.Clone(s.entries), func(e *Entry) bool {
		_, ok := e.Data.(*schemas.Unmasked)
		return !ok
	}), nil
}
