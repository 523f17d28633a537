package ledger

import (
	"context"
	"errors"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/schemas"
)

// headerExpectMsgID refuses a message unless the stream's last one has this message id.
const headerExpectMsgID = "Nats-Expected-Last-Msg-Id"

// expectNever is a sequence that no stream reaches.
const expectNever = "9007199254740992"

// windowed returns the job that stands for the submission in the stream's window, without storing anything; nil if
// there is none, or if that cannot be told now, as while an equal submission is on its way.
func (s *submission) windowed(ctx context.Context, id schemas.JobID) (*Job, error) {
	first := DedupID(s.org, &s.spec)
	if first == "" {
		return nil, nil
	}
	for msgID, hop := first, 0; hop < duplicateHopsMax; hop++ {
		at, found, err := s.l.holderOf(ctx, schemas.JobSubject(s.org, id), msgID)
		if err != nil || at == 0 {
			return nil, err
		}
		if j, err := s.blocking(ctx, found); err != nil || j != nil {
			return j, err
		}
		msgID = first + ":" + at.String() // as in fresh
	}
	return nil, nil
}

// holderOf asks the stream which message it remembers a message id for: 0 if for none, or if that cannot be told; found
// is nil if that message is gone.
//
// The window can be asked by a publish alone. This one is refused in any case, by an expectation that the server judges
// behind the window: on one server by that of a message id, on a cluster, which judges that one too late, by that of a
// sequence (server/stream.go processJetStreamMsg, jetstream_batching.go checkMsgHeadersPreClusteredProposal).
func (l *Ledger) holderOf(ctx context.Context, on schemas.Subject, msgID string) (at schemas.Seq, found *Entry, err error) {
	m := nats.NewMsg(on.String())
	m.Header[schemas.HeaderMsgID] = []string{msgID}
	if l.replicated(ctx) {
		m.Header[schemas.HeaderExpect] = []string{expectNever}
	} else {
		m.Header[headerExpectMsgID] = []string{uuid.NewString()}
	}
	wait, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	reply, err := l.nc.RequestMsgWithContext(wait, m)
	if err != nil {
		return 0, nil, nil // the refusal at the door stands
	}
	ack, err := decodeAck(reply.Data)
	if err != nil || !ack.Duplicate {
		return 0, nil, nil
	}
	found, err = l.leaderGet(ctx, getRequest{Seq: ack.Seq})
	if err != nil && !errors.Is(err, errNoMessage) {
		return 0, nil, nil
	}
	return ack.Seq, found, nil
}
