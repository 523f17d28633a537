package ours

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	org  = schemas.OrgID("bench")
	kind = schemas.TypeName("bench")

	// readyTimeout bounds the wait for a server that has just started; viewsTimeout that for views to hold all that is
	// stored.
	readyTimeout = 30 * time.Second
	viewsTimeout = 2 * time.Minute
	// lookEvery is the pause between two looks at what comes to be.
	lookEvery = 20 * time.Millisecond
)

var actor = schemas.Actor{Type: "user", ID: "bench"}

// Config says where the server is and what is asked of it.
type Config struct {
	URL string
	// Dedup submits with a content id, so that the server looks for an earlier job of the same content.
	Dedup bool
}

// Client submits and works, each over connections of its own.
type Client struct {
	cfg       Config
	submits   *ledger.Ledger
	look      *ledger.Ledger
	acked     atomic.Int64 // jobs whose submit was acknowledged
	completed atomic.Int64 // jobs whose completion was acknowledged
	others    atomic.Int64 // other outcomes
	workers   atomic.Bool  // there are some, or were
}

// Open waits for the server to serve, registers the type of all jobs, and takes the limit on running jobs from their org:
// the other systems have none.
func Open(ctx context.Context, cfg Config) (*Client, error) {
	c := &Client{cfg: cfg}
	for _, to := range []**ledger.Ledger{&c.submits, &c.look} {
		l, err := c.connect()
		if err != nil {
			c.Close()
			return nil, err
		}
		*to = l
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		err := c.register(ctx)
		if err == nil {
			return c, nil
		}
		if rest(ctx) != nil {
			c.Close()
			return nil, fmt.Errorf("the server does not serve after %s: %w", readyTimeout, err)
		}
	}
}

func (c *Client) register(ctx context.Context) error {
	if _, err := c.submits.PutType(ctx, schemas.TypeSettings{Name: kind}, ledger.Meta{Actor: actor}, "measured"); err != nil {
		return err
	}
	limit := 0 // none
	set := &schemas.OrgSet{Settings: schemas.OrgSettings{Name: org, MaxRunning: &limit}, Reason: "measured"}
	_, err := c.submits.Put(ctx, ledger.Meta{Actor: actor}, set.Place(), func(schemas.Setting) (schemas.Setting, error) { return set, nil })
	return err
}

func (c *Client) dial() (*nats.Conn, error) { return nats.Connect(c.cfg.URL, nats.MaxReconnects(-1)) }

func (c *Client) connect() (*ledger.Ledger, error) {
	nc, err := c.dial()
	if err != nil {
		return nil, err
	}
	return ledger.New(ledger.Config{Conn: nc, Logger: zap.NewNop()})
}

func (c *Client) request(payload []byte) ledger.SubmitRequest {
	return ledger.SubmitRequest{Org: org, Type: kind, Args: quote(payload), NoDedup: !c.cfg.Dedup, Meta: ledger.Meta{Actor: actor}}
}

// Submit stores one job and returns when the server has acknowledged it.
func (c *Client) Submit(ctx context.Context, payload []byte) error {
	if _, err := c.submits.Submit(ctx, c.request(payload)); err != nil {
		return err
	}
	c.acked.Add(1)
	return nil
}

// SubmitBulk stores all jobs, ledger.SubmitManyMax at a time, and returns when the server has acknowledged each.
func (c *Client) SubmitBulk(ctx context.Context, payloads [][]byte) error {
	for part := range slices.Chunk(payloads, ledger.SubmitManyMax) {
		requests := make([]ledger.SubmitRequest, len(part))
		for i, p := range part {
			requests[i] = c.request(p)
		}
		outcomes, err := c.submits.SubmitMany(ctx, requests)
		if err != nil {
			return err
		}
		for i := range outcomes {
			if outcomes[i].Err != nil {
				return outcomes[i].Err
			}
		}
		c.acked.Add(int64(len(part)))
	}
	return nil
}

// Outstanding is how many jobs are not yet completed.
func (c *Client) Outstanding(ctx context.Context) (int64, error) {
	if n := c.others.Load(); n > 0 {
		return 0, fmt.Errorf("%d outcomes are not completed", n)
	}
	if c.workers.Load() {
		return c.acked.Load() - c.completed.Load(), nil
	}
	counts, err := c.counts(ctx)
	return counts.Unfinished(), err
}

// counts is what the views say once they hold all that is stored now.
func (c *Client) counts(ctx context.Context) (ledger.Count, error) {
	end, err := c.look.End(ctx)
	if err != nil {
		return ledger.Count{}, err
	}
	bucket, err := c.look.JetStream().KeyValue(ctx, ledger.BucketCounts)
	if err != nil {
		return ledger.Count{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, viewsTimeout)
	defer cancel()
	for {
		var doc ledger.CountsDocument
		entry, err := bucket.Get(ctx, ledger.KeyCountsAll)
		if err == nil {
			err = json.Unmarshal(entry.Value(), &doc)
		}
		if err == nil && doc.Seq >= end.Seq {
			return doc.Totals, nil
		}
		if rest(ctx) != nil {
			return ledger.Count{}, fmt.Errorf("the views hold events to %s of %s after %s: %w", doc.Seq, end.Seq, viewsTimeout, errors.Join(err, ctx.Err()))
		}
	}
}

// Close ends the connections that Open made. Workers end before it.
func (c *Client) Close() {
	for _, l := range []*ledger.Ledger{c.submits, c.look} {
		if l != nil {
			l.Conn().Close()
		}
	}
}

func rest(ctx context.Context) error {
	t := time.NewTimer(lookEvery)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
