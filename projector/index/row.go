package index

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// rowForm is the first byte of a row's fold.
const rowForm = 1

// rest are the parts of a fold that few jobs have. They stand behind the others, as JSON.
type rest struct {
	Parents      []schemas.ParentRef `json:"parents,omitempty"`
	Override     *schemas.Override   `json:"override,omitempty"`
	ArgsRef      *schemas.ObjectRef  `json:"args_ref,omitempty"`
	ResultRef    *schemas.ObjectRef  `json:"result_ref,omitempty"`
	Progress     *schemas.Progress   `json:"progress,omitempty"`
	CancelBy     schemas.Actor       `json:"cancel_by,omitzero"`
	CancelReason string              `json:"cancel_reason,omitempty"`
	CancelForced bool                `json:"cancel_forced,omitempty"`
	DuplicateOf  *schemas.JobRef     `json:"duplicate_of,omitempty"`
	ResolvedBy   schemas.Actor       `json:"resolved_by,omitzero"`
	ResolvedAt   time.Time           `json:"resolved_at,omitzero"`
	Note         string              `json:"note,omitempty"`
}

// Marks of a row.
const (
	markCancelRequested = 1 << iota
	markUnreadable
	markFence
	markError
	markTags
	markRest
	markAgain
)

// appendRow writes what a record shows of j, and what Apply needs to go on: neither args nor result, nor what only the
// history tells. again: an earlier life of the job's id had a row before it.
func appendRow(b []byte, j *ledger.Job, again bool) ([]byte, error) {
	s := &j.Spec
	r := rest{Parents: s.Parents, Override: s.Override, ArgsRef: s.ArgsRef, ResultRef: j.ResultRef,
		CancelBy: j.CancelBy, CancelReason: j.CancelReason, CancelForced: j.CancelForced, DuplicateOf: j.DuplicateOf,
		ResolvedBy: j.ResolvedBy, ResolvedAt: j.ResolvedAt, Note: j.Note}
	if p := j.Progress; p != nil {
		r.Progress = &schemas.Progress{Percent: p.Percent, Message: p.Message}
	}
	marks := byte(0)
	mark := func(m byte, set bool) {
		if set {
			marks |= m
		}
	}
	mark(markCancelRequested, j.CancelRequested)
	mark(markUnreadable, j.Unreadable)
	mark(markFence, !j.Fence.IsZero())
	mark(markError, j.Error != nil)
	mark(markTags, s.Tags != nil)
	mark(markAgain, again)
	mark(markRest, !reflect.ValueOf(&r).Elem().IsZero())
	w := rowWriter{append(b, rowForm, marks)}
	w.id(string(j.ID))
	w.text(string(j.Org), string(s.Type), string(s.Queue), string(j.State), string(s.Priority), string(j.DeadReason), string(j.Resolution),
		s.Principal, s.Batch, s.Key, j.Worker, j.SubmittedBy.Type, j.SubmittedBy.ID)
	w.id(j.CausationID)
	w.id(j.CorrelationID)
	w.id(string(j.LastID))
	w.number(int64(j.Generation), int64(j.SubmittedSeq), int64(j.LastSeq-j.SubmittedSeq), int64(j.Attempt), int64(j.Used), int64(j.Illegal),
		int64(j.Policy.MaxAttempts), int64(j.Policy.TimeoutMS))
	w.times(j.SubmittedAt, j.QueuedAt, j.StartedAt, j.FinishedAt, j.RetryAt, j.NotBefore, j.Deadline)
	if !j.Fence.IsZero() {
		w.number(int64(j.Fence.Seq))
		w.id(string(j.Fence.ID))
	}
	if e := j.Error; e != nil {
		w.text(string(e.Class), e.Code, e.Message, e.Cause)
		w.number(int64(e.RemoteStatus))
	}
	if s.Tags != nil {
		w.number(int64(len(s.Tags)))
		for _, k := range slices.Sorted(maps.Keys(s.Tags)) {
			w.text(k, s.Tags[k])
		}
	}
	if marks&markRest != 0 {
		body, err := json.Marshal(&r)
		if err != nil {
			return nil, err
		}
		w.b = append(w.b, body...)
	}
	return w.b, nil
}

var errRow = errors.New("a row of the index cannot be read")

// rowAgain is what appendRow was told of an earlier life.
func rowAgain(b []byte) bool { return len(b) > 1 && b[1]&markAgain != 0 }

// readRow is the fold that appendRow wrote. It keeps nothing of b.
func readRow(b []byte) (*ledger.Job, error) {
	if len(b) < 2 || b[0] != rowForm {
		return nil, errRow
	}
	r := rowReader{text: string(b[2:])}
	marks := b[1]
	j := &ledger.Job{CancelRequested: marks&markCancelRequested != 0, Unreadable: marks&markUnreadable != 0}
	s := &j.Spec
	j.ID = schemas.JobID(r.id())
	j.Org, s.Type, s.Queue = schemas.OrgID(r.string()), schemas.TypeName(r.string()), schemas.QueueName(r.string())
	j.State, s.Priority = schemas.State(r.string()), schemas.Priority(r.string())
	j.DeadReason, j.Resolution = schemas.DeadReason(r.string()), schemas.Resolution(r.string())
	s.Principal, s.Batch, s.Key, j.Worker = r.string(), r.string(), r.string(), r.string()
	j.SubmittedBy.Type, j.SubmittedBy.ID = r.string(), r.string()
	j.CausationID, j.CorrelationID, j.LastID = r.id(), r.id(), schemas.EventID(r.id())
	j.Generation, j.SubmittedSeq = int(r.number()), schemas.Seq(r.number())
	s.Generation, j.SubmittedID = j.Generation, ""
	j.LastSeq = j.SubmittedSeq + schemas.Seq(r.number())
	j.Attempt, j.Used, j.Illegal = int(r.number()), int(r.number()), int(r.number())
	j.Policy.MaxAttempts, j.Policy.TimeoutMS = int(r.number()), schemas.Millis(r.number())
	r.times(&j.SubmittedAt, &j.QueuedAt, &j.StartedAt, &j.FinishedAt, &j.RetryAt, &j.NotBefore, &j.Deadline)
	if marks&markFence != 0 {
		j.Fence = schemas.Fence{Seq: schemas.Seq(r.number()), ID: schemas.EventID(r.id())}
	}
	if marks&markError != 0 {
		j.Error = &schemas.JobError{Class: schemas.ErrorClass(r.string()), Code: r.string(), Message: r.string(), Cause: r.string()}
		j.Error.RemoteStatus = int(r.number())
	}
	if marks&markTags != 0 {
		s.Tags = map[string]string{}
		for n := r.number(); n > 0 && !r.bad; n-- {
			k := r.string()
			s.Tags[k] = r.string()
		}
	}
	if marks&markRest != 0 && !r.bad {
		var rest rest
		if err := json.Unmarshal([]byte(r.text), &rest); err != nil {
			return nil, errors.Join(errRow, err)
		}
		s.Parents, s.Override, s.ArgsRef, j.ResultRef, j.Progress = rest.Parents, rest.Override, rest.ArgsRef, rest.ResultRef, rest.Progress
		j.CancelBy, j.CancelReason, j.CancelForced, j.DuplicateOf = rest.CancelBy, rest.CancelReason, rest.CancelForced, rest.DuplicateOf
		j.ResolvedBy, j.ResolvedAt, j.Note = rest.ResolvedBy, rest.ResolvedAt, rest.Note
	}
	if r.bad {
		return nil, errRow
	}
	return j, nil
}

// recordOf is the record of a list.
func recordOf(j *ledger.Job) ledger.Record {
	r := ledger.RecordOf(j)
	r.Args, r.Result, r.CheckpointBytes = nil, nil, nil
	if r.Progress != nil {
		r.Progress.Steps = nil
	}
	return r
}

type rowWriter struct{ b []byte }

func (w *rowWriter) number(ns ...int64) {
	for _, n := range ns {
		w.b = binary.AppendVarint(w.b, n)
	}
}

func (w *rowWriter) text(ts ...string) {
	for _, t := range ts {
		w.b = binary.AppendUvarint(w.b, uint64(len(t)))
		w.b = append(w.b, t...)
	}
}

// uuidLen is that of a UUID as text; idBinary stands before one as 16 bytes, 0 before any other text.
const (
	uuidLen  = 36
	idBinary = 0x7f
)

// id writes a text that is a UUID, most of the time.
func (w *rowWriter) id(s string) {
	var raw [16]byte
	if uuidBytes(s, &raw) {
		w.b = append(append(w.b, idBinary), raw[:]...)
		return
	}
	w.b = append(w.b, 0)
	w.text(s)
}

// uuidBytes reads a UUID in its canonical form, and no other.
func uuidBytes(s string, to *[16]byte) bool {
	if len(s) != uuidLen || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return false
	}
	for i := 0; i < uuidLen; i++ {
		if c := s[i]; c >= 'A' && c <= 'F' {
			return false
		}
	}
	at := 0
	for _, part := range [5][2]int{{0, 8}, {9, 13}, {14, 18}, {19, 23}, {24, 36}} {
		n, err := hex.Decode(to[at:], []byte(s[part[0]:part[1]]))
		if err != nil {
			return false
		}
		at += n
	}
	return true
}

func uuidText(raw string) string {
	var out [uuidLen]byte
	b := []byte(raw)
	hex.Encode(out[0:8], b[0:4])
	hex.Encode(out[9:13], b[4:6])
	hex.Encode(out[14:18], b[6:8])
	hex.Encode(out[19:23], b[8:10])
	hex.Encode(out[24:36], b[10:16])
	out[8], out[13], out[18], out[23] = '-', '-', '-', '-'
	return string(out[:])
}

// times writes times, the zero one as none; all but the first as what lies between.
func (w *rowWriter) times(first time.Time, others ...time.Time) {
	base := first.UnixNano()
	w.number(base)
	set := uint64(0)
	for i, t := range others {
		if !t.IsZero() {
			set |= 1 << i
		}
	}
	w.b = binary.AppendUvarint(w.b, set)
	for _, t := range others {
		if !t.IsZero() {
			w.number(t.UnixNano() - base)
		}
	}
}

// rowReader reads on from the beginning of text; bad once there was not enough. What it gives out are parts of one text.
type rowReader struct {
	text string
	bad  bool
}

func (r *rowReader) uvarint() uint64 {
	n, at := uint64(0), 0
	for shift := 0; at < len(r.text) && shift < 64; shift += 7 {
		c := r.text[at]
		at++
		n |= uint64(c&0x7f) << shift
		if c < 0x80 {
			r.text = r.text[at:]
			return n
		}
	}
	r.bad, r.text = true, ""
	return 0
}

func (r *rowReader) number() int64 {
	u := r.uvarint()
	n := int64(u >> 1)
	if u&1 != 0 {
		n = ^n
	}
	return n
}

func (r *rowReader) take(n uint64) string {
	if n > uint64(len(r.text)) {
		r.bad, r.text = true, ""
		return ""
	}
	s := r.text[:n]
	r.text = r.text[n:]
	return s
}

func (r *rowReader) string() string { return r.take(r.uvarint()) }

func (r *rowReader) id() string {
	if r.take(1) == string(rune(idBinary)) {
		if raw := r.take(16); !r.bad {
			return uuidText(raw)
		}
		return ""
	}
	return r.string()
}

func (r *rowReader) times(first *time.Time, others ...*time.Time) {
	base := r.number()
	*first = time.Unix(0, base).UTC()
	set := r.uvarint()
	for i, t := range others {
		if set&(1<<i) != 0 {
			*t = time.Unix(0, base+r.number()).UTC()
		}
	}
}
