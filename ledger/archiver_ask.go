package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
)

// subjectArchive takes an archiveAsk as a request; the leader answers with an ArchiveProgress after each step, the last
// of which is Done. It is core NATS between a person's program and the leader.
const subjectArchive = "jl.archive"

// askSilence is how long a step may take: the leader is gone, or a new one knows nothing of the request.
const askSilence = time.Minute

// ErrNoArchiver: nobody leads the cell now. Ask again in a moment.
var ErrNoArchiver = errors.New("no server leads the cell now")

// archiveAsk asks the leader to move what is older than a time.
type archiveAsk struct {
	Before time.Time `json:"before"`
}

// ArchiveProgress says how far the leader is.
type ArchiveProgress struct {
	Moved
	Done  bool          `json:"done"`
	Error string        `json:"error,omitempty"`
	Held  *ArchiverHeld `json:"held,omitempty"` // what the boundary waits for, when done
}

// AskArchive has the leader move to the archive what is older than a stream time, now, instead of when the hot window is
// over, and returns what was moved. progress, if set, is told after each step. It is the leader's archiver that does it,
// so whatever becomes of this call, what was moved is moved and the rest stays; ask again.
//
// The error is ErrNoArchiver if nobody leads, an *Error with invalid_argument if before is not long enough ago.
func (l *Ledger) AskArchive(ctx context.Context, before time.Time, progress func(Moved)) (*ArchiveProgress, error) {
	now, err := l.StreamTime(ctx)
	if err != nil {
		return nil, err
	}
	if err := l.oldEnough(ctx, before, now); err != nil {
		return nil, err
	}
	body, err := json.Marshal(archiveAsk{Before: before})
	if err != nil {
		return nil, err
	}
	inbox := l.nc.NewInbox()
	answers := make(chan *nats.Msg, 64)
	sub, err := l.nc.ChanSubscribe(inbox, answers)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only when the connection is closed, which ends it too
	if err := l.nc.PublishRequest(subjectArchive, inbox, body); err != nil {
		return nil, err
	}
	for {
		silence := time.NewTimer(askSilence)
		var m *nats.Msg
		select {
		case m = <-answers:
			silence.Stop()
		case <-silence.C:
			return nil, fmt.Errorf("%w: it did not answer for %s; what was moved until then is moved", ErrNoArchiver, askSilence)
		case <-ctx.Done():
			silence.Stop()
			return nil, ctx.Err()
		}
		if lastValue(m.Header, headerStatus) != "" { // no responders
			return nil, ErrNoArchiver
		}
		var p ArchiveProgress
		if err := json.Unmarshal(m.Data, &p); err != nil {
			return nil, fmt.Errorf("answer of the archiver: %w", err)
		}
		if progress != nil {
			progress(p.Moved)
		}
		switch {
		case p.Error != "":
			return &p, Errorf(CodeUnavailable, "the archiver stopped: %s; what was moved is moved", p.Error)
		case p.Done:
			return &p, nil
		}
	}
}

// oldEnough refuses a time so near that work submitted again could not be compared with what left.
func (l *Ledger) oldEnough(ctx context.Context, before, now time.Time) error {
	c, err := l.streamConfig(ctx)
	if err != nil {
		return err
	}
	least := HotWindowMin(c.window)
	if c.hot > 0 {
		least = min(least, c.hot)
	}
	if age := now.Sub(before); age < least {
		return badField("before", fmt.Errorf("%s is %s ago: events stay in the ledger for %s at least, twice the time in which work submitted again is found",
			before.UTC().Format(time.RFC3339), max(age, 0).Round(time.Second), least))
	}
	return nil
}

// answer does what an operator asks for.
func (a *Archiver) answer(ctx context.Context, m *nats.Msg) {
	reply := func(p *ArchiveProgress) {
		body, err := json.Marshal(p)
		if err == nil {
			err = m.Respond(body)
		}
		if err != nil {
			a.cfg.Logger.Debug("who asked to archive was not answered", zap.Error(err))
		}
	}
	var ask archiveAsk
	if err := json.Unmarshal(m.Data, &ask); err != nil {
		reply(&ArchiveProgress{Done: true, Error: "the request cannot be read"})
		return
	}
	now, err := a.l.StreamTime(ctx)
	if err == nil {
		err = a.l.oldEnough(ctx, ask.Before, now)
	}
	var moved Moved
	if err == nil {
		// A segment may be small: the operator wants it now. It rests as if it were in time.
		cut := cutoff{before: ask.Before, full: ask.Before, rests: restAlways}
		moved, err = a.move(ctx, cut, func(so Moved) { reply(&ArchiveProgress{Moved: so}) })
	}
	a.looked(err)
	p := &ArchiveProgress{Moved: moved, Done: true, Held: a.Held()}
	if err != nil {
		p.Error = err.Error()
	}
	a.cfg.Logger.Info("moved events to the archive for an operator", zap.Int("events", moved.Events), zap.Time("before", ask.Before), zap.Error(err))
	reply(p)
}
