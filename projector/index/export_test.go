package index

import (
	"context"
	"database/sql"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
)

// AppendRow and ReadRow are the stored form of a fold.
var (
	AppendRow = appendRow
	ReadRow   = readRow
	RowAgain  = rowAgain
)

// ReadersMax and LongMax bound the looks.
const (
	ReadersMax = readersMax
	LongMax    = longMax
)

// Rows are all folds of the file.
func (x *Index) Rows(ctx context.Context, take func(j *ledger.Job, args, result []byte)) error {
	return x.read(ctx, func(f *file) error {
		return each(ctx, f.reads, `SELECT doc, args, result FROM jobs`, func(rows *sql.Rows) error {
			var doc, args, result []byte
			if err := rows.Scan(&doc, &args, &result); err != nil {
				return err
			}
			j, err := readRow(doc)
			if err == nil {
				take(j, args, result)
			}
			return err
		})
	})
}

// Removals has an index ask so often what was removed, and begin anew at once where that cannot be told; since, unless nil,
// tells it.
func (x *Index) Removals(every time.Duration, since func(ctx context.Context, after int, last string, fn func(*ledger.RemovedSegment) error) error) {
	x.history.every, x.history.age = every, 0
	if since != nil {
		x.history.since = since
	}
}

// LogTo has an index log there.
func (x *Index) LogTo(l *zap.Logger) { x.cfg.Logger = l }

// Followed is how many removals are followed.
func (x *Index) Followed(ctx context.Context) (n int, err error) {
	err = x.read(ctx, func(f *file) error {
		return f.reads.QueryRowContext(ctx, `SELECT value FROM meta WHERE key = 'removed'`).Scan(&n)
	})
	return n, err
}

// Len is how many rows a table has.
func (x *Index) Len(ctx context.Context, table string) (n int, err error) {
	err = x.read(ctx, func(f *file) error { return f.reads.QueryRowContext(ctx, `SELECT count(*) FROM `+table).Scan(&n) })
	return n, err
}

// RootPage is the number of the page of the file, from 1, that a table begins with.
func (x *Index) RootPage(ctx context.Context, table string) (page int64, err error) {
	err = x.read(ctx, func(f *file) error {
		return f.reads.QueryRowContext(ctx, `SELECT rootpage FROM sqlite_schema WHERE name = ?`, table).Scan(&page)
	})
	return page, err
}

// Failures returns what becomes of an index after each failure.
func Failures() func(err error, wrote bool) (anew bool, pause time.Duration) {
	return new(trouble).after
}

// Once opens the file and follows until that fails.
func (x *Index) Once(ctx context.Context) error { return (&session{x: x}).run(ctx) }

// PartEvery sets how long a part of an answer may be open.
func (x *Index) PartEvery(d time.Duration) { x.partEvery = d }

// Telling is how many who asked for rows are not answered to the end.
func (x *Index) Telling() int { return len(x.tellers) }
