package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/choria-io/fisk"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/schemas"
)

func (p *program) addSchedule(app *fisk.Application) {
	s := group(app, "schedule", "Jobs that are submitted again and again")
	p.addScheduleLs(s)
	p.addScheduleInfo(s)
	p.addScheduleAdd(s)
	p.addScheduleRm(s)
	p.addSchedulePause(s)
	p.addScheduleTrigger(s)
	p.addScheduleNext(s)
	p.addScheduleBackfill(s)
}

// scheduleClient opens a client for a command about a schedule, whose name is checked first.
func (p *program) scheduleClient(command, name string) (*gateway.Client, error) {
	if name != "" {
		if err := schemas.CheckToken("schedule", name); err != nil {
			return nil, usagef("%w", err)
		}
	}
	return p.openClient("schedule " + command)
}

func (p *program) addScheduleLs(s *fisk.CmdClause) {
	var format string
	cmd := p.command(s, "ls", "List the schedules", func(ctx context.Context) error { return p.listSchedules(ctx, format) })
	cmd.Flag("format", "table or csv").EnumVar(&format, "table", "csv")
}

func (p *program) listSchedules(ctx context.Context, format string) error {
	c, err := p.scheduleClient("ls", "")
	if err != nil {
		return err
	}
	defer c.Conn.Close()
	all, err := c.Schedules(ctx)
	if err != nil {
		return err
	}
	if p.flags.JSON {
		return p.document(all)
	}
	g := &grid{Title: fmt.Sprintf("%d schedules", len(all.Items)), Columns: []string{"schedule", "type", "when", "next", "last", "last job", "missed", "overlap"}}
	for i := range all.Items {
		s := &all.Items[i]
		last := ""
		if s.LastAt != nil {
			last = p.listTime(*s.LastAt)
		}
		g.add(s.Name, string(s.Type), p.whenFact(s), p.nextFact(s, p.listTime), last, derefJob(s.LastJob), s.Missed, s.Overlap)
	}
	if format == "csv" {
		return outputError(g.writeCSV(p.Stdout))
	}
	return p.list(g)
}

func derefJob(id *schemas.JobID) string {
	if id == nil {
		return ""
	}
	return string(*id)
}

// whenFact says when a schedule ticks.
func (p *program) whenFact(s *gateway.Schedule) string {
	switch {
	case s.Cron != "":
		return s.Cron + " " + s.TZ
	case s.EveryS != nil:
		out := "every " + secondsFact(s.EveryS)
		if s.OffsetS != nil && *s.OffsetS > 0 {
			out += " + " + secondsFact(s.OffsetS)
		}
		return out
	case s.Once != nil:
		return "at " + p.recordTime(*s.Once)
	}
	return ""
}

// nextFact says when it ticks next, or why it does not.
func (p *program) nextFact(s *gateway.Schedule, show func(time.Time) string) string {
	switch {
	case s.Paused:
		return "paused"
	case s.Parked:
		return "when the org is resumed; never if it was deleted"
	case s.Waits:
		return "when the last job has ended"
	case s.NextAt == nil:
		return "never"
	}
	return show(*s.NextAt)
}

func (p *program) addScheduleInfo(s *fisk.CmdClause) {
	var name string
	cmd := p.command(s, "info", "Show a schedule, its next tick and its last job", func(ctx context.Context) error {
		return p.withSchedule(ctx, "info", name, func(c *gateway.Client) (*gateway.Schedule, error) { return c.Schedule(ctx, name) })
	})
	cmd.Arg("name", "The schedule").Required().StringVar(&name)
}

// withSchedule makes one request that answers with a schedule, and prints it.
func (p *program) withSchedule(_ context.Context, command, name string, request func(c *gateway.Client) (*gateway.Schedule, error)) error {
	c, err := p.scheduleClient(command, name)
	if err != nil {
		return err
	}
	defer c.Conn.Close()
	s, err := request(c)
	if err != nil {
		return err
	}
	return p.printSchedule(s)
}

func (p *program) printSchedule(s *gateway.Schedule) error {
	if p.flags.JSON {
		return p.document(s)
	}
	absolute := func(t time.Time) string { return p.recordTime(t) + " (" + relative(p.Now(), t) + ")" }
	missed := s.Missed
	if s.MissedMax != nil {
		missed += fmt.Sprintf(", the latest %d", *s.MissedMax)
	}
	last := ""
	if s.LastAt != nil {
		last = absolute(*s.LastAt) + ", job " + derefJob(s.LastJob)
	}
	jitter := ""
	if s.JitterS != nil && *s.JitterS > 0 {
		jitter = "up to " + secondsFact(s.JitterS)
		if s.FiresAt != nil && s.NextAt != nil {
			jitter += ", here " + s.FiresAt.Sub(*s.NextAt).Round(time.Millisecond).String()
		}
	}
	var tags []string
	for k, v := range s.Tags {
		tags = append(tags, k+"="+v)
	}
	facts := []fact{
		{"Schedule", s.Name}, {"Description", s.Description}, {"Type", string(s.Type)}, {"Args", string(s.Args)},
		{"When", p.whenFact(s)}, {"Next", p.nextFact(s, absolute)}, {"Last", last}, {"Jitter", jitter},
		{"Missed", missed}, {"Overlap", s.Overlap}, {"Queue", string(s.Queue)}, {"Priority", string(s.Priority)},
		{"Resource", s.Resource}, {"Principal", s.Principal}, {"Tags", strings.Join(tags, ", ")}, {"Attempts", whole(s.MaxAttempts)},
		{"Run timeout", secondsFact(s.RunTimeoutS)}, {"Start within", secondsFact(s.DeadlineS)},
		{"Updated", p.updated(&gateway.SettingAuthor{Seq: s.Seq, Actor: s.Actor, At: s.At})}, {"Reason", deref(s.Reason)},
	}
	for _, f := range facts {
		if f.value == "" || f.value == "null" {
			continue
		}
		if err := p.printf("%12s: %s\n", f.name, quiet(f.value)); err != nil {
			return err
		}
	}
	return nil
}
