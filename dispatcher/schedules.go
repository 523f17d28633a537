package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// movedPause is how long a tick waits whose schedule is no longer as the core knows it: the tail brings the change.
const movedPause = time.Second

// bySystem is who submits for schedules: on behalf of whoever set them.
var bySystem = schemas.Actor{Type: "system", ID: "dispatcher"}

// tick carries a schedule's tick out: it cancels the job that this one replaces, if there is one, and submits. If
// this process dies between the two, the next leader's fold shows the one canceled and no job of the tick, which
// is then fired again.
func (h *Host) tick(ctx context.Context, a act) Result {
	d := &a.d
	set, err := h.l.Schedule(ctx, d.Org, d.Schedule)
	if err == nil && set.Seq != d.At {
		return Result{Outcome: Later, Until: h.now().Add(movedPause)}
	}
	if err == nil && !a.lease.valid() {
		return Result{Outcome: Failed}
	}
	var before func(context.Context) error
	if d.Job != "" {
		before = func(ctx context.Context) error { return h.replace(ctx, a) }
	}
	var receipt ledger.Receipt
	if err == nil {
		receipt, err = h.l.FireTick(ctx, set, d.Tick, ledger.Meta{Actor: bySystem}, before)
	}
	if err != nil {
		return h.tickFailed(d, err)
	}
	if !receipt.Duplicate {
		h.counters.Ticks.Add(1)
	}
	return Result{Outcome: Stored}
}

// replace cancels the job of an earlier tick; one that has ended is left as it is.
func (h *Host) replace(ctx context.Context, a act) error {
	if !a.lease.valid() {
		return errDeposed
	}
	why := fmt.Sprintf("replaced: schedule %s ticked at %s", a.d.Schedule, a.d.Tick.Format(time.RFC3339))
	_, _, err := h.l.Do(ctx, a.d.Org, a.d.Job, &ledger.Cancel{Reason: why}, ledger.Meta{Actor: bySystem})
	var state *ledger.StateError
	if err != nil && !errors.As(err, &state) && !errors.Is(err, ledger.ErrNotFound) {
		return err
	}
	if !a.lease.valid() {
		return errDeposed
	}
	return nil
}

// tickFailed says what an error means for the core. What the ledger refuses for a reason of its own, as while the
// type is disabled, is tried again in a while: the tick is then one that was missed.
func (h *Host) tickFailed(d *Decision, err error) Result {
	name := []zap.Field{zap.String("org", string(d.Org)), zap.String("schedule", d.Schedule), zap.Time("tick", d.Tick), zap.Error(err)}
	var own *ledger.Error
	switch code := ledger.AsError(err).Code; {
	case errors.As(err, &own) && own.Details[ledger.DetailReason] == ledger.ReasonStorageFull:
		// Nothing else waits for it, as it would for a ledger that is away: jobs that exist go on.
		h.log.Debug("the job of a tick finds no space; it is tried again", name...)
		return Result{Outcome: Later, Until: h.now().Add(laterPause)}
	case errors.Is(err, errDeposed), code == ledger.CodeUnavailable:
		h.log.Debug("tick not carried out", name...)
		return Result{Outcome: Failed}
	case errors.Is(err, ledger.ErrUnreadable):
		h.log.Warn("the job of a tick, or its schedule, holds an event of a newer version", name...)
		return Result{Outcome: Later, Until: h.now().Add(laterPause)}
	case code == ledger.CodeNotFound && errors.As(err, &own):
		return Result{Outcome: Later, Until: h.now().Add(movedPause)} // removed: the tail brings it
	}
	h.log.Warn("the job of a tick is refused; it is tried again", name...)
	return Result{Outcome: Later, Until: h.now().Add(laterPause)}
}

// Schedule returns how a schedule stands in this server's fold, which may be moments behind the ledger; false if
// the fold knows of none.
func (h *Host) Schedule(ctx context.Context, org schemas.OrgID, name string) (state ScheduleState, ok bool, err error) {
	err = h.call(ctx, func() { state, ok = h.core.Schedule(org, name) })
	return state, ok, err
}

// CarriedSchedule is how a schedule stands once this server's fold has come as far as reached, for a repetition of its
// settings (ledger.ArchiverConfig.Schedule); false if the fold knows of none.
func (h *Host) CarriedSchedule(ctx context.Context, org schemas.OrgID, name string, reached schemas.Seq) (schemas.ScheduleCarried, bool, error) {
	if err := h.Reach(ctx, reached); err != nil {
		return schemas.ScheduleCarried{}, false, err
	}
	state, ok, err := h.Schedule(ctx, org, name)
	return state.Carried, ok, err
}
