package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/dispatcher"
	"github.com/dartwing/jobledger/gateway/rights"
	"github.com/dartwing/jobledger/internal/ticks"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// scheduleAdd adds a schedule or, on request, replaces one: what is not given takes its default. What no job of it
// could be submitted with is refused.
func (g *Gateway) scheduleAdd(ctx context.Context, r *request) ([]byte, error) {
	req := AddSchedule{Schedule: Schedule{Name: r.name}}
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	if req.Name != r.name {
		return nil, badField("name", fmt.Errorf("the body names schedule %q, the subject %q", req.Name, r.name))
	}
	want, err := req.settings()
	if err != nil {
		return nil, err
	}
	if p := caller(ctx); p != nil {
		if grant := p.In(r.org); grant != nil && grant.Role != schemas.RolePublisher && want.Job.Principal == "" {
			want.Job.Principal = p.Actor.String() // whoever changes the schedule later does not become whom its jobs run as
		}
		if err := errors.Join(mayActFor(p, r.org, want.Job.Principal), g.authorizeTypes(ctx, p, r.org, []schemas.TypeName{want.Job.Type})); err != nil {
			return nil, err
		}
	}
	want.Org, want.Name, want.Generation = r.org, r.name, 1
	if err := want.Validate(); err != nil {
		return nil, badField("schedule", err)
	}
	plan, err := ticks.For(&want)
	if err != nil {
		return nil, badField("schedule", err)
	}
	now, err := g.l.StreamTime(ctx)
	if err != nil {
		return nil, err
	}
	if plan.Next(now).IsZero() {
		return nil, badField("at", errors.New("the schedule has no tick from now on"))
	}
	if err := g.refuseMask(ctx, want.Job.Type, want.Job.Args); err != nil {
		return nil, err
	}
	meta := ledger.Meta{Actor: g.actor(ctx), CausationID: r.id}
	if err := g.l.CheckSchedule(ctx, &want, meta, g.cfg.RegisterUnknown); err != nil {
		return nil, err
	}
	return g.putSchedule(ctx, r, deref(req.Reason), "add", req.IfSeq, func(have *schemas.ScheduleSettings) (schemas.ScheduleSettings, error) {
		if have != nil && !req.Replace {
			e := ledger.Errorf(ledger.CodeIDConflict, "org %s has a schedule %s already: replace it, or choose another name", r.org, r.name)
			e.Field = "name"
			return want, e
		}
		set := want
		set.Paused = set.Paused || have != nil && have.Paused // a change of a paused schedule does not start it
		return set, nil
	})
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// putSchedule changes a schedule and answers with what is in force.
func (g *Gateway) putSchedule(ctx context.Context, r *request, reason, action string, ifSeq *schemas.Seq,
	change func(have *schemas.ScheduleSettings) (schemas.ScheduleSettings, error)) ([]byte, error) {
	if err := checkReason("reason", reason, false); err != nil {
		return nil, err
	}
	e, settings, err := g.l.PutSchedule(ctx, r.org, r.name, ledger.Meta{Actor: g.actor(ctx), CausationID: r.id}, reason, ifSeq, change)
	if err != nil {
		return nil, err
	}
	if e == nil { // in force already
		set, err := g.l.Schedule(ctx, r.org, r.name)
		if err != nil {
			return nil, err
		}
		return g.scheduleReply(ctx, set)
	}
	g.log.Info("operator action", zap.String("action", "schedule "+action), zap.String("org", string(r.org)), zap.String("schedule", r.name),
		zap.String("actor", g.actor(ctx).String()), zap.String("reason", reason), zap.String("request_id", r.id))
	out := scheduleOf(&ledger.Entry{Event: e}, settings, reason)
	if !settings.Removed {
		out.stands(settings, g.scheduleState(ctx, settings, e.Seq), e.Time)
	}
	if err := out.mask(ctx, g.masks()); err != nil {
		return nil, err
	}
	return json.Marshal(&out)
}

// scheduleReply describes a schedule as its event set it.
func (g *Gateway) scheduleReply(ctx context.Context, set *ledger.Entry) ([]byte, error) {
	out := g.describeSchedule(ctx, set)
	if err := out.mask(ctx, g.masks()); err != nil {
		return nil, err
	}
	return json.Marshal(&out)
}

func (g *Gateway) describeSchedule(ctx context.Context, set *ledger.Entry) Schedule {
	d := set.Data.(*schemas.ScheduleSet)
	out := scheduleOf(set, &d.Settings, d.Reason)
	out.stands(&d.Settings, g.scheduleState(ctx, &d.Settings, set.Seq), time.Now())
	return out
}

// scheduleState asks the dispatcher's fold; nil where it does not know these settings yet.
func (g *Gateway) scheduleState(ctx context.Context, s *schemas.ScheduleSettings, set schemas.Seq) *dispatcher.ScheduleState {
	if g.cfg.Schedules == nil {
		return nil
	}
	state, ok, err := g.cfg.Schedules(ctx, s.Org, s.Name)
	if err != nil || !ok || state.Set != set {
		return nil
	}
	return &state
}

func (g *Gateway) scheduleInfo(ctx context.Context, r *request) ([]byte, error) {
	set, err := g.l.Schedule(ctx, r.org, r.name)
	if err != nil {
		return nil, err
	}
	return g.scheduleReply(ctx, set)
}

func (g *Gateway) scheduleList(ctx context.Context, r *request) ([]byte, error) {
	all, err := g.l.Schedules(ctx, r.org)
	if err != nil {
		return nil, err
	}
	end, err := g.l.End(ctx)
	if err != nil {
		return nil, err
	}
	reply := Schedules{Items: make([]Schedule, 0, len(all)), AsOfSeq: end.Seq}
	for _, set := range all {
		if !g.mine(ctx, r.org, rights.SchedulesRead, set) {
			continue
		}
		s := g.describeSchedule(ctx, set)
		s.Args = nil // an info tells them
		reply.Items = append(reply.Items, s)
	}
	return json.Marshal(&reply)
}

// edit changes a schedule that exists.
func (g *Gateway) edit(ctx context.Context, r *request, action string, change func(s *schemas.ScheduleSettings)) ([]byte, error) {
	var req ReasonRequest
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	set, err := g.l.Schedule(ctx, r.org, r.name)
	if err != nil {
		return nil, err
	}
	owner := set.Actor.String()
	return g.putSchedule(ctx, r, req.Reason, action, nil, func(have *schemas.ScheduleSettings) (schemas.ScheduleSettings, error) {
		if have == nil {
			return schemas.ScheduleSettings{}, ledger.Errorf(ledger.CodeNotFound, "org %s has no schedule %s", r.org, r.name)
		}
		want := *have
		change(&want)
		if want.Job.Principal == "" && owner != g.actor(ctx).String() {
			want.Job.Principal = owner // who pauses it does not become whom its jobs run as
		}
		return want, nil
	})
}

func (g *Gateway) scheduleRemove(ctx context.Context, r *request) ([]byte, error) {
	return g.edit(ctx, r, "rm", func(s *schemas.ScheduleSettings) { s.Removed = true })
}

func (g *Gateway) schedulePause(ctx context.Context, r *request) ([]byte, error) {
	return g.edit(ctx, r, "pause", func(s *schemas.ScheduleSettings) { s.Paused = true })
}

func (g *Gateway) scheduleResume(ctx context.Context, r *request) ([]byte, error) {
	return g.edit(ctx, r, "resume", func(s *schemas.ScheduleSettings) { s.Paused = false })
}

// scheduleTrigger submits a job as a tick would, for no tick: paused or not, whatever else runs.
func (g *Gateway) scheduleTrigger(ctx context.Context, r *request) ([]byte, error) {
	var req ReasonRequest
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	set, err := g.l.Schedule(ctx, r.org, r.name)
	if err != nil {
		return nil, err
	}
	request, err := uuid.Parse(options(r.headers).one(HeaderRequestID))
	if err != nil {
		request = uuid.Nil // only what the caller can repeat is an identity
	}
	receipt, err := g.l.RunSchedule(ctx, set, request, ledger.Meta{Actor: g.actor(ctx)}, req.Reason)
	if err != nil {
		return nil, err
	}
	return json.Marshal(SubmitReply{ID: receipt.ID, Org: receipt.Org, Seq: receipt.Seq, Duplicate: receipt.Duplicate, State: receipt.State})
}

// planOf is the plan of a schedule that is in force.
func (g *Gateway) planOf(ctx context.Context, r *request) (*ticks.Plan, *ledger.Entry, error) {
	set, err := g.l.Schedule(ctx, r.org, r.name)
	if err != nil {
		return nil, nil, err
	}
	plan, err := ticks.For(&set.Data.(*schemas.ScheduleSet).Settings)
	if err != nil {
		return nil, nil, ledger.Errorf(ledger.CodeInternal, "the times of schedule %s cannot be read by this version: %v", r.name, err)
	}
	return plan, set, nil
}

func (g *Gateway) scheduleNext(ctx context.Context, r *request) ([]byte, error) {
	var req NextRequest
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	if req.Count == 0 {
		req.Count = NextDefault
	}
	if req.Count < 1 || req.Count > TicksMax {
		return nil, badField("count", fmt.Errorf("%d is outside 1 to %d", req.Count, TicksMax))
	}
	plan, _, err := g.planOf(ctx, r)
	if err != nil {
		return nil, err
	}
	now, err := g.l.StreamTime(ctx)
	if err != nil {
		return nil, err
	}
	reply := NextReply{Ticks: []time.Time{}}
	for t := plan.Next(now); !t.IsZero() && len(reply.Ticks) < req.Count; t = plan.Next(t) {
		reply.Ticks = append(reply.Ticks, t)
	}
	return json.Marshal(&reply)
}

// scheduleBackfill submits the jobs of past ticks. Where it is cut short, or given again, no tick makes a second
// job: the ids are the ticks'.
func (g *Gateway) scheduleBackfill(ctx context.Context, r *request) ([]byte, error) {
	var req BackfillRequest
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	if err := checkReason("reason", req.Reason, false); err != nil {
		return nil, err
	}
	plan, set, err := g.planOf(ctx, r)
	if err != nil {
		return nil, err
	}
	until, err := g.l.StreamTime(ctx)
	if err != nil {
		return nil, err
	}
	switch {
	case req.From.IsZero():
		return nil, badField("from", errors.New("a backfill needs the time that it begins after"))
	case req.To != nil && req.To.After(until):
		return nil, badField("to", fmt.Errorf("%s is still to come: its ticks fire by themselves", req.To.Format(time.RFC3339)))
	case req.To != nil:
		until = *req.To
	}
	reply := BackfillReply{Ticks: plan.First(req.From, until, TicksMax+1), DryRun: req.DryRun}
	if len(reply.Ticks) > TicksMax {
		return nil, badField("from", fmt.Errorf("there are more than %d ticks: make them up in parts, of which the first ends at %s",
			TicksMax, reply.Ticks[TicksMax-1].Format(time.RFC3339)))
	}
	if !req.DryRun {
		if err := g.countItems(ctx, r, 0, len(reply.Ticks)); err != nil {
			return nil, err
		}
	}
	for _, tick := range reply.Ticks {
		had, err := g.makeUp(ctx, set, tick, &req)
		if err != nil {
			return nil, err
		}
		if had {
			reply.Duplicate++
		} else {
			reply.Submitted++
		}
	}
	if reply.Ticks == nil {
		reply.Ticks = []time.Time{}
	}
	return json.Marshal(&reply)
}

// makeUp submits the job of one tick; had: there was one.
func (g *Gateway) makeUp(ctx context.Context, set *ledger.Entry, tick time.Time, req *BackfillRequest) (had bool, err error) {
	if req.DryRun {
		s := &set.Data.(*schemas.ScheduleSet).Settings
		_, err := g.l.Fold(ctx, s.Org, schemas.TickJobID(s.Name, s.Generation, tick))
		if errors.Is(err, ledger.ErrNotFound) {
			return false, nil
		}
		return err == nil, err
	}
	receipt, err := g.l.SubmitTick(ctx, set, tick, ledger.Meta{Actor: g.actor(ctx)}, req.Reason)
	return receipt.Duplicate, err
}
