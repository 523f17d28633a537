package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/gateway/rights"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const dedupOff = "off"

// typeAdd registers or changes a type; the reply is what is in force.
func (g *Gateway) typeAdd(ctx context.Context, r *request) ([]byte, error) {
	t := Type{Name: schemas.TypeName(r.name)}
	if err := r.decode(&t); err != nil {
		return nil, err
	}
	if t.Name != schemas.TypeName(r.name) {
		return nil, badField("name", fmt.Errorf("the body names type %q, the subject %q", t.Name, r.name))
	}
	settings, err := t.Settings()
	if err != nil {
		return nil, err
	}
	if err := checkSchema(settings.Schema, nil); err != nil {
		return nil, err
	}
	reason := ""
	if t.Reason != nil {
		reason = *t.Reason
	}
	e, err := g.l.PutType(ctx, settings, ledger.Meta{Actor: g.actor(ctx)}, reason)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return g.typeInfo(ctx, r)
	}
	reply := TypeOf(&settings)
	reply.set(schemas.Position{Seq: e.Seq}, e.Actor.String(), e.Time, reason)
	return json.Marshal(&reply)
}

func (g *Gateway) typeInfo(ctx context.Context, r *request) ([]byte, error) {
	reply, err := g.typeNow(ctx, schemas.TypeName(r.name))
	if err != nil {
		return nil, err
	}
	reply.hideOrgs(ctx, r.org)
	if reply.Stats, err = g.typeFigures(ctx, r.org, reply.Name); err != nil {
		g.log.Warn("a type is told without its statistics", zap.Error(err)) // the views may be folded anew just now
	}
	return json.Marshal(reply)
}

// typeNow is a type as it is in force, with who set it: both from one event, so that its sequence may be expected by an
// edit.
func (g *Gateway) typeNow(ctx context.Context, name schemas.TypeName) (*Type, error) {
	e, err := g.l.Setting(ctx, ledger.KindType, string(name))
	if err != nil {
		return nil, err
	}
	if e == nil {
		return nil, ledger.Errorf(ledger.CodeNotFound, "type %s is not registered", name)
	}
	d := e.Data.(*schemas.TypeSet)
	t := TypeOf(&d.Settings)
	t.set(schemas.Position{Seq: e.Seq}, e.Actor.String(), e.Time, d.Reason)
	return &t, nil
}

// hideOrgs leaves of the orgs to which the type is closed the asking one, for who may not know the others.
func (t *Type) hideOrgs(ctx context.Context, org schemas.OrgID) {
	if onlyOf(ctx, rights.SettingsRead, org) {
		t.DisabledOrgs = slices.DeleteFunc(slices.Clone(t.DisabledOrgs), func(o schemas.OrgID) bool { return o != org })
	}
}

func (g *Gateway) typeList(ctx context.Context, r *request) ([]byte, error) {
	all, err := g.l.Types(ctx)
	if err != nil {
		return nil, err
	}
	end, err := g.l.End(ctx)
	if err != nil {
		return nil, err
	}
	reply := Types{Items: make([]Type, 0, len(all)), AsOfSeq: end.Seq}
	for _, settings := range all {
		t := TypeOf(settings)
		g.describe(ctx, &t)
		t.hideOrgs(ctx, r.org)
		reply.Items = append(reply.Items, t)
	}
	return json.Marshal(&reply)
}

// describe adds who set the type, from CONFIG, which may lag by a second: then it is left out.
func (g *Gateway) describe(ctx context.Context, t *Type) {
	doc, err := g.views.typeDocument(ctx, t.Name)
	if err == nil && doc != nil {
		t.set(doc.Position, doc.Actor, doc.UpdatedAt, doc.Reason)
	}
}

func (t *Type) set(at schemas.Position, actor string, when time.Time, reason string) {
	t.Seq, t.At = &at.Seq, &when
	t.Actor, t.Reason = nil, nil
	if actor != "" {
		t.Actor = &actor
	}
	if reason != "" {
		t.Reason = &reason
	}
}

// TypeOf describes settings with the policy in force: defaults are filled in.
func TypeOf(s *schemas.TypeSettings) Type {
	p := s.Effective(nil)
	policy, window := s.DedupFor()
	enabled, dedup, windowS := !s.Disabled, string(policy), window.Seconds()
	if policy == schemas.DedupOff {
		dedup = dedupOff
	}
	t := Type{
		Name: s.Name, DisplayName: s.DisplayName, Description: s.Description, Enabled: &enabled,
		Queue: s.Queue, Priority: s.Priority, RunTimeoutS: seconds(p.TimeoutMS), GraceS: seconds(p.GraceMS),
		MaxAttempts: &p.MaxAttempts, PoisonLimit: &p.PoisonLimit, Backoff: backoffOf(p.Backoff),
		Dedup: &dedup, DedupWindowS: &windowS, Reuse: string(s.Reuse), Exclusive: s.Exclusive,
		Permission: s.Permission, Schema: s.Schema,
	}
	t.limits(s)
	if b := s.Breaker; b != nil {
		effective := b.Effective()
		t.Breaker = &effective
	}
	if t.Queue == "" {
		t.Queue = schemas.QueueDefault
	}
	if t.Priority == "" {
		t.Priority = schemas.PriorityNormal
	}
	if t.Reuse == "" {
		t.Reuse = string(schemas.ReuseFinished)
	}
	return t
}

// backoffOf fills the engine's default in, where no list and no value of its own is given.
func backoffOf(b schemas.Backoff) *Backoff {
	if len(b.ListMS) > 0 {
		out := &Backoff{}
		for _, d := range b.ListMS {
			out.ListS = append(out.ListS, d.Duration().Seconds())
		}
		return out
	}
	out := &Backoff{BaseS: b.BaseMS.Duration().Seconds(), Factor: b.Factor, CapS: b.CapMS.Duration().Seconds()}
	if out.BaseS == 0 {
		out.BaseS = schemas.BackoffBase.Seconds()
	}
	if out.Factor == 0 {
		out.Factor = schemas.BackoffFactor
	}
	if out.CapS == 0 {
		out.CapS = schemas.BackoffCap.Seconds()
	}
	return out
}

// Settings are what t asks to be stored. Zero is a value, never "missing": where the engine knows no
// zero it is refused.
func (t *Type) Settings() (schemas.TypeSettings, error) {
	s := schemas.TypeSettings{
		Name: t.Name, DisplayName: t.DisplayName, Description: t.Description,
		Disabled: t.Enabled != nil && !*t.Enabled, Queue: t.Queue, Priority: t.Priority,
		Reuse: schemas.ReusePolicy(t.Reuse), Exclusive: t.Exclusive, Permission: t.Permission,
		MaxRunning: t.MaxRunning, MaxRunningPerOrg: t.MaxRunningPerOrg, StartRate: t.StartRate, SubmitRate: t.SubmitRate,
		Breaker: t.Breaker, DisabledOrgs: t.DisabledOrgs, RetentionDays: t.RetentionDays,
	}
	if string(t.Schema) != "null" {
		s.Schema = t.Schema
	}
	var err error
	var timeout *schemas.Millis
	if timeout, err = millis("run_timeout_s", t.RunTimeoutS); err != nil {
		return s, err
	}
	if timeout != nil {
		s.TimeoutMS = *timeout
	}
	if s.GraceMS, err = millis("grace_s", t.GraceS); err != nil {
		return s, err
	}
	if s.WindowMS, err = millis("dedup_window_s", t.DedupWindowS); err != nil {
		return s, err
	}
	for _, n := range []struct {
		field string
		from  *int
		to    *int
	}{{"max_attempts", t.MaxAttempts, &s.MaxAttempts}, {"poison_limit", t.PoisonLimit, &s.PoisonLimit}} {
		if n.from != nil {
			*n.to = *n.from
			if *n.from < 1 {
				return s, badField(n.field, fmt.Errorf("%d is below 1", *n.from))
			}
		}
	}
	if timeout != nil && *timeout == 0 {
		return s, badField("run_timeout_s", errors.New("0 is below 1 s"))
	}
	if err := t.dedup(&s); err != nil {
		return s, err
	}
	return s, t.backoff(&s)
}

func (t *Type) dedup(s *schemas.TypeSettings) error {
	if t.Dedup == nil {
		return nil
	}
	if *t.Dedup == dedupOff {
		if s.WindowMS != nil && *s.WindowMS > 0 {
			return badField("dedup_window_s", errors.New("dedup is off and has a window: give one of them"))
		}
		s.WindowMS = new(schemas.Millis)
		return nil
	}
	if *t.Dedup == "" {
		return badField("dedup", errors.New("use strict, in_flight, singleton or off"))
	}
	s.Dedup = schemas.DedupPolicy(*t.Dedup)
	return nil
}

func (t *Type) backoff(s *schemas.TypeSettings) error {
	b := t.Backoff
	if b == nil {
		return nil
	}
	s.Backoff.Factor = b.Factor
	for _, d := range []struct {
		from float64
		to   *schemas.Millis
	}{{b.BaseS, &s.Backoff.BaseMS}, {b.CapS, &s.Backoff.CapMS}} {
		ms, err := millis("backoff", &d.from)
		if err != nil {
			return err
		}
		*d.to = *ms
	}
	for _, v := range b.ListS {
		ms, err := millis("backoff", &v)
		if err != nil {
			return err
		}
		s.Backoff.ListMS = append(s.Backoff.ListMS, *ms)
	}
	return nil
}

// secondsMax is far above every limit and far below what a Millis can hold.
const secondsMax = 1e9

func millis(field string, s *float64) (*schemas.Millis, error) {
	if s == nil {
		return nil, nil
	}
	if *s < 0 || *s > secondsMax || math.IsNaN(*s) {
		return nil, badField(field, fmt.Errorf("%g seconds are outside 0 to %g", *s, float64(secondsMax)))
	}
	ms := schemas.Millis(math.Round(*s * 1000))
	return &ms, nil
}

func seconds(ms schemas.Millis) *float64 {
	s := ms.Duration().Seconds()
	return &s
}
