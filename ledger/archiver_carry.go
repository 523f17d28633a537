package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/dartwing/jobledger/schemas"
)

// carryHands is how many jobs are carried at a time.
const carryHands = 8

// carry appends carried to the jobs of the stretch that need it, and tells settings again. If this process dies in here,
// the next look finds those that are carried begun behind the stretch, and leaves them.
func (a *Archiver) carry(ctx context.Context, s *departure, rest *rester, sum *Moved) error {
	var jobs []*leavingPlace
	for _, p := range s.places {
		if p.carry != nil && p.first <= s.through {
			jobs = append(jobs, p)
		}
	}
	// A job that runs by now ends the stretch; those before it go on.
	for window := range slices.Chunk(jobs, carryHands) {
		rest.work()
		if err := a.carryJobs(ctx, s, window, sum); err != nil {
			return err
		}
		if err := rest.rest(ctx); err != nil {
			return err
		}
	}
	return a.carryControls(ctx, s, rest, sum)
}

// carryJobs carries some jobs at a time.
func (a *Archiver) carryJobs(ctx context.Context, s *departure, places []*leavingPlace, sum *Moved) error {
	type outcome struct {
		carried bool
		j       *Job
		err     error
	}
	got := make([]outcome, len(places))
	var wg sync.WaitGroup
	var stopped error
	for i, p := range places {
		if p.first > s.through {
			continue
		}
		if stopped = a.reach("carry"); stopped != nil {
			break
		}
		wg.Go(func() { got[i].carried, got[i].j, got[i].err = a.carryJob(ctx, s, p) })
	}
	wg.Wait()
	for i, p := range places {
		var own *Error
		switch o := got[i]; {
		case o.carried:
			sum.Carried++
		case o.err == nil && o.j != nil:
			s.place(p, o.j) // it runs, or cannot be read
		case errors.As(o.err, &own) && (own.Code == CodePayloadTooLarge || own.Code == CodeInvalidArgument):
			s.hold(p, fmt.Sprintf("it cannot be carried: %v", own))
		case o.err != nil:
			return fmt.Errorf("carry %s: %w", p.subject, o.err)
		}
	}
	return stopped
}

// carryJob appends carried. It returns the job as it stands where it need not or cannot be carried any more; nil where
// LEDGER begins it behind the stretch.
func (a *Archiver) carryJob(ctx context.Context, s *departure, p *leavingPlace) (carried bool, j *Job, err error) {
	ctx, cancel := withSettleTimeout(ctx)
	defer cancel()
	j, life := p.carry, p.life
	for try := 0; ; try++ {
		_, _, err := a.l.attempt(ctx, j, life, &Carry{}, Meta{})
		switch {
		case err == nil:
			return true, nil, nil
		case !errors.Is(err, ErrRefused):
			return false, nil, coded(err)
		case try > 0 && !pause(ctx, try):
			return false, nil, coded(err)
		}
		life = a.l.Life()
		hot, err := a.l.subject(ctx, p.at)
		if err != nil {
			return false, nil, err
		}
		if slices.ContainsFunc(hot, func(e *Entry) bool { return e.Seq > s.last && beginning(e) }) {
			return false, nil, nil // it stays in class open: another archiver, or a command, was faster
		}
		if j, err = a.l.Fold(ctx, p.at.Org, p.at.Job); err != nil && !errors.Is(err, ErrNotFound) {
			return false, nil, err
		}
		again := &departure{through: p.first}
		at := *p
		if again.place(&at, j); at.carry == nil {
			return false, j, nil
		}
	}
}

// carryControls tells settings again whose last event is in the stretch, and the latest start and epoch.
func (a *Archiver) carryControls(ctx context.Context, s *departure, rest *rester, sum *Moved) error {
	var reached schemas.Seq
	for _, p := range s.places {
		if p.at.Control == "" || p.first > s.through {
			continue
		}
		if reached == 0 {
			state, err := a.l.state(ctx)
			if err != nil {
				return err
			}
			reached = schemas.Seq(state.LastSeq) // the carried jobs of ticks are in the fold then
		}
		rest.work()
		if err := a.carryControl(ctx, s, p, reached, sum); err != nil {
			return fmt.Errorf("tell %s again: %w", p.subject, err)
		}
		if err := rest.rest(ctx); err != nil {
			return err
		}
	}
	return nil
}

// carryControl tells a control event again, as long as others change what it says. If this process dies behind the
// append, the next look finds an event behind the stretch.
func (a *Archiver) carryControl(ctx context.Context, s *departure, p *leavingPlace, reached schemas.Seq, sum *Moved) error {
	ctx, cancel := withSettleTimeout(ctx)
	defer cancel()
	for try := 0; ; try++ {
		e, expect, err := a.l.lastControlOn(ctx, p.at)
		if errors.Is(err, ErrUnreadable) {
			s.hold(p, "its last event is one that this version cannot read")
			return nil
		}
		if err != nil || e == nil || e.Seq > s.last {
			return err
		}
		data, err := a.toldAgain(ctx, s, p, e, max(reached, expect))
		if err != nil || data == nil {
			return err
		}
		if err := a.reach("setting"); err != nil {
			return err
		}
		again := schemas.NewEvent(p.at, data)
		again.Actor, again.Meant, again.CausationID = e.Actor, settingTime(e), string(e.ID)
		if err = a.l.Append(ctx, again, expect); err == nil {
			sum.Settings++
			return nil
		}
		if !errors.Is(err, ErrRefused) || !pause(ctx, try) {
			return err
		}
	}
}

// lastControlOn is the event that says what holds on a control subject, nil if none does, and the sequence of the
// subject's last message.
func (l *Ledger) lastControlOn(ctx context.Context, at schemas.Subject) (e *Entry, last schemas.Seq, err error) {
	if at != ControlLeader && at != ControlStart {
		return l.readSetting(ctx, at)
	}
	err = l.reading(ctx, func(ctx context.Context) error {
		e, err = l.leaderGet(ctx, getRequest{LastFor: at.String()})
		return err
	})
	switch {
	case errors.Is(err, errNoMessage):
		return nil, 0, nil
	case err != nil:
		return nil, 0, err
	case errors.Is(e.Err, schemas.ErrUndecodable):
		return nil, e.Seq, ErrUnreadable
	}
	return e, e.Seq, nil
}

// toldAgain is what repeats a control event; nil if nothing is to be told.
func (a *Archiver) toldAgain(ctx context.Context, s *departure, p *leavingPlace, e *Entry, reached schemas.Seq) (schemas.Data, error) {
	switch d := e.Data.(type) {
	case *schemas.LeaderElected:
		c := *d
		c.Carried = d.Epoch(e.Seq)
		return &c, nil
	case *schemas.CellStarted:
		c := *d
		c.Carried = d.Start(e.Seq)
		return &c, nil
	case *schemas.ScheduleSet:
		c := *d
		c.Carried = nil
		if d.Settings.Removed {
			return &c, nil
		}
		if a.cfg.Schedule == nil {
			s.hold(p, "nobody here knows how the schedule stands")
			return nil, nil
		}
		k, ok, err := a.cfg.Schedule(ctx, d.Settings.Org, d.Settings.Name, reached)
		if err != nil {
			return nil, err
		}
		if !ok {
			s.hold(p, "the leader's fold knows no such schedule")
			return nil, nil
		}
		c.Carried = &k
		return &c, nil
	case *schemas.HoldSet:
		if !d.Settings.On {
			return nil, nil // without an event there is no hold either
		}
		return d, nil
	case *schemas.LegalHoldSet:
		if !d.Settings.On {
			return nil, nil
		}
		return d, nil
	case schemas.Setting:
		return d, nil
	}
	return nil, nil
}
