package main

import (
	"context"
	"strings"
	"time"

	"github.com/choria-io/fisk"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/projector"
	"github.com/dartwing/jobledger/schemas"
)

// rebuildTimeout bounds how long rebuild waits for the leader: a million events
// fold in seconds, and no leader comes after that long.
const rebuildTimeout = 10 * time.Minute

// rebuilt is what `log rebuild --json` prints.
type rebuilt struct {
	View    string  `json:"view"`
	Events  uint64  `json:"events"` // folded again, up to this sequence
	Seconds float64 `json:"seconds"`
}

func (p *program) addLogRebuild(log *fisk.CmdClause) {
	var view string
	cmd := p.command(log, "rebuild", "Throw views away and fold them again", func(ctx context.Context) error {
		return p.rebuild(ctx, projector.View(view))
	})
	cmd.HelpLong(`Deletes the views and waits until the leader has written them again; of the query
index, until every server has folded its own again, or is gone. Jobs are not touched: the
ledger is the only truth. Safe while the system runs; lists and counts are
incomplete for a moment.

Example:

	jobledger log rebuild --view counts --force`)
	cmd.Flag("view", "jobs, counts, config, index or all").Default(string(projector.ViewAll)).
		EnumVar(&view, string(projector.ViewJobs), string(projector.ViewCounts), string(projector.ViewConfig), string(projector.ViewIndex), string(projector.ViewAll))
}

func (p *program) rebuild(ctx context.Context, view projector.View) error {
	if p.flags.DryRun {
		p.talkf("would delete and fold again: %s", view)
		return nil
	}
	if err := p.confirm("Delete the view " + string(view) + " and fold it again?"); err != nil {
		return err
	}
	l, err := p.openHistory(ctx, "log rebuild", p.logger(zap.WarnLevel))
	if err != nil {
		return err
	}
	defer l.Conn().Close()
	began := time.Now()
	waiting, cancel := context.WithTimeout(ctx, rebuildTimeout)
	defer cancel()
	seq, err := p.rebuildViews(waiting, l, view)
	if err != nil && waiting.Err() != nil && ctx.Err() == nil {
		return failf(ledger.CodeUnavailable, "what is rebuilt is not complete after %s: servers go on with it", rebuildTimeout)
	}
	if err != nil {
		return err
	}
	done := rebuilt{View: string(view), Events: uint64(seq), Seconds: time.Since(began).Seconds()}
	if p.flags.JSON {
		return p.document(done)
	}
	p.talkf("%s folded again up to %d in %.1f s", done.View, done.Events, done.Seconds)
	return nil
}

// rebuildViews rebuilds what the leader writes, what each server has for itself, or both.
func (p *program) rebuildViews(ctx context.Context, l *ledger.Ledger, view projector.View) (seq schemas.Seq, err error) {
	if view != projector.ViewIndex {
		if seq, err = projector.Rebuild(ctx, l, view); err != nil || view != projector.ViewAll {
			return seq, err
		}
	}
	got, err := l.RebuildIndexes(ctx)
	if len(got.Gone) > 0 {
		p.talkf("not heard of for %s, and not waited for: %s; \"jobledger server info\" tells how far the servers' indexes are", ledger.IndexGone, strings.Join(got.Gone, ", "))
	}
	if err == nil && got.Servers == 0 && len(got.Gone) > 0 {
		return 0, failf(ledger.CodeUnavailable, "no server that was asked tells of its query index")
	}
	if err == nil && got.Servers == 0 && view == projector.ViewIndex {
		return 0, failf(ledger.CodeUnavailable, "no server keeps a query index")
	}
	return max(seq, got.Seq), err
}
