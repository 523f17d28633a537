package main

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
)

// checkTimeout bounds the look at the ledger before a command starts; it is
// longer than one request, since a cluster may be electing.
const checkTimeout = 15 * time.Second

// openLedger connects to the ledger's own account, for the commands that work
// there (log, bench, worker), and refuses a ledger that could not keep its
// promises. The caller closes its connection.
func (p *program) openLedger(ctx context.Context, name string, log *zap.Logger) (*ledger.Ledger, error) {
	t, err := p.resolveTarget()
	if err != nil {
		return nil, err
	}
	nc, err := p.connect(t, name)
	if err != nil {
		return nil, err
	}
	l, err := ledger.New(ledger.Config{Conn: nc, Logger: log})
	if err == nil {
		checking, cancel := context.WithTimeout(ctx, checkTimeout)
		defer cancel()
		err = l.Check(checking)
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	return l, nil
}
