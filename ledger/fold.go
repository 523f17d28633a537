package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/dartwing/jobledger/schemas"
)

// Fold returns the job as the stream's leader knows it: never stale, also on a replicated stream.
//
// The error is ErrNotFound when the subject holds no event of ours. The job is then not nil: its LastSeq is
// the sequence that an append on this subject must expect, for a foreign message may stand there (DESIGN
// D1). After any other error nothing is known.
func (l *Ledger) Fold(ctx context.Context, org schemas.OrgID, id schemas.JobID) (*Job, error) {
	entries, err := l.subject(ctx, schemas.JobSubject(org, id))
	if err != nil {
		return nil, fmt.Errorf("fold %s.%s: %w", org, id, err)
	}
	j := FoldEvents(org, id, entries)
	if !j.Exists() && !j.Unreadable {
		return j, ErrNotFound
	}
	return j, nil
}

// FoldBefore returns the job as it was before the message at seq: what a fold of the whole ledger holds when
// it meets that message. A job that did not exist then is no error: it is empty.
func (l *Ledger) FoldBefore(ctx context.Context, org schemas.OrgID, id schemas.JobID, seq schemas.Seq) (*Job, error) {
	entries, err := l.subject(ctx, schemas.JobSubject(org, id))
	if err != nil {
		return nil, fmt.Errorf("fold %s.%s before %s: %w", org, id, seq, err)
	}
	for i, e := range entries {
		if e.Seq >= seq {
			entries = entries[:i]
			break
		}
	}
	return FoldEvents(org, id, entries), nil
}

// subject reads all messages of one literal subject, in order.
func (l *Ledger) subject(ctx context.Context, at schemas.Subject) ([]*Entry, error) {
	var entries []*Entry
	next := schemas.Seq(1)
	for {
		e, err := l.leaderGet(ctx, getRequest{Seq: next, NextFor: at.String()})
		if errors.Is(err, errNoMessage) {
			return entries, nil
		}
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
		next = e.Seq + 1
	}
}

// EventAt returns the stored message at seq as the stream's leader knows it; ErrNotFound if there is none.
func (l *Ledger) EventAt(ctx context.Context, seq schemas.Seq) (*Entry, error) {
	e, err := l.leaderGet(ctx, getRequest{Seq: seq})
	if errors.Is(err, errNoMessage) {
		return nil, ErrNotFound
	}
	return e, err
}
