package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/dartwing/jobledger/internal/where"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// chosen reads Where.
func (r *CountRequest) chosen() (where.Where, error) {
	w, err := parseWhere(r.Where)
	if err != nil {
		return w, err
	}
	for _, t := range w.Terms {
		if !slices.Contains([]where.Field{where.FieldState, where.FieldType, where.FieldQueue}, t.Field) {
			return w, badField("where", fmt.Errorf("%s: jobs are counted by state, type and queue, and chosen by these alone; `job ls` lists by the others", t.Field))
		}
	}
	return w, nil
}

func (g *Gateway) count(ctx context.Context, r *request) ([]byte, error) {
	req := CountRequest{}
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	if err := req.validate(); err != nil {
		return nil, err
	}
	if err := g.views.waitFor(ctx, req.MinSeq); err != nil {
		return nil, err
	}
	counts, seq, err := g.views.counts(ctx, r.org)
	if err != nil {
		return nil, err
	}
	reply, err := CountOf(req, counts, seq)
	if err != nil {
		return nil, err
	}
	return json.Marshal(reply)
}

// validate checks what is asked, before anything is read.
func (r *CountRequest) validate() error {
	if r.By != "" && r.By != ByState && r.By != ByType && r.By != ByQueue {
		return badField("by", fmt.Errorf("%q is unknown: use %s, %s or %s", r.By, ByState, ByType, ByQueue))
	}
	_, err := r.chosen()
	return err
}

// CountOf answers a request from counters that are exact at a sequence. The error says what of the request is wrong.
func CountOf(req CountRequest, counts map[ledger.CountKey]ledger.Count, seq schemas.Seq) (*Count, error) {
	if err := req.validate(); err != nil {
		return nil, err
	}
	req.By = cmp.Or(req.By, ByState)
	chosen, err := req.chosen()
	if err != nil {
		return nil, err
	}
	reply := Count{By: req.By, Items: []CountItem{}, AsOfSeq: seq, Where: chosen.String()}
	now := time.Now()
	groups := map[string]int64{}
	for k, c := range counts {
		if !anyOf(req.Type, k.Type) || !anyOf(req.Queue, k.Queue) {
			continue
		}
		for _, s := range schemas.States() {
			if !anyOf(req.State, s) || !chosen.Match(&ledger.Record{State: s, Type: k.Type, Queue: k.Queue}, now) {
				continue
			}
			if s == schemas.StateDeadLettered {
				reply.DeadLettersOpen += c.DeadLettersOpen
			}
			n := c.Of(s)
			if n == 0 {
				continue
			}
			reply.Total += n
			groups[groupOf(req.By, k, s)] += n
		}
	}
	if req.By == ByState {
		states := where.Where{Terms: slices.DeleteFunc(slices.Clone(chosen.Terms), func(t where.Term) bool { return t.Field != where.FieldState })}
		for _, s := range schemas.States() {
			if anyOf(req.State, s) && states.Match(&ledger.Record{State: s}, now) {
				reply.Items = append(reply.Items, CountItem{Key: string(s), Count: groups[string(s)]})
			}
		}
		return &reply, nil
	}
	for k, n := range groups {
		reply.Items = append(reply.Items, CountItem{Key: k, Count: n})
	}
	slices.SortFunc(reply.Items, func(a, b CountItem) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Key, b.Key)) })
	return &reply, nil
}

func groupOf(by string, k ledger.CountKey, s schemas.State) string {
	switch by {
	case ByType:
		return string(k.Type)
	case ByQueue:
		return string(k.Queue)
	}
	return string(s)
}
