package main

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/internal/packs"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// checkTimeout bounds the look at the ledger before a command starts; it is
// longer than one request, since a cluster may be electing.
const checkTimeout = 15 * time.Second

// openLedger connects to the ledger's own account, for the commands that work
// there (log, bench, worker), and refuses a ledger that could not keep its
// promises. The caller closes its connection.
func (p *program) openLedger(ctx context.Context, name string, log *zap.Logger, more ...nats.Option) (*ledger.Ledger, error) {
	t, err := p.resolveTarget()
	if err != nil {
		return nil, err
	}
	nc, err := p.connect(t, name, more...)
	if err != nil {
		return nil, err
	}
	return checkedLedger(ctx, nc, log)
}

// openHistory is openLedger for a command that reads long stretches of the
// ledger: they come in packs, where the connection is not encrypted.
func (p *program) openHistory(ctx context.Context, name string, log *zap.Logger) (*ledger.Ledger, error) {
	return p.openLedger(ctx, name, log, p.inPacks())
}

// inPacks has a connection take long stretches in packs.
func (p *program) inPacks() nats.Option {
	return nats.SetCustomDialer(packs.Dialer{Timeout: p.flags.Timeout})
}

// openOrgHistory is openHistory for a command that is about one org.
func (p *program) openOrgHistory(ctx context.Context, name string) (*ledger.Ledger, schemas.OrgID, error) {
	t, err := p.resolveTarget()
	if err != nil {
		return nil, "", err
	}
	org, err := p.org(t)
	if err != nil {
		return nil, "", err
	}
	l, err := p.openHistory(ctx, name, p.logger(zap.WarnLevel))
	return l, org, err
}

// checkedLedger opens the ledger on nc, which it closes if the ledger could
// not keep its promises.
func checkedLedger(ctx context.Context, nc *nats.Conn, log *zap.Logger) (*ledger.Ledger, error) {
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
