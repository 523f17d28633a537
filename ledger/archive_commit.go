package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/schemas"
)

// appendRecord appends a record behind the one at expect. The outcomes are those of Append (DESIGN D3).
func (l *Ledger) appendRecord(ctx context.Context, r *archiveRecord, expect schemas.Seq) error {
	body, err := r.encode()
	if err != nil {
		return err
	}
	m := nats.NewMsg(catalogSubject)
	m.Data = body
	m.Header[schemas.HeaderExpect] = []string{expect.String()}
	a := &recording{l: l, m: m, id: r.ID, expect: expect}
	for try := 0; ; try++ {
		wait, cancel := context.WithTimeout(ctx, replyTimeout(try))
		done, err := a.send(wait)
		cancel()
		if done {
			return err
		}
		if l.nc.IsClosed() || !pause(ctx, try) {
			return a.unsettled(err)
		}
	}
}

// recording is a record on its way.
type recording struct {
	l      *Ledger
	m      *nats.Msg
	id     string
	expect schemas.Seq
	maybe  bool // a copy may have been stored, or may still be
}

// send publishes once; done says that the error, or nil, is the outcome.
func (a *recording) send(ctx context.Context) (done bool, err error) {
	reply, err := a.l.publish(ctx, a.m)
	if errors.Is(err, nats.ErrMaxPayload) { // it never will be taken
		return true, Errorf(CodePayloadTooLarge, "a record of %d bytes is larger than the server's max_payload of %d", len(a.m.Data), a.l.nc.MaxPayload())
	}
	if err != nil {
		a.maybe = a.maybe || !errors.Is(err, nats.ErrNoResponders)
		return false, err
	}
	ack, err := decodeAckOf(StreamCatalog, reply.Data)
	if err != nil {
		a.maybe = true
		return false, err
	}
	switch ack.Code {
	case 0:
		return true, nil
	case codeWrongLastSequence, codeWrongLastSequenceInFlight:
		return a.look(ctx)
	case codeMessageTooLarge, codeWrongStream, codeWrongLastMsgID, codeExpectSubjectInvalid, codeSealed:
		return true, Errorf(CodeInternal, "stream %s does not take records: %v", StreamCatalog, ack)
	case codeTooManyRequests: // dropped unread
		return false, ack
	}
	a.maybe = true
	return false, ack
}

// look reads the first record behind the expected one from the stream's leader: its id decides.
func (a *recording) look(ctx context.Context) (done bool, err error) {
	refused := &RefusedError{Subject: catalogSubject, Expected: a.expect}
	m, err := a.l.leaderMessage(ctx, StreamCatalog, getRequest{Seq: a.expect + 1, NextFor: catalogSubject})
	if err == nil {
		r, err := decodeRecord(m.Data)
		if err == nil && r.ID == a.id {
			return true, nil
		}
		refused.At = m.Seq
		return true, refused
	}
	if !errors.Is(err, errNoMessage) {
		return false, err
	}
	last, err := a.l.leaderMessage(ctx, StreamCatalog, getRequest{LastFor: catalogSubject})
	switch {
	case errors.Is(err, errNoMessage) && a.expect > 0:
		refused.Gone = true
		return true, refused
	case err == nil && last.Seq < a.expect:
		refused.Gone, refused.At = true, last.Seq
		return true, refused
	}
	return false, err
}

// unsettled is the outcome when time is up.
func (a *recording) unsettled(last error) error {
	if !a.maybe {
		return Errorf(CodeUnavailable, "no server takes records for stream %s: %v", StreamCatalog, last).with(DetailReason, ReasonNoResponse)
	}
	e := Errorf(CodeUnavailable, "%v (last: %v)", ErrUnknown, last)
	e.Cause = fmt.Errorf("%w: %w", ErrUnknown, last)
	return e.with(DetailReason, ReasonOutcomeUnknown)
}
