package dispatcher

import (
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// A fold that begins after the purge meets the job of a tick, perhaps also its end, before it meets the repetition of
// the schedule's settings, which came later (DESIGN D13). What it saw is kept by schedule until then.

// earlyTick is the latest tick of a schedule that is not known yet.
type earlyTick struct {
	at    time.Time
	job   schemas.JobID
	id    schemas.Seq
	open  bool
	endAt time.Time // while not open
}

// earlyTicks holds one tick at most for each schedule, from the first event of a fold until the schedule's settings.
type earlyTicks struct {
	byKey map[scheduleKey]*earlyTick
	byJob map[schemas.Seq]*earlyTick
}

func newEarlyTicks() earlyTicks {
	return earlyTicks{byKey: make(map[scheduleKey]*earlyTick), byJob: make(map[schemas.Seq]*earlyTick)}
}

func (t *earlyTicks) submitted(key scheduleKey, tick earlyTick) {
	old := t.byKey[key]
	if old != nil && (old.id == tick.id || tick.at.Before(old.at)) {
		return
	}
	if old != nil {
		delete(t.byJob, old.id)
	}
	t.byKey[key], t.byJob[tick.id] = &tick, &tick
}

// ended notes the end of a tick's job; that of a job which ended before is not looked at again.
func (t *earlyTicks) ended(id schemas.Seq, at time.Time) {
	if e := t.byJob[id]; e != nil && e.open {
		e.open, e.endAt = false, at
	}
}

func (t *earlyTicks) reopened(id schemas.Seq) {
	if e := t.byJob[id]; e != nil {
		e.open = true
	}
}

// take returns and forgets what was kept for a schedule.
func (t *earlyTicks) take(key scheduleKey) (earlyTick, bool) {
	e := t.byKey[key]
	if e == nil {
		return earlyTick{}, false
	}
	delete(t.byKey, key)
	delete(t.byJob, e.id)
	return *e, true
}

// carry is how a schedule stands, for a fold that does not know.
func (s *schedule) carry() schemas.ScheduleCarried {
	c := schemas.ScheduleCarried{Over: time.Unix(0, s.over).UTC()}
	if s.last != 0 {
		c.Last, c.Job, c.ID, c.Open = time.Unix(0, s.last).UTC(), s.lastJob, s.lastID, s.open
	}
	return c
}

// resumeSchedule has a schedule that was just made stand as a repetition of its settings says.
func (c *Core) resumeSchedule(s *schedule, k *schemas.ScheduleCarried) {
	s.over = k.Over.UnixNano() // not the time of the event: ticks that are due and not fired would pass
	if k.Last.IsZero() {
		return
	}
	s.last, s.lastJob, s.lastID, s.open = k.Last.UnixNano(), k.Job, k.ID, k.Open
	if k.ID != 0 {
		c.schedules.byJob[k.ID] = s
	}
}

// resumeTick folds a tick that was met before its schedule.
func (c *Core) resumeTick(s *schedule, t *earlyTick) {
	c.tickSubmitted(s.key, t.at, t.job, t.id, true)
	switch {
	case s.lastID != t.id:
	case t.open:
		s.open = true
	case !t.endAt.IsZero():
		s.open = true // what was told of it may be older or newer than its end
		c.tickEnded(t.id, t.endAt)
	default:
		s.open = false
	}
}
