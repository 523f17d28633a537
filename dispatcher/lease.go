package dispatcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// leaseMargin is the part of the TTL by which a leader stops before the server lets the lease go.
const leaseMargin = 6

const (
	streamLease  = "KV_" + ledger.BucketLease
	subjectLease = "$KV." + ledger.BucketLease + "." + ledger.LeaseKey

	headerTTL         = "Nats-TTL"
	headerKVOperation = "KV-Operation"
	kvDelete          = "DEL"
)

// errLeaseTaken: another server holds the lease.
var errLeaseTaken = errors.New("another server leads")

// errLeaseMissing: the bucket is not there: its server was restarted, or somebody deleted it.
var errLeaseMissing = errors.New("the bucket of the lease is missing")

// leaseBody is what stands in the bucket.
type leaseBody struct {
	Server string `json:"server"`
	Nonce  string `json:"nonce"` // of this candidacy: an answer that got lost is recognised by it
}

// lease is one hold of LEASE/leader: a key that the server forgets unless it is written again. A write
// expects the revision of the one before (ENGINE 5: a raw publish, for only that takes both a TTL and an
// expectation). It is an optimisation and no safety device (DESIGN D6).
type lease struct {
	h     *Host
	nonce string
	body  []byte
	epoch schemas.Seq // set before the lease is shown to others

	mu    sync.Mutex
	rev   uint64
	until time.Time // by this clock, before the server's end of the lease
	lost  string    // why it is not held any more
	ended chan struct{}
}

// valid reports whether the lease is held for sure.
func (l *lease) valid() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost == "" && time.Now().Before(l.until)
}

// lose ends the hold.
func (l *lease) lose(why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost == "" {
		l.lost = why
		close(l.ended)
	}
}

func (l *lease) reason() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// observed is what a candidate saw of somebody else's lease.
type observed struct {
	rev   uint64
	since time.Time
}

// acquire waits until the lease is held. The error is that of ctx, or one that trying again will not mend.
func (h *Host) acquire(ctx context.Context) (*lease, error) {
	l := &lease{h: h, nonce: string(schemas.NewEventID()), ended: make(chan struct{})}
	var err error
	if l.body, err = json.Marshal(leaseBody{Server: h.cfg.Server, Nonce: l.nonce}); err != nil {
		return nil, err
	}
	var seen observed
	complained := false
	for {
		err := l.take(ctx, &seen)
		switch {
		case err == nil:
			return l, nil
		case errors.Is(err, errLeaseTaken):
		case errors.Is(err, errLeaseMissing):
			// If this process dies in here, the bucket is there or not; the next candidate calls again.
			if err = h.cfg.Provision(ctx); err == nil {
				continue
			}
			fallthrough
		default:
			if ctx.Err() == nil && !complained {
				complained = true
				h.log.Warn("the lease cannot be asked for", zap.Error(err))
			}
			if h.l.Conn().IsClosed() {
				return nil, err
			}
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(h.cfg.Times.Renew / 2):
		}
	}
}

// take tries once.
func (l *lease) take(ctx context.Context, seen *observed) error {
	ctx, cancel := context.WithTimeout(ctx, l.h.cfg.Times.LeaseTTL)
	defer cancel()
	expect, err := l.free(ctx, seen)
	if err != nil {
		return err
	}
	return l.write(ctx, expect)
}

// free returns the revision to expect if nobody holds the lease.
func (l *lease) free(ctx context.Context, seen *observed) (uint64, error) {
	s, err := l.h.l.JetStream().Stream(ctx, streamLease)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, errLeaseMissing
	}
	if err != nil {
		return 0, err
	}
	m, err := s.GetLastMsgForSubject(ctx, subjectLease)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var holder leaseBody
	if m.Header.Get(headerKVOperation) != "" || json.Unmarshal(m.Data, &holder) == nil && holder.Nonce == l.nonce {
		return m.Sequence, nil // given back; or our own, whose answer was lost
	}
	// A key without TTL, from another program or an older server, would stand for ever: a lease that was not
	// renewed for twice its time is nobody's.
	if seen.rev != m.Sequence {
		*seen = observed{rev: m.Sequence, since: time.Now()}
	}
	if time.Since(seen.since) > 2*l.h.cfg.Times.LeaseTTL {
		return m.Sequence, nil
	}
	return 0, errLeaseTaken
}

// write puts our name into the bucket behind revision expect. If this process dies afterwards the key stands
// for its TTL, and then another server leads.
func (l *lease) write(ctx context.Context, expect uint64) error {
	ttl := l.h.cfg.Times.LeaseTTL
	sent := time.Now()
	ack, err := l.publish(ctx, l.body, expect, nats.Header{headerTTL: {ttl.String()}})
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rev, l.until = ack, sent.Add(ttl-ttl/leaseMargin)
	return nil
}

// publish sends one write and returns its revision.
func (l *lease) publish(ctx context.Context, body []byte, expect uint64, h nats.Header) (uint64, error) {
	h.Set(schemas.HeaderExpect, strconv.FormatUint(expect, 10))
	reply, err := l.h.l.Conn().RequestMsgWithContext(ctx, &nats.Msg{Subject: subjectLease, Header: h, Data: body})
	if err != nil {
		return 0, err
	}
	ack, err := decodeAck(reply.Data)
	switch {
	case err != nil:
		return 0, err
	case ack.Error != nil && (ack.Error.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || ack.Error.ErrorCode == codeWrongLastSequenceInFlight):
		return 0, errLeaseTaken
	case ack.Error != nil:
		return 0, ack.Error
	}
	return ack.Seq, nil
}

// keep renews the lease until ctx ends or it is lost.
func (l *lease) keep(ctx context.Context) {
	t := time.NewTicker(l.h.cfg.Times.Renew)
	defer t.Stop()
	for {
		l.mu.Lock()
		rev, until := l.rev, l.until
		l.mu.Unlock()
		left := time.NewTimer(time.Until(until))
		select {
		case <-ctx.Done():
			left.Stop()
			return
		case <-l.ended:
			left.Stop()
			return
		case <-left.C:
			l.lose("it could not be renewed in time")
			return
		case <-t.C:
			left.Stop()
		}
		if err := l.renew(ctx, rev, until); err != nil {
			l.lose(err.Error())
			return
		}
	}
}

// renew writes once more; an error means that the lease is lost.
func (l *lease) renew(ctx context.Context, rev uint64, until time.Time) error {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	err := l.write(ctx, rev)
	switch {
	case err == nil, ctx.Err() != nil:
		return nil // keep looks at the time
	case errors.Is(err, errLeaseTaken), errors.Is(err, nats.ErrNoResponders):
	default:
		l.h.log.Debug("the lease was not renewed", zap.Error(err))
		return nil
	}
	// Refused: an earlier renewal whose answer was lost, or another server. No responders: the bucket is
	// gone, or in an election.
	expect, err := l.free(ctx, &observed{})
	switch {
	case errors.Is(err, errLeaseTaken), errors.Is(err, errLeaseMissing):
		return err
	case err != nil || expect == 0 && rev != 0:
		// Not to be known now; or the key is gone: whoever takes it now wins, and we are asked again.
		if err == nil {
			return fmt.Errorf("the key was deleted")
		}
		return nil
	}
	l.mu.Lock()
	l.rev = expect
	l.mu.Unlock()
	return nil
}

// release gives the lease back, so that the next leader need not wait for its end.
func (l *lease) release() {
	l.lose("given back")
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	l.mu.Lock()
	rev := l.rev
	l.mu.Unlock()
	_, err := l.publish(ctx, nil, rev, nats.Header{headerKVOperation: {kvDelete}, headerTTL: {l.h.cfg.Times.LeaseTTL.String()}})
	if err != nil {
		l.h.log.Debug("the lease was not given back; it ends by itself", zap.Error(err))
	}
}

// codeWrongLastSequenceInFlight is 10071's twin while a write is in flight (ENGINE 1).
const codeWrongLastSequenceInFlight = 10164

// pubAck is JetStream's reply to a publish outside LEDGER.
type pubAck struct {
	Seq   uint64              `json:"seq"`
	Error *jetstream.APIError `json:"error"`
}

func decodeAck(body []byte) (*pubAck, error) {
	var a pubAck
	if err := json.Unmarshal(body, &a); err != nil {
		return nil, fmt.Errorf("reply to a publish: %w", err)
	}
	if a.Error == nil && a.Seq == 0 {
		return nil, errors.New("reply to a publish names no sequence")
	}
	return &a, nil
}
