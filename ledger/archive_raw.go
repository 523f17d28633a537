package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/schemas"
)

const (
	// rawBatch and rawBytes bound one answer of rawFrom; at least one message always comes.
	rawBatch = 1024
	rawBytes = 4 << 20
)

// rawFrom returns the next messages of LEDGER from seq on as they are stored, up to some number; none behind its end.
// A message whose header block cannot be read comes with that block.
func (l *Ledger) rawFrom(ctx context.Context, seq schemas.Seq) (batch []rawMessage, err error) {
	seq = max(seq, 1)
	if batch, err = l.rawDirect(ctx, seq); err == nil && len(batch) > 0 {
		return batch, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	// A replica that lags behind, or a header block that breaks the answer's own: the leader's get always answers.
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

// rawDirect is rawFrom by one direct get. It ends before an answer that cannot be read.
func (l *Ledger) rawDirect(ctx context.Context, seq schemas.Seq) ([]rawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	inbox := l.nc.NewInbox()
	answers := make(chan *nats.Msg, rawBatch+2)
	sub, err := l.nc.ChanSubscribe(inbox, answers)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only when the connection is closed, which ends it too
	body, err := json.Marshal(getRequest{Seq: seq, Batch: rawBatch, MaxBytes: rawBytes})
	if err != nil {
		return nil, err
	}
	if err := l.nc.PublishRequest(subjectDirectGet, inbox, body); err != nil {
		return nil, err
	}
	var batch []rawMessage
	var last schemas.Seq
	for {
		var m *nats.Msg
		select {
		case m = <-answers:
		case <-ctx.Done():
			return batch, ctx.Err()
		}
		before := lastValue(m.Header, headerLastSeq)
		r, status, err := directMessage(m)
		switch {
		case err != nil && len(batch) > 0:
			return batch, nil // the next call meets it again
		case err != nil:
			return nil, err
		case status == statusNotFound:
			return batch, nil
		case status != "" && status != statusEnd:
			return nil, fmt.Errorf("%w: status %s", errDirect, status)
		case before != last.String():
			return nil, fmt.Errorf("%w: an answer behind %d is missing", errDirect, last)
		case status == statusEnd:
			return batch, nil
		}
		batch, last = append(batch, r), r.Seq
	}
}
