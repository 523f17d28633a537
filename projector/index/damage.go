package index

import (
	"errors"
	"io/fs"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	// retryWait is the pause before the file is opened again after an error; it doubles with each that the file has no part
	// in, such as a full disk, up to retryWaitMax.
	retryWait, retryWaitMax = time.Second, time.Minute
	// failuresMax: a file that fails so often in a row is thrown away.
	failuresMax = 3
)

// errOutside: the ledger could not be asked, whatever is in the file.
var errOutside = errors.New("the index cannot read the ledger")

// trouble is what one session after the other ended with.
type trouble struct {
	failures int // of the file, in a row
	pause    time.Duration
}

// after takes note of how a session ended, and says whether the file is to be thrown away, and how long to wait.
func (t *trouble) after(err error, wrote bool) (anew bool, pause time.Duration) {
	if wrote {
		*t = trouble{}
	}
	var path *fs.PathError
	switch {
	case errors.Is(err, errAnew):
		*t = trouble{}
		return true, 0
	case errors.Is(err, errOutside), passing(err), errors.As(err, &path):
		t.pause = min(max(retryWait, 2*t.pause), retryWaitMax)
		return false, t.pause
	}
	if t.failures++; t.failures < failuresMax {
		return false, retryWait
	}
	*t = trouble{}
	return true, retryWait
}

// primary is the low byte of SQLite's codes: what kind of error it is.
const primary = 0xff

// sqliteCode is the kind of an error of SQLite's, or SQLITE_OK for any other.
func sqliteCode(err error) int {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return sqlite3.SQLITE_OK
	}
	return e.Code() & primary
}

// passing reports whether an error says nothing about what is in the file: it may be gone at the next try.
func passing(err error) bool {
	switch sqliteCode(err) {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_FULL:
		return true
	}
	return false
}
