package index

import (
	"context"
	"database/sql"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Where says where the events of a job's id stand (ledger.Ledger.AskWhere). It cannot tell while the index is folded, nor of an id that
// was used before, where the row tells of the later life alone, nor of what cannot be read.
func (x *Index) Where(ctx context.Context, org schemas.OrgID, id schemas.JobID) (w ledger.Whereabouts, ok bool) {
	err := x.read(ctx, func(f *file) (err error) {
		w, ok, err = f.whereabouts(ctx, org, id)
		return err
	})
	return w, ok && err == nil
}

func (f *file) whereabouts(ctx context.Context, org schemas.OrgID, id schemas.JobID) (w ledger.Whereabouts, ok bool, err error) {
	tx, err := f.wheres.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return w, false, err
	}
	defer func() { _ = tx.Rollback() }() // it has read only
	at, err := position(ctx, tx)
	if err != nil {
		return w, false, err
	}
	w, ok = ledger.Whereabouts{Through: at.Seq, None: true}, true
	err = each(ctx, tx, `SELECT doc FROM jobs WHERE idh = ?`, func(rows *sql.Rows) error {
		var doc sql.RawBytes
		if err := rows.Scan(&doc); err != nil {
			return err
		}
		j, err := readRow(doc)
		if err != nil || j.Org != org || j.ID != id { // another job may have the same number
			return err
		}
		w.None, w.From, w.To, ok = false, j.SubmittedSeq, j.LastSeq, !rowAgain(doc) && !j.Unreadable
		return nil
	}, idHash(org, id))
	return w, ok, err
}
