package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dartwing/jobledger/gateway/rights"
	"github.com/dartwing/jobledger/internal/where"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// counted are the fields by which counters are kept.
var counted = []where.Field{where.FieldState, where.FieldType, where.FieldQueue}

// byTag begins a way to group counts: the name of a tag follows.
const byTag = "tag:"

// otherwise is how jobs are grouped by what no counter is kept by; nil for what is none.
func otherwise(by string) func(*ledger.Record) string {
	switch by {
	case ByError:
		return func(r *ledger.Record) string {
			if r.Error == nil {
				return ""
			}
			return where.NormalError(r.Error.Message)
		}
	case string(where.FieldClass):
		return func(r *ledger.Record) string {
			if r.Error == nil {
				return ""
			}
			return string(r.Error.Class)
		}
	case string(where.FieldReason):
		return func(r *ledger.Record) string { return deref(r.Reason) }
	case string(where.FieldPriority):
		return func(r *ledger.Record) string { return string(r.Priority) }
	case string(where.FieldOwner):
		return func(r *ledger.Record) string { return deref(r.Owner) }
	case string(where.FieldBatch):
		return func(r *ledger.Record) string { return deref(r.Batch) }
	}
	if tag, ok := strings.CutPrefix(by, byTag); ok && tag != "" {
		return func(r *ledger.Record) string { return r.Tags[tag] }
	}
	return nil
}

// CheckBy refuses what CountRequest.By cannot be.
func CheckBy(by string) error {
	if by == ByState || by == ByType || by == ByQueue || otherwise(by) != nil {
		return nil
	}
	return fmt.Errorf("%q is unknown: use %s, %s, %s, %s, class, reason, priority, owner, batch or %sNAME", by, ByState, ByType, ByQueue, ByError, byTag)
}

// tally is what is counted: by org, queue and type, and by what no counter is kept by.
type tally struct {
	counts map[ledger.CountKey]ledger.Count
	others map[string]int64
	seq    schemas.Seq
}

// tallied counts. Where counters tell it is read from them; else every job that the filter chooses is looked at.
func (g *Gateway) tallied(ctx context.Context, org schemas.OrgID, req *CountRequest, chosen *where.Where) (t tally, err error) {
	group := otherwise(req.By)
	asked := slices.IndexFunc(chosen.Terms, uncounted)
	if group == nil && asked < 0 {
		if err := g.views.waitFor(ctx, req.MinSeq); err != nil {
			return t, err
		}
		t.counts, t.seq, err = g.views.counts(ctx, org)
		return t, err
	}
	v, err := g.viewsAt(ctx, req.MinSeq, true)
	switch {
	case err != nil:
		return t, err
	case !v.searches() && asked >= 0:
		return t, badField("where", fmt.Errorf("%s: without a query index that serves, jobs are counted by state, type and queue, and chosen by these alone; `job ls` lists by the others", chosen.Terms[asked].Field))
	case !v.searches():
		return t, badField("by", fmt.Errorf("%s: without a query index that serves, jobs are counted by state, type and queue alone", req.By))
	}
	counts := ledger.Counts{}
	t.others = map[string]int64{}
	f := Filter{State: req.State, Type: req.Type, Queue: req.Queue, where: *chosen}
	t.seq, err = v.jobs(ctx, org, &f, time.Now(), 0, func(r ledger.Record) {
		counts.Apply(ledger.Standing{}, ledger.Standing{Key: ledger.CountKey{Org: r.Org, Queue: r.Queue, Type: r.Type}, State: r.State,
			Open: r.Resolution != nil && r.Resolution.State == schemas.ResolutionOpen})
		if group != nil && (len(t.others) < groupsCounted || t.others[group(&r)] > 0) {
			t.others[group(&r)]++
		}
	})
	t.counts = make(map[ledger.CountKey]ledger.Count, len(counts))
	for k, n := range counts {
		t.counts[k] = *n
	}
	return t, err
}

func (g *Gateway) count(ctx context.Context, r *request) ([]byte, error) {
	req := CountRequest{}
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	req.By = cmp.Or(req.By, ByState)
	if err := CheckBy(req.By); err != nil {
		return nil, badField("by", err)
	}
	chosen, err := parseWhere(req.Where)
	if err != nil {
		return nil, err
	}
	if err := g.countOwn(ctx, r.org, &chosen); err != nil {
		return nil, err
	}
	t, err := g.tallied(ctx, r.org, &req, &chosen)
	if err != nil {
		return nil, err
	}
	return json.Marshal(t.reply(&req, &chosen))
}

// countOwn has what is counted be the caller's own jobs where it may see the figures of no others.
func (g *Gateway) countOwn(ctx context.Context, org schemas.OrgID, chosen *where.Where) error {
	p := caller(ctx)
	if p == nil {
		return nil
	}
	switch reach := rights.Decide(p, rights.MetricsRead, org); {
	case reach.Whole():
		return nil
	case reach == rights.Own:
		chosen.Terms = append(chosen.Terms, where.Term{Field: where.FieldOwner, Values: []where.Value{{Text: p.Actor.String()}}})
		return nil
	}
	e := ledger.Errorf(ledger.CodePermissionDenied, "%s reads the jobs that it submitted by their ids, and counts none", p.Actor)
	e.Details = map[string]any{"action": rights.MetricsRead}
	return e
}

// CountOf answers a request from counters that are exact at a sequence. The error says what of the request is wrong, or asks
// about more than counters tell.
func CountOf(req CountRequest, counts map[ledger.CountKey]ledger.Count, seq schemas.Seq) (*Count, error) {
	req.By = cmp.Or(req.By, ByState)
	if err := CheckBy(req.By); err != nil || otherwise(req.By) != nil {
		return nil, badField("by", cmp.Or(err, fmt.Errorf("%s: no counter is kept by it: use %s, %s or %s", req.By, ByState, ByType, ByQueue)))
	}
	chosen, err := parseWhere(req.Where)
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(chosen.Terms, uncounted); i >= 0 {
		return nil, badField("where", fmt.Errorf("%s: counters are kept by state, type and queue, and chosen by these alone", chosen.Terms[i].Field))
	}
	t := tally{counts: counts, seq: seq}
	return t.reply(&req, &chosen), nil
}

// uncounted reports whether a term asks about what no counter is kept by.
func uncounted(t where.Term) bool { return !slices.Contains(counted, t.Field) }

func (t *tally) reply(req *CountRequest, chosen *where.Where) *Count {
	kept := where.Where{Terms: slices.DeleteFunc(slices.Clone(chosen.Terms), uncounted)}
	reply := Count{By: req.By, Items: []CountItem{}, AsOfSeq: t.seq, Where: chosen.String()}
	now := time.Now()
	groups := map[string]int64{}
	var completed, dead int64
	for k, c := range t.counts {
		if !anyOf(req.Type, k.Type) || !anyOf(req.Queue, k.Queue) {
			continue
		}
		for _, s := range schemas.States() {
			if !anyOf(req.State, s) || !kept.Match(&ledger.Record{State: s, Type: k.Type, Queue: k.Queue}, now) {
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
			switch s {
			case schemas.StateDeadLettered:
				dead += n
			case schemas.StateCompleted:
				completed += n
			}
			groups[groupOf(req.By, k, s)] += n
		}
	}
	if ended := completed + dead; ended > 0 {
		rate := float64(dead) / float64(ended)
		reply.FailureRate = &rate
	}
	if req.By == ByState {
		states := where.Where{Terms: slices.DeleteFunc(slices.Clone(chosen.Terms), func(t where.Term) bool { return t.Field != where.FieldState })}
		for _, s := range schemas.States() {
			if anyOf(req.State, s) && states.Match(&ledger.Record{State: s}, now) {
				reply.Items = append(reply.Items, CountItem{Key: string(s), Count: groups[string(s)]})
			}
		}
		return &reply
	}
	if otherwise(req.By) != nil {
		groups = t.others
	}
	for k, n := range groups {
		reply.Items = append(reply.Items, CountItem{Key: k, Count: n})
	}
	slices.SortFunc(reply.Items, func(a, b CountItem) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Key, b.Key)) })
	return &reply
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
