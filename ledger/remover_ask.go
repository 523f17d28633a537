package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/schemas"
)

// The leader's remover takes requests by core NATS, as its archiver does.
const (
	// subjectRetain takes a retainAsk as a request; the answer is a retainAnswer.
	subjectRetain = "jl.retain"
	// subjectRetainState is answered at once, with a RetainState.
	subjectRetainState = "jl.retain.state"

	// askRetainMax is how long a removal may take: segments of jobs that were not over may have to be read.
	askRetainMax = 15 * time.Minute
	// askStateMax is how long the state is waited for: it is a courtesy.
	askStateMax = time.Second
)

// retainAsk asks the leader to remove what is over, or to say what that is.
type retainAsk struct {
	DryRun bool   `json:"dry_run"`
	Actor  string `json:"actor"` // <type>:<id>
	Reason string `json:"reason"`
}

type retainAnswer struct {
	RetainPlan
	Error string `json:"error,omitempty"`
}

// AskRetain has the leader remove now what is past its retention, or with dryRun say what that is. What is in the answer
// with an error is removed all the same.
//
// The error is ErrNoArchiver if nobody leads.
func (l *Ledger) AskRetain(ctx context.Context, dryRun bool, actor schemas.Actor, reason string) (*RetainPlan, error) {
	body, err := json.Marshal(retainAsk{DryRun: dryRun, Actor: actor.String(), Reason: reason})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askRetainMax)
	defer cancel()
	m, err := l.nc.RequestWithContext(ctx, subjectRetain, body)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return nil, ErrNoArchiver
	case errors.Is(err, context.DeadlineExceeded):
		return nil, fmt.Errorf("%w: it did not answer; what was removed until then is removed", ErrNoArchiver)
	case err != nil:
		return nil, err
	}
	var a retainAnswer
	if err := json.Unmarshal(m.Data, &a); err != nil {
		return nil, fmt.Errorf("answer of the remover: %w", err)
	}
	if a.Error != "" {
		return &a.RetainPlan, Errorf(CodeUnavailable, "the remover stopped: %s", a.Error)
	}
	return &a.RetainPlan, nil
}

// RetainState asks the leader what its remover found last; nil if nobody leads, or it has not looked yet.
func (l *Ledger) RetainState(ctx context.Context) *RetainState {
	ctx, cancel := context.WithTimeout(ctx, askStateMax)
	defer cancel()
	m, err := l.nc.RequestWithContext(ctx, subjectRetainState, nil)
	if err != nil {
		return nil
	}
	var s *RetainState
	if json.Unmarshal(m.Data, &s) != nil {
		return nil
	}
	return s
}

// tell answers with what the last look found.
func (r *Remover) tell(m *nats.Msg) {
	body, err := json.Marshal(r.state.Load())
	if err == nil {
		err = m.Respond(body)
	}
	if err != nil {
		r.cfg.Logger.Debug("who asked about retention was not answered", zap.Error(err))
	}
}

// answer does what an operator asks for.
func (r *Remover) answer(ctx context.Context, m *nats.Msg) {
	var ask retainAsk
	var a retainAnswer
	err := json.Unmarshal(m.Data, &ask)
	if err == nil {
		var actor schemas.Actor
		if actor, err = schemas.ParseActor(ask.Actor); err == nil {
			if ask.DryRun {
				a.RetainPlan, err = r.Plan(ctx)
			} else {
				r.asked = true
				a.RetainPlan, err = r.remove(ctx, actor, ask.Reason)
				r.cfg.Logger.Info("removed history for an operator", zap.Int("segments", a.Segments), zap.Int("events", a.Events),
					zap.String("actor", ask.Actor), zap.String("reason", ask.Reason), zap.Error(err))
			}
		}
	}
	if err != nil {
		a.Error = err.Error()
	}
	body, err := json.Marshal(&a)
	if err == nil {
		err = m.Respond(body)
	}
	if err != nil {
		r.cfg.Logger.Debug("who asked to remove history was not answered", zap.Error(err))
	}
}

// Plan says what would be removed now, and removes nothing.
func (r *Remover) Plan(ctx context.Context) (RetainPlan, error) {
	now, err := r.now(ctx)
	if err != nil {
		return RetainPlan{}, err
	}
	p := RetainPlan{At: now, Classes: []RetainClass{}}
	r.asked = true
	r.begin()
	if _, err := r.judgeOpen(ctx, now); err != nil {
		return p, err
	}
	d, err := r.due(ctx, now)
	if err != nil {
		return p, err
	}
	p.Held = d.held
	began := time.Now()
	for _, s := range d.segments {
		if time.Since(began) < r.cfg.OpenBudget { // of the rest it is not looked whether a job lives on
			if stands, err := r.stands(ctx, d, s, now); err != nil || !stands {
				if ctx.Err() != nil {
					return p, ctx.Err()
				}
				continue
			}
		}
		p.add(s)
	}
	return p, nil
}
