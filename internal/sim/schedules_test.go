package sim_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// ticking are the schedules of a run that has some. The client sets them, and removes them when the faults have
// ended, so that a run ends.
type ticking struct {
	all []schemas.ScheduleSettings

	mu      sync.Mutex
	removed int
}

func newTicking() *ticking {
	name := func(n string, every schemas.Millis, missed schemas.MissedPolicy, overlap schemas.OverlapPolicy, acts ...string) schemas.ScheduleSettings {
		return schemas.ScheduleSettings{Name: n, EveryMS: every, Missed: missed, Overlap: overlap,
			Job: schemas.JobTemplate{Type: typePlain, Args: mustJSON(work{N: -int(every), Attempts: acts})}}
	}
	return &ticking{all: []schemas.ScheduleSettings{
		name("all", 4000, schemas.MissedAll, schemas.OverlapAllow, doReturn),
		name("once", 5000, schemas.MissedOnce, schemas.OverlapSkip, doWork),
		name("skip", 7000, schemas.MissedSkip, schemas.OverlapReplace, doFail, doWork),
	}}
}

// done reports that every schedule is removed.
func (k *ticking) done() bool {
	if k == nil {
		return true
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.removed == len(k.all)
}

// keepSchedules sets the schedules and removes them in the end; a client that takes the place of another does it again,
// which changes nothing.
func (w *world) keepSchedules(ctx context.Context, l *ledger.Ledger) {
	for i := range w.ticking.all {
		s := w.ticking.all[i]
		if w.ticking.done() || w.putSchedule(ctx, l, s) != nil {
			return
		}
	}
	if wait(ctx, time.Until(w.tickUntil)) != nil {
		return
	}
	for _, s := range w.ticking.all {
		s.Removed = true
		if w.putSchedule(ctx, l, s) != nil {
			return
		}
	}
	w.ticking.mu.Lock()
	defer w.ticking.mu.Unlock()
	w.ticking.removed = len(w.ticking.all)
}

// putSchedule puts settings until there is an answer that is none of the network's. What was removed stays removed.
func (w *world) putSchedule(ctx context.Context, l *ledger.Ledger, s schemas.ScheduleSettings) error {
	for {
		once, cancel := context.WithTimeout(ctx, submitTimeout)
		at := schemas.SchedulePlace(testOrg, s.Name)
		_, err := l.Put(once, ledger.Meta{}, at, func(have schemas.Setting) (schemas.Setting, error) {
			if was, ok := have.(*schemas.ScheduleSet); ok && was.Settings.Removed {
				return was, nil
			}
			s.Org, s.Generation = testOrg, 1
			return &schemas.ScheduleSet{Settings: s, Reason: "simulation"}, nil
		})
		cancel()
		switch {
		case err == nil || ctx.Err() != nil:
			return ctx.Err()
		case ledger.AsError(err).Code != ledger.CodeUnavailable:
			w.truth.fail("schedule %s was refused: %v", s.Name, err)
			return err
		}
		if err := wait(ctx, time.Second); err != nil {
			return err
		}
	}
}

// judgeTicks counts jobs by tick in the model's ledger: one each; and under missed all none is left out between the
// first and the last.
func (w *world) judgeTicks() (made int, err error) {
	seen := make(map[string]map[int64]int)
	for _, m := range w.net.engine.streams["LEDGER"].messages {
		e, derr := decode(m)
		if derr != nil {
			continue
		}
		d, ok := e.Data.(*schemas.Submitted)
		if !ok || d.Tick == nil {
			continue
		}
		if e.Job != schemas.TickJobID(d.Schedule, 1, *d.Tick) || d.Generation != 1 {
			return made, fmt.Errorf("job %s, generation %d, is of tick %s of %s", e.Job, d.Generation, d.Tick, d.Schedule)
		}
		if seen[d.Schedule] == nil {
			seen[d.Schedule] = make(map[int64]int)
		}
		seen[d.Schedule][d.Tick.Unix()]++
		made++
	}
	for name, times := range seen {
		var all []int64
		for at, n := range times {
			if n != 1 {
				return made, fmt.Errorf("tick %d of %s has %d jobs", at, name, n)
			}
			all = append(all, at)
		}
		slices.Sort(all)
		for i := 1; name == "all" && i < len(all); i++ {
			if all[i]-all[i-1] != 4 {
				return made, fmt.Errorf("between ticks %d and %d of %s one has no job", all[i-1], all[i], name)
			}
		}
	}
	return made, nil
}
