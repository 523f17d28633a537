package gateway

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Status is how a cell does, for probes: how far its views are, what is wrong in its ledger, and whether somebody leads.
type Status struct {
	Leading     bool          `json:"leading"`  // some server holds the lease
	EndSeq      schemas.Seq   `json:"end_seq"`  // where the ledger ends
	JobsSeq     schemas.Seq   `json:"jobs_seq"` // how far the views are written
	CountsSeq   schemas.Seq   `json:"counts_seq"`
	ConfigSeq   schemas.Seq   `json:"config_seq"`
	Quarantined int64         `json:"quarantined"` // messages in the ledger that cannot be decoded, up to CountsSeq
	Illegal     int64         `json:"illegal"`     // events that were not legal where they stand
	Storage     *ledger.Space `json:"storage"`     // null if no server tells
}

func (g *Gateway) status(ctx context.Context, _ *request) ([]byte, error) {
	end, err := g.l.End(ctx)
	if err != nil {
		return nil, err
	}
	s := Status{EndSeq: end.Seq}
	if s.Leading, err = g.leading(ctx); err != nil {
		return nil, err
	}
	v := kvViews{l: g.l}
	counts, err := v.bucket(ctx, ledger.BucketCounts)
	if err != nil {
		return nil, err
	}
	doc, err := v.all(ctx, counts)
	if err != nil {
		return nil, err
	}
	s.JobsSeq, s.CountsSeq, s.ConfigSeq, s.Quarantined, s.Illegal = doc.Jobs.Seq, doc.Seq, doc.Config.Seq, doc.Quarantined, doc.Illegal
	if space, err := g.l.Space(ctx); err == nil {
		s.Storage = &space
	}
	return json.Marshal(&s)
}

// leading reports whether somebody holds the lease.
func (g *Gateway) leading(ctx context.Context) (bool, error) {
	var kv jetstream.KeyValue
	err := reading(ctx, func(ctx context.Context) (err error) {
		kv, err = g.l.JetStream().KeyValue(ctx, ledger.BucketLease)
		return err
	})
	if err == nil {
		_, err = get(ctx, kv, ledger.LeaseKey)
	}
	if errors.Is(err, jetstream.ErrBucketNotFound) || errors.Is(err, jetstream.ErrKeyNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Status returns how the cell does.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	return ask[Status](ctx, c, "status", nil)
}
