package index

import (
	"errors"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

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
