package index

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// partSums and partRows bound a part of an answer, far below what one message may hold.
	partSums, partRows = 4096, 1000
	// partEvery is how long a part may be open, however little is in it: who asked gives up on a server that is silent.
	partEvery = 2 * time.Second
)

// teller tells all rows, and holds what is derived from each to it.
type teller struct {
	ctx     context.Context
	q       *sql.Tx
	ask     *ledger.IndexRows
	tell    func(*ledger.IndexPart)
	fold    *fold // gives names their numbers
	counts  ledger.Counts
	posting *sql.Stmt // nil where postings are not looked up
	part    ledger.IndexPart
	sum     ledger.IndexSum
	damaged int
	every   time.Duration // a part is open at most so long
	opened  time.Time     // the part
}

func (t *teller) run(f *file) (err error) {
	t.fold, t.opened = newFold(schemas.Position{}, nil, nil), time.Now()
	if err := each(t.ctx, t.q, `SELECT id, name FROM names`, func(rows *sql.Rows) error {
		var n named
		err := rows.Scan(&n.id, &n.name)
		t.fold.names.known(n.id, n.name)
		return err
	}); err != nil {
		return err
	}
	if t.ask.Full {
		if t.posting, err = t.q.PrepareContext(t.ctx, `SELECT count(*) FROM terms WHERE org = ? AND h = ? AND seq = ?`); err != nil {
			return err
		}
		defer func() { _ = t.posting.Close() }() // the transaction ends
	}
	cond, args, org := "", []any{}, int64(0)
	if t.ask.Org != "" {
		org = t.fold.names.ids[string(t.ask.Org)] // 0, which no row has, where there is none
		cond, args = ` AND org = ?`, append(args, org)
	}
	if s := t.ask.Stretch; s != nil {
		cond, args = cond+` AND seq BETWEEN ? AND ?`, append(args, int64(*s<<ledger.IndexStretchBits), int64((*s+1)<<ledger.IndexStretchBits-1))
	}
	if err := each(t.ctx, t.q, `SELECT seq, org, idh, state, reason, type, queue, priority, class, resolution, attempt, finished, grp, doc FROM jobs
		WHERE true`+cond+` ORDER BY seq`, t.row, args...); err != nil {
		return err
	}
	if t.ask.Stretch == nil && (org != 0 || t.ask.Org == "") {
		if err := t.counted(f, org); err != nil {
			return err
		}
	}
	t.close()
	t.part.Last = true
	t.tell(&t.part)
	return nil
}

// row takes in one row. What its columns should be is made of its fold anew.
func (t *teller) row(rows *sql.Rows) error {
	if t.ctx.Err() != nil {
		return t.ctx.Err()
	}
	if time.Since(t.opened) >= t.every {
		t.send()
	}
	var r row
	var seq int64
	var doc sql.RawBytes
	if err := rows.Scan(&seq, &r.org, &r.idh, &r.state, &r.reason, &r.kind, &r.queue, &r.priority, &r.class, &r.resolution, &r.attempt, &r.finished, &r.group,
		&doc); err != nil {
		return err
	}
	j, err := readRow(doc)
	if err != nil {
		t.damage(ledger.IndexRow{SubmittedSeq: schemas.Seq(seq), Message: fmt.Sprintf("the row of sequence %d cannot be read", seq)})
		return nil
	}
	told, err := ledger.IndexRowOf(j)
	if err != nil {
		return err
	}
	told.SubmittedSeq = schemas.Seq(seq)
	want := t.fold.row(&entry{job: j, row: j.SubmittedSeq})
	if r.seq = schemas.Seq(seq); r.seq != want.seq || r.org != want.org || r.idh != want.idh || r.state != want.state || r.reason != want.reason || r.kind != want.kind ||
		r.queue != want.queue || r.priority != want.priority || r.class != want.class || r.resolution != want.resolution || r.attempt != want.attempt ||
		r.finished != want.finished || r.group != want.group {
		t.contradicts(told, "the columns of the row are not those of the job in it")
	} else if err := t.postings(j, r.org, told); err != nil {
		return err
	}
	t.counts.Apply(ledger.Standing{}, ledger.StandingOf(j))
	if t.ask.Stretch != nil {
		if t.part.Rows = append(t.part.Rows, told); len(t.part.Rows) == partRows {
			t.send()
		}
		return nil
	}
	if at := uint64(seq) >> ledger.IndexStretchBits; t.sum.Stretch != at {
		t.close()
		t.sum.Stretch = at
	}
	t.sum.Add(told.Sum, 1)
	return nil
}

// postings looks up those of a job's owner, batch, parents and tags. One too many leads nowhere; one too few hides the job.
func (t *teller) postings(j *ledger.Job, org int64, told ledger.IndexRow) error {
	if t.posting == nil {
		return nil
	}
	for _, h := range terms(j) {
		var n int
		if err := t.posting.QueryRowContext(t.ctx, org, h, int64(j.SubmittedSeq)).Scan(&n); err != nil {
			return err
		}
		if n == 0 {
			t.contradicts(told, "the job is not found by its owner, its batch, its parents or one of its tags")
			return nil
		}
	}
	return nil
}

// counted holds the counters to the rows.
func (t *teller) counted(f *file, org int64) error {
	have := map[ledger.CountKey]ledger.Count{}
	if err := f.counters(t.ctx, t.q, org, func(k ledger.CountKey, n ledger.Count) { have[k] = n }); err != nil {
		return err
	}
	for k := range have {
		if t.counts[k] == nil {
			t.counts[k] = &ledger.Count{} // what has had jobs, and has none now
		}
	}
	for k, want := range t.counts {
		if n := have[k]; n != *want {
			t.damage(ledger.IndexRow{Org: k.Org, Message: fmt.Sprintf("the counter %s is %+v, its rows are %+v", k, n, *want)})
		}
	}
	return nil
}

func (t *teller) contradicts(r ledger.IndexRow, message string) {
	r.Message = message
	t.damage(r)
}

func (t *teller) damage(r ledger.IndexRow) {
	if t.damaged++; t.damaged <= ledger.IndexDamages {
		t.part.Damages = append(t.part.Damages, r)
	}
	t.part.Damaged++
}

// close ends a stretch.
func (t *teller) close() {
	if t.sum.Rows > 0 {
		t.part.Sums = append(t.part.Sums, t.sum)
	}
	t.sum = ledger.IndexSum{}
	if len(t.part.Sums) == partSums {
		t.send()
	}
}

func (t *teller) send() {
	t.tell(&t.part)
	t.part, t.opened = ledger.IndexPart{Position: t.part.Position}, time.Now()
}
