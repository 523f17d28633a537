package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// fileName is the file in Config.Dir; SQLite keeps two more beside it while it is open.
	fileName = "index.sqlite"
	// fileForm rises with every change of the tables, of a row, or of what is folded into them.
	fileForm = "7"
	// readersMax is how many looks are under way at once; more wait. longMax, below it, is how many of them may be such as
	// look at every job.
	readersMax, longMax = 4, 2
	// wheresMax is how many looks for where a job stands are under way at once: submits wait for them, so not for readers.
	wheresMax = 2
	// Memory of SQLite's pages, in KiB: of the one that writes, and of each reader.
	writeCache, readCache = 64 << 10, 8 << 10
	// checkpointPages is how long the write-ahead log grows, in pages of 4 KiB.
	checkpointPages = 4096
)

// stateNumber is the number of a state in names: tables and indexes are made for it.
func stateNumber(s schemas.State) int64 {
	for i, known := range schemas.States() {
		if known == s {
			return int64(i + 1)
		}
	}
	return 0
}

// tables are made in a new file. Most jobs are completed, so that their index by state would only cost.
func tables() []string {
	completed := strconv.FormatInt(stateNumber(schemas.StateCompleted), 10)
	return []string{
		`CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID`,
		`CREATE TABLE names(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)`,
		`CREATE TABLE jobs(seq INTEGER PRIMARY KEY, org INTEGER NOT NULL, idh INTEGER NOT NULL, state INTEGER NOT NULL, reason INTEGER,
			type INTEGER NOT NULL, queue INTEGER NOT NULL, priority INTEGER NOT NULL, class INTEGER, resolution INTEGER, attempt INTEGER NOT NULL,
			finished INTEGER, grp INTEGER, doc BLOB NOT NULL, args BLOB, result BLOB)`,
		`CREATE INDEX jobs_id ON jobs(idh)`,
		`CREATE INDEX jobs_org ON jobs(org)`,
		`CREATE INDEX jobs_type ON jobs(org, type)`,
		`CREATE INDEX jobs_state ON jobs(org, state) WHERE state <> ` + completed,
		`CREATE INDEX jobs_error ON jobs(org) WHERE class IS NOT NULL`,
		`CREATE INDEX jobs_group ON jobs(org, grp) WHERE grp IS NOT NULL`,
		`CREATE TABLE terms(org INTEGER NOT NULL, h INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY(org, h, seq)) WITHOUT ROWID`,
		`CREATE TABLE counts(org INTEGER NOT NULL, queue INTEGER NOT NULL, type INTEGER NOT NULL, submitted INTEGER NOT NULL, queued INTEGER NOT NULL,
			running INTEGER NOT NULL, retrying INTEGER NOT NULL, completed INTEGER NOT NULL, canceled INTEGER NOT NULL, dead INTEGER NOT NULL,
			open INTEGER NOT NULL, deferred INTEGER NOT NULL, PRIMARY KEY(org, queue, type)) WITHOUT ROWID`,
		`CREATE TABLE zones(zone INTEGER PRIMARY KEY, smin INTEGER NOT NULL, smax INTEGER NOT NULL, fmin INTEGER NOT NULL, fmax INTEGER NOT NULL)`,
		`CREATE TABLE rules(type TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID`,
	}
}

// file is an open index file: one connection that writes, one that the fold reads rows by, some for readers, on which it never
// waits, and some for those who ask where a job stands, who do not wait for readers.
type file struct {
	path                       string
	write, rows, reads, wheres *sql.DB
	byID, byIDs                *sql.Stmt     // folds by idHash, or by lookAtOnce of them, of rows
	long                       chan struct{} // holds a token for each long look
}

// openFile opens the file of a folder and makes it where it is missing. It does not judge what is in it.
func openFile(ctx context.Context, dir string) (*file, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f := &file{path: filepath.Join(dir, fileName), long: make(chan struct{}, longMax)}
	var err error
	// NORMAL: a power loss may cost the last transactions, never the order of them.
	if f.write, err = sql.Open("sqlite", dsn(f.path, "journal_mode(WAL)", "synchronous(NORMAL)", "temp_store(MEMORY)", "busy_timeout(10000)",
		"cache_size(-"+strconv.Itoa(writeCache)+")", "wal_autocheckpoint("+strconv.Itoa(checkpointPages)+")")); err != nil {
		return nil, err
	}
	f.write.SetMaxOpenConns(1)
	if err := f.make(ctx); err != nil {
		return nil, errors.Join(err, f.close())
	}
	if f.rows, err = openReads(f.path, 1); err != nil {
		return nil, errors.Join(err, f.close())
	}
	if f.reads, err = openReads(f.path, readersMax); err != nil {
		return nil, errors.Join(err, f.close())
	}
	if f.wheres, err = openReads(f.path, wheresMax); err != nil {
		return nil, errors.Join(err, f.close())
	}
	const byID = `SELECT doc FROM jobs WHERE idh IN (?`
	if f.byID, err = f.rows.PrepareContext(ctx, byID+`)`); err != nil {
		return nil, errors.Join(err, f.close())
	}
	if f.byIDs, err = f.rows.PrepareContext(ctx, byID+strings.Repeat(`, ?`, lookAtOnce-1)+`)`); err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

func openReads(path string, most int) (*sql.DB, error) {
	db, err := sql.Open("sqlite", dsn(path, "query_only(1)", "temp_store(MEMORY)", "busy_timeout(10000)", "cache_size(-"+strconv.Itoa(readCache)+")"))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(most)
	db.SetMaxIdleConns(most)
	return db, nil
}

func dsn(path string, pragmas ...string) string {
	return "file:" + strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path) + "?_pragma=" + strings.Join(pragmas, "&_pragma=")
}

// make creates the tables in an empty file, in one transaction.
func (f *file) make(ctx context.Context) error {
	tx, err := f.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("index file: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // nothing after Commit
	var there int
	if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_schema`).Scan(&there); err != nil || there > 0 {
		return err
	}
	for _, statement := range tables() {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("index file: %s: %w", statement, err)
		}
	}
	for _, s := range schemas.States() {
		if _, err := tx.ExecContext(ctx, `INSERT INTO names VALUES(?, ?)`, stateNumber(s), string(s)); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO meta VALUES('form', ?), ('seq', 0), ('event', ''), ('begun', ?), ('removed', -1), ('segment', '')`, form(), time.Now().Unix()); err != nil {
		return err
	}
	return tx.Commit()
}

// form is what a file must have been written by.
func form() string { return fileForm + "." + ledger.ViewsForm() }

func (f *file) close() error {
	var err error
	for _, s := range []*sql.Stmt{f.byID, f.byIDs} {
		if s != nil {
			err = errors.Join(err, s.Close())
		}
	}
	for _, db := range []*sql.DB{f.rows, f.reads, f.wheres} {
		if db != nil {
			err = errors.Join(err, db.Close())
		}
	}
	return errors.Join(err, f.write.Close())
}

// fileEnds are those of the names of a file's parts.
var fileEnds = []string{"", "-wal", "-shm"}

// remove throws away the file of a folder, which nobody has open.
func remove(dir string) error {
	var all error
	for _, end := range fileEnds {
		if err := os.Remove(filepath.Join(dir, fileName) + end); err != nil && !errors.Is(err, fs.ErrNotExist) {
			all = errors.Join(all, err)
		}
	}
	return all
}

// queryer is a database, a connection or a transaction.
type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// errForm: the file was written by another version.
var errForm = errors.New("the index has another form")

// position reads how far the file is.
func position(ctx context.Context, q queryer) (schemas.Position, error) {
	var have string
	var p schemas.Position
	err := q.QueryRowContext(ctx, `SELECT (SELECT value FROM meta WHERE key = 'form'), (SELECT value FROM meta WHERE key = 'seq'),
		(SELECT value FROM meta WHERE key = 'event')`).Scan(&have, &p.Seq, &p.ID)
	if err == nil && have != form() {
		err = errForm
	}
	return p, err
}
