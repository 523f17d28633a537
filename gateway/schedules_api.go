package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/dartwing/jobledger/dispatcher"
	"github.com/dartwing/jobledger/internal/ticks"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// TicksMax is how many ticks are told, or made up, by one request.
	TicksMax = 1000
	// NextDefault is how many ticks are told where nobody says how many.
	NextDefault = 5
)

// Schedule is a schedule with the policies in force. It has exactly one of Cron, EveryS and Once. In an add,
// what is null or missing takes the default, and what follows Reason is ignored.
type Schedule struct {
	Name        string            `json:"name"`
	Type        schemas.TypeName  `json:"type"`
	Args        json.RawMessage   `json:"args"`
	Description string            `json:"description"`
	Cron        string            `json:"cron"`     // "" if it has none
	TZ          string            `json:"tz"`       // zone of Cron; UTC if empty
	EveryS      *float64          `json:"every_s"`  // ticks are its multiples since 1970,
	OffsetS     *float64          `json:"offset_s"` // so much later
	Once        *time.Time        `json:"at"`
	Missed      string            `json:"missed"`     // once, skip, all
	MissedMax   *int              `json:"missed_max"` // of all; null else
	Overlap     string            `json:"overlap"`    // skip, allow, replace
	JitterS     *float64          `json:"jitter_s"`
	Paused      bool              `json:"paused"`
	Queue       schemas.QueueName `json:"queue"` // "": the type's
	Priority    schemas.Priority  `json:"priority"`
	Resource    string            `json:"resource"`
	Principal   string            `json:"principal"` // "": who set the schedule
	Tags        map[string]string `json:"tags"`
	MaxAttempts *int              `json:"max_attempts"`
	RunTimeoutS *float64          `json:"run_timeout_s"`
	DeadlineS   *float64          `json:"deadline_s"` // latest start of each job, from its submit
	Reason      *string           `json:"reason"`     // of the change: given with an add, told by an info

	NextAt  *time.Time     `json:"next_at"`  // tick; null while paused or parked, while it waits, and when there is none
	FiresAt *time.Time     `json:"fires_at"` // when that fires: later by the schedule's share of the jitter
	LastAt  *time.Time     `json:"last_at"`  // tick of LastJob
	LastJob *schemas.JobID `json:"last_job"` // the latest that a tick made
	Waits   bool           `json:"waits"`    // LastJob has not ended: until then ticks pass, by overlap skip
	Parked  bool           `json:"parked"`   // the org is suspended, and ticks that pass were missed when it is resumed; or it was deleted
	Seq     *schemas.Seq   `json:"seq"`      // of the event that set it
	Actor   *string        `json:"updated_by"`
	At      *time.Time     `json:"updated_at"`
}

// AddSchedule adds a schedule; Replace changes one that exists, which is otherwise refused.
type AddSchedule struct {
	Schedule
	Replace bool `json:"replace"`
	// IfSeq is as in SetRequest.
	IfSeq *schemas.Seq `json:"if_seq,omitempty"`
}

// Schedules are all schedules of an org, by name.
type Schedules struct {
	Items   []Schedule  `json:"items"`
	Next    *string     `json:"next"`
	AsOfSeq schemas.Seq `json:"as_of_seq"`
}

// ReasonRequest is a change that needs no more than why.
type ReasonRequest struct {
	Reason string `json:"reason,omitempty"`
}

// NextRequest asks for ticks to come, NextDefault if Count is 0.
type NextRequest struct {
	Count int `json:"count,omitempty"`
}

// NextReply holds the ticks after now, paused or not.
type NextReply struct {
	Ticks []time.Time `json:"ticks"`
}

// BackfillRequest asks for the jobs of the ticks after From and up to To, which is now if it is null. DryRun only
// counts.
type BackfillRequest struct {
	From   time.Time  `json:"from"`
	To     *time.Time `json:"to,omitempty"`
	DryRun bool       `json:"dry_run,omitempty"`
	Reason string     `json:"reason,omitempty"`
}

// BackfillReply says what became of the ticks: those that had a job are Duplicate. In a dry run Submitted is how many
// would be.
type BackfillReply struct {
	Ticks     []time.Time `json:"ticks"`
	Submitted int         `json:"submitted"`
	Duplicate int         `json:"duplicate"`
	DryRun    bool        `json:"dry_run"`
}

// settings are what s asks to be stored.
func (s *Schedule) settings() (schemas.ScheduleSettings, error) {
	out := schemas.ScheduleSettings{
		Description: s.Description, Cron: s.Cron, Zone: s.TZ, Missed: schemas.MissedPolicy(s.Missed), Overlap: schemas.OverlapPolicy(s.Overlap),
		Paused: s.Paused, Job: schemas.JobTemplate{Type: s.Type, Queue: s.Queue, Priority: s.Priority, Resource: s.Resource,
			Principal: s.Principal, Tags: s.Tags},
	}
	if string(s.Args) != "null" {
		out.Job.Args = s.Args
	}
	if s.Once != nil {
		at := s.Once.UTC()
		out.At = &at
	}
	if s.MissedMax != nil {
		if out.MissedMax = *s.MissedMax; out.MissedMax < 1 {
			return out, badField("missed_max", fmt.Errorf("%d is below 1", out.MissedMax))
		}
	}
	var timeout *schemas.Millis
	for _, d := range []struct {
		field string
		from  *float64
		to    *schemas.Millis
	}{{"every_s", s.EveryS, &out.EveryMS}, {"offset_s", s.OffsetS, &out.OffsetMS}, {"jitter_s", s.JitterS, &out.JitterMS},
		{"deadline_s", s.DeadlineS, &out.Job.DeadlineMS}} {
		ms, err := millis(d.field, d.from)
		if err != nil {
			return out, err
		}
		if ms != nil {
			*d.to = *ms
		}
	}
	timeout, err := millis("run_timeout_s", s.RunTimeoutS)
	if err != nil {
		return out, err
	}
	if timeout != nil || s.MaxAttempts != nil {
		out.Job.Override = &schemas.Override{TimeoutMS: timeout, MaxAttempts: s.MaxAttempts}
	}
	return out, nil
}

// scheduleOf describes a schedule with the policies in force.
func scheduleOf(e *ledger.Entry, s *schemas.ScheduleSettings, reason string) Schedule {
	t := &s.Job
	out := Schedule{Name: s.Name, Type: t.Type, Args: t.Args, Description: s.Description, Cron: s.Cron, TZ: s.Zone, Once: s.At,
		Missed: string(s.MissedPolicy()), Overlap: string(s.OverlapPolicy()), JitterS: seconds(s.JitterMS), Paused: s.Paused,
		Queue: t.Queue, Priority: t.Priority, Resource: t.Resource, Principal: t.Principal, Tags: t.Tags}
	if len(out.Args) == 0 {
		out.Args = json.RawMessage("{}")
	}
	if s.Cron != "" && s.Zone == "" {
		out.TZ = "UTC"
	}
	if s.EveryMS > 0 {
		out.EveryS, out.OffsetS = seconds(s.EveryMS), seconds(s.OffsetMS)
	}
	if s.MissedPolicy() == schemas.MissedAll {
		n := s.MadeUp()
		out.MissedMax = &n
	}
	if t.DeadlineMS > 0 {
		out.DeadlineS = seconds(t.DeadlineMS)
	}
	if o := t.Override; o != nil {
		out.MaxAttempts = o.MaxAttempts
		if o.TimeoutMS != nil {
			out.RunTimeoutS = seconds(*o.TimeoutMS)
		}
	}
	if e != nil {
		out.Seq, out.At = &e.Seq, &e.Time
		if actor := e.Actor.String(); actor != "" {
			out.Actor = &actor
		}
	}
	if reason != "" {
		out.Reason = &reason
	}
	return out
}

// mask masks what of its args their type redacts.
func (out *Schedule) mask(ctx context.Context, m *masks) (err error) {
	out.Args, err = m.args(ctx, out.Type, out.Args)
	return err
}

// stands adds how the schedule stands in the fold that fires it; where that is behind the settings, or nobody
// tells, when its next tick is by those alone.
func (out *Schedule) stands(s *schemas.ScheduleSettings, state *dispatcher.ScheduleState, now time.Time) {
	if state == nil {
		p, err := ticks.For(s)
		if err != nil || s.Paused {
			return
		}
		if next := p.Next(now); !next.IsZero() {
			fires := next.Add(s.Delay())
			out.NextAt, out.FiresAt = &next, &fires
		}
		return
	}
	out.Waits, out.Parked = state.Waits, state.Parked
	if !state.Next.IsZero() {
		out.NextAt, out.FiresAt = &state.Next, &state.FireAt
	}
	if state.LastJob != "" {
		out.LastAt, out.LastJob = &state.Last, &state.LastJob
	}
}
