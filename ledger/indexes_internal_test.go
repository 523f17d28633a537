package ledger

import (
	"slices"
	"testing"
	"time"
)

// Who waits for servers' indexes does not wait for one that is gone, as one that was started again under another name, but for
// one that is slow.
func TestIndexWaitGivesUpOnWhoIsGone(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	state := func(server string, serves bool) IndexState {
		s := IndexState{Server: server, Serves: serves}
		if serves {
			s.Seq = 9
		}
		return s
	}
	w := newIndexWait([]IndexState{state("a", false), state("slow", false), state("gone", false)}, 9, now)
	for i, states := range [][]IndexState{
		{state("a", true), state("slow", false), state("gone", false)},
		{state("a", true), state("slow", false), state("other", true)},
		{state("slow", false), state("other", true)},
		{state("slow", false), state("other", true)},
	} {
		now = now.Add(IndexGone / 2)
		if w.look(states, now) {
			t.Fatalf("look %d ends the wait for one that is slow: %+v", i, w.rebuilt())
		}
	}
	if !w.look([]IndexState{state("slow", true)}, now) {
		t.Errorf("the wait for %v does not end", w.heard)
	}
	if got := w.rebuilt(); got.Servers != 2 || !slices.Equal(got.Gone, []string{"gone"}) || got.Seq != 9 {
		t.Errorf("got %+v", got)
	}
}
