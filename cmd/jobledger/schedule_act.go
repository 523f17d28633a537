package main

import (
	"context"
	"fmt"
	"time"

	"github.com/choria-io/fisk"

	"github.com/dartwing/jobledger/gateway"
)

func (p *program) addScheduleRm(s *fisk.CmdClause) {
	var name string
	cmd := p.command(s, "rm", "Remove a schedule", func(ctx context.Context) error { return p.scheduleRm(ctx, name) })
	cmd.HelpLong(`The jobs that it has made stay. A schedule that is added under the name later is
another one: its ticks have jobs of their own, also where their times are the same.`)
	cmd.Arg("name", "The schedule").Required().StringVar(&name)
}

func (p *program) scheduleRm(ctx context.Context, name string) error {
	c, err := p.scheduleClient("rm", name)
	if err != nil {
		return err
	}
	defer c.Conn.Close()
	if p.flags.DryRun {
		p.talkf("would remove schedule %s", name)
		return nil
	}
	if err := p.confirm(fmt.Sprintf("Remove schedule %s?", name)); err != nil {
		return err
	}
	s, err := c.RemoveSchedule(ctx, name, p.flags.Reason.Value)
	if err != nil {
		return err
	}
	if p.flags.JSON {
		return p.document(s)
	}
	p.talkf("schedule %s is removed", name)
	return nil
}

func (p *program) addSchedulePause(s *fisk.CmdClause) {
	var paused, resumed string
	pause := p.command(s, "pause", "Let the ticks of a schedule pass", func(ctx context.Context) error {
		return p.withSchedule(ctx, "pause", paused, func(c *gateway.Client) (*gateway.Schedule, error) {
			return c.PauseSchedule(ctx, paused, p.flags.Reason.Value)
		})
	})
	pause.HelpLong(`They are not made up when it is resumed; ` + "`schedule backfill`" + ` does that. Jobs that it has
made are not touched.`)
	pause.Arg("name", "The schedule").Required().StringVar(&paused)
	resume := p.command(s, "resume", "Have a paused schedule go on, from now", func(ctx context.Context) error {
		return p.withSchedule(ctx, "resume", resumed, func(c *gateway.Client) (*gateway.Schedule, error) {
			return c.ResumeSchedule(ctx, resumed, p.flags.Reason.Value)
		})
	})
	resume.Arg("name", "The schedule").Required().StringVar(&resumed)
}

func (p *program) addScheduleTrigger(s *fisk.CmdClause) {
	var name string
	cmd := p.command(s, "trigger", "Submit a job of a schedule now", func(ctx context.Context) error { return p.scheduleTrigger(ctx, name) })
	cmd.HelpLong(`Prints the job's id. The job is like that of a tick, and belongs to none: it is
submitted whether the schedule is paused or its last job still runs, and changes
nothing about the ticks to come.

Examples:

	jobledger job wait $(jobledger schedule trigger nightly --reason "numbers changed")`)
	cmd.Arg("name", "The schedule").Required().StringVar(&name)
}

func (p *program) scheduleTrigger(ctx context.Context, name string) error {
	c, err := p.scheduleClient("trigger", name)
	if err != nil {
		return err
	}
	defer c.Conn.Close()
	reply, err := c.TriggerSchedule(ctx, name, p.flags.Reason.Value)
	if err != nil {
		return err
	}
	if p.flags.JSON {
		err = p.document(reply)
	} else {
		err = p.printf("%s\n", reply.ID)
	}
	p.warnUnserved(ctx, c, reply.ID)
	return err
}

func (p *program) addScheduleNext(s *fisk.CmdClause) {
	var name string
	var count option[int]
	cmd := p.command(s, "next", "Show the ticks to come", func(ctx context.Context) error { return p.scheduleNext(ctx, name, count) })
	cmd.HelpLong(`Also those of a paused schedule. Times are in the zone of --tz.

Examples:

	jobledger schedule next nightly --count 10 --tz Europe/Berlin`)
	cmd.Arg("name", "The schedule").Required().StringVar(&name)
	optionFlag(cmd, "count", "How many", &count, parseInt).PlaceHolder("5")
}

func (p *program) scheduleNext(ctx context.Context, name string, count option[int]) error {
	if n := count.Or(gateway.NextDefault); n < 1 || n > gateway.TicksMax {
		return usagef("--count must be 1 to %d", gateway.TicksMax)
	}
	c, err := p.scheduleClient("next", name)
	if err != nil {
		return err
	}
	defer c.Conn.Close()
	reply, err := c.NextTicks(ctx, name, count.Value)
	if err != nil {
		return err
	}
	if p.flags.JSON {
		return p.document(reply)
	}
	for _, t := range reply.Ticks {
		if err := p.printf("%s\n", p.recordTime(t)); err != nil {
			return err
		}
	}
	return nil
}

func (p *program) addScheduleBackfill(s *fisk.CmdClause) {
	var name, from, to string
	cmd := p.command(s, "backfill", "Submit the jobs of past ticks that have none", func(ctx context.Context) error {
		return p.scheduleBackfill(ctx, name, from, to)
	})
	cmd.HelpLong(`A job's id is made of its tick, so that a tick which has a job gets no second one:
to give the command twice is harmless, also after it was interrupted. With --dry-run
it only counts.

Examples:

	jobledger schedule backfill nightly --from 2026-11-01 --to 2026-11-08 --dry-run
	jobledger schedule backfill nightly --from 7d --reason "the server was away"`)
	cmd.Arg("name", "The schedule").Required().StringVar(&name)
	cmd.Flag("from", "Ticks after this time, or so long ago").Required().PlaceHolder("TIME|D").StringVar(&from)
	cmd.Flag("to", "Up to this time; now when absent").PlaceHolder("TIME|D").StringVar(&to)
}

func (p *program) scheduleBackfill(ctx context.Context, name, from, to string) error {
	r := gateway.BackfillRequest{DryRun: p.flags.DryRun, Reason: p.flags.Reason.Value}
	var err error
	if r.From, err = parseTime(from, p.Now(), p.flags.zone, -1); err != nil {
		return usagef("--from: %w", err)
	}
	if to != "" {
		var until time.Time
		if until, err = parseTime(to, p.Now(), p.flags.zone, -1); err != nil {
			return usagef("--to: %w", err)
		}
		r.To = &until
	}
	c, err := p.scheduleClient("backfill", name)
	if err != nil {
		return err
	}
	defer c.Conn.Close()
	reply, err := c.Backfill(ctx, name, r)
	if err != nil {
		return err
	}
	if p.flags.JSON {
		return p.document(reply)
	}
	for _, t := range reply.Ticks {
		if err := p.printf("%s\n", p.recordTime(t)); err != nil {
			return err
		}
	}
	done := "submitted"
	if reply.DryRun {
		done = "would be submitted"
	}
	p.talkf("%d ticks: %d jobs %s, %d had one", len(reply.Ticks), reply.Submitted, done, reply.Duplicate)
	return nil
}
