package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/gateway/rights"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// HoldRequest lays a hold on a scope, or lifts it. The zero scope is everything there is.
type HoldRequest struct {
	Scope schemas.HoldScope `json:"scope"`
	On    bool              `json:"on"`
	// Until ends the hold by itself, by the stream's clock; nil: it stays until it is lifted.
	Until  *time.Time `json:"until,omitempty"`
	Reason string     `json:"reason"` // required
}

// HoldReply says what a hold stands on.
type HoldReply struct {
	ID    string            `json:"hold_id"`
	Scope schemas.HoldScope `json:"scope"`
	On    bool              `json:"on"`
	Until *time.Time        `json:"until"`
	// Jobs are the waiting jobs of the scope by the view, a second old at most; null where a resource or a batch
	// narrows it, which the view does not count by.
	Jobs *int64 `json:"jobs"`
}

// Hold is a hold that is on.
type Hold struct {
	ID    string            `json:"hold_id"`
	Scope schemas.HoldScope `json:"scope"`
	Until *time.Time        `json:"until"`
	SettingAuthor
}

// Holds are all that are on.
type Holds struct {
	Items []Hold  `json:"items"`
	Next  *string `json:"next"`
}

// holdSet pauses or resumes a scope. To pause what is paused changes its end; to resume what is not writes nothing.
func (g *Gateway) holdSet(ctx context.Context, r *request) ([]byte, error) {
	var req HoldRequest
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	if err := checkReason("reason", req.Reason, true); err != nil {
		return nil, err
	}
	if err := req.Scope.Validate(); err != nil {
		return nil, badField("scope", err)
	}
	if s := &req.Scope; s.Batch != "" {
		if s.Queue != "" || s.Type != "" || s.Resource != "" {
			return nil, badField("scope", errors.New("a batch is paused by itself: name nothing beside it but its org"))
		}
		if s.Org = cmp.Or(s.Org, r.org); s.Org == cellOrg { // batches of other orgs may have the same id
			return nil, badField("scope", errors.New("name the org of the batch"))
		}
	}
	if p := caller(ctx); p != nil && req.Scope.Org != r.org && rights.Decide(p, rights.HoldsPlatform, r.org) != rights.All {
		return nil, denied(p, rights.HoldsPlatform, r.org) // R-627 ends at the org
	}
	now, err := g.l.StreamTime(ctx)
	if err != nil {
		return nil, err
	}
	switch {
	case req.Until != nil && !req.On:
		return nil, badField("until", errors.New("only a hold has an end"))
	case req.Until != nil && !req.Until.After(now):
		return nil, badField("until", fmt.Errorf("%s is not ahead", req.Until.Format(time.RFC3339)))
	}
	want := &schemas.HoldSet{Settings: schemas.HoldSettings{Scope: req.Scope, On: req.On, Until: req.Until}, Reason: req.Reason}
	e, err := g.l.Put(ctx, ledger.Meta{Actor: g.actor(ctx), CausationID: r.id}, want.Place(), func(have schemas.Setting) (schemas.Setting, error) {
		switch {
		case !req.On && have == nil:
			return nil, ledger.Errorf(ledger.CodeNotFound, "nothing holds %s: `jobledger queue holds` shows what is paused", req.Scope)
		case !req.On && !have.(*schemas.HoldSet).Settings.On:
			return have, nil
		}
		return want, nil
	})
	if err != nil {
		return nil, err
	}
	if e != nil {
		g.log.Info("operator action", zap.String("action", map[bool]string{true: "pause", false: "resume"}[req.On]), zap.Stringer("scope", req.Scope),
			zap.Uint64("seq", uint64(e.Seq)), zap.String("actor", g.actor(ctx).String()), zap.String("reason", req.Reason), zap.String("request_id", r.id))
	}
	reply := HoldReply{ID: req.Scope.ID(), Scope: req.Scope, On: req.On, Until: req.Until}
	if req.Scope.Resource == "" && req.Scope.Batch == "" {
		if reply.Jobs, err = g.waitingIn(ctx, req.Scope); err != nil {
			// The hold stands; how many it holds is a courtesy.
			g.log.Debug("the jobs under a hold cannot be counted", zap.Stringer("scope", req.Scope), zap.Error(err))
		}
	}
	return json.Marshal(&reply)
}

// waitingIn counts the unfinished jobs of a scope that do not run.
func (g *Gateway) waitingIn(ctx context.Context, s schemas.HoldScope) (*int64, error) {
	counts, _, err := g.views.counts(ctx, s.Org)
	if err != nil {
		return nil, err
	}
	var n int64
	for k, c := range counts {
		if s.Matches(k.Org, k.Queue, k.Type, "", "") {
			n += c.Unfinished() - c.Running
		}
	}
	return &n, nil
}

// holdList answers the holds that are on.
func (g *Gateway) holdList(ctx context.Context, r *request) ([]byte, error) {
	reply := Holds{Items: []Hold{}}
	var err error
	if reply.Items, err = g.holds(ctx); err != nil {
		return nil, err
	}
	if onlyOf(ctx, rights.SettingsRead, r.org) {
		reply.Items = slices.DeleteFunc(reply.Items, func(h Hold) bool { return h.Scope.Org != "" && h.Scope.Org != r.org })
	}
	return json.Marshal(&reply)
}

func (g *Gateway) holds(ctx context.Context) ([]Hold, error) {
	all, err := g.l.Settings(ctx, ledger.KindHold)
	if err != nil {
		return nil, err
	}
	now, err := g.l.StreamTime(ctx)
	if err != nil {
		return nil, err
	}
	on := []Hold{}
	for _, e := range all {
		if h := &e.Data.(*schemas.HoldSet).Settings; h.InForce(now) {
			on = append(on, Hold{ID: h.Scope.ID(), Scope: h.Scope, Until: h.Until, SettingAuthor: authorOf(e)})
		}
	}
	return on, nil
}

// SetHold pauses or resumes a scope.
func (c *Client) SetHold(ctx context.Context, r HoldRequest) (*HoldReply, error) {
	return ask[HoldReply](ctx, c, "hold.set", r)
}

// Holds returns the holds that are on.
func (c *Client) Holds(ctx context.Context) (*Holds, error) {
	return ask[Holds](ctx, c, "hold.ls", nil)
}
