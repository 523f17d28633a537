package dispatcher

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// schedule returns the settings of a schedule as the ledger holds them, and their event; nil if there are none.
func (w *world) schedule(org schemas.OrgID, name string) *schemas.Event {
	var last *schemas.Event
	for _, e := range w.log {
		if d, ok := e.Data.(*schemas.ScheduleSet); ok && d.Settings.Org == org && d.Settings.Name == name {
			last = e
		}
	}
	return last
}

// setSchedule puts what change makes of a schedule's settings.
func (w *world) setSchedule(org schemas.OrgID, name string, change func(s *schemas.ScheduleSettings)) *schemas.Event {
	s := schemas.ScheduleSettings{Org: org, Name: name, Generation: 1, Job: schemas.JobTemplate{Type: "t", Queue: "q"}}
	if e := w.schedule(org, name); e != nil {
		s = e.Data.(*schemas.ScheduleSet).Settings
		if s.Removed {
			s.Removed, s.Generation = false, s.Generation+1
		}
	}
	change(&s)
	set := &schemas.ScheduleSet{Settings: s}
	return w.put(schemas.NewEvent(set.Place(), set))
}

// settleTick is what the host does for a tick, without the I/O.
func (w *world) settleTick(d Decision) string {
	set := w.schedule(d.Org, d.Schedule)
	if set == nil || set.Seq != d.At {
		w.core.Settle(d, Result{Outcome: Later, Until: w.now.Add(movedPause)})
		return "the schedule has changed"
	}
	if w.refusing {
		w.core.Settle(d, Result{Outcome: Later, Until: w.now.Add(laterPause)})
		return "refused"
	}
	out := ""
	if d.Job != "" {
		if e, err := w.do(string(d.Org)+"/"+string(d.Job), &ledger.Cancel{Reason: "replaced"}); err == nil && e != nil {
			out = fmt.Sprintf("%s %s, ", d.Job, e.Name())
		}
	}
	s := set.Data.(*schemas.ScheduleSet).Settings
	id := schemas.TickJobID(s.Name, s.Generation, d.Tick)
	key := string(d.Org) + "/" + string(id)
	if w.jobs[key] != nil {
		w.core.Settle(d, Result{Outcome: Stored})
		return out + "it has a job already"
	}
	tick := d.Tick
	if err := w.submit(key, schemas.Submitted{Type: s.Job.Type, Queue: s.Job.Queue, Schedule: s.Name, Tick: &tick}); err != nil {
		panic(err)
	}
	w.core.Settle(d, Result{Outcome: Stored})
	return out + "submitted"
}

// runSchedule carries the commands about schedules out; false if words are no such command.
func (p *player) runSchedule(words []string) (string, bool) {
	names, opt := args(words[1:])
	org, name := schemas.OrgID(""), ""
	if len(names) > 0 {
		o, n, _ := strings.Cut(names[0], "/")
		org, name = schemas.OrgID(o), n
	}
	switch words[0] {
	case "schedule": // schedule ORG/NAME [cron=*_*_*_*_* zone= every= at= missed= max= overlap= jitter= paused=yes]
		p.setSchedule(org, name, func(s *schemas.ScheduleSettings) { scheduleOptions(s, opt) })
		return "", true
	case "unschedule":
		p.setSchedule(org, name, func(s *schemas.ScheduleSettings) { s.Removed = true })
		return "", true
	case "clock": // it steps to a time; the cell is away, or its clock is set
		p.now, _ = time.Parse(time.RFC3339, names[0])
		return "", true
	case "refuse": // submits, as while the type is disabled
		p.refusing = names[0] == "on"
		return "", true
	case "takeover": // by another server, which folds the ledger and leads
		p.core, p.fed, p.air = newTwins(), 0, nil
		p.core.advance(p.mono)
		p.feed(len(p.log))
		return p.run([]string{"lead"}), true
	case "purge": // events up to a sequence left the ledger; another server folds the rest and leads
		n, _ := strconv.Atoi(names[0])
		p.core, p.fed, p.air = newTwins(), n, nil
		p.core.advance(p.mono)
		p.feed(len(p.log))
		return p.run([]string{"lead"}), true
	case "carry-schedule": // so that older events may leave
		s, _ := p.core.Schedule(org, name)
		set := &schemas.ScheduleSet{Settings: p.schedule(org, name).Data.(*schemas.ScheduleSet).Settings, Carried: &s.Carried}
		return fmt.Sprintf("at %d\n", p.put(schemas.NewEvent(set.Place(), set)).Seq), true
	case "state":
		return p.scheduleState(org, name), true
	}
	return "", false
}

func scheduleOptions(s *schemas.ScheduleSettings, opt map[string]string) {
	if v, ok := opt["cron"]; ok {
		s.Cron, s.EveryMS, s.At = strings.ReplaceAll(v, "_", " "), 0, nil
	}
	if v, ok := opt["every"]; ok {
		s.Cron, s.EveryMS, s.At = "", millis(v), nil
	}
	if v, ok := opt["at"]; ok {
		at, _ := time.Parse(time.RFC3339, v)
		s.Cron, s.EveryMS, s.At = "", 0, &at
	}
	if v, ok := opt["zone"]; ok {
		s.Zone = v
	}
	if v, ok := opt["missed"]; ok {
		s.Missed = schemas.MissedPolicy(v)
	}
	if v, ok := opt["max"]; ok {
		s.MissedMax, _ = strconv.Atoi(v)
	}
	if v, ok := opt["overlap"]; ok {
		s.Overlap = schemas.OverlapPolicy(v)
	}
	if v, ok := opt["jitter"]; ok {
		s.JitterMS = millis(v)
	}
	if v, ok := opt["paused"]; ok {
		s.Paused = v == "yes"
	}
}

func (p *player) scheduleState(org schemas.OrgID, name string) string {
	s, ok := p.core.Schedule(org, name)
	if !ok {
		return "no such schedule\n"
	}
	out := "next none"
	if !s.Next.IsZero() {
		out = "next " + s.Next.Format(time.RFC3339)
		if !s.FireAt.Equal(s.Next) {
			out += " fires at " + s.FireAt.Format(time.RFC3339Nano)
		}
	}
	if s.LastJob != "" {
		out += ", last " + string(s.LastJob)
		if s.Open {
			out += " (open)"
		}
	}
	if s.Waits {
		out += ", waits for it"
	}
	if s.Parked {
		out += ", its org is parked"
	}
	return out + "\n"
}
