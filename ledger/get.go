package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/schemas"
)

// getRequest asks for stored messages: the JSON of JetStream's get APIs (ENGINE 5).
type getRequest struct {
	Seq      schemas.Seq `json:"seq,omitempty"`          // from here, or exactly this one without NextFor
	LastFor  string      `json:"last_by_subj,omitempty"` // the subject's last message
	NextFor  string      `json:"next_by_subj,omitempty"` // the subject's first message at or after Seq
	Batch    int         `json:"batch,omitempty"`        // direct get only
	MaxBytes int         `json:"max_bytes,omitempty"`    // direct get only
	Since    *time.Time  `json:"start_time,omitempty"`   // in place of Seq: from this stream time on
	// MultiLast asks for the last message of each subject that stands at or after Seq. Direct get only, 1,024 subjects at most (ENGINE 6).
	MultiLast []string `json:"multi_last,omitempty"`
}

// storedMessage is a message as the leader's get returns it.
type storedMessage struct {
	Subject string      `json:"subject"`
	Seq     schemas.Seq `json:"seq"`
	Header  []byte      `json:"hdrs"`
	Data    []byte      `json:"data"`
	Time    time.Time   `json:"time"`
}

// getResponse is the answer of the leader's get.
type getResponse struct {
	Message *storedMessage      `json:"message"`
	Error   *jetstream.APIError `json:"error"`
}

// subjectLeaderGet, followed by a stream, is answered by its leader alone, so it finds all that was acknowledged. It
// may not find what a replica has shown a moment ago: see caughtUp.
const subjectLeaderGet = "$JS.API.STREAM.MSG.GET."

// readTimeout is how long one read waits for its answer. Short, because repeating it is always safe, and a
// request that met a leader change is never answered.
const readTimeout = 2 * time.Second

// errNoMessage: the stream's leader holds no such message.
var errNoMessage = errors.New("no such message in the stream")

// codeNoMessage is JetStream's error code for a message that is not there.
const codeNoMessage = 10037

// leaderGet reads one message as the ledger's leader knows it. The error is errNoMessage if there is none;
// any other means that nothing is known.
func (l *Ledger) leaderGet(ctx context.Context, req getRequest) (*Entry, error) {
	e, _, err := l.leaderGetLink(ctx, req)
	return e, err
}

// leaderGetLink is leaderGet for a reader who goes on to the message before.
func (l *Ledger) leaderGetLink(ctx context.Context, req getRequest) (*Entry, link, error) {
	m, err := l.leaderMessage(ctx, StreamLedger, req)
	if err != nil {
		return nil, link{}, err
	}
	var h nats.Header
	if len(m.Header) > 0 {
		if h, err = nats.DecodeHeadersMsg(m.Header); err != nil {
			h = nil // a foreign message: Decode says so
		}
	}
	e := newEntry(m.Subject, h, m.Data, m.Seq, m.Time)
	return e, linkOf(e, h), nil
}

// leaderMessage is leaderGet of any stream.
func (l *Ledger) leaderMessage(ctx context.Context, stream string, req getRequest) (*storedMessage, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	m, err := l.nc.RequestWithContext(ctx, subjectLeaderGet+stream, body)
	if err != nil {
		return nil, fmt.Errorf("get from the leader of %s: %w", stream, err)
	}
	var resp getResponse
	if err := json.Unmarshal(m.Data, &resp); err != nil {
		return nil, fmt.Errorf("get from the leader of %s: %w", stream, err)
	}
	switch {
	case resp.Error != nil && resp.Error.ErrorCode == codeNoMessage:
		return nil, errNoMessage
	case resp.Error != nil:
		return nil, fmt.Errorf("get from the leader of %s: %w", stream, resp.Error)
	case resp.Message == nil:
		return nil, fmt.Errorf("get from the leader of %s: the answer holds no message", stream)
	}
	return resp.Message, nil
}

// End returns the position of the ledger's last message as the stream's leader knows it; the zero Position
// in an empty ledger.
func (l *Ledger) End(ctx context.Context) (schemas.Position, error) {
	var end schemas.Position
	state, err := l.state(ctx)
	if err != nil {
		return end, err
	}
	if state.LastSeq == 0 {
		return end, nil
	}
	err = l.reading(ctx, func(ctx context.Context) error {
		// By its sequence: the server finds the last message of a wildcard by a look at every subject there is.
		e, err := l.leaderGet(ctx, getRequest{Seq: schemas.Seq(state.LastSeq)})
		if errors.Is(err, errNoMessage) { // it was purged, or another leader, that does not know it yet, has answered
			e, err = l.leaderGet(ctx, getRequest{LastFor: ">"})
		}
		if err == nil {
			end = e.Position()
		}
		return err
	})
	if errors.Is(err, errNoMessage) { // nothing is left in LEDGER: it ends where ARCHIVE does
		archived, err := l.Archived(ctx)
		if err != nil || archived.Through.Seq != schemas.Seq(state.LastSeq) {
			return schemas.Position{}, err
		}
		return archived.Through, nil
	}
	return end, err
}

// Epoch returns the sequence of the latest leader's event, 0 before there was any: the epoch that an operator's
// queued carries.
func (l *Ledger) Epoch(ctx context.Context) (schemas.Seq, error) {
	epoch, _, err := l.LatestEpoch(ctx)
	return epoch, err
}

// LatestEpoch is Epoch for who opens the next one: expect is the sequence that its event expects. The two differ where
// the event was told again, so that it could leave LEDGER (DESIGN D13).
func (l *Ledger) LatestEpoch(ctx context.Context) (epoch, expect schemas.Seq, err error) {
	err = l.reading(ctx, func(ctx context.Context) error {
		e, err := l.leaderGet(ctx, getRequest{LastFor: ControlLeader.String()})
		if err != nil {
			return err
		}
		epoch, expect = e.Seq, e.Seq
		if d, ok := e.Data.(*schemas.LeaderElected); ok {
			epoch = d.Epoch(e.Seq)
		}
		return nil
	})
	if errors.Is(err, errNoMessage) {
		return 0, 0, nil
	}
	return epoch, expect, err
}

// state is where the ledger begins and ends, as its leader knows it.
func (l *Ledger) state(ctx context.Context) (jetstream.StreamState, error) {
	var state jetstream.StreamState
	err := l.reading(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, readTimeout)
		defer cancel()
		s, err := l.js.Stream(ctx, StreamLedger)
		if err == nil {
			state = s.CachedInfo().State
		}
		return err
	})
	return state, err
}

// reading repeats a read until it is answered, also with errNoMessage. It gives up when ctx ends, after
// SettleTimeout if ctx has no deadline, or when the connection is closed.
func (l *Ledger) reading(ctx context.Context, read func(context.Context) error) error {
	ctx, cancel := withSettleTimeout(ctx)
	defer cancel()
	for try := 0; ; try++ {
		err := read(ctx)
		if err == nil || errors.Is(err, errNoMessage) || l.nc.IsClosed() || !pause(ctx, try) {
			return err
		}
	}
}

// StreamTime is the time by the clock of LEDGER's leader, the one that stamps events: the now of commands.
func (l *Ledger) StreamTime(ctx context.Context) (time.Time, error) {
	s, err := l.stream(ctx, StreamLedger)
	if err != nil {
		return time.Time{}, err
	}
	return s.CachedInfo().TimeStamp.UTC(), nil
}
