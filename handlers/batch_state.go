package handlers

import (
	"encoding/json"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Bounds of what a batch tells of single items.
const (
	batchErrorsMax  = 20  // items that were refused, with why
	batchFailedMax  = 100 // ids of items that are dead letters
	batchErrorBytes = 300 // of one refusal's text
)

// bitset holds one bit an item.
type bitset []byte

func newBitset(n int) bitset { return make(bitset, (n+7)/8) }

func (b bitset) has(i int) bool { return b[i/8]&(1<<(i%8)) != 0 }

// put sets or clears a bit.
func (b bitset) put(i int, on bool) {
	if b[i/8] &^= 1 << (i % 8); on {
		b[i/8] |= 1 << (i % 8)
	}
}

func (b bitset) count() (n int) {
	for _, x := range b {
		n += bits.OnesCount8(x)
	}
	return n
}

// batchCounts are the ends of a batch's items.
type batchCounts struct {
	Completed    int `json:"completed"`
	Canceled     int `json:"canceled"`
	DeadLettered int `json:"dead_lettered"`
	Rejected     int `json:"rejected"` // not accepted, hence no job
	// Removed items were submitted, and their history was removed before the batch came to see how they ended.
	Removed int `json:"removed,omitempty"`
}

func (c *batchCounts) total() int {
	return c.Completed + c.Canceled + c.DeadLettered + c.Rejected + c.Removed
}

// BatchError is an item that was refused.
type BatchError struct {
	Item    int         `json:"item"` // its number, from 1
	Code    ledger.Code `json:"code"`
	Message string      `json:"message"`
}

// BatchResult is the result of a batch.
type BatchResult struct {
	Items int `json:"items"`
	batchCounts
	FailedIDs []schemas.JobID `json:"failed_ids"` // of the dead letters, the first that ended so
	Errors    []BatchError    `json:"errors"`     // of the rejected items, the first
}

// batchState is what is known of a batch's items. All that a restart needs of it is Settled with its counts: which of
// the others have been submitted the ledger knows, for their ids are derived and used once. It knows that only as long as
// it keeps their history: a batch that stood still for longer than that goes by Waiting.
type batchState struct {
	Items   int    `json:"items"`   // how many there are
	Next    int    `json:"next"`    // items from here on were never tried
	Settled bitset `json:"settled"` // items that have ended or were refused
	batchCounts
	Failed []int        `json:"failed,omitempty"`
	Errors []BatchError `json:"errors,omitempty"`
	// Told is the batch's generation if, of its items below Next, those that are neither settled nor Waiting had been submitted
	// in it. Earlier versions did not tell.
	Told    int    `json:"told,omitempty"`
	Waiting bitset `json:"waiting,omitempty"`

	read    bool   // which of the items below Next are there was read from the ledger: Told and Waiting are no longer those of the checkpoint
	given   bitset // submitted when the checkpoint was saved that the batch goes on from, and not settled; nil: not known
	open    bitset // submitted, as far as is known, and not settled
	nOpen   int
	pending []int // below Next, not settled, and to be submitted before those from Next on
	changes int   // submits and ends since the last checkpoint
}

// newBatchState begins, or goes on from a checkpoint; false if that is none of this batch's.
func newBatchState(n int, checkpoint json.RawMessage) (*batchState, bool) {
	s := &batchState{}
	ok := len(checkpoint) > 0 && json.Unmarshal(checkpoint, s) == nil &&
		len(s.Settled) == len(newBitset(n)) && s.Next >= 0 && s.Next <= n && s.Settled.count() == s.total() &&
		(len(s.Waiting) == 0 || len(s.Waiting) == len(s.Settled))
	if !ok {
		s = &batchState{Settled: newBitset(n)}
	}
	s.Items, s.open = n, newBitset(n)
	if s.Told > 0 {
		s.given = newBitset(n)
		for i := range s.Next {
			s.given.put(i, !s.Settled.has(i) && (len(s.Waiting) == 0 || !s.Waiting.has(i)))
		}
	}
	return s, ok
}

// known notes that all items below Next were looked for: those that were not there are pending.
func (s *batchState) known(generation int) {
	s.read, s.Told = true, generation
	s.given = nil // from here on what is not there has gone with a ledger that went back
}

// checkpoint is the state as it is saved. Before it is known what is there it says of that what the last one said.
func (s *batchState) checkpoint() (json.RawMessage, error) {
	if !s.read {
		return json.Marshal(s)
	}
	s.Waiting = nil
	for _, i := range s.pending {
		if s.Settled.has(i) || s.open.has(i) {
			continue
		}
		if s.Waiting == nil {
			s.Waiting = newBitset(s.Items)
		}
		s.Waiting.put(i, true)
	}
	return json.Marshal(s)
}

// lose counts an item whose history was removed; false: as far as is known, it was never submitted.
func (s *batchState) lose(i int, surely bool) bool {
	if !surely && (s.given == nil || !s.given.has(i)) {
		return false
	}
	if !s.Settled.has(i) {
		s.close(i)
		s.Removed++
	}
	return true
}

// batchSoFar is what a batch that did not complete came to, for its callback: as far as its last checkpoint says. Nil for
// one that has none.
func batchSoFar(j *ledger.Job) json.RawMessage {
	var s batchState
	if j.Spec.Type != ledger.BatchType || len(j.Checkpoint) == 0 || json.Unmarshal(j.Checkpoint, &s) != nil {
		return nil
	}
	result, err := json.Marshal(s.result(ledger.BatchItems(j.Org, j.ID, j.Generation), s.Items))
	if err != nil {
		return nil
	}
	return result
}

func (s *batchState) setOpen(i int) {
	if !s.open.has(i) && !s.Settled.has(i) {
		s.open.put(i, true)
		s.nOpen++
		s.changes++
	}
}

// settle counts an item's end; its first is the one that counts.
func (s *batchState) settle(i int, to schemas.State) {
	if s.Settled.has(i) {
		return
	}
	s.close(i)
	switch to {
	case schemas.StateCompleted:
		s.Completed++
	case schemas.StateCanceled:
		s.Canceled++
	case schemas.StateDeadLettered:
		s.DeadLettered++
		if len(s.Failed) < batchFailedMax {
			s.Failed = append(s.Failed, i)
		}
	}
}

// reject counts an item that was refused.
func (s *batchState) reject(i int, e *ledger.Error) {
	if s.Settled.has(i) {
		return
	}
	s.close(i)
	s.Rejected++
	if len(s.Errors) < batchErrorsMax {
		text := e.Message
		if e.Field != "" {
			text = e.Field + ": " + text
		}
		s.Errors = append(s.Errors, BatchError{Item: i + 1, Code: e.Code, Message: cut(text, batchErrorBytes)})
	}
}

func (s *batchState) close(i int) {
	if s.open.has(i) {
		s.open.put(i, false)
		s.nOpen--
	}
	s.Settled.put(i, true)
	s.changes++
}

// peek returns up to n items that take would return.
func (s *batchState) peek(n, items int) (out []int) {
	for _, i := range s.pending {
		if len(out) < n && !s.Settled.has(i) && !s.open.has(i) {
			out = append(out, i)
		}
	}
	for i := s.Next; len(out) < n && i < items; i++ {
		out = append(out, i)
	}
	return out
}

// take returns up to n items to submit next.
func (s *batchState) take(n, items int) (out []int) {
	for len(s.pending) > 0 && len(out) < n {
		if i := s.pending[0]; !s.Settled.has(i) && !s.open.has(i) {
			out = append(out, i)
		}
		s.pending = s.pending[1:]
	}
	for len(out) < n && s.Next < items {
		out = append(out, s.Next)
		s.Next++
	}
	return out
}

// giveBack puts items that could not be submitted yet in front.
func (s *batchState) giveBack(items []int) {
	s.pending = append(slices.Clone(items), s.pending...)
}

// left is how many items wait to be submitted, about.
func (s *batchState) left(items int) int { return len(s.pending) + items - s.Next }

func (s *batchState) openItems() (out []int) {
	for i := range s.Next {
		if s.open.has(i) {
			out = append(out, i)
		}
	}
	return out
}

// text is the joint progress for people, such as "812 of 1,000 done, 3 failed".
func (s *batchState) text(items int) string {
	out := fmt.Sprintf("%s of %s done", thousands(s.total()), thousands(items))
	for _, part := range []struct {
		n    int
		what string
	}{{s.DeadLettered, "failed"}, {s.Canceled, "canceled"}, {s.Rejected, "rejected"},
		{s.Removed, "removed"}} {
		if part.n > 0 {
			out += fmt.Sprintf(", %s %s", thousands(part.n), part.what)
		}
	}
	return out
}

func (s *batchState) progress(items int, note string) schemas.Progress {
	p := schemas.Progress{Percent: 100 * s.total() / items, Message: s.text(items)}
	if note != "" {
		p.Message += "; " + note
	}
	return p
}

func (s *batchState) result(prefix string, items int) BatchResult {
	r := BatchResult{Items: items, batchCounts: s.batchCounts, FailedIDs: []schemas.JobID{}, Errors: s.Errors}
	for _, i := range s.Failed {
		r.FailedIDs = append(r.FailedIDs, ledger.BatchItemID(prefix, i))
	}
	if r.Errors == nil {
		r.Errors = []BatchError{}
	}
	return r
}

// thousands writes a number that is not negative as 12,345.
func thousands(n int) string {
	digits := strconv.Itoa(n)
	var out strings.Builder
	for i, c := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			out.WriteByte(',')
		}
		out.WriteRune(c)
	}
	return out.String()
}
