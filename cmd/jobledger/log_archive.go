package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/choria-io/fisk"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
)

func (p *program) addLogArchive(log *fisk.CmdClause) {
	var before string
	cmd := p.command(log, "archive", "Move older events to the archive now", func(ctx context.Context) error {
		return p.archive(ctx, before)
	})
	cmd.HelpLong(`Has the leader move what is older than a time to the archive now, instead of when
the hot window is over. Finished jobs leave; unfinished ones and open dead letters stay,
as one event that holds all of each. Nothing is lost from any history. Safe while the
system runs, and to run again.

Example:

	jobledger log archive --before 2h`)
	cmd.Flag("before", "What is older leaves: a time, or how long ago").Required().PlaceHolder("TIME").StringVar(&before)
}

func (p *program) archive(ctx context.Context, text string) error {
	before, err := parseTime(text, p.Now(), p.flags.zone, -1)
	if err != nil {
		return usagef("--before: %w", err)
	}
	if p.flags.DryRun {
		p.talkf("would move to the archive what is older than %s", before.UTC().Format(time.RFC3339))
		return nil
	}
	l, err := p.openLedger(ctx, "log archive", p.logger(zap.WarnLevel))
	if err != nil {
		return err
	}
	defer l.Conn().Close()
	show := p.newLiveLine()
	done, err := l.AskArchive(ctx, before, func(m ledger.Moved) {
		show.set(func() string { return fmt.Sprintf("%s events moved, up to %d", thousands(uint64(m.Events)), m.Last) })
	})
	show.clear()
	if errors.Is(err, ledger.ErrNoArchiver) {
		return failf(ledger.CodeUnavailable, "%w: run it again when a server leads", err)
	}
	if err != nil {
		return err
	}
	if h := done.Held; h != nil {
		p.talkf("the rest stays for now: %s at sequence %d, since %s: %s", h.Subject, h.Seq, h.Since.UTC().Format(time.RFC3339), h.Why)
	}
	if p.flags.JSON {
		return p.document(done)
	}
	if done.Events == 0 {
		p.talkf("nothing moved")
		return nil
	}
	p.talkf("%s events (%d to %d) moved, %s jobs carried on", thousands(uint64(done.Events)), done.First, done.Last, thousands(uint64(done.Carried)))
	return p.printf("%s\n", done.Sum)
}
