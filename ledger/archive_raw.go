package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/schemas"
)

const (
	// rawBatch and rawBytes bound one answer of rawFrom; at least one message always comes.
	rawBatch = 4096
	rawBytes = 4 << 20
	// subjectNext, followed by stream and consumer, asks a pull consumer for messages.
	subjectNext = "$JS.API.CONSUMER.MSG.NEXT."
)

// rawFrom returns the next messages of LEDGER from seq on as they are stored, up to some number; none behind its end.
// A message whose header block cannot be read comes with that block.
func (l *Ledger) rawFrom(ctx context.Context, seq schemas.Seq) (batch []rawMessage, err error) {
	seq = max(seq, 1)
	if batch, err = l.rawPull(ctx, seq); err == nil && len(batch) > 0 {
		return batch, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	// A replica that lags behind, or a message that the client cannot show as it is: the leader's get always answers.
	err = l.reading(ctx, func(ctx context.Context) error {
		m, err := l.leaderMessage(ctx, StreamLedger, getRequest{Seq: seq, NextFor: ">"})
		if err == nil {
			batch = []rawMessage{m.raw()}
		}
		return err
	})
	if errors.Is(err, errNoMessage) {
		return nil, nil
	}
	return batch, err
}

// rawPull is rawFrom by a consumer that is made for one request: less work than direct gets (21 us an event against 28), whose answers the
// server gives headers of their own. It ends before a message without headers, which may have a block that cannot be
// read: the client does not tell.
func (l *Ledger) rawPull(ctx context.Context, seq schemas.Seq) ([]rawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	inbox := l.nc.NewInbox()
	answers := make(chan *nats.Msg, rawBatch+2)
	sub, err := l.nc.ChanSubscribe(inbox, answers)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only when the connection is closed, which ends it too
	name := "jl-raw-" + uuid.NewString()
	if _, err := l.js.CreateConsumer(ctx, StreamLedger, jetstream.ConsumerConfig{Name: name, Description: "jobledger: reads what leaves the ledger",
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: uint64(seq), AckPolicy: jetstream.AckNonePolicy,
		InactiveThreshold: tailInactive, MemoryStorage: true, Replicas: 1}); err != nil {
		return nil, fmt.Errorf("consumer on stream %s: %w", StreamLedger, err)
	}
	// Deleted without waiting; the server does it otherwise.
	defer func() { _ = l.nc.Publish("$JS.API.CONSUMER.DELETE."+StreamLedger+"."+name, nil) }()
	body, err := json.Marshal(struct {
		Batch    int  `json:"batch"`
		MaxBytes int  `json:"max_bytes"`
		NoWait   bool `json:"no_wait"`
	}{rawBatch, rawBytes, true})
	if err != nil {
		return nil, err
	}
	if err := l.nc.PublishRequest(subjectNext+StreamLedger+"."+name, inbox, body); err != nil {
		return nil, err
	}
	return collectRaw(ctx, answers)
}

// collectRaw takes the answers to one request for messages. Each bears its number, so that none is missed.
func collectRaw(ctx context.Context, answers <-chan *nats.Msg) (batch []rawMessage, err error) {
	for len(batch) < rawBatch {
		var m *nats.Msg
		select {
		case m = <-answers:
		case <-ctx.Done():
			return batch, ctx.Err()
		}
		meta, err := m.Metadata()
		if err != nil || len(m.Header) == 0 {
			return batch, nil // a status, which is the end, or what the leader has to be asked for
		}
		if meta.Sequence.Consumer != uint64(len(batch)+1) {
			return nil, fmt.Errorf("message %d of stream %s came as the %dth, and is the %dth", meta.Sequence.Stream, meta.Stream,
				len(batch)+1, meta.Sequence.Consumer)
		}
		batch = append(batch, rawMessage{Subject: m.Subject, Header: m.Header, Data: m.Data,
			Seq: schemas.Seq(meta.Sequence.Stream), Time: meta.Timestamp})
		if meta.NumPending == 0 {
			break
		}
	}
	return batch, nil
}
