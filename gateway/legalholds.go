package gateway

import (
	"context"
	"encoding/json"
	"errors"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// LegalHoldRequest lays a legal hold on a scope, or releases it. An org that is not named is the subject's.
type LegalHoldRequest struct {
	Scope  schemas.LegalScope `json:"scope"`
	On     bool               `json:"on"`
	Reason string             `json:"reason"` // required
}

// LegalHold is a legal hold that is on, or was released just now.
type LegalHold struct {
	ID    string             `json:"legal_hold_id"`
	Scope schemas.LegalScope `json:"scope"`
	On    bool               `json:"on"`
	SettingAuthor
}

// LegalHolds are all that are on, the oldest first.
type LegalHolds struct {
	Items []LegalHold `json:"items"`
	Next  *string     `json:"next"`
}

func legalHoldOf(e *ledger.Entry) LegalHold {
	s := &e.Data.(*schemas.LegalHoldSet).Settings
	return LegalHold{ID: s.Scope.ID(), Scope: s.Scope, On: s.On, SettingAuthor: authorOf(e)}
}

// legalHoldSet lays or releases a legal hold. To lay it again changes nothing.
func (g *Gateway) legalHoldSet(ctx context.Context, r *request) ([]byte, error) {
	var req LegalHoldRequest
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	if err := checkReason("reason", req.Reason, true); err != nil {
		return nil, err
	}
	if req.Scope.Org == "" {
		req.Scope.Org = r.org
	}
	if req.Scope.Type != "" && req.Scope.Job != "" {
		return nil, badField("scope", errors.New("a legal hold stands on an org, on a type of it, or on one job: name a type or a job, not both"))
	}
	e, err := g.l.SetLegalHold(ctx, req.Scope, req.On, ledger.Meta{Actor: g.actor(ctx), CausationID: r.id}, req.Reason)
	if err != nil {
		return nil, err
	}
	set := &ledger.Entry{Event: e}
	if e == nil { // it is laid already
		if set, err = g.l.Setting(ctx, ledger.KindLegalHold, req.Scope.ID()); err != nil {
			return nil, err
		}
		if set == nil {
			return nil, ledger.Errorf(ledger.CodeInternal, "the legal hold on %s is not there", req.Scope)
		}
	} else {
		g.log.Info("operator action", zap.String("action", map[bool]string{true: "hold history", false: "release history"}[req.On]),
			zap.Stringer("scope", req.Scope), zap.Uint64("seq", uint64(e.Seq)), zap.String("actor", g.actor(ctx).String()),
			zap.String("reason", req.Reason), zap.String("request_id", r.id))
	}
	reply := legalHoldOf(set)
	return json.Marshal(&reply)
}

// legalHoldList answers the legal holds that are on.
func (g *Gateway) legalHoldList(ctx context.Context, _ *request) ([]byte, error) {
	all, err := g.l.LegalHolds(ctx)
	if err != nil {
		return nil, err
	}
	reply := LegalHolds{Items: []LegalHold{}}
	for _, e := range all {
		reply.Items = append(reply.Items, legalHoldOf(e))
	}
	return json.Marshal(&reply)
}

// SetLegalHold lays a legal hold on a scope, or releases it. When it returns without an error, nothing of the scope is
// removed any more. After any other error than a refusal, repeat it.
func (c *Client) SetLegalHold(ctx context.Context, r LegalHoldRequest) (*LegalHold, error) {
	return ask[LegalHold](ctx, c, "legalhold.set", r)
}

// LegalHolds returns the legal holds that are on.
func (c *Client) LegalHolds(ctx context.Context) (*LegalHolds, error) {
	return ask[LegalHolds](ctx, c, "legalhold.ls", nil)
}
