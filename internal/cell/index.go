package cell

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/internal/where"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/projector/index"
	"github.com/dartwing/jobledger/schemas"
)

// indexed is a server's query index as its gateway asks it; x is nil where the server keeps none.
type indexed struct{ x *index.Index }

// indexing is the ledger that the index asks for events; nil where there is no index.
func (o *opener) indexing() *ledger.Ledger {
	if o.cfg.IndexDir == "" {
		return nil
	}
	return o.ledger("index", nil)
}

func newIndex(cfg *Config, l *ledger.Ledger, feed *ledger.Feed) (*indexed, error) {
	if cfg.IndexDir == "" {
		return &indexed{}, nil
	}
	x, err := index.New(index.Config{Ledger: l, Feed: feed, Dir: cfg.IndexDir, Server: cfg.ServerID, Logger: component(cfg.Logger, "index")})
	return &indexed{x}, err
}

// tellWhere has looks for earlier lives of ids ask the index where a job stands, once memory does not hold all filters.
func (i *indexed) tellWhere(to ...*ledger.Ledger) {
	for _, l := range to {
		if i.x != nil {
			l.AskWhere(i.x.Where)
		}
	}
}

func (i *indexed) run(ctx context.Context) error {
	if i.x == nil {
		<-ctx.Done()
		return nil
	}
	return i.x.Run(ctx)
}

func (i *indexed) door() gateway.Index {
	if i.x == nil {
		return nil
	}
	return i
}

// Serves implements gateway.Index, as do the others.
func (i *indexed) Serves() bool {
	_, ready := i.x.Position()
	return ready
}

// WaitFor waits.
func (i *indexed) WaitFor(ctx context.Context, seq schemas.Seq) error { return i.x.WaitFor(ctx, seq) }

// Page finds a page.
func (i *indexed) Page(ctx context.Context, org schemas.OrgID, w *where.Where, before schemas.Seq, limit int, now time.Time) ([]ledger.Record, schemas.Seq, schemas.Seq, error) {
	if before == math.MaxUint64 {
		before = 0
	}
	page, err := i.x.Find(ctx, &index.Query{Org: org, Where: *w, Before: before, Limit: limit, Now: now})
	if err != nil {
		return nil, 0, 0, folding(err)
	}
	return page.Records, page.Next, page.AsOf.Seq, nil
}

// Each finds all.
func (i *indexed) Each(ctx context.Context, org schemas.OrgID, w *where.Where, now time.Time, most int, take func(ledger.Record)) (schemas.Seq, bool, error) {
	at, whole, err := i.x.Each(ctx, &index.Query{Org: org, Where: *w, Now: now}, most, func(r ledger.Record) bool {
		take(r)
		return true
	})
	return at.Seq, whole, folding(err)
}

// folding says in the gateway's words that the index is being folded.
func folding(err error) error {
	if errors.Is(err, index.ErrFolding) {
		return fmt.Errorf("%w: %w", gateway.ErrIndexFolding, err)
	}
	return err
}

// position tells how far the index is; nil where there is none.
func (i *indexed) position() func() (schemas.Position, bool) {
	if i.x == nil {
		return nil
	}
	return i.x.Position
}

// counts tells the counters of all orgs; nil where there is no index.
func (i *indexed) counts() func(context.Context) (map[ledger.CountKey]ledger.Count, error) {
	if i.x == nil {
		return nil
	}
	return func(ctx context.Context) (map[ledger.CountKey]ledger.Count, error) {
		all, _, err := i.x.Counts(ctx, "")
		return all, err
	}
}
