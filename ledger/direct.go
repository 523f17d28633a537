package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/schemas"
)

const (
	// subjectDirectGetOf, followed by a stream, is answered by any replica that holds it, hence perhaps by one that lags.
	subjectDirectGetOf = "$JS.API.DIRECT.GET."
	subjectDirectGet   = subjectDirectGetOf + StreamLedger

	// directBatch is how many messages of a subject one direct get asks for; few jobs have more.
	directBatch = 64
	// directBytes bounds one such answer, whatever the messages hold; at least one always comes.
	directBytes = 8 << 20
	// directInFlight is how many single direct gets are under way at a time.
	directInFlight = 64

	// streamConfigTTL is how long LEDGER's settings are believed.
	streamConfigTTL = time.Minute
)

// Headers that the server adds to the answer of a direct get, behind those of the message.
const (
	headerStream     = "Nats-Stream"
	headerSubject    = "Nats-Subject"
	headerSequence   = "Nats-Sequence"
	headerTimeStamp  = "Nats-Time-Stamp"
	headerNumPending = "Nats-Num-Pending"
	headerLastSeq    = "Nats-Last-Sequence"
	headerStatus     = "Status"
)

// statuses of a direct get.
const (
	statusEnd      = "204" // end of a batch
	statusNotFound = "404"
)

// errDirect: the answer to a direct get cannot be used; the leader's get always can.
var errDirect = errors.New("direct get failed")

// directSubject reads all messages of a literal subject with direct gets, usually with one.
func (l *Ledger) directSubject(ctx context.Context, subject string) ([]*Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	inbox := l.nc.NewInbox()
	answers := make(chan *nats.Msg, directBatch+2) // a batch, its end, and one to spare
	sub, err := l.nc.ChanSubscribe(inbox, answers)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only when the connection is closed, which ends it too
	var all []*Entry
	for next := schemas.Seq(1); ; {
		body, err := json.Marshal(getRequest{Seq: next, NextFor: subject, Batch: directBatch, MaxBytes: directBytes})
		if err != nil {
			return nil, err
		}
		if err := l.nc.PublishRequest(subjectDirectGet, inbox, body); err != nil {
			return nil, err
		}
		batch, more, err := collect(ctx, answers)
		if err != nil {
			return nil, err
		}
		all = append(all, batch...)
		if !more || len(batch) == 0 {
			return all, nil
		}
		next = all[len(all)-1].Seq + 1
	}
}

// collect takes the answers to one batch; more tells that the subject has further messages. Each answer names
// the one before it: a connection that broke and came back in between may have lost some, and a fold with a
// hole would be decided upon with the right expectation.
func collect(ctx context.Context, answers <-chan *nats.Msg) (batch []*Entry, more bool, err error) {
	var last schemas.Seq
	for {
		var m *nats.Msg
		select {
		case m = <-answers:
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
		before := lastValue(m.Header, headerLastSeq)
		e, status, err := directEntry(m)
		switch {
		case err != nil:
			return nil, false, err
		case (e != nil || status == statusEnd) && before != last.String():
			return nil, false, fmt.Errorf("%w: an answer behind %d is missing", errDirect, last)
		case e != nil:
			batch, last = append(batch, e), e.Seq
		case status == statusNotFound:
			return batch, false, nil
		case status == statusEnd:
			pending := lastValue(m.Header, headerNumPending)
			return batch, pending != "" && pending != "0", nil
		default:
			return nil, false, fmt.Errorf("%w: status %s", errDirect, status)
		}
	}
}

// directEntry decodes an answer: a message, or else a status.
func directEntry(m *nats.Msg) (*Entry, string, error) {
	r, status, err := directMessage(m)
	if err != nil || status != "" {
		return nil, status, err
	}
	return newEntry(r.Subject, r.Header, r.Data, r.Seq, r.Time), "", nil
}

// directMessage reads an answer: a message as it is stored, or else a status.
func directMessage(m *nats.Msg) (r rawMessage, status string, err error) {
	h := m.Header
	if lastValue(h, headerStream) == "" {
		if status := lastValue(h, headerStatus); status != "" {
			return r, status, nil
		}
		return r, "", fmt.Errorf("%w: an answer without headers", errDirect)
	}
	seq, err := schemas.ParseSeq(lastValue(h, headerSequence))
	if err != nil {
		return r, "", fmt.Errorf("%w: %w", errDirect, err)
	}
	at, err := time.Parse(time.RFC3339Nano, lastValue(h, headerTimeStamp))
	if err != nil {
		return r, "", fmt.Errorf("%w: %w", errDirect, err)
	}
	subject := lastValue(h, headerSubject)
	for _, k := range []string{headerStream, headerSubject, headerSequence, headerTimeStamp, headerNumPending, headerLastSeq} {
		if v := h[k]; len(v) > 1 {
			h[k] = v[:len(v)-1] // a message may hold one of its own
		} else {
			delete(h, k)
		}
	}
	if len(h) == 0 {
		h = nil // it has none: all were the answer's
	}
	return rawMessage{Subject: subject, Header: h, Data: m.Data, Seq: seq, Time: at}, "", nil
}

// lastValue is the last value of a header: the server's, whatever a message holds under the same name.
func lastValue(h nats.Header, key string) string {
	if v := h[key]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

// EventsAt returns the stored messages at seqs, in the same order, nil for those that are not there. It is
// quickest when seqs ascend: one block load serves many (ENGINE 6).
func (l *Ledger) EventsAt(ctx context.Context, seqs []schemas.Seq) ([]*Entry, error) {
	out := make([]*Entry, 0, len(seqs))
	for window := range slices.Chunk(seqs, directInFlight) {
		entries, err := l.directWindow(ctx, StreamLedger, window)
		if err != nil {
			entries = make([]*Entry, len(window)) // the leader's get always answers
		}
		// What a replica did not find it may not have yet: only the leader knows that it is not there.
		for i, e := range entries {
			if e != nil {
				continue
			}
			if entries[i], err = l.EventAt(ctx, window[i]); err != nil && !errors.Is(err, ErrNotFound) {
				return nil, fmt.Errorf("read event %d: %w", window[i], err)
			}
		}
		out = append(out, entries...)
	}
	return out, nil
}

// eventsFromBytes bounds one answer of EventsFrom.
const eventsFromBytes = 1 << 20

// EventsFrom returns at most n stored messages from seq on, whatever their subjects, with one request: for
// readers that will want the neighbours, too. It may return fewer than there are, and on a replicated stream
// it may not know the newest.
func (l *Ledger) EventsFrom(ctx context.Context, seq schemas.Seq, n int) ([]*Entry, error) {
	entries, _, err := l.directBatchOf(ctx, StreamLedger, getRequest{Seq: max(seq, 1), Batch: n, MaxBytes: eventsFromBytes})
	if err != nil {
		return nil, fmt.Errorf("read events from %d: %w", seq, err)
	}
	return entries, nil
}

// directBatchOf makes one batched direct get on a stream; more tells that further messages match.
func (l *Ledger) directBatchOf(ctx context.Context, stream string, req getRequest) (batch []*Entry, more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	inbox := l.nc.NewInbox()
	answers := make(chan *nats.Msg, req.Batch+2)
	sub, err := l.nc.ChanSubscribe(inbox, answers)
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only when the connection is closed, which ends it too
	body, err := json.Marshal(req)
	if err != nil {
		return nil, false, err
	}
	if err := l.nc.PublishRequest(subjectDirectGetOf+stream, inbox, body); err != nil {
		return nil, false, err
	}
	return collect(ctx, answers)
}

// directWindow reads single messages of a stream with as many requests under way; nil for those that whoever answered
// does not have.
func (l *Ledger) directWindow(ctx context.Context, stream string, seqs []schemas.Seq) ([]*Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	inbox := l.nc.NewInbox()
	answers := make(chan *nats.Msg, len(seqs)+1)
	sub, err := l.nc.ChanSubscribe(inbox+".*", answers)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only when the connection is closed, which ends it too
	for i, seq := range seqs {
		body, err := json.Marshal(getRequest{Seq: max(seq, 1)})
		if err != nil {
			return nil, err
		}
		if err := l.nc.PublishRequest(subjectDirectGetOf+stream, inbox+"."+strconv.Itoa(i), body); err != nil {
			return nil, err
		}
	}
	out := make([]*Entry, len(seqs))
	for range seqs {
		var m *nats.Msg
		select {
		case m = <-answers:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		i, err := strconv.Atoi(strings.TrimPrefix(m.Subject, inbox+"."))
		if err != nil || i >= len(seqs) {
			return nil, fmt.Errorf("%w: answer on %q", errDirect, m.Subject)
		}
		e, status, err := directEntry(m)
		if err != nil {
			return nil, err
		}
		if e == nil && status != statusNotFound {
			return nil, fmt.Errorf("%w: status %s", errDirect, status)
		}
		if e != nil && e.Seq == seqs[i] {
			out[i] = e
		}
	}
	return out, nil
}

// replicated reports whether LEDGER has replicas, so that a direct get may be stale. Unknown counts as yes.
func (l *Ledger) replicated(ctx context.Context) bool {
	c, err := l.streamConfig(ctx)
	return err != nil || c.replicas > 1
}

// streamConfig returns what LEDGER was set to at most streamConfigTTL ago. The error wraps ErrTooOld where that is for
// newer programs.
func (l *Ledger) streamConfig(ctx context.Context) (*streamConfig, error) {
	if known := l.config.Load(); known != nil && time.Since(known.at) < streamConfigTTL {
		return known, known.tooOld
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	s, err := l.js.Stream(ctx, StreamLedger)
	if err != nil {
		return nil, err
	}
	c := s.CachedInfo().Config
	known := &streamConfig{replicas: c.Replicas, window: c.Duplicates, hot: hotOf(c.Metadata), retention: retentionOf(c.Metadata), groups: groupsOf(&c),
		level: levelOf(c.Metadata), tooOld: tooOld(StreamLedger, c.Metadata), at: time.Now()}
	l.config.Store(known)
	return known, known.tooOld
}

// streamConfig is how LEDGER was set at a time.
type streamConfig struct {
	replicas int
	window   time.Duration // how long it remembers message ids
	hot      time.Duration // how long events stay in it; 0: for ever
	// retention is how long the archive keeps history behind the finish of its job; 0: for ever
	retention time.Duration
	groups    bool // appends that meet go together
	level     int
	tooOld    error // this program must not work on it
	at        time.Time
}
