package main

import (
	"context"
	"time"

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
running system. What could not be checked is null, never 0. That the whole was
checked, by whom and with what result, is noted in the ledger at the end; not
so with --dry-run.

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
	p.noteVerified(ctx, l, verdict)
	if !verdict.OK {
		return exitRequest{exitError}
	}
	return nil
}

// noteMax bounds how long a check waits for its note: who may only read is told so by silence.
const noteMax = 5 * time.Second

// noteVerified has the ledger keep what was found of all of it, for those who were not there. The verdict stands without it.
func (p *program) noteVerified(ctx context.Context, l *ledger.Ledger, verdict *ledger.Verdict) {
	if p.flags.DryRun || verdict.Org != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, noteMax)
	defer cancel()
	if err := l.NoteVerified(ctx, verdict, ledger.Meta{Actor: p.devActor()}); err != nil {
		p.talkf("the result is not noted in the ledger: %v", err)
	}
}
