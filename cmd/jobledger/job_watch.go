package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/choria-io/fisk"
	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// watchFlags choose what `job watch` shows.
type watchFlags struct {
	ids   []string
	after option[schemas.Seq]
	filterFlags
}

func (p *program) addJobWatch(job *fisk.CmdClause) {
	var f watchFlags
	cmd := p.command(job, "watch", "Follow jobs live", func(ctx context.Context) error { return p.watch(ctx, &f) })
	cmd.HelpLong(`Prints a line for each event of the org's jobs from now on, and for what running
jobs report of their progress. With ids it begins where these jobs stand and ends
when all of them have ended. A filter is asked about the job as it is behind the
event. A cut connection or a restarted server costs nothing: it goes on behind the
last event. Stopped, it says the last sequence, so that --after can resume there, as
long as the servers remember it.

Examples:

	jobledger job watch
	jobledger job watch --type email-send --state dead_lettered -j
	jobledger job watch --where 'tag.env:prod owner:user:ada' --after 4711
	jobledger job watch 0193f0c2-...`)
	cmd.Arg("id", "Jobs to follow; all of the org when absent").StringsVar(&f.ids)
	optionFlag(cmd, "after", "Begin behind this sequence", &f.after, parseSeq).PlaceHolder("SEQ")
	f.declare(cmd)
}

// watchLine is one event of `job watch --json`.
type watchLine struct {
	Seq        *schemas.Seq           `json:"seq"` // null for progress, which has no position
	Time       time.Time              `json:"time"`
	Org        *schemas.OrgID         `json:"org"`
	ID         *schemas.JobID         `json:"id"`
	Type       *schemas.TypeName      `json:"type"`
	Event      schemas.EventName      `json:"event"`
	State      *schemas.State         `json:"state"`
	Attempt    *int                   `json:"attempt"`
	Progress   *ledger.RecordProgress `json:"progress"`
	From       *schemas.State         `json:"from"`
	Reason     *string                `json:"reason"`
	Generation *int                   `json:"generation"`
	RetryAt    *time.Time             `json:"retry_at"`
}

// errAllEnded ends a watch whose jobs have all ended.
var errAllEnded = errors.New("all jobs have ended")

func (p *program) watch(ctx context.Context, f *watchFlags) error {
	if err := checkJobIDs(f.ids); err != nil {
		return err
	}
	filter, err := f.filter(p)
	if err != nil {
		return err
	}
	c, err := p.openClient("job watch")
	if err != nil {
		return err
	}
	defer c.Conn.Close()
	w := watcher{p: p}
	req := gateway.WatchRequest{Filter: filter, After: schemas.Position{Seq: f.after.Value}}
	if len(f.ids) > 0 {
		if err := w.pick(&req, f.ids); err != nil {
			return err
		}
		// The position is asked for before the jobs are read: what happens to them in between is shown, never missed.
		req.Began = func(schemas.Position) error { return w.begin(ctx, c, f.ids) }
	}
	err = c.Watch(ctx, req, w.show)
	if w.last > 0 && len(f.ids) == 0 {
		p.talkf("last seq %d", w.last)
	}
	if errors.Is(err, errAllEnded) {
		return nil
	}
	return err
}

// watcher shows events as they come.
type watcher struct {
	p      *program
	types  []schemas.TypeName // with ids: the server tells of all that happens to them, so that their end is seen
	states []schemas.State
	open   map[schemas.JobID]schemas.Seq // jobs that have not ended and what was shown of them; nil watches all
	last   schemas.Seq
}

// pick asks for everything about a few jobs; what of it is shown is chosen here.
func (w *watcher) pick(r *gateway.WatchRequest, ids []string) error {
	w.types, w.states = r.Type, r.State
	r.Type, r.State = nil, nil
	if !reflect.DeepEqual(r.Filter, gateway.Filter{}) {
		return usagef("give ids or a filter: of jobs that are named only --state and --type choose what is shown")
	}
	for _, id := range ids {
		r.Jobs = append(r.Jobs, schemas.JobID(id))
	}
	return nil
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
	if len(w.open) == 0 {
		return errAllEnded
	}
	return nil
}

func (w *watcher) show(ev *gateway.LiveEvent) error {
	if ev.ID == nil {
		return nil // of no job
	}
	if w.open != nil {
		seen, watched := w.open[*ev.ID]
		if !watched || ev.Seq != nil && *ev.Seq <= seen {
			return nil
		}
	}
	if w.wanted(ev.Type, ev.To) {
		if err := w.print(ev); err != nil {
			return err
		}
	}
	if ev.Seq != nil {
		w.last = *ev.Seq
	}
	if ev.To != nil && ev.To.Finished() && w.open != nil {
		delete(w.open, *ev.ID)
		if len(w.open) == 0 {
			return errAllEnded
		}
	}
	return nil
}

func (w *watcher) wanted(typ *schemas.TypeName, state *schemas.State) bool {
	byType := len(w.types) == 0 || typ != nil && slices.Contains(w.types, *typ)
	byState := len(w.states) == 0 || state != nil && slices.Contains(w.states, *state)
	return byType && byState
}

func (w *watcher) print(ev *gateway.LiveEvent) error {
	if w.p.flags.JSON {
		return w.p.line(watchLine{Seq: ev.Seq, Time: ev.Time, Org: ev.Org, ID: ev.ID, Type: ev.Type, Event: ev.Event, State: ev.To,
			Attempt: ev.Attempt, Progress: ev.Progress, From: ev.From, Reason: ev.Reason, Generation: ev.Generation, RetryAt: ev.RetryAt})
	}
	if ev.Progress != nil {
		text := fmt.Sprintf("%8s  %s  %-16s  %s/%s  %s  attempt %d  %s", "", w.p.recordTime(ev.Time), ev.Event, *ev.Org, *ev.ID, *ev.Type,
			*ev.Attempt, progressText(ev.Progress))
		return w.p.printf("%s\n", quiet(oneLine.Replace(text)))
	}
	h := ledger.HistoryLine{Seq: *ev.Seq, Time: ev.Time, Event: ev.Event, Attempt: ev.Attempt, Reason: ev.Reason}
	h.Org, h.ID, h.Type = ev.Org, ev.ID, ev.Type
	if ev.Actor != nil {
		h.Actor = *ev.Actor
	}
	return w.p.printf("%s\n", w.p.eventLine(h))
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
