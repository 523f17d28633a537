package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/dartwing/jobledger/schemas"
)

// Fold returns the job as the stream's leader knows it: whatever was acknowledged is in it, also on a
// replicated stream. What a feed has shown may be ahead of the leader by moments: see FoldSince. Like all reads
// of this package it waits out a leader change or a restart until ctx ends, or SettleTimeout.
//
// The error is ErrNotFound when the subject holds no event of ours. The job is then not nil: its LastSeq is
// the sequence that an append on this subject must expect, for a foreign message may stand there (DESIGN
// D1). After any other error nothing is known.
//
// A job that LEDGER does not begin is folded from ARCHIVE: Job.Archived and Job.Expect say what that means (DESIGN D13).
func (l *Ledger) Fold(ctx context.Context, org schemas.OrgID, id schemas.JobID) (*Job, error) {
	s, err := l.story(ctx, org, id)
	if err != nil {
		return nil, fmt.Errorf("fold %s.%s: %w", org, id, err)
	}
	j := s.fold(org, id)
	if !j.Exists() && !j.Unreadable {
		return j, l.missing(s.entries)
	}
	return j, nil
}

// FoldBefore returns the job as it was before the message at seq: what a fold of the whole ledger holds when
// it meets that message. A job that did not exist then is no error: it is empty.
func (l *Ledger) FoldBefore(ctx context.Context, org schemas.OrgID, id schemas.JobID, seq schemas.Seq) (*Job, error) {
	s, err := l.story(ctx, org, id)
	if err == nil && !begun(before(s.entries, seq)) {
		s, err = l.wholeStory(ctx, org, id)
	}
	if err != nil {
		return nil, fmt.Errorf("fold %s.%s before %s: %w", org, id, seq, err)
	}
	return FoldEvents(org, id, before(s.entries, seq)), nil
}

// subject reads all messages of one literal subject that stand in LEDGER, in order, as the stream's leader knows them.
func (l *Ledger) subject(ctx context.Context, at schemas.Subject) ([]*Entry, error) {
	entries, _, err := l.subjectTo(ctx, at, nil)
	return entries, err
}

// subjectTo is subject for a reader who needs nothing from before a message that begins, if it asks for one: where
// older ones are gone, what is returned begins with such a message. linked reports that each message named the one before it:
// without that a purge in the middle of the read may have taken some.
func (l *Ledger) subjectTo(ctx context.Context, at schemas.Subject, begins func(*Entry) bool) (entries []*Entry, linked bool, err error) {
	err = l.reading(ctx, func(ctx context.Context) error {
		entries, linked, err = l.subjectOnce(ctx, at.String(), begins)
		return err
	})
	return entries, linked, err
}

// subjectOnce reads a short subject from its end back, a get for each message, of which on a replicated stream
// the leader answers the first; another one forward, in batches.
func (l *Ledger) subjectOnce(ctx context.Context, subject string, begins func(*Entry) bool) (entries []*Entry, linked bool, err error) {
	replicated := l.replicated(ctx)
	get := l.directGet
	if replicated {
		get = l.leaderGetLink
	}
	newest, before, err := get(ctx, getRequest{LastFor: subject})
	switch {
	case errors.Is(err, errNoMessage):
		return nil, true, nil
	case ctx.Err() != nil:
		return nil, false, ctx.Err()
	case err == nil:
		if entries := l.backFrom(ctx, newest, before, begins); entries != nil {
			return entries, true, nil
		}
	}
	entries, err = l.subjectForward(ctx, subject, replicated)
	return entries, false, err
}

// subjectForward reads a subject from its first message on.
func (l *Ledger) subjectForward(ctx context.Context, subject string, replicated bool) ([]*Entry, error) {
	entries, err := l.directSubject(ctx, subject)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return l.subjectFrom(ctx, subject, nil)
	case !replicated:
		return entries, nil
	}
	newest, err := l.leaderGet(ctx, getRequest{LastFor: subject})
	switch {
	case errors.Is(err, errNoMessage):
		return entries, nil // what a replica has is stored, though the leader may not have applied it yet
	case err != nil:
		return nil, err
	case len(entries) == 0 || entries[len(entries)-1].Seq < newest.Seq:
		return l.subjectFrom(ctx, subject, entries)
	}
	return entries, nil
}

// subjectFrom reads on behind entries from the stream's leader, one message at a time.
func (l *Ledger) subjectFrom(ctx context.Context, subject string, entries []*Entry) ([]*Entry, error) {
	next := schemas.Seq(1)
	if n := len(entries); n > 0 {
		next = entries[n-1].Seq + 1
	}
	for {
		e, err := l.leaderGet(ctx, getRequest{Seq: next, NextFor: subject})
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

// EventAt returns the stored message at seq, in LEDGER or in ARCHIVE; ErrNotFound if there is none.
func (l *Ledger) EventAt(ctx context.Context, seq schemas.Seq) (e *Entry, err error) {
	if seq == 0 {
		return nil, ErrNotFound
	}
	err = l.reading(ctx, func(ctx context.Context) error {
		e, err = l.messageAt(ctx, seq)
		return err
	})
	if errors.Is(err, errNoMessage) {
		return l.archivedAt(ctx, seq)
	}
	return e, err
}
