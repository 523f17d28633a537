package main

import (
	"context"

	"github.com/choria-io/fisk"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

func (p *program) addLogVerify(log *fisk.CmdClause) {
	var full, limits, fullSpeed bool
	cmd := p.command(log, "verify", "Prove the ledger and its views", func(ctx context.Context) error {
		return p.verify(ctx, full, limits, fullSpeed)
	})
	cmd.HelpLong(`Folds the ledger from its beginning and compares everything derived from it.
Prints one JSON summary; exit code 0 only if nothing is wrong. Safe beside a
running system. What could not be checked is null, never 0.

Examples:

	jobledger log verify
	jobledger log verify --org acme --full
	jobledger log verify --limits`)
	cmd.Flag("full", "Also encode each event again and compare bytes").UnNegatableBoolVar(&full)
	cmd.Flag("limits", "Also count anew how many jobs ran at once under each limit").UnNegatableBoolVar(&limits)
	cmd.Flag("full-speed", fullSpeedHelp).UnNegatableBoolVar(&fullSpeed)
}

func (p *program) verify(ctx context.Context, full, limits, fullSpeed bool) error {
	l, err := p.openHistory(ctx, "log verify", p.logger(zap.WarnLevel))
	if err != nil {
		return err
	}
	defer l.Conn().Close()
	cfg := ledger.VerifyConfig{Ledger: l, Org: schemas.OrgID(p.flags.Org.Value), Full: full, Limits: limits, FullSpeed: fullSpeed}
	if p.IsTerminal(p.Stderr) {
		cfg.Progress = func(done, last schemas.Seq) { p.talkf("%d of %d", done, last) }
	}
	verdict, err := ledger.Verify(ctx, cfg)
	if err != nil {
		return err
	}
	if err := p.document(verdict); err != nil {
		return err
	}
	if !verdict.OK {
		return exitRequest{exitError}
	}
	return nil
}
