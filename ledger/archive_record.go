package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/dartwing/jobledger/schemas"
)

// What a record of CATALOG says.
const (
	// recordCommit: these segments are part of the archive, which reaches up to Through now.
	recordCommit = "commit"
	// recordRemove: these segments are no longer part of it; their time was over.
	recordRemove = "remove"
	// recordHide: what a removal to come hides, where one record has no room for all of it. It counts with that removal, and
	// is nothing without it.
	recordHide = "hide"
	// recordSweep: what these writers have left in ARCHIVE is nothing and goes. It moves the end of CATALOG, so that a
	// writer who still was at it finds its commit refused.
	recordSweep = "sweep"
	// recordHold: a legal hold was laid, or a longer retention set. It says nothing by itself: it moves the end of CATALOG, so that who decided
	// without it what to remove finds that refused.
	recordHold = "hold"

	recordVersion = 1
)

// archiveRecord is one message on catalogSubject, as JSON.
type archiveRecord struct {
	V    int    `json:"v"`
	Kind string `json:"kind"`
	ID   string `json:"id"`   // random: whose record this is
	Prev string `json:"prev"` // SHA-256 of the whole message before, "" of the first: the chain

	// Of a commit. From is where the archive ended before: it holds every message from there, exclusively, to Through.
	From      schemas.Seq      `json:"from,omitempty"`
	Through   schemas.Position `json:"through,omitzero"`
	ThroughAt time.Time        `json:"through_at,omitzero"` // stream time of the last message
	Segments  []archiveSegment `json:"segments,omitempty"`  // none if there was no message
	Tally     *archiveTally    `json:"tally,omitempty"`     // nil if an older version made the commit

	// Of a removal. At is when it was decided: what it removes stands in ARCHIVE for removeDelay still.
	At      time.Time        `json:"at,omitzero"`
	Removed []archiveRemoval `json:"removed,omitempty"`
	Reason  string           `json:"reason,omitempty"`
	Actor   string           `json:"actor,omitempty"` // <type>:<id> of who did it

	// Of what a removal to come hides: the segment that is to go, and what archiveRemoval.Earlier of it would say.
	For     string            `json:"for,omitempty"`
	Earlier map[string][]byte `json:"earlier,omitempty"`

	// Of a hold: the scope of the legal hold, or what has set a longer retention.
	Hold string `json:"hold,omitempty"`

	// Of a sweep: segments that no record named.
	Swept []string `json:"swept,omitempty"`
}

// archiveSegment describes a part of the archive that is written and removed as one: messages of one retention class.
type archiveSegment struct {
	ID    string `json:"id"`    // random; every message of it in ARCHIVE bears it
	Class string `json:"class"` // retention class (archiver_class.go)
	// Ended is when the last of its jobs was over; zero where the class is none of settings.
	Ended time.Time `json:"ended,omitzero"`
	// Since is when the first of its jobs was submitted; zero where that is not known of all.
	Since time.Time   `json:"since,omitzero"`
	First schemas.Seq `json:"first"` // ledger sequences
	Last  schemas.Seq `json:"last"`
	// Stream times, the least and the greatest.
	FirstAt time.Time `json:"first_at"`
	LastAt  time.Time `json:"last_at"`
	Events  int       `json:"events"`
	Jobs    int       `json:"jobs"`
	Bytes   int64     `json:"bytes"` // of the contents of its pages and its index
	Pages   int       `json:"pages"`
	// Messages of ARCHIVE, of pages and index, stand from Low to High; others may stand in between.
	Messages int           `json:"messages"`
	Low      schemas.Seq   `json:"low"`
	High     schemas.Seq   `json:"high"`
	Index    []schemas.Seq `json:"index"`      // where the index stands in ARCHIVE
	Size     int           `json:"index_size"` // bytes of the index's content
	Sum      string        `json:"sha256"`     // of the index's content, which names that of each page
	// The segment's two filters are one message of CATALOG, at Filter: first that of subjects that tell their own time,
	// Timed bytes of it, then that of all others and of the orgs.
	Filter    schemas.Seq `json:"filter"`
	Timed     int         `json:"filter_timed"`
	Other     int         `json:"filter_other"`
	FilterSum string      `json:"filter_sha256"` // of both
	// Made is the latest time that a job id in it tells, in Unix milliseconds, 0 if none does. It is by the clock of
	// whoever made the id, which may be ahead of the ledger's by any time.
	Made int64 `json:"made,omitempty"`
}

// archiveRemoval is what is kept of a segment that was removed.
type archiveRemoval struct {
	ID     string      `json:"id"`
	Class  string      `json:"class"`
	Ended  time.Time   `json:"ended,omitzero"`
	First  schemas.Seq `json:"first"`
	Last   schemas.Seq `json:"last"`
	Events int         `json:"events"`
	Jobs   int         `json:"jobs"`
	Sum    string      `json:"sha256"`
	// What is left to be deleted: messages of ARCHIVE from Low to High, the filter in CATALOG.
	Messages int         `json:"messages"`
	Low      schemas.Seq `json:"low"`
	High     schemas.Seq `json:"high"`
	Filter   schemas.Seq `json:"filter"`
	// How what it held is read until then: as archiveSegment says. Absent where an older version removed it.
	Index []schemas.Seq `json:"index,omitempty"`
	Size  int           `json:"index_size,omitempty"`
	Pages int           `json:"pages,omitempty"`
	// Earlier names, by segment, jobs of this one that have events in an earlier one which stays: from here on those
	// are no longer shown, for they would tell of a job that has not ended. Each is the hash of a subject, 8 bytes
	// little-endian.
	Earlier map[string][]byte `json:"earlier,omitempty"`
}

// errRecord: the bytes are no record of CATALOG that this version can read.
var errRecord = errors.New("it is no record of the archive's catalogue")

// encode returns the message.
func (r *archiveRecord) encode() ([]byte, error) {
	if err := r.validate(); err != nil {
		return nil, err
	}
	return json.Marshal(r)
}

// decodeRecord reads a record.
func decodeRecord(body []byte) (*archiveRecord, error) {
	var r archiveRecord
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, fmt.Errorf("%w: %w", errRecord, err)
	}
	return &r, r.validate()
}

// validate reports what no writer writes.
func (r *archiveRecord) validate() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", errRecord, fmt.Sprintf(format, args...))
	}
	if r.V != recordVersion {
		return bad("version %d, and this program reads %d", r.V, recordVersion)
	}
	if _, err := uuid.Parse(r.ID); err != nil {
		return bad("id %q", r.ID)
	}
	switch r.Kind {
	case recordCommit:
		if r.Through.Seq <= r.From {
			return bad("it goes from %d to %d", r.From, r.Through.Seq)
		}
		if !r.Tally.valid() {
			return bad("its tally is described wrongly")
		}
	case recordRemove:
		if len(r.Removed) == 0 || r.Reason == "" {
			return bad("it removes nothing, or does not say why")
		}
	case recordHold:
		if r.Hold == "" {
			return bad("it names no hold")
		}
	case recordHide:
		if r.For == "" || len(r.Earlier) == 0 {
			return bad("it hides nothing, or does not say for which removal")
		}
	case recordSweep:
		if len(r.Swept) == 0 {
			return bad("it sweeps nothing")
		}
	default:
		return bad("kind %q", r.Kind)
	}
	for i := range r.Segments {
		if err := r.Segments[i].validate(r.From, r.Through.Seq); err != nil {
			return err
		}
	}
	return nil
}

func (s *archiveSegment) validate(from, through schemas.Seq) error {
	_, idErr := uuid.Parse(s.ID)
	switch {
	case idErr != nil, !isSum(s.Sum), !isSum(s.FilterSum):
	case s.First <= from, s.Last < s.First, s.Last > through:
	case s.Events < 1, s.Pages < 1, s.Pages > segmentPagesMax, s.Messages < 2, s.Jobs < 0:
	case len(s.Index) == 0, s.Low == 0, s.High < s.Low:
	case s.Timed < 0, s.Other < 0, s.Size < 1, s.Filter == 0:
	default:
		return nil
	}
	return fmt.Errorf("%w: segment %q is described wrongly", errRecord, s.ID)
}

// sumOf is the SHA-256 of a message as records name it.
func sumOf(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

func isSum(s string) bool {
	_, err := hex.DecodeString(s)
	return err == nil && len(s) == 2*sha256.Size
}
