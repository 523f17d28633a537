package index

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/dartwing/jobledger/internal/where"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// lookMax is how many rows one look walks over before it says how far it came: about 0.2 s.
	lookMax = 65_536
	// windowMax is how many it walks over at a time.
	windowMax = 4096
	// stretchCost is what one more stretch of short lists costs, in rows.
	stretchCost = 16
)

// Query asks for jobs of an org, the latest submitted first.
type Query struct {
	Org   schemas.OrgID
	Where where.Where
	// Before is Page.Next of the page before; 0: from the newest on.
	Before schemas.Seq
	Limit  int // at least 1
	Now    time.Time
}

// Page is what was found.
type Page struct {
	Records []ledger.Record // without args and result
	// Next is where to go on; 0: all was looked at. A page may have fewer records than Limit, also none, and a Next:
	// then the look ended at its bound.
	Next schemas.Seq
	// AsOf is the position at which the page is true.
	AsOf schemas.Position
}

// find answers a query in one transaction.
func (f *file) find(ctx context.Context, query *Query) (page *Page, err error) {
	page = &Page{}
	page.AsOf, err = f.look(ctx, query.Org, &query.Where, query.Before, query.Now, query.Limit, lookMax, func(r ledger.Record) bool {
		page.Records = append(page.Records, r)
		return len(page.Records) <= query.Limit
	}, &page.Next)
	if len(page.Records) > query.Limit {
		page.Records = page.Records[:query.Limit]
		page.Next = page.Records[query.Limit-1].SubmittedSeq
	}
	return page, err
}

// look hands over the jobs that a filter chooses, the latest submitted first, until take has had enough or so many rows
// were walked over: then *next is where it ended. want is about how many take wants.
func (f *file) look(ctx context.Context, org schemas.OrgID, w *where.Where, before schemas.Seq, now time.Time, want, rowsMax int,
	take func(ledger.Record) bool, next *schemas.Seq) (schemas.Position, error) {
	tx, err := f.reads.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return schemas.Position{}, err
	}
	defer func() { _ = tx.Rollback() }() // it has read only
	at, err := position(ctx, tx)
	if err != nil {
		return at, err
	}
	p, err := makePlan(ctx, tx, f, org, w, before, now)
	if err != nil || p.none {
		return at, err
	}
	l := looker{ctx: ctx, q: tx, plan: p, w: w, now: now, want: want, left: rowsMax, take: take}
	for _, s := range p.stretches {
		if done, err := l.stretch(s); done || err != nil {
			*next = l.next
			return at, err
		}
	}
	return at, nil
}

// looker is one look under way.
type looker struct {
	ctx  context.Context
	q    queryer
	plan *plan
	w    *where.Where
	now  time.Time
	want int
	left int // rows it may walk over
	take func(ledger.Record) bool
	next schemas.Seq
	// charged: the lists are short, and left is less by them.
	charged bool
}

// stretch looks through one stretch, window by window; done: no more is wanted, or it may not go on.
func (l *looker) stretch(s stretch) (done bool, err error) {
	for high := s.high; high >= s.low; {
		if l.left <= 0 {
			l.next = schemas.Seq(high + 1)
			return true, nil
		}
		low, err := l.window(s.low, high)
		if err != nil {
			return true, err
		}
		if done, err := l.walk(low, high); done || err != nil {
			return true, err
		}
		high = low - 1
	}
	return false, nil
}

// window is how far down the lists may be walked from high on: about windowMax entries.
func (l *looker) window(low, high int64) (int64, error) {
	if l.plan.size < windowMax { // which is never that of lists that were not counted to their end: all of them are walked over once, whatever the stretches
		if l.charged {
			l.left -= stretchCost
		} else {
			l.left, l.charged = l.left-int(l.plan.size), true
		}
		return low, nil
	}
	each := max(windowMax/len(l.plan.lists), 1)
	for _, li := range l.plan.lists {
		from := cmp.Or(li.source.bare, li.source.from)
		var at int64
		err := l.q.QueryRowContext(l.ctx, `SELECT coalesce((SELECT `+li.source.seq+` FROM `+from+` WHERE `+li.source.cond+` AND `+li.source.seq+` BETWEEN ? AND ?
			ORDER BY `+li.source.seq+` DESC LIMIT 1 OFFSET ?), ?)`, li.args(l.plan.org, low, high, each-1, low)...).Scan(&at)
		if err != nil {
			return 0, err
		}
		low = max(low, at)
	}
	l.left -= windowMax
	return low, nil
}

// found is a job that a filter chose, and where it stands.
type found struct {
	seq    int64
	record ledger.Record
}

// walk judges the entries of a window.
func (l *looker) walk(low, high int64) (done bool, err error) {
	var all []found
	for i := range l.plan.lists {
		some, err := l.list(&l.plan.lists[i], low, high)
		if err != nil {
			return true, err
		}
		all = append(all, some...)
	}
	if len(l.plan.lists) > 1 {
		slices.SortFunc(all, func(a, b found) int { return cmp.Compare(b.seq, a.seq) })
		all = slices.CompactFunc(all, func(a, b found) bool { return a.seq == b.seq })
	}
	for _, f := range all {
		if !l.take(f.record) {
			return true, nil
		}
		l.want--
	}
	return false, nil
}

// list is what one list has in a window; no more than is wanted, and one.
func (l *looker) list(li *list, low, high int64) (out []found, err error) {
	columns := `j.seq, j.doc`
	if l.plan.payload {
		columns += `, j.args, j.result`
	}
	text := `SELECT ` + columns + ` FROM ` + li.source.from + ` WHERE ` + li.source.cond + ` AND ` + li.source.seq + ` BETWEEN ? AND ?` + l.plan.cond.String() +
		` ORDER BY ` + li.source.seq + ` DESC`
	rows, err := l.q.QueryContext(l.ctx, text, li.args(l.plan.org, low, high)...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // Err tells
	var seq int64
	var doc, args, result sql.RawBytes
	into := []any{&seq, &doc}
	if l.plan.payload {
		into = append(into, &args, &result)
	}
	for len(out) <= l.want && rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		j, err := readRow(doc)
		if err != nil {
			return nil, fmt.Errorf("row %d: %w", seq, err)
		}
		r := recordOf(j)
		r.Args, r.Result = json.RawMessage(args), json.RawMessage(result)
		if l.w.Match(&r, l.now) {
			r.Args, r.Result = nil, nil // they are SQLite's
			out = append(out, found{seq, r})
		}
	}
	return out, rows.Err()
}
