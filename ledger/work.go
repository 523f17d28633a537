package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/schemas"
)

// Limits of WORK and its consumers. The server's own defaults (1,000 pending acks, 512 waiting pulls, 1,000
// consumers) would each stop dispatch silently (ENGINE 4).
const (
	workConsumersMax  = 10_000 // (queue, type) pairs
	workAckPendingMax = 50_000 // offers in the hands of all workers of one pair
	workWaitingMax    = 8_192  // open pulls of all workers of one pair
)

// workConfig is WORK as it is created now. FirstSeq is above every sequence of an earlier life, so that an
// ack from there names nothing (ENGINE 12).
func workConfig(now time.Time) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:                 StreamWork,
		Description:          "jobledger: unclaimed offers; a cache, may be deleted at any moment",
		Subjects:             []string{"work.>"},
		Retention:            jetstream.WorkQueuePolicy,
		Storage:              jetstream.MemoryStorage,
		Replicas:             1,
		Discard:              jetstream.DiscardNew,
		DiscardNewPerSubject: true,
		MaxMsgsPerSubject:    1,
		MaxConsumers:         workConsumersMax,
		MaxMsgs:              -1,
		MaxBytes:             -1,
		AllowDirect:          true,
		FirstSeq:             firstSequence(now),
		Metadata:             mark("work"),
	}
}

// EnsureWork creates WORK if it is not there. It is a memory stream: a restart of its server takes it away
// with its consumers. A WORK whose server does not answer is an error; see RecreateWork.
func (l *Ledger) EnsureWork(ctx context.Context) error {
	_, err := l.ensureStream(ctx, workConfig(time.Now()), checkWork)
	return err
}

// RecreateWork deletes WORK with all offers and consumers, and creates it anew: the way out when the server
// that held it is gone, for only delete and create still work then (ENGINE 12). Offers are made again from
// the ledger; EnsureConsumer has to be called for each pair.
func (l *Ledger) RecreateWork(ctx context.Context) error {
	return l.recreateStream(ctx, workConfig(time.Now()))
}

// recreateStream deletes a stream that is a cache and creates it anew. If this process dies in between, the
// stream is missing, which its users repair by calling here or EnsureWork again.
func (l *Ledger) recreateStream(ctx context.Context, cfg jetstream.StreamConfig) error {
	err := l.asking(ctx, func(ctx context.Context) error {
		err := l.js.DeleteStream(ctx, cfg.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("delete stream %s: %w", cfg.Name, err)
	}
	err = l.asking(ctx, func(ctx context.Context) error {
		_, err := l.js.CreateStream(ctx, cfg)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another leader was faster
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("create stream %s: %w", cfg.Name, err)
	}
	return nil
}

// checkWork refuses a WORK on which two offers of one job could wait, or an offer could be lost for ever.
func checkWork(c *jetstream.StreamConfig) []string {
	var p problems
	p.require(c.Retention == jetstream.WorkQueuePolicy, "its retention is %s, not work queue", c.Retention)
	p.require(c.Discard == jetstream.DiscardNew && c.DiscardNewPerSubject && c.MaxMsgsPerSubject == 1,
		"it does not hold at most one message a subject, refusing the second")
	return p.with("delete it (nats stream rm %s): it is a cache", StreamWork)
}

// EnsureConsumer creates the durable consumer of (queue, type) on WORK and returns it. It is idempotent, and
// cheap enough for each start of a worker, not for each pull.
func (l *Ledger) EnsureConsumer(ctx context.Context, q schemas.QueueName, t schemas.TypeName) (jetstream.Consumer, error) {
	name := ConsumerName(q, t)
	cfg := jetstream.ConsumerConfig{
		Durable:       name,
		FilterSubject: ConsumerFilter(q, t),
		AckPolicy:     jetstream.AckExplicitPolicy,
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckWait:       AckWait,
		MaxDeliver:    -1, // attempts are counted in the ledger
		MaxAckPending: workAckPendingMax,
		MaxWaiting:    workWaitingMax,
		Replicas:      1,
		MemoryStorage: true,
	}
	var c jetstream.Consumer
	err := l.asking(ctx, func(ctx context.Context) (err error) {
		c, err = l.js.CreateOrUpdateConsumer(ctx, StreamWork, cfg)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("consumer %s on stream %s: %w", name, StreamWork, err)
	}
	return c, nil
}
