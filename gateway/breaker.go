package gateway

import (
	"context"
	"encoding/json"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// CloseBreakerRequest closes the circuit breaker of a type for one org.
type CloseBreakerRequest struct {
	// Reason is required.
	Reason string `json:"reason"`
}

// BreakerReply says where it is stored that a breaker was closed.
type BreakerReply struct {
	Org  schemas.OrgID    `json:"org"`
	Type schemas.TypeName `json:"type"`
	Seq  schemas.Seq      `json:"seq"`
}

// closeBreaker closes a breaker, whether it is open or not: the attempts it has counted are forgotten.
func (g *Gateway) closeBreaker(ctx context.Context, r *request) ([]byte, error) {
	var req CloseBreakerRequest
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	if err := checkReason("reason", req.Reason, true); err != nil {
		return nil, err
	}
	t, err := g.l.Type(ctx, schemas.TypeName(r.name))
	if err != nil {
		return nil, err
	}
	if t.Breaker == nil {
		return nil, ledger.Errorf(ledger.CodeInvalidState, "type %s has no breaker: give it one with `jobledger type edit %s --breaker on`", t.Name, t.Name)
	}
	e, err := g.l.CloseBreaker(ctx, r.org, t.Name, ledger.Meta{Actor: g.actor(ctx), CausationID: r.id}, req.Reason)
	if err != nil {
		return nil, err
	}
	g.log.Info("operator action", zap.String("action", "close breaker"), zap.String("org", string(r.org)), zap.String("type", string(t.Name)),
		zap.Uint64("seq", uint64(e.Seq)), zap.String("actor", g.actor(ctx).String()), zap.String("reason", req.Reason), zap.String("request_id", r.id))
	return json.Marshal(BreakerReply{Org: r.org, Type: t.Name, Seq: e.Seq})
}

// CloseBreaker closes the circuit breaker of a type for the client's org.
func (c *Client) CloseBreaker(ctx context.Context, name schemas.TypeName, r CloseBreakerRequest) (*BreakerReply, error) {
	return ask[BreakerReply](ctx, c, "type.close-breaker."+string(name), r)
}
