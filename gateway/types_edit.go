package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

func (t *Type) limits(s *schemas.TypeSettings) {
	t.MaxRunning, t.MaxRunningPerOrg, t.StartRate, t.SubmitRate = s.MaxRunning, s.MaxRunningPerOrg, s.StartRate, s.SubmitRate
	t.Breaker, t.DisabledOrgs, t.RetentionDays = s.Breaker, s.DisabledOrgs, s.RetentionDays
}

// storedType is a type as it was set: what is null has the engine's default, which a change of something else does
// not write down.
func storedType(s *schemas.TypeSettings) Type {
	t := Type{Name: s.Name, DisplayName: s.DisplayName, Description: s.Description, Queue: s.Queue, Priority: s.Priority,
		Reuse: string(s.Reuse), Exclusive: s.Exclusive, Permission: s.Permission, Schema: s.Schema}
	t.limits(s)
	if s.Disabled {
		t.Enabled = new(bool)
	}
	if s.TimeoutMS != 0 {
		t.RunTimeoutS = seconds(s.TimeoutMS)
	}
	if s.GraceMS != nil {
		t.GraceS = seconds(*s.GraceMS)
	}
	if s.WindowMS != nil {
		t.DedupWindowS = seconds(*s.WindowMS)
	}
	if s.MaxAttempts != 0 {
		t.MaxAttempts = &s.MaxAttempts
	}
	if s.PoisonLimit != 0 {
		t.PoisonLimit = &s.PoisonLimit
	}
	if s.Dedup != "" {
		dedup := string(s.Dedup)
		t.Dedup = &dedup
	}
	b := &s.Backoff
	if b.BaseMS != 0 || b.Factor != 0 || b.CapMS != 0 || len(b.ListMS) > 0 {
		t.Backoff = &Backoff{BaseS: b.BaseMS.Duration().Seconds(), Factor: b.Factor, CapS: b.CapMS.Duration().Seconds()}
		for _, d := range b.ListMS {
			t.Backoff.ListS = append(t.Backoff.ListS, d.Duration().Seconds())
		}
	}
	return t
}

// typeSet changes the fields of a type that the request names; the reply is what is in force.
func (g *Gateway) typeSet(ctx context.Context, r *request) ([]byte, error) {
	var req SetRequest
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	if err := checkReason("reason", req.Reason, true); err != nil {
		return nil, err
	}
	name := schemas.TypeName(r.name)
	var settings schemas.TypeSettings
	e, err := g.l.PutIf(ctx, ledger.Meta{Actor: g.actor(ctx), CausationID: r.id}, ledger.ControlType(name), req.IfSeq, func(have schemas.Setting) (schemas.Setting, error) {
		if have == nil {
			return nil, ledger.Errorf(ledger.CodeNotFound, "type %s is not registered: add it with `jobledger type add %s`", name, name)
		}
		var err error
		if settings, err = editedType(&have.(*schemas.TypeSet).Settings, req.Set); err != nil {
			return nil, err
		}
		return &schemas.TypeSet{Settings: settings, Reason: req.Reason}, g.l.CheckType(ctx, &settings)
	})
	if err != nil {
		return nil, err
	}
	if e == nil {
		return g.typeInfo(ctx, r)
	}
	reply := TypeOf(&settings)
	reply.set(schemas.Position{Seq: e.Seq}, e.Actor.String(), e.Time, req.Reason)
	g.log.Info("operator action", zap.String("action", "set type"), zap.String("name", r.name), zap.Uint64("seq", uint64(e.Seq)),
		zap.String("actor", g.actor(ctx).String()), zap.String("reason", req.Reason), zap.String("request_id", r.id))
	return json.Marshal(&reply)
}

// editedType is what a merge patch makes of a type.
func editedType(have *schemas.TypeSettings, set json.RawMessage) (schemas.TypeSettings, error) {
	t, err := patch(storedType(have), set, string(have.Name))
	if err != nil {
		return schemas.TypeSettings{}, err
	}
	// A change of the policy alone: the window of before, or the zero that was off, is not meant.
	var named struct {
		Dedup  *string         `json:"dedup"`
		Window json.RawMessage `json:"dedup_window_s"`
	}
	if err := json.Unmarshal(set, &named); err == nil && named.Dedup != nil && named.Window == nil && t.DedupWindowS != nil &&
		(*named.Dedup == dedupOff || *t.DedupWindowS == 0) {
		t.DedupWindowS = nil
	}
	s, err := t.Settings()
	if err != nil {
		return s, err
	}
	if err := checkSchema(s.Schema, have.Schema); err != nil {
		return s, err
	}
	return s, nil
}

// TypesRequest registers or changes many types: all of their policy is what stands in each.
type TypesRequest struct {
	Types  []Type `json:"types"`
	Reason string `json:"reason,omitempty"`
	// DryRun checks each and stores none.
	DryRun bool `json:"dry_run,omitempty"`
}

// TypesReply tells of each type, in order, what became of it: each was stored as a whole or not at all.
type TypesReply struct {
	Items []TypeResult `json:"items"`
}

// TypeResult is what became of one type.
type TypeResult struct {
	Name    schemas.TypeName `json:"name"`
	OK      bool             `json:"ok"`
	Changed bool             `json:"changed"` // false: it was so already
	Seq     *schemas.Seq     `json:"seq"`     // of the event that set it; null where nothing was written
	Error   *BulkError       `json:"error"`
}

// TypesMax is how many types one request may hold.
const TypesMax = 1000

func (g *Gateway) typeApply(ctx context.Context, r *request) ([]byte, error) {
	var req TypesRequest
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	if len(req.Types) == 0 || len(req.Types) > TypesMax {
		return nil, badField("types", fmt.Errorf("%d types: give 1 to %d", len(req.Types), TypesMax))
	}
	if err := checkReason("reason", req.Reason, false); err != nil {
		return nil, err
	}
	reply := TypesReply{Items: make([]TypeResult, len(req.Types))}
	for i := range req.Types {
		item := &reply.Items[i]
		item.Name = req.Types[i].Name
		changed, seq, err := g.applyType(ctx, r, &req, &req.Types[i])
		if err != nil {
			e := ledger.AsError(err)
			message := e.Message
			if e.Field != "" {
				message = e.Field + ": " + message
			}
			item.Error = &BulkError{Code: e.Code, Message: message, Details: e.Details}
			continue
		}
		item.OK, item.Changed, item.Seq = true, changed, seq
	}
	return json.Marshal(&reply)
}

// applyType stores one type, if it is to be stored.
func (g *Gateway) applyType(ctx context.Context, r *request, req *TypesRequest, t *Type) (changed bool, seq *schemas.Seq, err error) {
	if t.Name == "" {
		return false, nil, badField("name", errors.New("a type has a name"))
	}
	settings, err := t.Settings()
	if err != nil {
		return false, nil, err
	}
	if err := checkSchema(settings.Schema, nil); err != nil {
		return false, nil, err
	}
	reason := req.Reason
	if t.Reason != nil {
		reason = *t.Reason
	}
	if req.DryRun {
		return false, nil, g.l.CheckType(ctx, &settings)
	}
	e, err := g.l.PutType(ctx, settings, ledger.Meta{Actor: g.actor(ctx), CausationID: r.id}, reason)
	if err != nil || e == nil {
		return false, nil, err
	}
	return true, &e.Seq, nil
}

// EditType changes the fields of a type that the request names.
func (c *Client) EditType(ctx context.Context, name schemas.TypeName, r SetRequest) (*Type, error) {
	return ask[Type](ctx, c, "type.set."+string(name), r)
}

// ApplyTypes registers or changes many types.
func (c *Client) ApplyTypes(ctx context.Context, r TypesRequest) (*TypesReply, error) {
	return ask[TypesReply](ctx, c, "type.apply", r)
}

// TypeHistory returns all policies that a type ever had.
func (c *Client) TypeHistory(ctx context.Context, name schemas.TypeName) (*SettingHistory, error) {
	return ask[SettingHistory](ctx, c, "type.history."+string(name), nil)
}
