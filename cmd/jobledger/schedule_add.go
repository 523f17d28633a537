package main

import (
	"context"
	"encoding/json"
	"time"

	"github.com/choria-io/fisk"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/schemas"
)

// scheduleFlags are those of `schedule add` (INTERFACE 2.4). What a job is like is said as for `job submit`.
type scheduleFlags struct {
	name, cron, at, description string
	missed, overlap             string
	every, offset, jitter       option[time.Duration]
	missedMax                   option[int]
	deadline                    option[time.Duration]
	replace, paused             bool
	ifSeq                       option[schemas.Seq]
	job                         submitFlags
}

func (p *program) addScheduleAdd(s *fisk.CmdClause) {
	var f scheduleFlags
	cmd := p.command(s, "add", "Submit a job at certain times", func(ctx context.Context) error {
		return p.scheduleAdd(ctx, &f)
	})
	cmd.HelpLong(`Ticks are the times of a schedule; each makes at most one job, whatever restarts
and however often its time comes. Give one of --cron, --every and --at.

A cron expression has five fields (minute, hour, day of month, month, day of week),
or six with seconds first, or is one of @hourly, @daily, @weekly, @monthly and
@yearly. It is read in the zone of --tz, UTC when absent. Where a clock change skips
a time of certain hours, the tick is at the end of the gap; where it shows one
twice, the first counts; an expression for every hour follows the clock.

Ticks of --every are counted from midnight UTC, 1970-01-01.

Examples:

	jobledger schedule add nightly report-build --cron "30 2 * * *" --tz Europe/Berlin
	jobledger schedule add sync calendar-sync '{"all":true}' --every 5m --jitter 1m
	jobledger schedule add launch mail-send - --at "2026-12-01 09:00" --tz Europe/Berlin < mail.json
	jobledger schedule add nightly report-build --cron @daily --missed skip --replace`)
	cmd.Arg("name", "Name of the schedule").Required().StringVar(&f.name)
	cmd.Arg("type", "Type of its jobs").Required().StringVar(&f.job.typ)
	cmd.Arg("args", "Arguments as JSON, - for stdin; {} when absent").StringVar(&f.job.args)
	cmd.Flag("file", "Read the arguments from a file").PlaceHolder("FILE").StringVar(&f.job.file)
	f.declareTimes(cmd)
	f.declareJob(cmd)
	cmd.Flag("description", "What it is for").PlaceHolder("TEXT").StringVar(&f.description)
	cmd.Flag("paused", "Add it paused").UnNegatableBoolVar(&f.paused)
	cmd.Flag("replace", "Change the schedule of this name; what is not given takes its default").UnNegatableBoolVar(&f.replace)
	ifSeqFlag(cmd, &f.ifSeq)
}

func (f *scheduleFlags) declareTimes(cmd *fisk.CmdClause) {
	cmd.Flag("cron", "Tick when the clock shows one of these times").PlaceHolder("EXPRESSION").StringVar(&f.cron)
	optionFlag(cmd, "every", "Tick so often: whole seconds", &f.every, parseDuration).PlaceHolder("D")
	optionFlag(cmd, "offset", "With --every: so much later", &f.offset, parseDuration).PlaceHolder("D")
	cmd.Flag("at", "Tick once, at this time").PlaceHolder("TIME").StringVar(&f.at)
	cmd.Flag("missed", "Ticks that nobody could fire: once (one job, the default), skip, all").EnumVar(&f.missed, "once", "skip", "all")
	optionFlag(cmd, "missed-max", "With --missed all: make up so many, the latest; 100 when absent", &f.missedMax, parseInt).PlaceHolder("N")
	cmd.Flag("overlap", "The job of the tick before has not ended: skip (the default), allow, replace").EnumVar(&f.overlap, "skip", "allow", "replace")
	optionFlag(cmd, "jitter", "Fire later by up to so much, the same for every tick", &f.jitter, parseDuration).PlaceHolder("D")
}

func (f *scheduleFlags) declareJob(cmd *fisk.CmdClause) {
	cmd.Flag("queue", "Queue, instead of the type's").PlaceHolder("NAME").StringVar(&f.job.queue)
	cmd.Flag("priority", "low, normal, high or critical").PlaceHolder("P").StringVar(&f.job.priority)
	cmd.Flag("resource", "Resource whose limit the jobs count against").PlaceHolder("NAME").StringVar(&f.job.resource)
	cmd.Flag("tag", "k=v, repeatable").PlaceHolder("K=V").StringsVar(&f.job.tags)
	cmd.Flag("for", "Whom the jobs run as; who sets the schedule when absent").PlaceHolder("PRINCIPAL").StringVar(&f.job.principal)
	optionFlag(cmd, "max-attempts", "Runs of a job at most, the first included", &f.job.maxAttempts, parseInt).PlaceHolder("N")
	optionFlag(cmd, "run-timeout", "How long one attempt may take", &f.job.runTimeout, parseDuration).PlaceHolder("D")
	optionFlag(cmd, "deadline", "Give a job up that has not started so long after its tick", &f.deadline, parseDuration).PlaceHolder("D")
}

// request reads the flags; every mistake that can be seen here is found before a request is made.
func (f *scheduleFlags) request(p *program) (gateway.AddSchedule, error) {
	var out gateway.AddSchedule
	if err := schemas.CheckToken("schedule", f.name); err != nil {
		return out, usagef("%w", err)
	}
	given := 0
	for _, g := range []bool{f.cron != "", f.every.Set, f.at != ""} {
		if g {
			given++
		}
	}
	if given != 1 {
		return out, usagef("give one of --cron, --every and --at")
	}
	r, err := f.job.request(p)
	if err != nil {
		return out, err
	}
	s := gateway.Schedule{Name: f.name, Type: r.Type, Args: json.RawMessage(r.Args), Description: f.description, Cron: f.cron,
		EveryS: inSeconds(f.every), OffsetS: inSeconds(f.offset), JitterS: inSeconds(f.jitter), Missed: f.missed, Overlap: f.overlap,
		Paused: f.paused, Queue: r.Queue, Priority: r.Priority, Resource: r.Resource, Principal: r.Principal, Tags: r.Tags,
		RunTimeoutS: inSeconds(f.job.runTimeout), DeadlineS: inSeconds(f.deadline)}
	if f.job.maxAttempts.Set {
		s.MaxAttempts = &f.job.maxAttempts.Value
	}
	if f.missedMax.Set {
		s.MissedMax = &f.missedMax.Value
	}
	if f.cron != "" {
		s.TZ = p.flags.TZ.Value // never the machine's own zone: another server has another one
	}
	if f.at != "" {
		at, err := parseTime(f.at, p.Now(), p.flags.zone, +1)
		if err != nil {
			return out, usagef("--at: %w", err)
		}
		if whole := at.Truncate(schemas.TickResolution); !whole.Equal(at) {
			at = whole.Add(schemas.TickResolution)
		}
		s.Once = &at
	}
	if reason := p.flags.Reason.Value; reason != "" {
		s.Reason = &reason
	}
	return gateway.AddSchedule{Schedule: s, Replace: f.replace, IfSeq: f.ifSeq.pointer()}, nil
}

func (p *program) scheduleAdd(ctx context.Context, f *scheduleFlags) error {
	r, err := f.request(p)
	if err != nil {
		return err
	}
	if p.flags.DryRun {
		p.talkf("would set schedule %s", r.Name)
		return nil
	}
	return p.withSchedule(ctx, "add", f.name, func(c *gateway.Client) (*gateway.Schedule, error) { return c.AddSchedule(ctx, r) })
}

func inSeconds(d option[time.Duration]) *float64 {
	if !d.Set {
		return nil
	}
	s := d.Value.Seconds()
	return &s
}
