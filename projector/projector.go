package projector

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// flushIdle is how long after its first change a document is written when there is little to write;
	// with the put itself it stays below the 250 ms of DESIGN D9.
	flushIdle = 150 * time.Millisecond
	// flushLoad is the same under load, so that most jobs cost one put; with the puts themselves it stays below 1 s.
	flushLoad = 700 * time.Millisecond
	// loadFrom is how many changed documents within flushIdle count as load: about 200 a second.
	loadFrom = 32
	// checkEvery is how often the buckets are looked at, for a deletion that no put and no message told of.
	checkEvery = 10 * time.Second
	// retryWait is the pause before the views are opened again after an error.
	retryWait = 500 * time.Millisecond
	// stopWait bounds the last flush when Run is told to stop. It saves a restart some folding, no more.
	stopWait = 2 * time.Second
	// entriesAhead is how many batches of entries the feed may be ahead of the fold.
	entriesAhead = 4
)

// Config says what to project, and where.
type Config struct {
	// Ledger is read for folds and positions; its connection also carries the puts. Give the projector a
	// ledger on a connection of its own (ENGINE 10). Required.
	Ledger *ledger.Ledger
	// Feed is the process's one tail of the ledger. Required.
	Feed *ledger.Feed
	// Logger is required; use zap.NewNop() for none.
	Logger *zap.Logger
	// HotWindow tells how long the documents of finished jobs stay in JOBS, from their finish on; 0: for ever. It is asked
	// when the views are opened. nil: for ever.
	HotWindow func(ctx context.Context) (time.Duration, error)
}

func (c *Config) validate() error {
	switch {
	case c.Ledger == nil:
		return errors.New("projector: Config.Ledger is required")
	case c.Feed == nil:
		return errors.New("projector: Config.Feed is required")
	case c.Logger == nil:
		return errors.New("projector: Config.Logger is required")
	}
	return nil
}

// Projector writes the KV views while its server leads.
type Projector struct {
	cfg Config
	log *zap.Logger
	w   *writer
	// suspects are jobs under whose id an illegal submitted was met: they are never taken for new. Only
	// a foreign writer makes them; beyond suspectsMax they are found again each time. Owned by Run.
	suspects map[jobKey]bool
	slack    time.Duration // expiredSlack
	silent   int           // flushes in a row of which not one put was answered. Owned by Run.
	status   atomic.Pointer[Status]
}

const (
	suspectsMax = 10_000
	// silentMax flushes without any answer, each given up after drainWait, while the server answers
	// everything else: the bucket is broken, and a new one costs a rebuild.
	silentMax = 3
)

// New returns a projector. It does not talk to the server.
func New(cfg Config) (*Projector, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	w, err := newWriter(cfg.Ledger.Conn(), cfg.Ledger.Groups)
	if err != nil {
		return nil, err
	}
	return &Projector{cfg: cfg, log: cfg.Logger, w: w, slack: expiredSlack, suspects: make(map[jobKey]bool)}, nil
}

// Run keeps the views while ctx lasts; call it while this server leads, one call at a time. It returns nil
// when ctx ends, after a last flush. It survives the loss of any bucket and of the server: it opens the
// views again and goes on from what they say.
//
// If this process dies here, the next leader does the same.
func (p *Projector) Run(ctx context.Context, epoch schemas.Seq) error {
	log := p.log.With(zap.Uint64("epoch", uint64(epoch)))
	p.status.Store(nil)
	defer p.status.Store(nil)
	for ctx.Err() == nil {
		err := p.session(ctx)
		var gone *lostError
		switch {
		case ctx.Err() != nil:
		case errors.As(err, &gone):
			log.Warn("a view is gone and is folded again", zap.String("bucket", gone.bucket))
		case errors.Is(err, errReopen), errors.Is(err, errCountsDoubtful):
			log.Info("views begin anew", zap.Error(err))
		default:
			log.Warn("views cannot be kept; trying again", zap.Error(err))
			wait(ctx, retryWait)
		}
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// session opens the views and keeps them until something is wrong with them.
func (p *Projector) session(ctx context.Context) error {
	gone, stop, err := p.watchDeletes()
	if err != nil {
		return err
	}
	defer stop()
	v, err := p.open(ctx)
	if err != nil {
		return err
	}
	s := &session{p: p, v: v, gone: gone, flushed: make(chan error, 1)}
	err = s.run(ctx)
	if errors.Is(err, errCountsDoubtful) {
		return errors.Join(err, deleteBucket(ctx, p.w.js, ledger.BucketCounts))
	}
	return err
}

// hotWindow is how long documents of finished jobs are kept now; 0: for ever.
func (p *Projector) hotWindow(ctx context.Context, jobs *jetstream.StreamInfo) (time.Duration, error) {
	if p.cfg.HotWindow == nil || !jobs.Config.AllowMsgTTL { // a bucket that an early version created lets nothing expire
		return 0, nil
	}
	return p.cfg.HotWindow(ctx)
}

// watchDeletes tells of buckets that are deleted. It is a shortcut: a put finds out too.
func (p *Projector) watchDeletes() (<-chan string, func(), error) {
	gone := make(chan string, 3)
	sub, err := p.cfg.Ledger.Conn().Subscribe(subjectDeleted+"*", func(m *nats.Msg) {
		bucket := strings.TrimPrefix(m.Subject, subjectDeleted+streamPrefix)
		switch bucket {
		case ledger.BucketJobs, ledger.BucketCounts, ledger.BucketConfig:
			select {
			case gone <- bucket:
			default:
			}
		}
	})
	if err != nil {
		return nil, nil, fmt.Errorf("watch for deleted buckets: %w", err)
	}
	return gone, func() { _ = sub.Unsubscribe() }, nil
}
