package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/dartwing/jobledger/schemas"
)

// SchedulesMax is how many schedules an org may have.
const SchedulesMax = 1000

// Schedule returns the event that holds the settings of an org's schedule, as they are now; not_found if there is
// none, or none any more. Like all control events it never leaves the ledger.
func (l *Ledger) Schedule(ctx context.Context, org schemas.OrgID, name string) (*Entry, error) {
	if err := checkScheduleName(org, name); err != nil {
		return nil, err
	}
	e, _, err := l.readSetting(ctx, schemas.SchedulePlace(org, name))
	if err != nil {
		return nil, coded(err)
	}
	if e == nil || e.Data.(*schemas.ScheduleSet).Settings.Removed {
		return nil, noSchedule(org, name)
	}
	return e, nil
}

func noSchedule(org schemas.OrgID, name string) *Error {
	return Errorf(CodeNotFound, "org %s has no schedule %s", org, name)
}

func checkScheduleName(org schemas.OrgID, name string) error {
	if err := schemas.CheckToken("org", string(org)); err != nil {
		return badField("org", err)
	}
	if err := schemas.CheckToken("schedule", name); err != nil {
		return badField("name", err)
	}
	return nil
}

// Schedules returns the events that hold the settings of all schedules of an org, as they are now, by name.
func (l *Ledger) Schedules(ctx context.Context, org schemas.OrgID) ([]*Entry, error) {
	if err := schemas.CheckToken("org", string(org)); err != nil {
		return nil, badField("org", err)
	}
	all, err := l.settingsOf(ctx, schemas.SchedulePlace(org, "*"))
	if err != nil {
		return nil, err
	}
	kept := all[:0]
	for _, e := range all {
		if !e.Data.(*schemas.ScheduleSet).Settings.Removed {
			kept = append(kept, e)
		}
	}
	return kept, nil
}

// PutSchedule changes a schedule, as PutIf does. change gets what is in force, nil if there is no such schedule, and
// returns what is to be; org, name and generation are filled in. The settings returned are those in force then.
func (l *Ledger) PutSchedule(ctx context.Context, org schemas.OrgID, name string, m Meta, reason string, ifSeq *schemas.Seq,
	change func(have *schemas.ScheduleSettings) (schemas.ScheduleSettings, error)) (*schemas.Event, *schemas.ScheduleSettings, error) {
	if err := checkScheduleName(org, name); err != nil {
		return nil, nil, err
	}
	var want schemas.ScheduleSettings
	e, err := l.PutIf(ctx, m, schemas.SchedulePlace(org, name), ifSeq, func(was schemas.Setting) (schemas.Setting, error) {
		var have *schemas.ScheduleSettings
		generation := 1
		if set, ok := was.(*schemas.ScheduleSet); ok {
			generation = set.Settings.Generation
			have = &set.Settings
			if have.Removed {
				// Used again: its ticks are others, also where their times are the same.
				have, generation = nil, generation+1
			}
		}
		var err error
		if want, err = change(have); err != nil {
			return nil, err
		}
		if have == nil {
			if err := l.roomForSchedule(ctx, org); err != nil {
				return nil, err
			}
		}
		want.Org, want.Name, want.Generation = org, name, generation
		return &schemas.ScheduleSet{Settings: want, Reason: reason}, nil
	})
	if err != nil {
		return nil, nil, err
	}
	return e, &want, nil
}

// roomForSchedule refuses one schedule more than an org may have. Two at once may pass it: it bounds memory, and
// protects nothing.
func (l *Ledger) roomForSchedule(ctx context.Context, org schemas.OrgID) error {
	subjects, err := l.settingSubjects(ctx, schemas.SchedulePlace(org, "*"))
	if err != nil || len(subjects) < SchedulesMax {
		return err
	}
	all, err := l.Schedules(ctx, org)
	if err != nil || len(all) < SchedulesMax {
		return err
	}
	return badField("name", fmt.Errorf("org %s has %d schedules: no more are allowed", org, len(all)))
}

// CheckSchedule refuses a schedule whose jobs would be refused: an unknown or disabled type, args that do not fit
// its schema, a policy out of range. registerUnknown registers an unknown type instead.
func (l *Ledger) CheckSchedule(ctx context.Context, s *schemas.ScheduleSettings, m Meta, registerUnknown bool) error {
	ctx, cancel := withSettleTimeout(ctx)
	defer cancel()
	if err := s.Job.Validate(); err != nil {
		return badField("job", err)
	}
	r := scheduleRequest(s, m)
	r.RegisterUnknown, r.NoLimits = registerUnknown, true // what is full now need not be when it ticks
	_, err := l.prepare(ctx, &r)
	return coded(err)
}

// scheduleRequest asks for a job as the schedule's template says.
func scheduleRequest(s *schemas.ScheduleSettings, m Meta) SubmitRequest {
	t := &s.Job
	return SubmitRequest{Org: s.Org, Type: t.Type, Args: t.Args, NoDedup: true, Queue: t.Queue, Priority: t.Priority,
		Resource: t.Resource, Principal: t.Principal, DeadlineIn: t.DeadlineMS.Duration(), Tags: t.Tags, Override: t.Override,
		Meta: m, schedule: s.Name}
}

// SubmitTick stores the job of one tick of a schedule, or finds it: a tick makes at most one job, whoever
// fires it how often, for its id is used once for ever. set is the schedule's schedule_set. The job runs as the
// schedule's principal, or as who set the schedule; reason is a person's, if one asked for it. Errors as of
// Submit.
func (l *Ledger) SubmitTick(ctx context.Context, set *Entry, tick time.Time, m Meta, reason string) (Receipt, error) {
	return l.tick(ctx, set, tick, m, reason, nil)
}

// FireTick is SubmitTick of a tick whose time has come. before, if it is not nil, is done first, at least once, if
// the job is not there and the ledger takes it: nothing is given up for a job that is refused.
func (l *Ledger) FireTick(ctx context.Context, set *Entry, tick time.Time, m Meta, before func(context.Context) error) (Receipt, error) {
	return l.tick(ctx, set, tick, m, "", before)
}

func (l *Ledger) tick(ctx context.Context, set *Entry, tick time.Time, m Meta, reason string, before func(context.Context) error) (Receipt, error) {
	s, r, err := requestOf(set, m, reason)
	if err != nil {
		return Receipt{}, err
	}
	tick = tick.UTC()
	r.tick, r.ID, r.once, r.before = &tick, schemas.TickJobID(s.Name, s.Generation, tick), true, before
	return l.Submit(ctx, r)
}

// RunSchedule stores a job as a schedule would make it, for no tick: by hand, now. request, if it is not zero,
// is as SubmitRequest.RequestID.
func (l *Ledger) RunSchedule(ctx context.Context, set *Entry, request uuid.UUID, m Meta, reason string) (Receipt, error) {
	_, r, err := requestOf(set, m, reason)
	if err != nil {
		return Receipt{}, err
	}
	r.RequestID = request
	return l.Submit(ctx, r)
}

func requestOf(set *Entry, m Meta, reason string) (*schemas.ScheduleSettings, SubmitRequest, error) {
	d, ok := set.Data.(*schemas.ScheduleSet)
	if !ok {
		return nil, SubmitRequest{}, coded(errors.New("the event sets no schedule"))
	}
	m.CausationID = string(set.ID)
	r := scheduleRequest(&d.Settings, m)
	r.Reason = reason
	if r.Principal == "" {
		r.Principal = set.Actor.String()
	}
	return &d.Settings, r, nil
}
