package gateway

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/dartwing/jobledger/internal/where"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// indexWait is how long a read that the KV views can answer, too, waits for an index that is behind.
const indexWait = 2 * time.Second

// lookAgain is how long a list goes on looking where one look of the index ended at its bound.
const lookAgain = 250 * time.Millisecond

// ErrIndexFolding: an index does not serve, or does not any more.
var ErrIndexFolding = errors.New("the query index is being folded")

// Index is what a server keeps of its own to answer lists, searches and counts from. Its errors are those of ctx,
// ErrIndexFolding, or of reading; each answer is true at the sequence that is returned.
type Index interface {
	// Serves reports whether it has caught up, since it was opened, with where the ledger ended then.
	Serves() bool
	// WaitFor returns when it serves and includes seq.
	WaitFor(ctx context.Context, seq schemas.Seq) error
	// Page returns at most limit jobs of an org that w chooses at now, those submitted last before a sequence first, and
	// where to go on; 0: all was looked at. It may look at a bounded number of jobs alone, and return fewer, or none.
	Page(ctx context.Context, org schemas.OrgID, w *where.Where, before schemas.Seq, limit int, now time.Time) ([]ledger.Record, schemas.Seq, schemas.Seq, error)
	// Each calls take with every job of an org that w chooses at now, those submitted last first. It is not whole if it gave
	// up behind about so many jobs that it looked at.
	Each(ctx context.Context, org schemas.OrgID, w *where.Where, now time.Time, most int, take func(ledger.Record)) (at schemas.Seq, whole bool, err error)
}

// indexViews are views whose jobs come from an index. It has no counters of jobs whose history is removed: COUNTS has. It
// may be thrown away at any time: then the KV views, which are embedded, answer, unless only the index can.
type indexViews struct {
	*kvViews
	x     Index
	whole bool        // only the index can answer
	seq   schemas.Seq // what was waited for
}

func (v *indexViews) waitFor(ctx context.Context, seq schemas.Seq) error {
	wait := minSeqWait
	if !v.whole {
		wait = indexWait
	}
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if err := v.x.WaitFor(waiting, seq); err != nil {
		return ledger.Errorf(ledger.CodeUnavailable, "the index does not include sequence %s yet: %v", seq, err)
	}
	return nil
}

// instead readies the KV views to answer where the index said err. It returns what the caller is told where they cannot.
func (v *indexViews) instead(ctx context.Context, err error) error {
	switch {
	case !errors.Is(err, ErrIndexFolding):
		return err
	case v.whole:
		return ledger.Errorf(ledger.CodeUnavailable, "the query index is being folded anew: try again later")
	}
	return v.kvViews.waitFor(ctx, v.seq)
}

func (v *indexViews) jobs(ctx context.Context, org schemas.OrgID, f *Filter, now time.Time, most int, take func(ledger.Record)) (schemas.Seq, error) {
	w, taken := f.terms(), false
	seq, whole, err := v.x.Each(ctx, org, &w, now, cmp.Or(most, math.MaxInt), func(r ledger.Record) {
		taken = true
		say(&r, now)
		take(r)
	})
	switch {
	case err == nil && !whole:
		return 0, errTooMany
	case err == nil:
		return seq, nil
	case taken && errors.Is(err, ErrIndexFolding): // from the KV views they would come a second time
		return 0, ledger.Errorf(ledger.CodeUnavailable, "the query index is being folded anew: try again in a moment")
	}
	if err := v.instead(ctx, err); err != nil {
		return 0, err
	}
	return v.kvViews.jobs(ctx, org, f, now, most, take)
}

func (v *indexViews) page(ctx context.Context, org schemas.OrgID, req *ListRequest, before schemas.Seq, now time.Time) (*List, error) {
	w, list := req.terms(), &List{Items: []ledger.Record{}}
	for end := time.Now().Add(lookAgain); ; {
		records, next, seq, err := v.x.Page(ctx, org, &w, before, req.Limit-len(list.Items), now)
		if err != nil && list.AsOfSeq > 0 && errors.Is(err, ErrIndexFolding) {
			cursor := before.String() // what was found is true
			list.Next = &cursor
			return list, nil
		}
		if err != nil {
			if err := v.instead(ctx, err); err != nil {
				return nil, err
			}
			return v.kvViews.page(ctx, org, req, before, now)
		}
		if list.AsOfSeq == 0 {
			list.AsOfSeq = seq // what is read later holds it, too
		}
		for i := range records {
			say(&records[i], now)
		}
		list.Items = append(list.Items, records...)
		if next == 0 {
			return list, nil
		}
		if len(list.Items) >= req.Limit || time.Now().After(end) {
			cursor := next.String()
			list.Next = &cursor
			return list, nil
		}
		before = next
	}
}

func (v *indexViews) searches() bool { return true }

// say gives a record that waits the reason why.
func say(r *ledger.Record, now time.Time) {
	if reason := r.ReasonAt(now, false); reason != "" {
		r.Reason = &reason
	}
}

// viewsAt are the views to read from: once they include seq. whole: only an index can answer. One that is behind, as a
// server's is that folds slowly, keeps nobody waiting whom the KV views can answer.
func (g *Gateway) viewsAt(ctx context.Context, seq schemas.Seq, whole bool) (views, error) {
	if x := g.cfg.Index; x != nil && x.Serves() {
		v := &indexViews{&kvViews{l: g.l}, x, whole, seq}
		if err := v.waitFor(ctx, seq); err == nil || whole || ctx.Err() != nil {
			return v, err
		}
	}
	return g.views, g.views.waitFor(ctx, seq)
}

// errNoSearch: what only an index can answer is asked for, and there is none.
var errNoSearch = errors.New("a search in args and results needs the query index, which this server does not keep, or has not folded yet: choose by tag.NAME, which a submit sets with --tag")

// searchable refuses a filter that v cannot answer.
func searchable(v views, w *where.Where) error {
	if w.Payload() && !v.searches() {
		return badField("where", errNoSearch)
	}
	return nil
}

// terms is the whole filter as one.
func (f *Filter) terms() where.Where {
	var w where.Where
	add := func(field where.Field, key string, values ...where.Value) {
		if len(values) > 0 {
			w.Terms = append(w.Terms, where.Term{Field: field, Key: key, Values: values})
		}
	}
	add(where.FieldState, "", is(f.State)...)
	add(where.FieldReason, "", is(f.Reason)...)
	add(where.FieldType, "", is(f.Type)...)
	add(where.FieldQueue, "", is(f.Queue)...)
	add(where.FieldPriority, "", is(f.Priority)...)
	add(where.FieldOwner, "", is(f.Owner)...)
	add(where.FieldBatch, "", is(f.Batch)...)
	for k, v := range f.Tags {
		add(where.FieldTag, k, where.Value{Text: v})
	}
	if f.Error != "" {
		add(where.FieldError, "", where.Value{Text: strings.ToLower(f.Error)})
	}
	if f.Group != "" {
		add(where.FieldGroup, "", where.Value{Text: f.Group})
	}
	if f.Resolution != "" && f.Resolution != ResolutionAll {
		add(where.FieldResolution, "", where.Value{Text: f.Resolution})
	}
	if f.Since != nil {
		add(where.FieldSubmitted, "", where.Value{Op: where.OpRange, Low: where.Bound{Set: true, N: f.Since.UnixNano()}})
	}
	if f.Until != nil {
		add(where.FieldSubmitted, "", where.Value{Op: where.OpRange, High: where.Bound{Set: true, N: f.Until.UnixNano()}})
	}
	w.Terms = slices.Concat(w.Terms, f.where.Terms)
	return w
}

func is[T ~string](values []T) []where.Value {
	out := make([]where.Value, len(values))
	for i, v := range values {
		out[i] = where.Value{Text: string(v)}
	}
	return out
}

// kept gives a record the part of its payloads that may be searched: what an index keeps of them.
func (g *Gateway) kept(ctx context.Context, r *ledger.Record) error {
	t, err := g.l.Type(ctx, r.Type)
	if err != nil && ledger.AsError(err).Code != ledger.CodeUnknownType {
		return err
	}
	if t != nil {
		r.Args = where.RulesOf(t.Schema).Kept(r.Args)
	}
	r.Args, r.Result = r.Args[:min(len(r.Args), where.PayloadMax)], r.Result[:min(len(r.Result), where.PayloadMax)]
	return nil
}
