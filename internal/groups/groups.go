// Package groups writes many messages to one stream under one fsync: the group commit of a server that syncs each write
// before it acknowledges it (durability strict on one server). JetStream's only way there is the atomic batch: of one
// message as of a thousand all are stored behind one another, or none is.
//
// A batch costs such a server some milliseconds however small it is, about as much as eight messages by themselves, and
// little for each more: 2 take 3.1 ms, 64 take 5.9, 1,000 take 22, where one by itself takes 0.45 (two processors, ext4).
// So it pays from [Worth] messages on, and never where the server does not sync each write.
//
// # Invariants
//
//   - What Commit calls refused is not stored, none of it. Anything else but success may be stored, and the same messages may
//     be sent again only where that is harmless, as behind an expectation on each subject.
//   - No two messages of a batch are on one subject: the server refuses that.
package groups

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/internal/replies"
)

const (
	// Worth is how many messages a batch has at least: fewer are faster by themselves.
	Worth = 8
	// Max and MaxBytes bound a batch. The server takes 1,000; the bytes are what it has under way at once for others, too.
	Max, MaxBytes = 1000, 4 << 20
)

// idLength is the length of a batch's id: 65 random bits, which each of its messages bears for ever.
const idLength = 13

// The headers of an atomic batch (ADR-50).
const (
	headerID       = "Nats-Batch-Id"
	headerSequence = "Nats-Batch-Sequence"
	headerCommit   = "Nats-Batch-Commit"
)

// RefusedError says that nothing of a batch is stored: by the server's word, or because its commit was never sent.
type RefusedError struct {
	Code int // JetStream's; 0: it is not the server's word
	Text string
	Err  error // why it was not sent; nil if it was
}

// Unwrap makes errors.Is find why a batch was not sent.
func (e *RefusedError) Unwrap() error { return e.Err }

// Error implements error.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("the batch is refused: %s (%d)", e.Text, e.Code)
}

// Disabled: the stream takes no batches.
func (e *RefusedError) Disabled() bool { return e.Code == codeDisabled }

// UnsettledError is an answer that does not say whether the batch is stored.
type UnsettledError struct{ Answer []byte }

// Error implements error.
func (e *UnsettledError) Error() string {
	return fmt.Sprintf("the batch may be stored or not: %s", e.Answer)
}

const codeDisabled = 10174

// refusals are the codes that the server answers before it stores anything (ENGINE 3).
var refusals = map[int]bool{
	10054: true, 10071: true, 10164: true, 10193: true, codeDisabled: true, 10175: true, 10176: true, 10177: true, 10179: true, 10199: true,
	10200: true, 10201: true, 10210: true,
}

// Commit stores msgs, two to Max on as many subjects of one stream, as one batch, and returns the sequence of the first: the
// others follow without a gap. It waits for the answer as long as that. What it sends are copies. The error is a *RefusedError
// where nothing is stored; else, as one of replies.Mux.Request or an *UnsettledError, it is not known.
func Commit(ctx context.Context, x *replies.Mux, nc *nats.Conn, msgs []*nats.Msg, wait time.Duration) (first uint64, err error) {
	id := rand.Text()[:idLength]
	for i, m := range msgs {
		part := &nats.Msg{Subject: m.Subject, Header: make(nats.Header, len(m.Header)+3), Data: m.Data}
		maps.Copy(part.Header, m.Header)
		part.Header[headerID] = []string{id}
		part.Header[headerSequence] = []string{strconv.Itoa(i + 1)}
		if i < len(msgs)-1 {
			if err := nc.PublishMsg(part); err != nil {
				return 0, &RefusedError{Text: err.Error(), Err: err} // without its commit the server forgets what it has
			}
			continue
		}
		part.Header[headerCommit] = []string{"1"}
		answer, err := x.Request(ctx, part, wait)
		if errors.Is(err, nats.ErrMaxPayload) { // with the headers of a batch it may be too large, without them not
			return 0, &RefusedError{Text: err.Error(), Err: err}
		}
		if err != nil {
			return 0, err
		}
		return firstOf(answer.Data, len(msgs))
	}
	return 0, errors.New("a batch of nothing")
}

// firstOf reads the answer to a commit.
func firstOf(answer []byte, n int) (uint64, error) {
	var ack struct {
		Seq   uint64 `json:"seq"`
		Count int    `json:"count"`
		Error *struct {
			ErrCode int    `json:"err_code"`
			Text    string `json:"description"`
		} `json:"error"`
	}
	switch err := json.Unmarshal(answer, &ack); {
	case err != nil:
	case ack.Error != nil && refusals[ack.Error.ErrCode]:
		return 0, &RefusedError{Code: ack.Error.ErrCode, Text: ack.Error.Text}
	case ack.Error == nil && ack.Count == n && ack.Seq >= uint64(n):
		return ack.Seq - uint64(n) + 1, nil
	}
	return 0, &UnsettledError{Answer: answer}
}
