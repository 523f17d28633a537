package gateway

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// sortRowsMax is how many jobs are looked at to sort them, for each page: about 0.2 s of an index.
const sortRowsMax = 65_536

// errTooMany: more jobs would have to be looked at than may be.
var errTooMany = errors.New("there are too many jobs to look at")

// sortKeys are what a list can be sorted by; nil of a job that has none, which comes last.
var sortKeys = []struct {
	name string
	of   func(*ledger.Record) *int64
}{
	{SortSubmitted, func(r *ledger.Record) *int64 { return number(int64(r.SubmittedSeq)) }},
	{"started", func(r *ledger.Record) *int64 { return instantOf(r.StartedAt) }},
	{"finished", func(r *ledger.Record) *int64 { return instantOf(r.FinishedAt) }},
	{"retry", func(r *ledger.Record) *int64 { return instantOf(r.RetryAt) }},
	{"wait", func(r *ledger.Record) *int64 {
		ready := r.SubmittedAt
		if r.NotBefore != nil && r.NotBefore.After(ready) {
			ready = *r.NotBefore
		}
		return between(&ready, r.StartedAt)
	}},
	{"run", func(r *ledger.Record) *int64 { return between(r.StartedAt, r.FinishedAt) }},
	{"total", func(r *ledger.Record) *int64 { return between(&r.SubmittedAt, r.FinishedAt) }},
	{"priority", func(r *ledger.Record) *int64 {
		return number(int64(slices.Index([]schemas.Priority{schemas.PriorityLow, schemas.PriorityNormal, schemas.PriorityHigh, schemas.PriorityCritical}, r.Priority)))
	}},
	{"attempt", func(r *ledger.Record) *int64 { return number(int64(r.Attempt)) }},
}

// SortSubmitted is the order of a list that asks for none: those submitted last come first.
const SortSubmitted = "submitted"

// sortAscending ends a sort that begins with the least, and the earliest.
const sortAscending = ":asc"

// Sorts are what ListRequest.Sort can be; each with ":asc" behind it turns around.
func Sorts() []string {
	var names []string
	for _, k := range sortKeys {
		names = append(names, k.name)
	}
	return names
}

// CheckSort refuses what ListRequest.Sort cannot be.
func CheckSort(text string) error {
	_, err := parseOrder(text)
	return err
}

func number(n int64) *int64 { return &n }

func instantOf(t *time.Time) *int64 {
	if t == nil {
		return nil
	}
	return number(t.UnixNano())
}

// between is how long it was from one time to another; nil where one is missing, or the later one belongs to an earlier attempt.
func between(from, to *time.Time) *int64 {
	if from == nil || to == nil || to.Before(*from) {
		return nil
	}
	return number(to.Sub(*from).Nanoseconds())
}

// order is how a list is sorted. It is total: of jobs alike those submitted last come first.
type order struct {
	of        func(*ledger.Record) *int64
	ascending bool
	plain     bool // as an index walks
}

func parseOrder(text string) (order, error) {
	name, ascending := strings.CutSuffix(text, sortAscending)
	if text == "" {
		name = SortSubmitted
	}
	for _, k := range sortKeys {
		if k.name == name {
			return order{of: k.of, ascending: ascending, plain: name == SortSubmitted && !ascending}, nil
		}
	}
	return order{}, fmt.Errorf("%q is unknown: use %s, each also with %s behind it", text, strings.Join(Sorts(), ", "), sortAscending)
}

// place is where a job stands in an order, as a cursor says it: stable, whatever is submitted meanwhile.
type place struct {
	none bool
	key  int64
	seq  schemas.Seq
}

func (o order) place(r *ledger.Record) place {
	key := o.of(r)
	switch {
	case key == nil:
		return place{none: true, seq: r.SubmittedSeq}
	case !o.ascending:
		return place{key: -*key, seq: r.SubmittedSeq}
	}
	return place{key: *key, seq: r.SubmittedSeq}
}

func (p place) before(q place) bool {
	switch {
	case p.none != q.none:
		return q.none
	case p.key != q.key:
		return p.key < q.key
	}
	return p.seq > q.seq
}

func (p place) String() string {
	if p.none {
		return "-." + p.seq.String()
	}
	return strconv.FormatInt(p.key, 10) + "." + p.seq.String()
}

// firstPlace is before all others.
var firstPlace = place{key: math.MinInt64, seq: math.MaxUint64}

func parsePlace(cursor string) (p place, err error) {
	if cursor == "" {
		return firstPlace, nil
	}
	key, seq, _ := strings.Cut(cursor, ".")
	if p.none = key == "-"; !p.none {
		if p.key, err = strconv.ParseInt(key, 10, 64); err != nil {
			return p, errors.New("it is none of a list in this order")
		}
	}
	p.seq, err = schemas.ParseSeq(seq)
	return p, err
}

// sortedPage is a page in an order that no table has: of the jobs that the filter chooses those are kept that come first
// behind the cursor. Each page looks at all of them, so that there may not be too many.
func (g *Gateway) sortedPage(ctx context.Context, v views, org schemas.OrgID, req *ListRequest, o order) (*List, error) {
	behind, err := parsePlace(req.Cursor)
	if err != nil {
		return nil, badField("cursor", err)
	}
	page := foremost[ledger.Record]{keep: req.Limit + 1, before: func(a, b *ledger.Record) bool { return o.place(a).before(o.place(b)) }}
	seq, err := v.jobs(ctx, org, &req.Filter, time.Now(), sortRowsMax, func(r ledger.Record) {
		if behind.before(o.place(&r)) {
			page.add(r)
		}
	})
	if errors.Is(err, errTooMany) {
		return nil, badField("sort", fmt.Errorf("more than about %d jobs would have to be looked at to sort them by %s: narrow them by state, type, owner, tag or times, or leave the sort out", sortRowsMax, req.Sort))
	}
	if err != nil {
		return nil, err
	}
	list := &List{Items: page.sorted(), AsOfSeq: seq}
	if len(list.Items) > req.Limit {
		list.Items = list.Items[:req.Limit]
		next := o.place(&list.Items[req.Limit-1]).String()
		list.Next = &next
	}
	return list, nil
}
