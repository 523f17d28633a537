package ledger

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// A batch that reaches beyond the time that bounds a replay tells of what stands before it: who goes on behind the last
// sequence gets nothing twice.
func TestReplayTellsOfABatchThatEndsIt(t *testing.T) {
	t.Parallel()
	bound := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	batch := func(offsets ...time.Duration) (entries []*Entry) {
		for i, d := range offsets {
			entries = append(entries, &Entry{Event: &schemas.Event{Seq: schemas.Seq(i + 1), Time: bound.Add(d)}})
		}
		return entries
	}
	for name, tc := range map[string]struct {
		entries []*Entry
		handed  []schemas.Seq
		at      schemas.Seq // 0: nothing was told
		past    bool
	}{
		"all in bounds":                 {batch(-2, -1), []schemas.Seq{1, 2}, 2, false},
		"past in the batch":             {batch(-2, -1, clockStep+1), []schemas.Seq{1, 2}, 2, true},
		"past behind the clock's slack": {batch(-2, 1, clockStep+1), []schemas.Seq{1}, 1, true},
		"set back":                      {batch(-2, 1, -1, clockStep+1, -1), []schemas.Seq{1, 3}, 3, true},
		"past at once":                  {batch(clockStep+1, -1), nil, 0, true},
	} {
		var handed []schemas.Seq
		var at schemas.Seq
		q := ReplayQuery{To: ReplayBound{Time: bound}, Progress: func(seq, _ schemas.Seq) { at = seq }}
		err := q.handAll(tc.entries, func(e *Entry) error { handed = append(handed, e.Seq); return nil })
		if !slices.Equal(handed, tc.handed) || at != tc.at || errors.Is(err, errPast) != tc.past {
			t.Errorf("%s: handed out %v, told %d, %v; want %v, %d", name, handed, at, err, tc.handed, tc.at)
		}
	}
}
