package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/choria-io/fisk"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// watchFlags choose what `job watch` shows.
type watchFlags struct {
	ids, types, states []string
}

func (p *program) addJobWatch(job *fisk.CmdClause) {
	var f watchFlags
	cmd := p.command(job, "watch", "Follow jobs live", func(ctx context.Context) error { return p.watch(ctx, &f) })
	cmd.HelpLong(`Prints a line for each event of the org's jobs from now on. With ids it begins
where these jobs stand and ends when all of them have ended.

Examples:

	jobledger job watch
	jobledger job watch --type email-send --state dead_lettered -j
	jobledger job watch 0193f0c2-...`)
	cmd.Arg("id", "Jobs to follow; all of the org when absent").StringsVar(&f.ids)
	cmd.Flag("type", "Only jobs of these types").PlaceHolder("TYPE").StringsVar(&f.types)
	cmd.Flag("state", "Only events that lead to these states").PlaceHolder("STATE").StringsVar(&f.states)
}

// watchLine is one event of `job watch --json`.
type watchLine struct {
	Seq      schemas.Seq            `json:"seq"`
	Time     time.Time              `json:"time"`
	Org      *schemas.OrgID         `json:"org"`
	ID       *schemas.JobID         `json:"id"`
	Type     *schemas.TypeName      `json:"type"`
	Event    schemas.EventName      `json:"event"`
	State    *schemas.State         `json:"state"`
	Attempt  *int                   `json:"attempt"`
	Progress *ledger.RecordProgress `json:"progress"`
}

// errAllEnded ends a watch whose jobs have all ended.
var errAllEnded = errors.New("all jobs have ended")

func (p *program) watch(ctx context.Context, f *watchFlags) error {
	if err := checkJobIDs(f.ids); err != nil {
		return err
	}
	if err := (&jobFilters{state: f.states}).check(); err != nil {
		return err
	}
	c, err := p.openClient("job watch")
	if err != nil {
		return err
	}
	defer c.Conn.Close()
	l, err := ledger.New(ledger.Config{Conn: c.Conn, Logger: p.logger(zap.WarnLevel)})
	if err != nil {
		return err
	}
	// The end is read before the jobs: what happens to them in between is
	// shown, perhaps twice, and never missed.
	end, err := l.End(ctx)
	if err != nil {
		return err
	}
	w := watcher{p: p, types: split[string](f.types), states: split[string](f.states)}
	if len(f.ids) > 0 {
		if err := w.begin(ctx, c, f.ids); err != nil {
			return err
		}
		if len(w.open) == 0 {
			return nil
		}
	}
	q := ledger.ReplayQuery{Org: c.Org, From: ledger.ReplayBound{Seq: end.Seq + 1}}
	err = l.Follow(ctx, q, w.show)
	if errors.Is(err, errAllEnded) {
		return nil
	}
	return err
}

// watcher shows events as they come.
type watcher struct {
	p             *program
	types, states []string
	open          map[schemas.JobID]schemas.Seq // jobs that have not ended and what was shown of them; nil watches all
}

// begin shows where the jobs stand.
func (w *watcher) begin(ctx context.Context, c *gateway.Client, ids []string) error {
	w.open = make(map[schemas.JobID]schemas.Seq)
	for _, id := range ids {
		r, err := c.Get(ctx, schemas.JobID(id))
		if err != nil {
			return err
		}
		if !r.State.Finished() {
			w.open[r.ID] = r.Seq
		}
		if w.p.flags.JSON {
			continue // events only
		}
		if err := w.p.printf("%s  is %s\n", r.ID, explained(r)); err != nil {
			return err
		}
	}
	return nil
}

func (w *watcher) show(e *ledger.Entry) error {
	h := ledger.LineOf(e)
	if w.open != nil {
		seen, watched := w.open[e.Job]
		if !watched || e.Seq <= seen {
			return nil
		}
	}
	if w.wanted(&h) {
		if err := w.print(h); err != nil {
			return err
		}
	}
	if h.To != nil && h.To.Finished() && w.open != nil {
		delete(w.open, e.Job)
		if len(w.open) == 0 {
			return errAllEnded
		}
	}
	return nil
}

func (w *watcher) wanted(h *ledger.HistoryLine) bool {
	byType := len(w.types) == 0 || h.Type != nil && slices.Contains(w.types, string(*h.Type))
	byState := len(w.states) == 0 || h.To != nil && slices.Contains(w.states, string(*h.To))
	return byType && byState
}

func (w *watcher) print(h ledger.HistoryLine) error {
	if !w.p.flags.JSON {
		return w.p.printf("%s\n", w.p.eventLine(h))
	}
	return w.p.line(watchLine{Seq: h.Seq, Time: h.Time, Org: h.Org, ID: h.ID, Type: h.Type, Event: h.Event, State: h.To, Attempt: h.Attempt})
}
