package ledger

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/schemas"
)

// While a connection is lost, older data may be put back under the server, which then gives sequences out again. An
// append that expects one would be stored behind another message than its writer has folded. So whoever holds a
// fold over a lost connection compares the id of its last event before it builds upon it (DESIGN D2).

// Life rises whenever the ledger's connection was lost and is back. It is kept beside a fold that is to be used
// later, as it was before that was read: see DoHeld.
func (l *Ledger) Life() uint64 { return l.nc.Stats().Reconnects }

// expectation is the message that an append is to follow.
type expectation struct {
	schemas.Position        // its sequence, 0: the subject is empty; without id it is not compared
	life             uint64 // when it was read
}

// unsure reports whether the connection was lost since the expected message was read. What is published while it
// is lost the client sends as soon as it is back, before anybody could compare: so that is not done either. A
// connection that breaks between this look and the publish is left to chance; what came of it no fold would take,
// for its fence is another one.
func (a *appending) unsure() bool {
	if a.expect.Seq == 0 || a.expect.ID == "" || a.l.nc.IsClosed() {
		return false
	}
	return a.l.Life() != a.expect.life || !a.l.nc.IsConnected()
}

// compare reports whether the expected message is in the ledger as it was folded; if not, what that amounts to.
func (a *appending) compare(ctx context.Context) (ok bool, v verdict, err error) {
	life := a.l.Life()
	if !a.l.nc.IsConnected() {
		return false, again, nats.ErrDisconnected
	}
	there, err := a.l.messageAt(ctx, a.expect.Seq)
	gone := &RefusedError{Subject: a.m.Subject, Expected: a.expect.Seq, Gone: true}
	switch {
	case err == nil && there.ID == a.expect.ID:
		a.expect.life = life
		return true, settled, nil
	case err == nil:
		gone.At, gone.ID = there.Seq, there.ID
		return false, settled, gone
	case errors.Is(err, errNoMessage):
		return false, settled, gone
	}
	return false, again, err
}

// DoHeld is DoFrom for a caller that has held j for longer than a moment: life is the ledger's from before j was
// read. If the connection was lost since, what j says is compared with the ledger before anything is stored upon it.
func (l *Ledger) DoHeld(ctx context.Context, j *Job, life uint64, cmd Command, m Meta) (*Job, *schemas.Event, error) {
	ctx, cancel := withSettleTimeout(ctx)
	defer cancel()
	after, e, err := l.attempt(ctx, j, life, cmd, m)
	switch {
	case err == nil && e != nil:
		return after, e, nil
	case errors.Is(err, ErrUnknown), isTooLarge(err):
		return after, e, coded(err)
	}
	return l.doSince(ctx, j.Org, j.ID, j.LastSeq, nil, cmd, m)
}
