package handlers

import (
	"slices"
	"testing"

	"github.com/dartwing/jobledger/ledger"
)

// What a batch saves before it has read what is there of its items, as when its server stops at once, says of them what the
// last checkpoint said: none that was never submitted is taken for one whose history was removed.
func TestBatchCheckpointBeforeRecovery(t *testing.T) {
	const n, generation = 4, 2
	spec := &ledger.BatchSpec{Items: make([]ledger.BatchItem, n)}
	run := func(checkpoint string) *batchRun {
		return newBatchRun(nil, "acme", "b", generation, spec, []byte(checkpoint))
	}
	lost := func(r *batchRun) (out []int) {
		for i := range r.s.Next {
			if r.s.lose(i, false) {
				out = append(out, i)
			}
		}
		return out
	}
	again := func(r *batchRun) *batchRun {
		t.Helper()
		saved, err := r.s.checkpoint()
		if err != nil {
			t.Fatal(err)
		}
		return run(string(saved))
	}
	for name, c := range map[string]struct {
		checkpoint string
		submitted  []int // that are not there any more, as far as the checkpoint says
	}{
		"of this version":          {`{"items":4,"next":3,"settled":"AA==","told":2,"waiting":"BA=="}`, []int{0, 1}},
		"of an earlier version":    {`{"items":4,"next":3,"settled":"AA=="}`, nil},
		"of the generation before": {`{"items":4,"next":3,"settled":"AA==","told":1,"waiting":"BA=="}`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got := lost(run(c.checkpoint)); !slices.Equal(got, c.submitted) {
				t.Errorf("lost are %v, want %v", got, c.submitted)
			}
			if got := lost(again(again(run(c.checkpoint)))); !slices.Equal(got, c.submitted) {
				t.Errorf("stopped twice before it was read, lost are %v, want %v", got, c.submitted)
			}
			r := run(c.checkpoint)
			r.s.setOpen(0)
			r.s.pending = []int{1, 2}
			r.s.known(generation)
			if got := lost(again(r)); !slices.Equal(got, []int{0}) {
				t.Errorf("once it was read, lost are %v, want those that were there, 0", got)
			}
		})
	}
}
