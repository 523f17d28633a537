package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/schemas"
)

// Bounds of the append loop.
const (
	// SettleTimeout bounds a call whose context has no deadline of its own.
	SettleTimeout = 30 * time.Second

	// replyTimeoutMin is how long the first try waits for its reply; the wait doubles with each try up to
	// RequestTimeout. Short, because a retry is always safe and a reply lost to a restart never comes.
	replyTimeoutMin = time.Second

	// retryPauseMin and retryPauseMax bound the jittered pause between two tries.
	retryPauseMin = 2 * time.Millisecond
	retryPauseMax = 500 * time.Millisecond
)

// ErrRefused: another message stands where the event was to be put, or the one it was to follow is gone.
// The event is not stored and never will be: fold again and decide again. *RefusedError says more.
var ErrRefused = errors.New("append refused")

// ErrUnknown: the context ended before it was settled whether the event is stored. It is never a refusal:
// a late copy may still land (DESIGN D3).
var ErrUnknown = errors.New("append not settled: the event may or may not be stored")

// RefusedError is the refusal of one append; errors.Is(err, ErrRefused) finds it.
type RefusedError struct {
	Subject  string
	Expected schemas.Seq // last sequence of the subject that the writer knew
	// At and ID name the message found instead: the first one after Expected, or with Duplicate the one
	// that holds the event's Nats-Msg-Id. ID is empty if it bears none, or is gone.
	At schemas.Seq
	ID schemas.EventID
	// Duplicate: the stream's window holds the event's Nats-Msg-Id under At (DESIGN D4).
	Duplicate bool
	// Gone: the expected message is no longer there (restore, power loss, purge).
	Gone bool

	found *Entry // what stands at At, if it was read
}

// Error implements error.
func (e *RefusedError) Error() string {
	switch {
	case e.Duplicate:
		return fmt.Sprintf("append to %s refused: the stream's window holds its message id under sequence %d", e.Subject, e.At)
	case e.Gone:
		return fmt.Sprintf("append to %s refused: the expected message %d is gone", e.Subject, e.Expected)
	}
	return fmt.Sprintf("append to %s refused: expected last sequence %d, found event %q at %d", e.Subject, e.Expected, e.ID, e.At)
}

// Is makes errors.Is(e, ErrRefused) true.
func (e *RefusedError) Is(target error) bool { return target == ErrRefused }

// Append stores e behind the message with sequence expect, the last one on e's subject whatever it is (0:
// the subject is empty), and has three outcomes (DESIGN D3):
//
//   - nil: stored. e.Seq is set; e.Time is this process's estimate, the stream's own time is in the fold.
//   - ErrRefused (a *RefusedError): not stored and never will be.
//   - ErrUnknown, in an *Error with code unavailable: ctx ended before it was settled.
//
// Any other error is an *Error and means that the event is not stored and retrying does not help: it is
// invalid or too large, or no server ever took it (unavailable, ReasonNoResponse). A ctx without deadline is
// bounded by SettleTimeout.
//
// If this process dies here, the event is stored or not, as one message; whoever folds the subject next
// sees which.
func (l *Ledger) Append(ctx context.Context, e *schemas.Event, expect schemas.Seq) error {
	return l.append(ctx, e, expectation{Position: schemas.Position{Seq: expect}})
}

// append is Append behind a message that is compared by its id after the connection was lost.
func (l *Ledger) append(ctx context.Context, e *schemas.Event, expect expectation) error {
	if l.cfg.Appended == nil {
		return l.appendOnce(ctx, e, expect)
	}
	begin := time.Now()
	err := l.appendOnce(ctx, e, expect)
	switch took := time.Since(begin); {
	case err == nil:
		l.cfg.Appended(e.Data.Name(), OutcomeStored, took)
	case errors.Is(err, ErrRefused):
		l.cfg.Appended(e.Data.Name(), OutcomeRefused, took)
	case errors.Is(err, ErrUnknown):
		l.cfg.Appended(e.Data.Name(), OutcomeUnknown, took)
	}
	return err
}

// Outcomes of an append, for Config.Appended.
const (
	OutcomeStored  = "stored"
	OutcomeRefused = "refused"
	OutcomeUnknown = "unknown"
)

func (l *Ledger) appendOnce(ctx context.Context, e *schemas.Event, expect expectation) error {
	a, err := l.appendingOf(e, expect)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return Errorf(CodeUnavailable, "not sent: %v", err).with(DetailReason, ReasonNoResponse)
	}
	v, err := a.send(ctx, 0) // as a rule this is all
	if v == settled {
		return err
	}
	return a.settle(ctx, v, err)
}

// appendingOf encodes an event for the place behind expect.
func (l *Ledger) appendingOf(e *schemas.Event, expect expectation) (*appending, error) {
	m, err := e.Encode()
	if err != nil {
		return nil, Errorf(CodeInvalidArgument, "%v", err)
	}
	if err := l.checkSize(m); err != nil {
		return nil, err
	}
	m.Header[schemas.HeaderExpect] = []string{expect.Seq.String()}
	return &appending{l: l, e: e, m: m, expect: expect}, nil
}

// settle goes on from the verdict of the first try until the outcome is known, or ctx ends.
func (a *appending) settle(ctx context.Context, v verdict, err error) error {
	ctx, cancel := withSettleTimeout(ctx)
	defer cancel()
	for try := 1; ; try++ {
		if v == look {
			var done bool
			if done, err = a.look(ctx); done {
				return err
			}
		}
		if !pause(ctx, try) {
			return a.unsettled(ctx, err)
		}
		if v, err = a.send(ctx, try); v == settled {
			return err
		}
	}
}

// appending is one event on its way.
type appending struct {
	l      *Ledger
	e      *schemas.Event
	m      *nats.Msg
	expect expectation
	// maybe: some copy may have been stored, or may still be.
	maybe bool
	// answer is the server's latest word on why it does not store the event; nil if it said none.
	answer *pubAck
	// inFlight: the latest refusal says that a write on the subject is under way (10164).
	inFlight bool
}

// verdict says what one reply, or its absence, amounts to.
type verdict uint8

const (
	again   verdict = iota // not settled: send the same event again
	look                   // the expectation does not hold: what stands there?
	settled                // the error, or nil, is the outcome
)

// send publishes once and judges the reply. A settled nil error means stored.
func (a *appending) send(ctx context.Context, try int) (verdict, error) {
	for a.unsure() {
		if ok, v, err := a.compare(ctx); !ok {
			return v, err
		}
	}
	closed := a.l.nc.IsClosed()
	wait, cancel := a.l.withReplyTimeout(ctx, replyTimeout(try))
	reply, err := a.l.publish(wait, a.m)
	cancel()
	if err != nil {
		return a.failed(err, closed)
	}
	return a.answered(ctx, reply.Data)
}

// answered judges the reply to a publish.
func (a *appending) answered(ctx context.Context, body []byte) (verdict, error) {
	ack, err := decodeAck(body)
	if err != nil {
		a.maybe = true
		return again, err
	}
	if ack.Code != 0 {
		return a.judge(ack)
	}
	if !ack.Duplicate {
		return settled, a.stored(ack.Seq, time.Now())
	}
	return a.duplicate(ctx, ack.Seq)
}

// failed judges a publish without a reply; closed says that the connection was closed before it.
func (a *appending) failed(err error, closed bool) (verdict, error) {
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return settled, Errorf(CodePayloadTooLarge, "the event is larger than the server's max_payload of %d bytes", a.l.nc.MaxPayload())
	case errors.Is(err, nats.ErrNoResponders):
		return again, err // nobody received it, so nothing is stored
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrConnectionDraining):
		if a.maybe || !closed { // closed while the reply was on its way, it may be stored
			return settled, a.unknown(err)
		}
		return settled, Errorf(CodeUnavailable, "the connection to the ledger is closed: %v", err).with(DetailReason, ReasonNoResponse)
	}
	a.maybe = true
	return again, err
}

// judge decodes a refusal by its number; no code's text is ever read (STYLE 11).
func (a *appending) judge(ack *pubAck) (verdict, error) {
	switch ack.Code {
	case codeWrongLastSequence, codeWrongLastSequenceInFlight:
		a.inFlight = ack.Code == codeWrongLastSequenceInFlight
		return look, nil
	case codeTooManyRequests: // dropped unread
		return again, ack
	case codeMessageTooLarge:
		return settled, Errorf(CodePayloadTooLarge, "the event is larger than stream %s takes: %v", StreamLedger, ack)
	case codeWrongStream, codeWrongLastMsgID, codeExpectSubjectInvalid, codeSealed:
		return settled, Errorf(CodeInternal, "stream %s does not take events: %v", StreamLedger, ack)
	}
	// 10077 (store failure or limit, such as a full disk), 10158 (this message id is in flight) and every
	// code not listed: nothing is known.
	a.maybe = true
	a.answer = ack
	return again, ack
}

// look reads the first message after the expected one from the stream's leader: its event id decides
// whether the event is ours, also when others have built upon it since (DESIGN D3).
func (a *appending) look(ctx context.Context) (done bool, err error) {
	first, err := a.l.leaderGet(ctx, getRequest{Seq: a.expect.Seq + 1, NextFor: a.m.Subject})
	if err == nil {
		if first.ID == a.e.ID {
			return true, a.stored(first.Seq, first.Time)
		}
		return true, &RefusedError{Subject: a.m.Subject, Expected: a.expect.Seq, At: first.Seq, ID: first.ID}
	}
	if !errors.Is(err, errNoMessage) {
		return false, err
	}
	// Nothing behind the expected message. A write is in flight, perhaps our own, or that of the expected
	// message itself, which another replica may have shown before the leader has applied it: send again.
	if a.inFlight {
		return false, err
	}
	// If the expected message is not the subject's last either, it is gone, and no copy of ours can be taken
	// any more.
	last, err := a.l.leaderGet(ctx, getRequest{LastFor: a.m.Subject})
	switch {
	case errors.Is(err, errNoMessage) && a.expect.Seq > 0:
		return true, &RefusedError{Subject: a.m.Subject, Expected: a.expect.Seq, Gone: true}
	case err == nil && last.Seq < a.expect.Seq:
		return true, &RefusedError{Subject: a.m.Subject, Expected: a.expect.Seq, At: last.Seq, ID: last.ID, Gone: true}
	}
	return false, err
}

// duplicate judges an answer that names the earlier message with the same Nats-Msg-Id: our own event, sent
// before, or another submission.
func (a *appending) duplicate(ctx context.Context, seq schemas.Seq) (verdict, error) {
	first, err := a.l.leaderGet(ctx, getRequest{Seq: seq})
	if errors.Is(err, errNoMessage) {
		first, err = a.l.EventAt(ctx, seq) // it may have left for the archive
	}
	switch {
	case err == nil && first.ID == a.e.ID:
		return settled, a.stored(first.Seq, first.Time)
	case err == nil:
		return settled, &RefusedError{Subject: a.m.Subject, Expected: a.expect.Seq, At: seq, ID: first.ID, Duplicate: true, found: first}
	case errors.Is(err, ErrNotFound):
		return settled, &RefusedError{Subject: a.m.Subject, Expected: a.expect.Seq, At: seq, Duplicate: true}
	}
	a.maybe = true // it may be our own
	return again, err
}

func (a *appending) stored(seq schemas.Seq, at time.Time) error {
	a.e.Seq, a.e.Time = seq, at.UTC()
	return nil
}

// unsettled is the outcome when time is up. If no server ever took a copy the event is known not to be stored.
func (a *appending) unsettled(ctx context.Context, last error) error {
	if last == nil {
		last = ctx.Err()
	}
	if a.maybe {
		return a.unknown(last)
	}
	e := Errorf(CodeUnavailable, "no server takes events for stream %s: %v", StreamLedger, last)
	return e.with(DetailReason, ReasonNoResponse)
}

func (a *appending) unknown(last error) error {
	said := last
	if a.answer != nil { // says more than that time is up
		said = a.answer
	}
	e := Errorf(CodeUnavailable, "%v (last: %v); %s, then repeat it under the same id or key, or ask for the job", ErrUnknown, said, a.advice())
	e.Cause = errors.Join(ErrUnknown, last, said)
	return e.with(DetailReason, ReasonOutcomeUnknown)
}

// advice says what to look at. A server whose file system is full or read-only stays connected and answers nothing.
func (a *appending) advice() string {
	if a.l.nc.IsConnected() {
		return "the server is there and does not confirm it: see its log, its disk may be full or read-only"
	}
	return "wait for the server to come back"
}

// checkSize refuses what the server would drop the connection for.
func (l *Ledger) checkSize(m *nats.Msg) error {
	const expectation = len(schemas.HeaderExpect) + 24 // with the longest number and separators
	if limit := l.nc.MaxPayload(); limit > 0 && int64(m.Size()+expectation) > limit {
		return Errorf(CodePayloadTooLarge, "the event is %d bytes with its envelope: the server's max_payload is %d", m.Size(), limit)
	}
	return nil
}

// Codes of JetStream that decide about an append (ENGINE 1).
const (
	codeMessageTooLarge           = 10054
	codeWrongStream               = 10060
	codeWrongLastMsgID            = 10070
	codeWrongLastSequence         = 10071
	codeSealed                    = 10109
	codeWrongLastSequenceInFlight = 10164
	codeTooManyRequests           = 10167
	codeExpectSubjectInvalid      = 10193
)

// pubAck is JetStream's reply to a publish; as an error it is the refusal that it carries.
type pubAck struct {
	Seq       schemas.Seq
	Duplicate bool
	Code      int // JetStream's error code; 0 if the message is stored
	Text      string
}

// Error implements error.
func (a *pubAck) Error() string { return fmt.Sprintf("%s (%d)", a.Text, a.Code) }

// decodeAck reads the reply to a publish to the ledger.
func decodeAck(body []byte) (*pubAck, error) {
	if seq, ok := PlainAck(StreamLedger, body); ok {
		return &pubAck{Seq: schemas.Seq(seq)}, nil
	}
	return decodeAckOf(StreamLedger, body)
}

// decodeAckOf reads the reply to a publish to a stream. It is the one place that does.
func decodeAckOf(stream string, body []byte) (*pubAck, error) {
	var r struct {
		Stream    string      `json:"stream"`
		Seq       schemas.Seq `json:"seq"`
		Duplicate bool        `json:"duplicate"`
		Error     *struct {
			Code    int    `json:"code"`
			ErrCode int    `json:"err_code"`
			Text    string `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, fmt.Errorf("reply to a publish: %w", err)
	}
	if r.Error != nil {
		code := r.Error.ErrCode
		if code == 0 {
			code = r.Error.Code
		}
		return &pubAck{Code: max(code, 1), Text: r.Error.Text}, nil
	}
	if r.Stream != stream || r.Seq == 0 {
		return nil, fmt.Errorf("reply to a publish names stream %q and sequence %d", r.Stream, r.Seq)
	}
	return &pubAck{Seq: r.Seq, Duplicate: r.Duplicate}, nil
}

// PlainAck reads the common reply to a publish to a stream, as a server without domain gives it (server/stream.go, pubAck),
// without the cost of a JSON decoder for each message; false for any other.
func PlainAck(stream string, body []byte) (seq uint64, ok bool) {
	const before, between = `{"stream":"`, `","seq":`
	digits, ok := bytes.CutPrefix(body, []byte(before))
	if !ok {
		return 0, false
	}
	if len(digits) < len(stream) || string(digits[:len(stream)]) != stream {
		return 0, false
	}
	if digits, ok = bytes.CutPrefix(digits[len(stream):], []byte(between)); !ok {
		return 0, false
	}
	if digits, ok = bytes.CutSuffix(digits, []byte("}")); !ok || len(digits) == 0 {
		return 0, false
	}
	n, err := schemas.ParseSeq(string(digits))
	return uint64(n), err == nil && n > 0
}

// withSettleTimeout bounds a context that has no deadline.
func withSettleTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, SettleTimeout)
}

// replyTimeout is how long a try waits for its reply.
func replyTimeout(try int) time.Duration {
	return min(replyTimeoutMin<<min(try, 8), RequestTimeout) // beyond 8 the shift would only overflow
}

// pause waits a jittered moment before the next try, longer with each; false if ctx ends first.
func pause(ctx context.Context, try int) bool {
	longest := min(retryPauseMin<<min(try, 16), retryPauseMax)
	t := time.NewTimer(longest/2 + jitterOf(time.Now(), longest/2))
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil // both may be over: nothing is sent that could be called unknown
	case <-ctx.Done():
		return false
	}
}

// jitterOf draws less than longest from the clock: its nanoseconds are as good as any generator for writers
// that met at one subject, and where time is simulated they repeat with it.
func jitterOf(now time.Time, longest time.Duration) time.Duration {
	return time.Duration(mix(uint64(now.UnixNano())) % uint64(longest))
}
