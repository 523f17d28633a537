package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// queueLimits are those of a backlog.
var queueLimits = limits{warn: 1000, crit: 5000}

// queueCritical is the backlog of queue critical that is critical, where no threshold is given.
const queueCritical = 100

func probeConnection(ctx context.Context, _ *program, c *gateway.Client, l limits, f *finding) error {
	begin := time.Now()
	if _, err := c.Schedules(ctx); err != nil { // the least that the service answers
		return err
	}
	f.judge(l, "answer", "s", time.Since(begin).Seconds(), "the command service answers late")
	return nil
}

func probeQueues(ctx context.Context, _ *program, c *gateway.Client, l limits, f *finding) error {
	all, err := c.Queues(ctx)
	if err != nil {
		return err
	}
	byDefault := l == queueLimits
	for i := range all.Items {
		q := &all.Items[i]
		if strings.HasPrefix(string(q.Name), schemas.ReservedPrefix) {
			continue // of servers alone
		}
		at := l
		if byDefault && q.Name == "critical" {
			at = limits{queueCritical, queueCritical}
		}
		f.judge(at, string(q.Name)+"_waiting", "", float64(q.Waiting+q.Queued), "jobs that wait in queue "+string(q.Name))
	}
	return nil
}

func probeDeadLetters(ctx context.Context, _ *program, c *gateway.Client, l limits, f *finding) error {
	n, err := c.Count(ctx, gateway.CountRequest{})
	if err != nil {
		return err
	}
	f.judge(l, "dead_letters_open", "", float64(n.DeadLettersOpen), "open dead letters of "+string(c.Org))
	return nil
}

func probeLag(ctx context.Context, _ *program, c *gateway.Client, l limits, f *finding) error {
	s, err := c.Status(ctx)
	if err != nil {
		return err
	}
	begin := time.Now()
	if s.EndSeq > s.CountsSeq {
		_, err = c.Count(ctx, gateway.CountRequest{MinSeq: s.EndSeq})
	}
	took := time.Since(begin).Seconds()
	if err != nil && !isUnavailable(err) {
		return err
	}
	f.judge(l, "views_lag", "s", took, "the views are behind")
	f.note("views_lag_events", "", float64(s.EndSeq-min(s.EndSeq, s.JobsSeq, s.CountsSeq, s.ConfigSeq)))
	if err != nil {
		f.say(checkCritical, "the views do not show what is stored: %s", asCLIError(err).Message)
	}
	return nil
}

func probeLedger(ctx context.Context, _ *program, c *gateway.Client, l limits, f *finding) error {
	s, err := c.Status(ctx)
	if err != nil {
		return err
	}
	if !s.Leading {
		f.say(checkCritical, "no server leads: nothing is dispatched")
	}
	f.judge(l, "quarantined", "", float64(s.Quarantined), "messages that cannot be decoded")
	f.judge(l, "illegal", "", float64(s.Illegal), "events that are not legal where they stand")
	f.note("events", "", float64(s.EndSeq))
	if s.Storage == nil || s.Storage.Total == 0 {
		return nil
	}
	const percent = 100
	f.note("storage_used", "%", percent*(1-float64(s.Storage.Free)/float64(s.Storage.Total)))
	switch s.Storage.State {
	case ledger.SpaceFull:
		f.say(checkCritical, "the store is full: submits are refused")
	case ledger.SpaceLow:
		f.say(checkWarning, "the store is nearly full")
	}
	return nil
}

func probeSchedules(ctx context.Context, p *program, c *gateway.Client, l limits, f *finding) error {
	all, err := c.Schedules(ctx)
	if err != nil {
		return err
	}
	f.note("schedules", "", float64(len(all.Items)))
	worst, late := 0.0, ""
	for i := range all.Items {
		s := &all.Items[i]
		if s.FiresAt == nil || s.Paused || s.Parked || s.Waits {
			continue
		}
		if over := p.Now().Sub(*s.FiresAt).Seconds(); over > worst {
			worst, late = over, s.Name
		}
	}
	f.judge(l, "overdue", "s", worst, "schedule "+late+" is overdue")
	return nil
}

func probeWorkers(ctx context.Context, _ *program, c *gateway.Client, l limits, f *finding) error {
	all, err := c.Workers(ctx)
	if err != nil {
		return err
	}
	live, silent, slots, busy := 0, 0, 0, 0
	served := []schemas.QueueName{}
	for i := range all.Items {
		switch w := &all.Items[i]; w.State {
		case gateway.WorkerSilent:
			silent++
		case gateway.WorkerDraining:
		default:
			live, slots, busy = live+1, slots+w.Slots, busy+w.Busy
			served = append(served, w.Queues...)
		}
	}
	f.Perf = append(f.Perf, perf{"workers", float64(live), "", &l.warn, &l.crit})
	f.note("silent", "", float64(silent))
	f.note("slots", "", float64(slots))
	f.note("busy", "", float64(busy))
	switch {
	case float64(live) <= l.crit:
		f.say(checkCritical, "%d live workers", live)
	case float64(live) <= l.warn:
		f.say(checkWarning, "%d live workers", live)
	}
	if silent > 0 {
		f.say(checkWarning, "%d workers are silent", silent)
	}
	queues, err := c.Queues(ctx)
	if err != nil {
		return err
	}
	for i := range queues.Items {
		q := &queues.Items[i]
		if n := q.Waiting + q.Queued; n > 0 && !q.Paused && !slices.Contains(served, q.Name) && !strings.HasPrefix(string(q.Name), schemas.ReservedPrefix) {
			f.say(checkCritical, "%d jobs wait in queue %s, which no live worker serves", n, q.Name)
		}
	}
	return nil
}
