package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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
	cmd.HelpLong(`Prints a line for each event of the org's jobs from now on, and for what running
jobs report of their progress. With ids it begins where these jobs stand and ends
when all of them have ended.

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
	Seq      *schemas.Seq           `json:"seq"` // null for progress, which has no position
	Time     time.Time              `json:"time"`
	Org      *schemas.OrgID         `json:"org"`
	ID       *schemas.JobID         `json:"id"`
	Type     *schemas.TypeName      `json:"type"`
	Event    schemas.EventName      `json:"event"`
	State    *schemas.State         `json:"state"`
	Attempt  *int                   `json:"attempt"`
	Progress *ledger.RecordProgress `json:"progress"`
}

// eventProgress stands for an event's name in a line of progress.
const eventProgress schemas.EventName = "progress"

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
	err = l.Watch(ctx, q, func(u ledger.Update) error {
		if u.Progress != nil {
			return w.progress(u.Progress)
		}
		return w.show(u.Entry)
	})
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
		text := fmt.Sprintf("%s  is %s", r.ID, explained(r))
		if r.State == schemas.StateRunning && r.Progress != nil {
			text += "  " + progressText(r.Progress)
		}
		if err := w.p.printf("%s\n", quiet(oneLine.Replace(text))); err != nil {
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
	if w.wanted(h.Type, h.To) {
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

func (w *watcher) wanted(typ *schemas.TypeName, state *schemas.State) bool {
	byType := len(w.types) == 0 || typ != nil && slices.Contains(w.types, string(*typ))
	byState := len(w.states) == 0 || state != nil && slices.Contains(w.states, string(*state))
	return byType && byState
}

func (w *watcher) print(h ledger.HistoryLine) error {
	if !w.p.flags.JSON {
		return w.p.printf("%s\n", w.p.eventLine(h))
	}
	return w.p.line(watchLine{Seq: &h.Seq, Time: h.Time, Org: h.Org, ID: h.ID, Type: h.Type, Event: h.Event, State: h.To, Attempt: h.Attempt})
}

// progress shows what a running attempt says.
func (w *watcher) progress(p *ledger.LiveProgress) error {
	if _, watched := w.open[p.Job]; w.open != nil && !watched {
		return nil
	}
	running := schemas.StateRunning
	if !w.wanted(&p.Type, &running) {
		return nil
	}
	r := p.Record()
	if !w.p.flags.JSON {
		text := fmt.Sprintf("%8s  %s  %-16s  %s/%s  %s  attempt %d  %s", "", w.p.recordTime(w.p.Now()), eventProgress, p.Org, p.Job, p.Type, p.Attempt, progressText(r))
		return w.p.printf("%s\n", quiet(oneLine.Replace(text)))
	}
	return w.p.line(watchLine{Time: w.p.Now().UTC(), Org: &p.Org, ID: &p.Job, Type: &p.Type, Event: eventProgress,
		State: &running, Attempt: &p.Attempt, Progress: r})
}

// stepsInLine is how many steps of a checklist a line shows; of a longer one it
// tells how many are done, and which is not.
const stepsInLine = 6

// progressText is progress on one line: "40 %, page 7  [x] fetch [>] store [ ] send".
func progressText(p *ledger.RecordProgress) string {
	text := progressFact(p)
	if len(p.Steps) == 0 {
		return text
	}
	if len(p.Steps) <= stepsInLine {
		return text + "  " + strings.Join(checklist(p.Steps), " ")
	}
	done, now := 0, ""
	for _, s := range p.Steps {
		switch s.State {
		case "done":
			done++
		case "in_progress":
			now = ", now " + s.Name
		}
	}
	return text + fmt.Sprintf("  %d of %d steps done%s", done, len(p.Steps), now)
}

// checklist is each step with its mark.
func checklist(steps []schemas.Step) []string {
	marks := map[string]string{"done": "[x] ", "in_progress": "[>] "}
	lines := make([]string, 0, len(steps))
	for _, s := range steps {
		mark := marks[s.State]
		if mark == "" {
			mark = "[ ] "
		}
		lines = append(lines, mark+s.Name)
	}
	return lines
}
