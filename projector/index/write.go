package index

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dartwing/jobledger/internal/where"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// writer writes batches into a file. One goroutine owns it.
type writer struct {
	f                                                 *file
	upsert, terms, drop, gone, count, zone, name, pos *sql.Stmt
	pending                                           []posting                         // terms that are not written yet
	kinds                                             map[schemas.TypeName]*where.Rules // of types, as they are in the file
	values                                            []any                             // of one statement of terms
}

// posting says that a row has a term.
type posting struct{ org, h, seq int64 }

// postingsAtOnce is how many postings one statement writes: the call of one costs as much as the row itself.
const postingsAtOnce = 32

const (
	sqlUpsert = `INSERT INTO jobs(seq, org, idh, state, reason, type, queue, priority, class, resolution, attempt, finished, grp, doc, args, result)
		VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT(seq) DO UPDATE SET state = excluded.state, reason = excluded.reason, class = excluded.class, resolution = excluded.resolution,
			attempt = excluded.attempt, finished = excluded.finished, grp = excluded.grp, doc = excluded.doc,
			args = coalesce(excluded.args, args), result = coalesce(excluded.result, result)`
	sqlCount = `INSERT OR REPLACE INTO counts VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	sqlZone  = `INSERT INTO zones VALUES(?, ?, ?, ?, ?) ON CONFLICT(zone) DO UPDATE SET smin = min(smin, excluded.smin), smax = max(smax, excluded.smax),
		fmin = min(fmin, excluded.fmin), fmax = max(fmax, excluded.fmax)`
)

func newWriter(ctx context.Context, f *file) (*writer, error) {
	w := &writer{f: f, kinds: map[schemas.TypeName]*where.Rules{}}
	if err := f.rules(ctx, func(kind schemas.TypeName, r *where.Rules) { w.kinds[kind] = r }); err != nil {
		return nil, err
	}
	for _, s := range []struct {
		to   **sql.Stmt
		text string
	}{
		{&w.upsert, sqlUpsert},
		{&w.terms, `INSERT OR IGNORE INTO terms VALUES(?, ?, ?)` + strings.Repeat(`, (?, ?, ?)`, postingsAtOnce-1)},
		{&w.drop, `DELETE FROM terms WHERE org = ? AND h = ? AND seq = ?`},
		{&w.gone, `DELETE FROM jobs WHERE seq = ? RETURNING org, doc, args`},
		{&w.count, sqlCount}, {&w.zone, sqlZone},
		{&w.name, `INSERT INTO names VALUES(?, ?)`},
		{&w.pos, `UPDATE meta SET value = CASE key WHEN 'seq' THEN ? ELSE ? END WHERE key IN ('seq', 'event')`},
	} {
		var err error
		if *s.to, err = f.write.PrepareContext(ctx, s.text); err != nil {
			return nil, fmt.Errorf("index: %s: %w", s.text, err)
		}
	}
	return w, nil
}

func (w *writer) close() {
	for _, s := range []*sql.Stmt{w.upsert, w.terms, w.drop, w.gone, w.count, w.zone, w.name, w.pos} {
		if s != nil {
			_ = s.Close() // the file is closed next
		}
	}
}

// write is one transaction. We die here: nothing of it is in the file.
func (w *writer) write(ctx context.Context, c *changes) error {
	tx, err := w.f.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // nothing after Commit
	for _, n := range c.names {
		if _, err := tx.StmtContext(ctx, w.name).ExecContext(ctx, n.id, n.name); err != nil {
			return fmt.Errorf("index: name %q: %w", n.name, err)
		}
	}
	if err := w.rules(ctx, tx, c); err != nil {
		return err
	}
	if err := w.rows(ctx, tx, c.rows); err != nil {
		return err
	}
	count := tx.StmtContext(ctx, w.count)
	for k, n := range c.counts {
		if _, err := count.ExecContext(ctx, k.org, k.queue, k.kind, n.Submitted, n.Queued, n.Running, n.Retrying, n.Completed,
			n.Canceled, n.DeadLettered, n.DeadLettersOpen, n.Deferred); err != nil {
			return fmt.Errorf("index: counter: %w", err)
		}
	}
	for n, z := range c.zones {
		if _, err := tx.StmtContext(ctx, w.zone).ExecContext(ctx, n, z.submitted.min, z.submitted.max, z.finished.min, z.finished.max); err != nil {
			return fmt.Errorf("index: zone %d: %w", n, err)
		}
	}
	if _, err := tx.StmtContext(ctx, w.pos).ExecContext(ctx, int64(c.at.Seq), string(c.at.ID)); err != nil {
		return fmt.Errorf("index: position: %w", err)
	}
	if g := c.removed; g != nil {
		if err := writeRemovals(ctx, tx, g.Number, g.ID); err != nil {
			return err
		}
	}
	return tx.Commit()
}

func (w *writer) rows(ctx context.Context, tx *sql.Tx, rows []row) error {
	// A context that can end costs a goroutine for each statement: a look at it now and then does, too.
	own := context.WithoutCancel(ctx)
	upsert := tx.StmtContext(own, w.upsert)
	w.pending = w.pending[:0]
	for i := range rows {
		r := &rows[i]
		if r.gone != 0 {
			if err := errors.Join(w.post(ctx, tx), w.forget(ctx, tx, r.gone)); err != nil {
				return err
			}
		}
		if i%rowsPerLook == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if r.seq == 0 {
			continue
		}
		if _, err := upsert.ExecContext(own, int64(r.seq), r.org, r.idh, r.state, r.reason, r.kind, r.queue, r.priority, r.class, r.resolution,
			r.attempt, r.finished, r.group, r.doc, blob(r.args), blob(r.result)); err != nil {
			return fmt.Errorf("index: row %s: %w", r.seq, err)
		}
		for _, h := range r.terms {
			w.pending = append(w.pending, posting{r.org, h, int64(r.seq)})
		}
	}
	return w.post(ctx, tx)
}

// rowsPerLook is how many rows are written between two looks at the context.
const rowsPerLook = 64

// post writes the pending terms, in the order of their table, which is spread over all of it: so each page is looked up once.
func (w *writer) post(ctx context.Context, tx *sql.Tx) error {
	slices.SortFunc(w.pending, func(a, b posting) int {
		return cmp.Or(cmp.Compare(a.org, b.org), cmp.Compare(a.h, b.h), cmp.Compare(a.seq, b.seq))
	})
	own := context.WithoutCancel(ctx)
	insert := tx.StmtContext(own, w.terms)
	for some := range slices.Chunk(w.pending, postingsAtOnce) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		w.values = w.values[:0]
		for i := range postingsAtOnce {
			p := some[min(i, len(some)-1)] // the last once more: what is there is ignored
			w.values = append(w.values, p.org, p.h, p.seq)
		}
		if _, err := insert.ExecContext(own, w.values...); err != nil {
			return fmt.Errorf("index: terms: %w", err)
		}
	}
	w.pending = w.pending[:0]
	return nil
}

// blob is nil for what is not there.
func blob(b []byte) any {
	if b == nil {
		return nil
	}
	return b
}

// forget deletes a row. What its x-index fields left among the terms under former rules leads nowhere.
func (w *writer) forget(ctx context.Context, tx *sql.Tx, seq schemas.Seq) error {
	var org int64
	var doc, args []byte
	err := tx.StmtContext(ctx, w.gone).QueryRowContext(ctx, int64(seq)).Scan(&org, &doc, &args)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("index: forget row %s: %w", seq, err)
	}
	j, err := readRow(doc)
	if err != nil {
		return err
	}
	for _, h := range append(terms(j), posted(w.kinds[j.Spec.Type], args)...) {
		if _, err := tx.StmtContext(ctx, w.drop).ExecContext(ctx, org, h, int64(seq)); err != nil {
			return fmt.Errorf("index: terms of row %s: %w", seq, err)
		}
	}
	return nil
}

// lookup reads the rows of jobs, at most lookAtOnce.
func (f *file) lookup(ctx context.Context, ks []jobKey, found func(k jobKey, j *ledger.Job, again bool)) error {
	stmt, args := f.byID, make([]any, 1, lookAtOnce)
	if len(ks) > 1 {
		stmt, args = f.byIDs, args[:lookAtOnce]
	}
	for i := range args {
		k := ks[min(i, len(ks)-1)] // the last once more: a row is found once
		args[i] = idHash(k.org, k.id)
	}
	rows, err := stmt.QueryContext(context.WithoutCancel(ctx), args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // Err tells
	for rows.Next() {
		var doc sql.RawBytes
		if err := rows.Scan(&doc); err != nil {
			return err
		}
		j, err := readRow(doc)
		if err != nil {
			return err
		}
		if k := (jobKey{j.Org, j.ID}); slices.Contains(ks, k) { // another job may have the same number
			found(k, j, rowAgain(doc))
		}
	}
	return rows.Err()
}

// load fills a fold with what the file keeps whole.
func (f *file) load(ctx context.Context, to *fold) error {
	if err := each(ctx, f.write, `SELECT id, name FROM names`, func(rows *sql.Rows) error {
		var n named
		err := rows.Scan(&n.id, &n.name)
		to.names.known(n.id, n.name)
		return err
	}); err != nil {
		return err
	}
	if err := f.rules(ctx, func(kind schemas.TypeName, r *where.Rules) { to.rules[kind] = r }); err != nil {
		return err
	}
	return f.counters(ctx, f.write, 0, func(k ledger.CountKey, n ledger.Count) { to.counts[k] = &n })
}

// rules hands over the rules of all types.
func (f *file) rules(ctx context.Context, take func(schemas.TypeName, *where.Rules)) error {
	return each(ctx, f.write, `SELECT type, body FROM rules`, func(rows *sql.Rows) error {
		var kind schemas.TypeName
		var body []byte
		if err := rows.Scan(&kind, &body); err != nil {
			return err
		}
		r, err := readRules(body)
		take(kind, r)
		return err
	})
}

// counters hands over the counters of an org, or all for 0.
func (f *file) counters(ctx context.Context, q queryer, org int64, take func(ledger.CountKey, ledger.Count)) error {
	text, args := `SELECT o.name, q.name, t.name, c.submitted, c.queued, c.running, c.retrying, c.completed, c.canceled, c.dead, c.open, c.deferred
		FROM counts c JOIN names o ON o.id = c.org JOIN names q ON q.id = c.queue JOIN names t ON t.id = c.type`, []any{}
	if org != 0 {
		text, args = text+` WHERE c.org = ?`, append(args, org)
	}
	return each(ctx, q, text, func(rows *sql.Rows) error {
		var k ledger.CountKey
		var n ledger.Count
		err := rows.Scan(&k.Org, &k.Queue, &k.Type, &n.Submitted, &n.Queued, &n.Running, &n.Retrying, &n.Completed, &n.Canceled, &n.DeadLettered,
			&n.DeadLettersOpen, &n.Deferred)
		take(k, n)
		return err
	}, args...)
}

// each hands over every row of a query.
func each(ctx context.Context, q queryer, text string, take func(*sql.Rows) error, args ...any) error {
	rows, err := q.QueryContext(ctx, text, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // Err tells
	for rows.Next() {
		if err := take(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
