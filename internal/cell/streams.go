package cell

import (
	"context"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// streams provisions a cell's streams: at the start, whenever LEASE is missing, and for windows that change while the cell
// serves. The second must not put back what the third has changed, so they take turns.
type streams struct {
	turn chan ledger.ProvisionConfig // holds the one value while nobody provisions
}

func newStreams(cfg *Config) *streams {
	s := &streams{turn: make(chan ledger.ProvisionConfig, 1)}
	s.turn <- ledger.ProvisionConfig{Replicas: cfg.Replicas, DuplicateWindow: cfg.DuplicateWindow, HotWindow: cfg.HotWindow, Retention: cfg.Retention,
		GroupCommit: cfg.GroupCommit, Version: cfg.Version}
	return s
}

// take waits for a turn. Who has one gives the value back.
func (s *streams) take(ctx context.Context) (ledger.ProvisionConfig, error) {
	select {
	case p := <-s.turn:
		return p, nil
	case <-ctx.Done():
		return ledger.ProvisionConfig{}, ctx.Err()
	}
}

func (s *streams) provision(ctx context.Context, l *ledger.Ledger) (ledger.Cell, error) {
	p, err := s.take(ctx)
	if err != nil {
		return ledger.Cell{}, err
	}
	defer func() { s.turn <- p }()
	return ledger.Provision(ctx, l, p)
}

// begin provisions the cell and says where the ledger ends then.
func (s *streams) begin(ctx context.Context, l *ledger.Ledger) (ledger.Cell, schemas.Position, error) {
	cell, err := s.provision(ctx, l)
	if err != nil {
		return cell, schemas.Position{}, err
	}
	end, err := l.End(ctx)
	return cell, end, err
}

// setter is Info.SetWindows. If this process dies in it, the ledger has the windows or not; the next start sets those that it
// is configured with.
func (s *streams) setter(l *ledger.Ledger) func(ctx context.Context, hot, retention time.Duration) error {
	return func(ctx context.Context, hot, retention time.Duration) error {
		p, err := s.take(ctx)
		if err != nil {
			return err
		}
		defer func() { s.turn <- p }()
		next := p
		next.HotWindow, next.Retention = hot, retention
		if _, err := ledger.Provision(ctx, l, next); err != nil {
			return err
		}
		p = next
		return nil
	}
}
