package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/internal/where"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/projector"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// minSeqWait is how long a read waits for the views to include its min_seq; they lag about a second.
	minSeqWait = 10 * time.Second
	// firstFoldWait is how long a read waits for views that do not exist yet; below a client's timeout.
	firstFoldWait = 3 * time.Second
	// readTimeout bounds one try of one read.
	readTimeout = 2 * time.Second
	// countTries and countPause: counters that are ahead of COUNTS/all are being written; its turn is next.
	countTries = 20
	countPause = 50 * time.Millisecond
)

// views is where lists and counts come from.
type views interface {
	// waitFor returns when the views include seq.
	waitFor(ctx context.Context, seq schemas.Seq) error
	// jobs calls take with the record of every job of an org that f matches, in no order, and returns the sequence that all
	// of them are at, or later. take owns the record, which says why the job waits. errTooMany: it gave up behind about so
	// many that had to be looked at; 0 looks at all.
	jobs(ctx context.Context, org schemas.OrgID, f *Filter, now time.Time, most int, take func(ledger.Record)) (schemas.Seq, error)
	// page lists those submitted last before a sequence.
	page(ctx context.Context, org schemas.OrgID, req *ListRequest, before schemas.Seq, now time.Time) (*List, error)
	// searches reports whether the jobs are all there are, with their args and results.
	searches() bool
	// counts returns the counters of an org, or of all for "", exact at the sequence it returns.
	counts(ctx context.Context, org schemas.OrgID) (map[ledger.CountKey]ledger.Count, schemas.Seq, error)
	// typeDocument returns who set a type; nil if the view does not know it.
	typeDocument(ctx context.Context, name schemas.TypeName) (*ledger.TypeDocument, error)
}

// kvViews reads the KV views. A list costs as much as its org has jobs there, so that it is for servers without an index,
// and until theirs serves.
type kvViews struct{ l *ledger.Ledger }

func (v *kvViews) waitFor(ctx context.Context, seq schemas.Seq) error {
	wait := minSeqWait
	if seq == 0 {
		// Nothing special is asked for, but right after a start, or a rebuild, there is no view at all yet.
		seq, wait = 1, firstFoldWait
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if err := projector.WaitFor(ctx, v.l, seq); err != nil {
		return ledger.Errorf(ledger.CodeUnavailable, "the views do not include sequence %s yet: %v", seq, err)
	}
	return nil
}

func (v *kvViews) bucket(ctx context.Context, bucket string) (jetstream.KeyValue, error) {
	var kv jetstream.KeyValue
	err := reading(ctx, func(ctx context.Context) (err error) {
		kv, err = v.l.JetStream().KeyValue(ctx, bucket)
		return err
	})
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil, ledger.Errorf(ledger.CodeUnavailable, "bucket %s is being folded again: try again in a moment", bucket)
	}
	return kv, err
}

// reading repeats a read that was not answered: one that meets a leader change never is, whatever time its
// caller has.
func reading(ctx context.Context, read func(context.Context) error) error {
	for {
		try, cancel := context.WithTimeout(ctx, readTimeout)
		err := read(try)
		unanswered := try.Err() != nil
		cancel()
		if err == nil || !unanswered || ctx.Err() != nil {
			return err
		}
	}
}

func get(ctx context.Context, kv jetstream.KeyValue, key string) (e jetstream.KeyValueEntry, err error) {
	err = reading(ctx, func(ctx context.Context) error {
		e, err = kv.Get(ctx, key)
		return err
	})
	return e, err
}

// all reads COUNTS/all.
func (v *kvViews) all(ctx context.Context, counts jetstream.KeyValue) (*ledger.CountsDocument, error) {
	e, err := get(ctx, counts, ledger.KeyCountsAll)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, ledger.Errorf(ledger.CodeUnavailable, "the views are being folded: try again in a moment")
	}
	if err != nil {
		return nil, err
	}
	var doc ledger.CountsDocument
	if err := json.Unmarshal(e.Value(), &doc); err != nil {
		return nil, fmt.Errorf("COUNTS/%s: %w", ledger.KeyCountsAll, err)
	}
	return &doc, nil
}

func (v *kvViews) searches() bool { return false }

func (v *kvViews) jobs(ctx context.Context, org schemas.OrgID, f *Filter, now time.Time, _ int, take func(ledger.Record)) (schemas.Seq, error) {
	counts, err := v.bucket(ctx, ledger.BucketCounts)
	if err != nil {
		return 0, err
	}
	doc, err := v.all(ctx, counts) // first: what is read after it is at its position or later
	if err != nil {
		return 0, err
	}
	jobs, err := v.bucket(ctx, ledger.BucketJobs)
	if err != nil {
		return 0, err
	}
	return doc.Jobs.Seq, scan(ctx, jobs, string(org)+".*", func(body []byte) error {
		var r ledger.Record
		if err := json.Unmarshal(body, &r); err != nil {
			return err
		}
		if f.matches(&r, now) {
			take(r)
		}
		return nil
	})
}

func (v *kvViews) page(ctx context.Context, org schemas.OrgID, req *ListRequest, before schemas.Seq, now time.Time) (*List, error) {
	page := foremost[ledger.Record]{keep: req.Limit + 1, before: func(a, b *ledger.Record) bool { return a.SubmittedSeq > b.SubmittedSeq }}
	seq, err := v.jobs(ctx, org, &req.Filter, now, 0, func(record ledger.Record) {
		if record.SubmittedSeq < before {
			page.add(record)
		}
	})
	if err != nil {
		return nil, err
	}
	list := &List{Items: page.sorted(), AsOfSeq: seq}
	if len(list.Items) > req.Limit {
		list.Items = list.Items[:req.Limit]
		next := list.Items[req.Limit-1].SubmittedSeq.String()
		list.Next = &next
	}
	return list, nil
}

func (v *kvViews) counts(ctx context.Context, org schemas.OrgID) (map[ledger.CountKey]ledger.Count, schemas.Seq, error) {
	for range countTries {
		kv, err := v.bucket(ctx, ledger.BucketCounts)
		if err != nil {
			return nil, 0, err
		}
		doc, err := v.all(ctx, kv)
		if err != nil {
			return nil, 0, err
		}
		ahead, found := false, map[ledger.CountKey]ledger.Count{}
		err = scan(ctx, kv, cmp.Or(string(org), "*")+".*.*", func(body []byte) error {
			var c ledger.CountHead
			if err := json.Unmarshal(body, &c); err != nil {
				return err
			}
			ahead = ahead || c.Seq > doc.Seq
			found[ledger.CountKey{Org: c.Org, Queue: c.Queue, Type: c.Type}] = c.Count
			return nil
		})
		if err != nil || !ahead {
			return found, doc.Seq, err
		}
		timer := time.NewTimer(countPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, 0, ctx.Err()
		}
	}
	return nil, 0, ledger.Errorf(ledger.CodeUnavailable, "the counters are ahead of the position that covers them: try again in a moment")
}

func (v *kvViews) typeDocument(ctx context.Context, name schemas.TypeName) (*ledger.TypeDocument, error) {
	kv, err := v.bucket(ctx, ledger.BucketConfig)
	if err != nil {
		return nil, err
	}
	e, err := get(ctx, kv, ledger.TypeKey(name))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	doc := new(ledger.TypeDocument)
	return doc, json.Unmarshal(e.Value(), doc)
}

// watch is reading for a watch, which lives as long as the context it was begun with.
func watch(ctx context.Context, kv jetstream.KeyValue, pattern string) (w jetstream.KeyWatcher, stop func(), err error) {
	for {
		own, cancel := context.WithCancel(ctx)
		late := time.AfterFunc(readTimeout, cancel)
		w, err = kv.Watch(own, pattern, jetstream.IgnoreDeletes())
		inTime := late.Stop()
		if err == nil && inTime {
			return w, func() {
				_ = w.Stop() // fails only with the connection
				cancel()
			}, nil
		}
		if err == nil {
			_ = w.Stop()
		}
		cancel()
		if inTime || ctx.Err() != nil {
			return nil, nil, errors.Join(err, ctx.Err())
		}
	}
}

// scan calls take with every document that stands under a key of the pattern.
func scan(ctx context.Context, kv jetstream.KeyValue, pattern string, take func(body []byte) error) error {
	w, stop, err := watch(ctx, kv, pattern)
	if err != nil {
		return err
	}
	defer stop()
	for {
		select {
		case e, ok := <-w.Updates():
			if !ok {
				return ledger.Errorf(ledger.CodeUnavailable, "bucket %s was lost while it was read: try again in a moment", kv.Bucket())
			}
			if e == nil {
				return nil
			}
			if err := take(e.Value()); err != nil {
				return fmt.Errorf("%s/%s: %w", kv.Bucket(), e.Key(), err)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (g *Gateway) list(ctx context.Context, r *request) ([]byte, error) { return g.listBut(ctx, r) }

// children lists the jobs that wait for one, or waited for it, and the items of a batch.
func (g *Gateway) children(ctx context.Context, r *request) ([]byte, error) {
	if _, err := g.read(ctx, r.org, r.job()); err != nil {
		return nil, err
	}
	return g.listBut(ctx, r, where.Term{Field: where.FieldParent, Values: []where.Value{{Text: r.name}}})
}

// listBut lists the jobs for which the terms hold, too.
func (g *Gateway) listBut(ctx context.Context, r *request, terms ...where.Term) ([]byte, error) {
	req := ListRequest{Limit: LimitDefault}
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	if req.Limit < 1 || req.Limit > LimitMax {
		return nil, badField("limit", fmt.Errorf("%d is outside 1 to %d", req.Limit, LimitMax))
	}
	if err := errors.Join(req.check(), g.narrow(ctx, r.org, &req.Filter)); err != nil {
		return nil, err
	}
	req.where.Terms = append(req.where.Terms, terms...)
	order, err := parseOrder(req.Sort)
	if err != nil {
		return nil, badField("sort", err)
	}
	before := schemas.Seq(1<<64 - 1)
	if req.Cursor != "" && order.plain {
		if before, err = schemas.ParseSeq(req.Cursor); err != nil {
			return nil, badField("cursor", err)
		}
	}
	v, err := g.viewsAt(ctx, req.MinSeq, req.where.Payload())
	if err != nil {
		return nil, err
	}
	if err := searchable(v, &req.where); err != nil {
		return nil, err
	}
	var list *List
	if order.plain {
		list, err = v.page(ctx, r.org, &req, before, time.Now())
	} else {
		list, err = g.sortedPage(ctx, v, r.org, &req, order)
	}
	if err != nil {
		return nil, err
	}
	return schemas.SpliceJSON(list)
}

// foremost keeps the things that come first, in memory of a few times as many.
type foremost[T any] struct {
	keep   int
	before func(a, b *T) bool
	items  []T
}

func (n *foremost[T]) add(r T) {
	n.items = append(n.items, r)
	if len(n.items) >= 4*n.keep {
		n.cut()
	}
}

func (n *foremost[T]) cut() {
	sort.Slice(n.items, func(i, j int) bool { return n.before(&n.items[i], &n.items[j]) })
	if len(n.items) > n.keep {
		n.items = n.items[:n.keep]
	}
}

func (n *foremost[T]) sorted() []T {
	n.cut()
	return append([]T{}, n.items...)
}
