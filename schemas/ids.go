package schemas

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// TokenMax is the greatest length in bytes of an org, queue, type or job id (DESIGN, Streams and buckets).
const TokenMax = 64

// ReservedPrefix begins every id that jobledger derives itself; callers may not use it.
const ReservedPrefix = "_"

type (
	// OrgID names a tenant. It is one subject token.
	OrgID string
	// QueueName names an isolation class with its own workers. It is one subject token.
	QueueName string
	// TypeName names a kind of job. It is one subject token.
	TypeName string
	// JobID names one unit of work inside its org: a UUIDv7, or chosen by the caller. It is one subject token.
	JobID string
	// EventID is the UUIDv7 of one event, made once and reused in every retry of its append; it alone
	// answers "was it mine?" (DESIGN D3).
	EventID string
	// SessionID names one run of one worker process; leases are kept by session (DESIGN D7).
	SessionID string
	// Seq is a sequence number of the LEDGER stream. 0 means "no message".
	Seq uint64
	// Millis is a duration in milliseconds, the unit of every duration inside an event.
	Millis int64
)

// NewEventID returns a fresh, time-ordered event id.
func NewEventID() EventID { return EventID(newV7()) }

// NewJobID returns a fresh, time-ordered job id.
func NewJobID() JobID { return JobID(newV7()) }

// NewSessionID returns a fresh session id.
func NewSessionID() SessionID { return SessionID(newV7()) }

func newV7() string {
	// NewV7 fails only when the system has no randomness, where no id of any kind could be trusted.
	return uuid.Must(uuid.NewV7()).String()
}

// Duration converts m for use with the time package; what does not fit becomes the longest duration.
func (m Millis) Duration() time.Duration {
	const most = math.MaxInt64 / int64(time.Millisecond)
	return time.Duration(min(max(int64(m), -most), most)) * time.Millisecond
}

// MillisOf rounds d up to whole milliseconds, so that a wait is never shortened.
func MillisOf(d time.Duration) Millis {
	m := Millis(d / time.Millisecond)
	if d%time.Millisecond > 0 {
		m++
	}
	return m
}

// ParseSeq reads a decimal sequence number.
func ParseSeq(s string) (Seq, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("sequence %q is not a whole number", s)
	}
	return Seq(n), nil
}

// String returns s in decimal.
func (s Seq) String() string { return strconv.FormatUint(uint64(s), 10) }

// CheckToken reports why s cannot be an org, queue, type or job id: one subject token of the letters
// A-Z a-z, digits, '-' and '_', at most TokenMax bytes. what names the field in the message.
func CheckToken(what, s string) error {
	if s == "" {
		return fmt.Errorf("%s is empty: give 1 to %d of A-Z a-z 0-9 - _", what, TokenMax)
	}
	if len(s) > TokenMax {
		return fmt.Errorf("%s is %d bytes long: at most %d are allowed", what, len(s), TokenMax)
	}
	for i := 0; i < len(s); i++ {
		if !tokenByte(s[i]) {
			return fmt.Errorf("%s %q has the character %q: only A-Z a-z 0-9 - _ are allowed", what, s, s[i])
		}
	}
	return nil
}

func tokenByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

// CheckCallerJobID is CheckToken for an id that a caller chose: the reserved prefix is refused.
func CheckCallerJobID(id string) error {
	if err := CheckToken("job id", id); err != nil {
		return err
	}
	if strings.HasPrefix(id, ReservedPrefix) {
		return fmt.Errorf("job id %q begins with %q, which is reserved for ids jobledger derives", id, ReservedPrefix)
	}
	return nil
}

// Fence identifies one attempt: the sequence and event id of its running event (DESIGN, Words). An
// outcome is accepted only from the fence that the job holds.
type Fence struct {
	Seq Seq     `json:"seq"`
	ID  EventID `json:"id"`
}

// IsZero reports whether f names no attempt.
func (f Fence) IsZero() bool { return f == Fence{} }

// Position is a place in the ledger that survives a reconnect: after a power loss or a restore sequences
// are given out again, so whoever keeps a sequence keeps the event id with it and compares (DESIGN D2).
type Position struct {
	Seq Seq     `json:"seq"`
	ID  EventID `json:"id"`
}
