package ledger

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/schemas"
)

// Presence in LIVE: what the leader knows of each worker process. Like progress it is a courtesy, written
// again with the next beat; leases are judged by what the leader heard, never by this (DESIGN D7).
const (
	// PresenceTTL is how long a session that beats no more stays in LIVE: longer than its lease, so that its
	// end is seen.
	PresenceTTL = 2 * Lease
	// PresenceAttemptsMax is how many attempts of one session are listed.
	PresenceAttemptsMax = 1000

	presencePrefix = "$KV." + BucketLive + ".worker."
	headerKV       = "KV-Operation"
	kvDelete       = "DEL"
)

// Presence is the value under worker.<session> in BucketLive.
type Presence struct {
	Session   schemas.SessionID `json:"session"`
	Worker    string            `json:"worker"` // name for people
	Host      string            `json:"host,omitempty"`
	Version   string            `json:"version,omitempty"`
	StartedAt time.Time         `json:"started_at"` // by the worker's clock
	SeenAt    time.Time         `json:"seen_at"`    // when its latest beat was heard, by the ledger's clock
	Serves    []Serves          `json:"serves"`
	Slots     int               `json:"slots"`
	Busy      int               `json:"busy"` // slots whose handler has not returned
	Draining  bool              `json:"draining,omitempty"`
	// Attempts are those it named, PresenceAttemptsMax at most; More is how many others there are.
	Attempts []PresentAttempt `json:"attempts"`
	More     int              `json:"more,omitempty"`
}

// PresentAttempt is an attempt that a worker says it runs.
type PresentAttempt struct {
	AttemptRef
	// Type and Since are empty where the leader no longer, or not yet, knows the attempt: of a handler that
	// outlives it, as a rule.
	Type  schemas.TypeName `json:"type,omitempty"`
	Since time.Time        `json:"since,omitzero"` // stream time of its running event
}

// Encode returns what to publish, without a reply subject.
func (p *Presence) Encode() (*nats.Msg, error) {
	body, err := schemas.EncodeBody(p)
	if err != nil {
		return nil, err
	}
	return &nats.Msg{Subject: presencePrefix + string(p.Session), Data: body, Header: nats.Header{headerTTL: {PresenceTTL.String()}}}, nil
}

// Departure is what to publish for a session that has left.
func Departure(s schemas.SessionID) *nats.Msg {
	return &nats.Msg{Subject: presencePrefix + string(s), Header: nats.Header{headerKV: {kvDelete}, headerTTL: {PresenceTTL.String()}}}
}

// PresenceKeys chooses all sessions in BucketLive.
const PresenceKeys = "worker.*"

// PresenceKey is a session's key in BucketLive.
func PresenceKey(s schemas.SessionID) string { return "worker." + string(s) }

// DecodePresence reads a value of BucketLive.
func DecodePresence(body []byte) (*Presence, error) {
	p := &Presence{}
	if err := json.Unmarshal(body, p); err != nil {
		return nil, fmt.Errorf("presence: %w", err)
	}
	return p, nil
}

// DrainRequest asks a session to drain: to claim nothing more, to finish what runs within its grace, to hand
// the rest back and to end. It is a request on SubjectDrain; no responders: there is no such session.
type DrainRequest struct {
	Actor  string `json:"actor,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// DrainAnswer says that the session has begun to drain, or did before.
type DrainAnswer struct {
	Session schemas.SessionID `json:"session"`
	Busy    int               `json:"busy"`     // handlers that have not returned
	GraceMS schemas.Millis    `json:"grace_ms"` // how long they may take before their jobs are handed back
}
