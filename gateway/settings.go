package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// SetRequest changes the settings of an org, a queue, a resource or a type (DESIGN D11).
type SetRequest struct {
	// Set are the fields to change, in the form that info shows, as a JSON merge patch: a field that is missing stays
	// as it is, one that is null goes back to its default, which is not the same as zero.
	Set json.RawMessage `json:"set"`
	// New adds the thing, which must not have been set before; else it must have been.
	New bool `json:"new,omitempty"`
	// Upsert makes the change whether or not the thing was ever set. Of a type it says nothing.
	Upsert bool `json:"upsert,omitempty"`
	// IfSeq changes the settings that the event at this sequence set (seq of info), as long as they are in force; else the
	// answer is version_conflict, and tells who changed them. Nil: whatever they are.
	IfSeq *schemas.Seq `json:"if_seq,omitempty"`
	// Reason is required.
	Reason string `json:"reason"`
}

// SettingVersion is one of the settings that a thing had.
type SettingVersion struct {
	Seq      schemas.Seq     `json:"seq"`
	Time     time.Time       `json:"time"`
	Actor    *string         `json:"actor"`
	Reason   *string         `json:"reason"`
	Settings json.RawMessage `json:"settings"` // as stored: what is missing has its default
}

// SettingHistory are all settings that a thing ever had, oldest first; the last ones are in force.
type SettingHistory struct {
	Items []SettingVersion `json:"items"`
	Next  *string          `json:"next"`
}

// kindOf ties a kind of thing to its settings and its event.
type kindOf[S any] struct {
	kind string
	make func(settings S, reason string) schemas.Setting
	of   func(schemas.Setting) S // a copy
	// check refuses what the ledger would store and nobody may ask for; nil: nothing.
	check func(S) error
}

var (
	orgs = kindOf[schemas.OrgSettings]{kind: ledger.KindOrg,
		make: func(s schemas.OrgSettings, why string) schemas.Setting {
			return &schemas.OrgSet{Settings: s, Reason: why}
		},
		of: func(s schemas.Setting) schemas.OrgSettings { return s.(*schemas.OrgSet).Settings },
		check: func(s schemas.OrgSettings) error {
			if s.State == schemas.OrgDeleted {
				return badField("state", errors.New("an org is not deleted by its settings: use org rm"))
			}
			return nil
		}}
	queues = kindOf[schemas.QueueSettings]{kind: ledger.KindQueue,
		make: func(s schemas.QueueSettings, why string) schemas.Setting {
			return &schemas.QueueSet{Settings: s, Reason: why}
		},
		of: func(s schemas.Setting) schemas.QueueSettings { return s.(*schemas.QueueSet).Settings }}
	resources = kindOf[schemas.ResourceSettings]{kind: ledger.KindResource,
		make: func(s schemas.ResourceSettings, why string) schemas.Setting {
			return &schemas.ResourceSet{Settings: s, Reason: why}
		},
		of: func(s schemas.Setting) schemas.ResourceSettings { return s.(*schemas.ResourceSet).Settings }}
)

// change carries a SetRequest out and returns what is in force then.
func change[S any](ctx context.Context, g *Gateway, k kindOf[S], name string, r *request) (*ledger.Entry, error) {
	var req SetRequest
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	if err := checkReason("reason", req.Reason, true); err != nil {
		return nil, err
	}
	e, err := g.l.PutIf(ctx, ledger.Meta{Actor: g.actor(ctx), CausationID: r.id}, schemas.ControlSubject("cell", k.kind, name), req.IfSeq,
		func(have schemas.Setting) (schemas.Setting, error) {
			switch o, _ := have.(*schemas.OrgSet); {
			case o != nil && o.Settings.State == schemas.OrgDeleted:
				return nil, ledger.OrgDeleted(o.Settings.Name)
			case req.New && have != nil:
				return nil, ledger.Errorf(ledger.CodeInUse, "%s %s exists already: change it with `jobledger %s edit %s`", k.kind, name, k.kind, name)
			case !req.New && !req.Upsert && have == nil:
				return nil, ledger.Errorf(ledger.CodeNotFound, "%s %s was never set: add it with `jobledger %s add %s`", k.kind, name, k.kind, name)
			}
			var s S
			if have != nil {
				s = k.of(have)
			}
			s, err := patch(s, req.Set, name)
			if err != nil {
				return nil, err
			}
			if k.check != nil {
				if err := k.check(s); err != nil {
					return nil, err
				}
			}
			return k.make(s, req.Reason), nil
		})
	if err != nil {
		return nil, err
	}
	if e != nil {
		g.log.Info("operator action", zap.String("action", "set "+k.kind), zap.String("name", name), zap.Uint64("seq", uint64(e.Seq)),
			zap.String("actor", g.actor(ctx).String()), zap.String("reason", req.Reason), zap.String("request_id", r.id))
		return &ledger.Entry{Event: e}, nil
	}
	return g.l.Setting(ctx, k.kind, name) // nothing was to be changed
}

// patch returns the settings of the thing with this name as a merge patch makes them (RFC 7386).
func patch[S any](have S, set json.RawMessage, name string) (S, error) {
	var out S
	body, err := json.Marshal(have)
	if err != nil {
		return out, err
	}
	base, err := decodeObject(body)
	if err != nil {
		return out, err
	}
	changes := map[string]any{}
	if len(set) > 0 && string(set) != "null" {
		if changes, err = decodeObject(set); err != nil {
			return out, badField("set", err)
		}
	}
	if own, named := changes["name"]; named && own != name {
		return out, badField("name", fmt.Errorf("the settings are those of %v, the request is about %s", own, name))
	}
	merge(base, changes)
	base["name"] = name
	if body, err = json.Marshal(base); err != nil {
		return out, err
	}
	strict := json.NewDecoder(bytes.NewReader(body))
	strict.DisallowUnknownFields()
	if err := strict.Decode(&out); err != nil {
		return out, badField("set", err)
	}
	return out, nil
}

func decodeObject(body []byte) (map[string]any, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber() // no number is rounded
	var o map[string]any
	if err := d.Decode(&o); err != nil {
		return nil, fmt.Errorf("it is no JSON object: %w", err)
	}
	return o, nil
}

// merge changes base by a merge patch.
func merge(base, changes map[string]any) {
	for k, v := range changes {
		inner, isObject := v.(map[string]any)
		was, wasObject := base[k].(map[string]any)
		switch {
		case v == nil:
			delete(base, k)
		case !isObject:
			base[k] = v
		case wasObject:
			merge(was, inner)
		default:
			fresh := map[string]any{}
			merge(fresh, inner)
			base[k] = fresh
		}
	}
}

// historyOf answers the earlier settings of a thing; of the subject's org, where no other is named.
func (g *Gateway) historyOf(kind string) func(context.Context, *request) ([]byte, error) {
	return func(ctx context.Context, r *request) ([]byte, error) {
		if kind == ledger.KindOrg {
			return g.settingHistory(ctx, kind, string(r.org))
		}
		return g.settingHistory(ctx, kind, r.name)
	}
}

func (g *Gateway) settingHistory(ctx context.Context, kind, name string) ([]byte, error) {
	entries, err := g.l.SettingHistory(ctx, kind, name)
	if err != nil {
		return nil, err
	}
	if len(entries) == 0 {
		return nil, neverSet(kind, name)
	}
	reply := SettingHistory{Items: make([]SettingVersion, 0, len(entries))}
	for _, e := range entries {
		a := authorOf(e)
		v := SettingVersion{Seq: e.Seq, Time: e.Time, Actor: a.Actor, Reason: a.Reason}
		if v.Settings, err = json.Marshal(e.Data.(schemas.Setting).Stored()); err != nil {
			return nil, err
		}
		reply.Items = append(reply.Items, v)
	}
	return json.Marshal(&reply)
}

func neverSet(kind, name string) error {
	return ledger.Errorf(ledger.CodeNotFound, "%s %s was never set", kind, name)
}
