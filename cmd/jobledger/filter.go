package main

import (
	"strings"
	"time"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/internal/where"
	"github.com/dartwing/jobledger/schemas"
)

// filterFlags choose jobs: those of `job ls`, and of every command that acts on
// all jobs that match.
type filterFlags struct {
	jobFilters
	owner, tags, batch        []string
	errorText, group          string
	resolution, since, until  string
	where                     string
	reasons                   []string // of commands whose --reason says why they act
	withoutState, deadLetters bool     // as of `dlq`
}

func (f *filterFlags) declare(cmd flagOwner) {
	if !f.withoutState {
		f.jobFilters.declare(cmd)
	} else {
		f.declarePlace(cmd)
	}
	declareWhere(cmd, &f.where)
	cmd.Flag("owner", "Only jobs that run as these").PlaceHolder("OWNER").StringsVar(&f.owner)
	cmd.Flag("tag", "Only jobs with this tag; several must all match").PlaceHolder("K=V").StringsVar(&f.tags)
	cmd.Flag("batch", "Only jobs of these batches").PlaceHolder("ID").StringsVar(&f.batch)
	cmd.Flag("error", "Only jobs whose latest error contains this").PlaceHolder("TEXT").StringVar(&f.errorText)
	cmd.Flag("since", "Only jobs submitted since a time, or so long ago").PlaceHolder("TIME|D").StringVar(&f.since)
	cmd.Flag("until", "Only jobs submitted until a time, or so long ago").PlaceHolder("TIME|D").StringVar(&f.until)
	cmd.Flag("group", "Only dead letters of this group of `dlq report`").PlaceHolder("KEY").StringVar(&f.group)
	cmd.Flag("resolution", "Only dead letters that are open, resolved, ignored, or all").
		EnumVar(&f.resolution, string(schemas.ResolutionOpen), string(schemas.ResolutionResolved), string(schemas.ResolutionIgnored), gateway.ResolutionAll)
}

// declareWhere declares the filter grammar, of which the other flags are shorthands.
func declareWhere(cmd flagOwner, text *string) {
	cmd.Flag("where", `Only jobs that this filter chooses, such as 'type:email-* -tag.env:test submitted:>1h'`).PlaceHolder("FILTER").StringVar(text)
}

// checkWhere finds mistakes before a request is made.
func checkWhere(text string) (where.Where, error) {
	w, err := where.Parse(text)
	if err != nil {
		return w, usagef("--where: %w", err)
	}
	return w, nil
}

// declareReasons is for commands whose --reason says why they act.
func (f *filterFlags) declareReasons(cmd flagOwner) {
	cmd.Flag("for-reason", "Only jobs that stand for these reasons, such as poison or scheduled").PlaceHolder("REASON").StringsVar(&f.reasons)
}

// given tells whether any flag narrows the choice.
func (f *filterFlags) given() bool {
	for _, list := range [][]string{f.state, f.typ, f.queue, f.priority, f.owner, f.tags, f.batch, f.reasons,
		{f.errorText}, {f.group}, {f.resolution}, {f.since}, {f.until}, {f.where}} {
		if strings.TrimSpace(strings.Join(list, "")) != "" {
			return true
		}
	}
	return false
}

// filter reads the flags; every mistake is found before a request is made.
func (f *filterFlags) filter(p *program) (gateway.Filter, error) {
	out := gateway.Filter{
		State: split[schemas.State](f.state), Type: split[schemas.TypeName](f.typ), Reason: split[string](f.reasons),
		Queue: split[schemas.QueueName](f.queue), Priority: split[schemas.Priority](f.priority),
		Owner: split[string](f.owner), Batch: split[string](f.batch), Error: f.errorText, Group: f.group, Resolution: f.resolution,
		Where: strings.TrimSpace(f.where),
	}
	if err := f.check(); err != nil {
		return out, err
	}
	chosen, err := checkWhere(f.where)
	if err != nil {
		return out, err
	}
	if f.deadLetters {
		out.State = []schemas.State{schemas.StateDeadLettered}
		if out.Resolution == "" && !chosen.Uses(where.FieldResolution) {
			out.Resolution = string(schemas.ResolutionOpen)
		}
	}
	for _, tag := range f.tags {
		k, v, ok := strings.Cut(tag, "=")
		if !ok {
			return out, usagef("--tag: %q is not k=v", tag)
		}
		if out.Tags == nil {
			out.Tags = make(map[string]string)
		}
		out.Tags[k] = v
	}
	for _, bound := range []struct {
		name, text string
		to         **time.Time
	}{{"since", f.since, &out.Since}, {"until", f.until, &out.Until}} {
		if bound.text == "" {
			continue
		}
		t, err := parseTime(bound.text, p.Now(), p.flags.zone, -1)
		if err != nil {
			return out, usagef("--%s: %w", bound.name, err)
		}
		*bound.to = &t
	}
	return out, nil
}
