package main

import (
	"bufio"
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
	from, to, event, job, typ string
	format                    string
}

// Formats of events.
const (
	formatHuman  = "human"
	formatNDJSON = "ndjson"
	formatCloud  = "cloudevents"
)

func (f *replayFlags) declare(cmd flagOwner) {
	cmd.Flag("from", "First event: a sequence, a time, or how long ago").PlaceHolder("SEQ|TIME").StringVar(&f.from)
	cmd.Flag("event", "Only events of this name").PlaceHolder("NAME").StringVar(&f.event)
	cmd.Flag("job", "Only events of this job; needs --org").PlaceHolder("ID").StringVar(&f.job)
	cmd.Flag("type", "Only events about this type").PlaceHolder("TYPE").StringVar(&f.typ)
	cmd.Flag("format", "ndjson or cloudevents; on a terminal one readable line an event").EnumVar(&f.format, formatNDJSON, formatCloud)
}

func (p *program) addLogReplay(log *fisk.CmdClause) {
	var f replayFlags
	cmd := p.command(log, "replay", "Print the events of the past, in order", func(ctx context.Context) error {
		return p.replay(ctx, &f)
	})
	cmd.HelpLong(`Prints every matching event once, both bounds included, and ends at what was the
last event when it started. Two runs print the same bytes.

Examples:

	jobledger log replay --org acme --from 2h
	jobledger log replay --from 1000 --to 2000 --format cloudevents
	jobledger log replay --org acme --event dead_lettered -j | jq .data.reason`)
	f.declare(cmd)
	cmd.Flag("to", "Last event: a sequence, a time, or how long ago").PlaceHolder("SEQ|TIME").StringVar(&f.to)
}

// replayBuffer is how much is written at once.
const replayBuffer = 256 << 10

func (p *program) replay(ctx context.Context, f *replayFlags) error {
	q, err := f.query(p)
	if err != nil {
		return err
	}
	l, err := p.openHistory(ctx, "log replay", p.logger(zap.WarnLevel))
	if err != nil {
		return err
	}
	defer l.Conn().Close()
	out := bufio.NewWriterSize(p.Stdout, replayBuffer)
	format := f.form(p)
	var line []byte
	err = l.Replay(ctx, q, func(e *ledger.Entry) (err error) {
		if line, err = p.appendEvent(line[:0], format, e); err != nil {
			return err
		}
		_, err = out.Write(line)
		return outputError(err)
	})
	return errors.Join(err, outputError(out.Flush()))
}

// query reads the flags; every mistake is found before a request is made.
func (f *replayFlags) query(p *program) (ledger.ReplayQuery, error) {
	q := ledger.ReplayQuery{Org: schemas.OrgID(p.flags.Org.Value), Job: schemas.JobID(f.job),
		Type: schemas.TypeName(f.typ), Event: schemas.EventName(f.event)}
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
		if bound.text == "" {
			continue
		}
		var err error
		if isNumber(bound.text) {
			bound.to.Seq, err = schemas.ParseSeq(bound.text)
		} else {
			bound.to.Time, err = parseTime(bound.text, p.Now(), p.flags.zone, -1)
		}
		if err != nil {
			return q, usagef("--%s: %w", bound.name, err)
		}
	}
	return q, nil
}

func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// form is how events are printed: as the flag says, else readable for a person
// and ndjson for a program.
func (f *replayFlags) form(p *program) string {
	switch {
	case f.format != "":
		return f.format
	case p.flags.JSON || !p.IsTerminal(p.Stdout):
		return formatNDJSON
	default:
		return formatHuman
	}
}

// appendEvent appends one event and a newline.
func (p *program) appendEvent(b []byte, format string, e *ledger.Entry) ([]byte, error) {
	var err error
	switch format {
	case formatCloud:
		b, err = ledger.AppendCloudEvent(b, e)
	case formatNDJSON:
		line := ledger.LineOf(e)
		b = line.Append(b, true)
	default:
		b = append(b, p.eventLine(ledger.LineOf(e))...)
	}
	return append(b, '\n'), err
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
