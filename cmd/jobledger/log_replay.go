package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/choria-io/fisk"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// replayFlags choose events for `log replay` and `log tail`.
type replayFlags struct {
	from, to, event, job, typ, actor string
	format                           string
}

func (f *replayFlags) declare(cmd flagOwner) {
	cmd.Flag("from", "First event: a sequence, a time, or how long ago").PlaceHolder("SEQ|TIME").StringVar(&f.from)
	cmd.Flag("event", "Only events of this name").PlaceHolder("NAME").StringVar(&f.event)
	cmd.Flag("job", "Only events of this job; needs --org").PlaceHolder("ID").StringVar(&f.job)
	cmd.Flag("type", "Only events about this type").PlaceHolder("TYPE").StringVar(&f.typ)
	cmd.Flag("actor", "Only what this actor did, as it is printed: user:ada, system:worker").PlaceHolder("ACTOR").StringVar(&f.actor)
}

func (p *program) addLogReplay(log *fisk.CmdClause) {
	var f replayFlags
	var file string
	var resume, fullSpeed bool
	cmd := p.command(log, "replay", "Print the events of the past, in order", func(ctx context.Context) error {
		return p.replay(ctx, &f, file, resume, fullSpeed)
	})
	cmd.HelpLong(`Prints every matching event once, both bounds included, and ends at what was the
last event when it started; then says on stderr how far it came. Two runs print the
same bytes. A replay into a file that was interrupted goes on with --resume and the
same flags. While others submit it reads slowly, so that they do not feel it.

Examples:

	jobledger log replay --org acme --from 2h
	jobledger log replay --from 1000 --to 2000 --format cloudevents
	jobledger log replay --org acme --actor user:ada --format csv -o ada.csv
	jobledger log replay --org acme --to 2026-11-23T14:00:00Z --format sqlite -o then.db
	jobledger log replay --org acme --event dead_lettered -j | jq .data.reason`)
	f.declare(cmd)
	cmd.Flag("format", "table, ndjson, cloudevents, csv or sqlite; else a table on a terminal and ndjson elsewhere").
		EnumVar(&f.format, formatTable, formatNDJSON, formatCloud, formatCSV, formatSQLite)
	cmd.Flag("to", "Last event: a sequence, a time, or how long ago").PlaceHolder("SEQ|TIME").StringVar(&f.to)
	cmd.Flag("output", "Write into this file").Short('o').PlaceHolder("FILE").StringVar(&file)
	cmd.Flag("resume", "Go on behind the last event in the file").BoolVar(&resume)
	cmd.Flag("full-speed", fullSpeedHelp).UnNegatableBoolVar(&fullSpeed)
}

func (p *program) replay(ctx context.Context, f *replayFlags, file string, resume, fullSpeed bool) error {
	q, err := f.query(p)
	if err != nil {
		return err
	}
	q.FullSpeed = fullSpeed
	switch {
	case resume && file == "":
		return usagef("--resume goes on in a file: name it with --output")
	case f.format == formatSQLite && (file == "" || resume):
		return usagef("--format sqlite writes a file at once: name it with --output, without --resume")
	}
	l, err := p.openHistory(ctx, "log replay", p.logger(zap.WarnLevel))
	if err != nil {
		return err
	}
	defer l.Conn().Close()
	if f.format == formatSQLite {
		return p.replaySQLite(ctx, l, q, file)
	}
	form := &eventForm{program: p, format: f.form(p, file)}
	out, err := p.openEvents(ctx, l, form, file, resume, &q)
	if err != nil {
		return err
	}
	err = p.replayInto(ctx, l, q, out, file == "")
	return errors.Join(err, out.close())
}

// replayInto writes the events of a replay, shows how far it is, and says at its end how far it came.
func (p *program) replayInto(ctx context.Context, l *ledger.Ledger, q ledger.ReplayQuery, out eventSink, toStdout bool) error {
	last := q.Behind
	show := p.newLiveLine()
	q.Progress = func(at, end schemas.Seq) {
		last = max(last, at)
		if !toStdout || !p.IsTerminal(p.Stdout) {
			show.set(func() string { return progressOf(uint64(max(q.From.Seq, 1)), uint64(at), uint64(end)) })
		}
	}
	err := l.Replay(ctx, q, out.put)
	show.clear()
	if last > 0 {
		p.talkf("last seq %d", last)
	}
	return err
}

// fullSpeedHelp is what --full-speed says, for each command that reads the whole ledger.
const fullSpeedHelp = "Read as fast as it goes, also while others submit, who then wait longer"

// progressOf is a bar with how far a read of sequences is.
func progressOf(from, at, end uint64) string {
	const width = 30
	part := 1.0
	if end > from {
		part = float64(at-min(at, from)) / float64(end-from)
	}
	full := min(int(part*width), width)
	return fmt.Sprintf("[%s%s] %3.0f %%  %s of %s", strings.Repeat("=", full), strings.Repeat(" ", width-full), 100*part, thousands(at), thousands(end))
}

// query reads the flags; every mistake is found before a request is made.
func (f *replayFlags) query(p *program) (ledger.ReplayQuery, error) {
	q := ledger.ReplayQuery{Org: schemas.OrgID(p.flags.Org.Value), Job: schemas.JobID(f.job),
		Type: schemas.TypeName(f.typ), Event: schemas.EventName(f.event), Actor: f.actor}
	if f.job != "" {
		if q.Org == "" {
			return q, usagef("--job needs --org: a job is named together with its org")
		}
		if err := schemas.CheckToken("job id", f.job); err != nil {
			return q, usagef("%w", err)
		}
	}
	if f.event != "" && !slices.Contains(events(), q.Event) {
		names := make([]string, 0, len(events()))
		for _, e := range events() {
			names = append(names, string(e))
		}
		return q, usagef("--event: unknown event %q%s", f.event, didYouMean("", f.event, names))
	}
	for _, bound := range []struct {
		name, text string
		to         *ledger.ReplayBound
	}{{"from", f.from, &q.From}, {"to", f.to, &q.To}} {
		var err error
		if *bound.to, err = p.bound("--"+bound.name, bound.text); err != nil {
			return q, err
		}
	}
	return q, nil
}

// bound reads a sequence, a time, or how long ago; what names the flag. Empty is open.
func (p *program) bound(what, text string) (b ledger.ReplayBound, err error) {
	switch {
	case text == "":
		return b, nil
	case isNumber(text):
		b.Seq, err = schemas.ParseSeq(text)
	default:
		b.Time, err = parseTime(text, p.Now(), p.flags.zone, -1)
	}
	if err != nil {
		return b, usagef("%s: give a sequence or a time: %w", what, err)
	}
	return b, nil
}

func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// form is how events are written: as the flag says, else readable for a person
// and ndjson for a program.
func (f *replayFlags) form(p *program, file string) string {
	switch {
	case f.format != "":
		return f.format
	case p.flags.JSON || file != "" || !p.IsTerminal(p.Stdout):
		return formatNDJSON
	default:
		return formatTable
	}
}

// eventLine is one event for a person.
func (p *program) eventLine(h ledger.HistoryLine) string {
	text := fmt.Sprintf("%8d  %s  %-16s", h.Seq, p.recordTime(h.Time), h.Event)
	if h.Org != nil && h.ID != nil {
		text += fmt.Sprintf("  %s/%s", *h.Org, *h.ID)
	}
	if h.Type != nil {
		text += "  " + string(*h.Type)
	}
	if h.Attempt != nil {
		text += fmt.Sprintf("  attempt %d", *h.Attempt)
	}
	if h.Actor != "" {
		text += "  by " + h.Actor
	}
	if h.Reason != nil {
		text += "  (" + *h.Reason + ")"
	}
	if h.Illegal {
		text += "  [illegal here, changed nothing]"
	}
	if h.Quarantined != "" {
		text += "  [" + h.Quarantined + "]"
	}
	return quiet(oneLine.Replace(text))
}
