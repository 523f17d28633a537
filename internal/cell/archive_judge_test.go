//go:build unix

package cell_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// history is the one history out of archive and ledger.
type history struct {
	end       schemas.Seq
	seqs      []schemas.Seq
	first     map[schemas.JobID]schemas.EventName
	submitted map[schemas.JobID]int
	running   map[attemptKey]int
	state     map[schemas.JobID]*ledger.Job
	sum       [sha256.Size]byte // of all that acme keeps
}

// replay reads all up to an end, 0 for what there is.
func (s *archiveStorm) replay(end schemas.Seq) *history {
	s.t.Helper()
	h := &history{first: make(map[schemas.JobID]schemas.EventName), submitted: make(map[schemas.JobID]int), running: make(map[attemptKey]int), state: make(map[schemas.JobID]*ledger.Job)}
	ids, sum := make(map[schemas.EventID]schemas.Seq), sha256.New()
	err := s.l.Replay(s.t.Context(), ledger.ReplayQuery{To: ledger.ReplayBound{Seq: end}}, func(e *ledger.Entry) error {
		if e.Seq <= h.end || e.Err != nil {
			s.t.Errorf("event %d follows %d: %v", e.Seq, h.end, e.Err)
		}
		if at, ok := ids[e.ID]; ok {
			s.t.Errorf("event %d is event %d once more", e.Seq, at)
		}
		h.end, ids[e.ID] = e.Seq, e.Seq
		h.seqs = append(h.seqs, e.Seq)
		if e.Org != brief {
			fmt.Fprintf(sum, "%d %s %s %s %x\n", e.Seq, e.ID, e.RawSubject, e.Time, sha256.Sum256(e.Body))
		}
		if e.Job != "" {
			h.take(s.t, e)
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	sum.Sum(h.sum[:0])
	return h
}

// after is how many events are behind a sequence.
func (h *history) after(seq schemas.Seq) int64 {
	at, _ := slices.BinarySearch(h.seqs, seq+1)
	return int64(len(h.seqs) - at)
}

func (h *history) take(t *testing.T, e *ledger.Entry) {
	j := h.state[e.Job]
	if j == nil {
		j = &ledger.Job{Org: e.Org, ID: e.Job}
		h.state[e.Job], h.first[e.Job] = j, e.Name()
	}
	if began := h.first[e.Job]; began != schemas.EventSubmitted && began != schemas.EventCarried && e.Org == brief {
		return // its beginning is past its retention
	}
	if !e.ApplyTo(j) {
		t.Errorf("event %d (%s) of %s is illegal", e.Seq, e.Name(), e.Job)
	}
	switch d := e.Data.(type) {
	case *schemas.Submitted:
		h.submitted[e.Job]++
	case *schemas.Running:
		h.running[attemptKey{e.Job, d.Generation, d.Attempt}]++
	}
}

// judge holds the history, as it is now and once all of it is in the archive, to what the test itself knows.
func (s *archiveStorm) judge() {
	s.t.Helper()
	before := s.replay(0)
	archivedPast(s.t, s.l)
	h := s.replay(before.end)
	if h.sum != before.sum || h.end != before.end {
		s.t.Errorf("a replay to %d is another one once all of that is in the archive", before.end)
	}
	for org, ids := range s.acked {
		for _, id := range ids {
			j, n := h.state[id], h.submitted[id]
			if org == acme && (n != 1 || j.State != schemas.StateCompleted) || n > 1 {
				s.t.Errorf("%s.%s was acknowledged; it was submitted %d times and is %+v", org, id, n, j)
			}
		}
	}
	if n := len(s.acked[acme]) + len(s.acked[brief]); len(h.state) > n {
		s.t.Errorf("%d jobs are there, %d were acknowledged", len(h.state), n)
	}
	for k, n := range s.starts {
		if n != 1 {
			s.t.Errorf("attempt %v was started %d times", k, n)
		}
		if j := h.state[k.id]; j == nil || j.Org == brief {
			continue
		}
		if h.running[k] != 1 {
			s.t.Errorf("attempt %v was started, and has %d running events", k, h.running[k])
		}
	}
	for k, n := range h.running {
		if n != 1 {
			s.t.Errorf("attempt %v has %d running events", k, n)
		}
	}
	s.verify()
}

// verify has the checker compare all that is there with the views, and counts: every sequence is in one segment, which is
// there or was removed, or in LEDGER.
func (s *archiveStorm) verify() {
	s.t.Helper()
	end, err := s.l.End(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	c := &gateway.Client{Conn: s.nc, Org: acme, Timeout: time.Second}
	until(s.t, "the views", func() bool {
		_, err := c.Count(s.t.Context(), gateway.CountRequest{MinSeq: end.Seq})
		return err == nil
	})
	v, err := ledger.Verify(s.t.Context(), ledger.VerifyConfig{Ledger: s.connect(), Full: true})
	text, _ := json.Marshal(v)
	if err != nil || !v.OK || v.Problems.View == nil || v.Problems.Count == nil || v.Problems.Offer == nil {
		s.t.Fatalf("the checker: %s, %v", text, err)
	}
	state, err := s.l.Archived(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	if int64(state.Through.Seq) != state.Events+state.RemovedEvents {
		s.t.Errorf("the archive ends at %d: %d events are in its segments, and %d were in those removed", state.Through.Seq, state.Events, state.RemovedEvents)
	}
	h := s.replay(0)
	if hot := h.after(state.Through.Seq); hot != int64(h.end-state.Through.Seq) {
		s.t.Errorf("%d events are behind the archive's end at %d, up to %d", hot, state.Through.Seq, h.end)
	}
	s.t.Logf("figures: %d events of %d jobs were stored; %d are in %d segments, %d were in %d that were removed", h.end,
		len(s.acked[acme])+len(s.acked[brief]), state.Events, state.Segments, state.RemovedEvents, state.Removed)
}
