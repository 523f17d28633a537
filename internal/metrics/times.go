package metrics

import (
	"slices"
	"sort"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// times tells when an event was stored from its sequence alone, without a map of events: exactly for the latest, to a
// tenth of a second for minutes, to a minute for days. An event of a job names the sequence of its submitted, so that is
// all it takes to know how long a job took.
type times struct {
	from   schemas.Seq // nothing at or before it is known
	recent [recentMax]mark
	fine   ladder
	coarse ladder
}

// mark says when the event of a sequence was stored, by the stream.
type mark struct {
	seq schemas.Seq
	at  int64 // ns
}

const (
	// recentMax is how many events are known exactly: a second of 8,000 events a second, 128 KiB.
	recentMax  = 8192 // a power of two
	fineStep   = 100 * time.Millisecond
	fineMax    = 4096 // seven minutes
	coarseStep = time.Minute
	coarseMax  = 8192 // five days and a half
)

func newTimes(from schemas.Seq) *times {
	return &times{from: from, fine: ladder{step: int64(fineStep), max: fineMax}, coarse: ladder{step: int64(coarseStep), max: coarseMax}}
}

// add notes an event; events come in order.
func (t *times) add(seq schemas.Seq, at int64) {
	t.recent[seq%recentMax] = mark{seq, at}
	t.fine.add(seq, at)
	t.coarse.add(seq, at)
}

// of returns when the event of a sequence was stored, or false for one that was not seen. Of one older than all that is
// kept it says when the oldest was.
func (t *times) of(seq schemas.Seq) (int64, bool) {
	if seq <= t.from {
		return 0, false
	}
	if m := t.recent[seq%recentMax]; m.seq == seq {
		return m.at, true
	}
	if at, ok := t.fine.of(seq); ok {
		return at, true
	}
	if at, ok := t.coarse.of(seq); ok {
		return at, true
	}
	if len(t.coarse.marks) == 0 {
		return 0, false
	}
	return t.coarse.marks[0].at, true
}

// ladder keeps marks that are at least a step apart, the newest max to 2 max.
type ladder struct {
	step  int64
	max   int
	marks []mark
}

func (l *ladder) add(seq schemas.Seq, at int64) {
	n := len(l.marks)
	if n > 0 && at < l.marks[n-1].at+l.step {
		return
	}
	if n >= 2*l.max {
		l.marks = slices.Delete(l.marks, 0, n-l.max)
	}
	l.marks = append(l.marks, mark{seq, at})
}

// of returns the time of the last mark at or before seq.
func (l *ladder) of(seq schemas.Seq) (int64, bool) {
	i := sort.Search(len(l.marks), func(i int) bool { return l.marks[i].seq > seq })
	if i == 0 {
		return 0, false
	}
	return l.marks[i-1].at, true
}
