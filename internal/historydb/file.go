package historydb

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// timeForm is how times are written.
const timeForm = "2006-01-02T15:04:05.000000000Z"

// File is a file that is being written. It belongs to one goroutine.
type File struct {
	path, partial string
	db            *sql.DB
	tx            *sql.Tx
	event         *sql.Stmt
	events        int64
	jobs          map[jobKey]*schemas.Job
}

type jobKey struct {
	org schemas.OrgID
	id  schemas.JobID
}

// Create begins a file at path; until Finish it is written beside it, in place of what an attempt before left there.
func Create(ctx context.Context, path string) (_ *File, err error) {
	f := &File{path: path, partial: path + ".partial", jobs: make(map[jobKey]*schemas.Job)}
	if err := os.Remove(f.partial); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("history file: %w", err)
	}
	name := strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(f.partial)
	// Nothing of an unfinished file is of use, so nothing of it needs to be safe.
	f.db, err = sql.Open("sqlite", "file:"+name+"?_pragma=journal_mode(OFF)&_pragma=synchronous(OFF)&_pragma=cache_size(-65536)")
	if err != nil {
		return nil, fmt.Errorf("history file: %w", err)
	}
	defer func() {
		if err != nil {
			f.Discard()
			err = fmt.Errorf("history file: %w", err)
		}
	}()
	f.db.SetMaxOpenConns(1)
	if f.tx, err = f.db.BeginTx(ctx, nil); err != nil {
		return nil, err
	}
	if _, err = f.tx.Exec(tables); err != nil {
		return nil, err
	}
	f.event, err = f.tx.Prepare(insertEvent)
	return f, err
}

// Fold has a job go on: every event of the history is to be folded, in its order.
func (f *File) Fold(e *ledger.Entry) {
	if e.Job == "" {
		return
	}
	k := jobKey{e.Org, e.Job}
	j := f.jobs[k]
	if j == nil {
		j = &schemas.Job{Org: e.Org, ID: e.Job}
		f.jobs[k] = j
	}
	e.ApplyTo(j)
	j.Spec.Args, j.Result, j.Checkpoint = nil, nil, nil // they are in the events, and too large to be held here
}

// Put writes an event that was chosen.
func (f *File) Put(e *ledger.Entry) error {
	h := ledger.LineOf(e)
	_, err := f.event.Exec(uint64(h.Seq), h.Time.UTC().Format(timeForm), string(h.Event), h.Actor, text(h.Org), text(h.ID), text(h.Type),
		number(h.Generation), number(h.Attempt), text(h.From), text(h.To), text(h.Reason), filled(h.Quarantined), filled(string(h.Data)))
	if err != nil {
		return fmt.Errorf("history file: event %d: %w", h.Seq, err)
	}
	f.events++
	return nil
}

// About is what the file says of itself.
type About struct {
	Question string      // what was asked for, for people
	Version  string      // of the program
	Last     schemas.Seq // everything up to here was read
	At       time.Time   // when it was written
	// Type is that of the jobs that are told of, as they stand at the end: an id may have been of another before. Empty: any.
	Type schemas.TypeName
}

// Finish writes how the jobs stand, and gives the file its name. It is on the disk then.
func (f *File) Finish(a About) (err error) {
	defer func() {
		if err != nil {
			f.Discard()
			err = fmt.Errorf("history file: %w", err)
		}
	}()
	jobs, err := f.putJobs(a.Type)
	if err != nil {
		return err
	}
	if _, err = f.tx.Exec(views); err != nil {
		return err
	}
	for name, value := range map[string]string{"question": a.Question, "version": a.Version, "last_seq": fmt.Sprint(uint64(a.Last)),
		"written_at": a.At.UTC().Format(timeForm), "events": fmt.Sprint(f.events), "jobs": fmt.Sprint(jobs)} {
		if _, err = f.tx.Exec(`INSERT INTO about VALUES (?, ?)`, name, value); err != nil {
			return err
		}
	}
	if err = errors.Join(f.event.Close(), f.tx.Commit()); err != nil {
		return err
	}
	f.tx = nil
	if err = f.db.Close(); err != nil {
		return err
	}
	if err = sync(f.partial); err != nil {
		return err
	}
	return os.Rename(f.partial, f.path)
}

// sync has a file on the disk.
func sync(name string) error {
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// Discard ends a file that is not finished, and removes what was written.
func (f *File) Discard() {
	if f.tx != nil {
		_ = f.tx.Rollback() // the file goes
	}
	_ = f.db.Close()
	_ = os.Remove(f.partial)
}

// putJobs writes how the jobs of a type stand, and says how many they are.
func (f *File) putJobs(of schemas.TypeName) (n int, err error) {
	put, err := f.tx.Prepare(insertJob)
	if err != nil {
		return 0, err
	}
	defer put.Close()
	for _, j := range f.jobs {
		if !j.Exists() || of != "" && j.Spec.Type != of {
			continue // its beginning was removed, or nobody asked
		}
		if _, err := put.Exec(jobRow(j)...); err != nil {
			return 0, fmt.Errorf("job %s.%s: %w", j.Org, j.ID, err)
		}
		n++
	}
	return n, nil
}

// jobRow is how a job stands, in the order of the table.
func jobRow(j *schemas.Job) []any {
	r := ledger.RecordOf(j)
	row := []any{string(r.Org), string(r.ID), string(r.Type), string(r.Queue), string(r.Priority), string(r.State), text(r.Reason),
		r.Generation, r.Attempt, r.AttemptsUsed, number(r.MaxAttempts), text(r.Owner), text(r.SubmittedBy),
		r.SubmittedAt.UTC().Format(timeForm), instant(r.NotBefore), instant(r.Deadline), instant(r.QueuedAt), instant(r.StartedAt),
		instant(r.FinishedAt), instant(r.RetryAt), text(r.Worker)}
	if e := r.Error; e != nil {
		row = append(row, string(e.Class), text(e.Code), e.Message)
	} else {
		row = append(row, nil, nil, nil)
	}
	var resolution any
	if r.Resolution != nil {
		resolution = string(r.Resolution.State)
	}
	return append(row, resolution, text(r.Batch), text(r.Key), jsonOf(r.Tags, len(r.Tags)), jsonOf(r.Parents, len(r.Parents)),
		jsonOf(r.Flags, len(r.Flags)), text(r.CorrelationID), text(r.CausationID), uint64(r.SubmittedSeq), uint64(r.Seq))
}

func text[T ~string](s *T) any {
	if s == nil {
		return nil
	}
	return string(*s)
}

func filled(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func number(n *int) any {
	if n == nil {
		return nil
	}
	return *n
}

func instant(t *time.Time) any {
	if t == nil {
		return nil
	}
	return t.UTC().Format(timeForm)
}

func jsonOf(v any, n int) any {
	if n == 0 {
		return nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // maps and lists of texts
	}
	return string(b)
}
