package ledger

import (
	"math"
	"math/bits"
	"slices"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// Statistics of a counter: what happened lately to the jobs of one org, queue and type, as a pure fold of their events.
// Time is the stream's: a slot is that of its event's time, or the newest there is where the server's clock was set back. So
// a fold from zero, one that goes on from a document, and one of another server come to the same.
//
// Bounded: 60 minutes, 24 hours and 31 days of 64 bytes each, and six times ten minutes of histograms with a pair of numbers
// for each bucket that was hit: at most about 12 KiB for a counter that is busy at all times with durations all over, two to
// four for most, and a few hundred bytes for one that is hardly used.
const (
	StatMinutes = 60
	StatHours   = 24
	StatDays    = 31 // a month of usage, whichever
	statTens    = 6
	// StatsKeysMax is of how many counters there are statistics: of the first so many in ledger order. Those behind have
	// counts, and no statistics.
	StatsKeysMax = 16_384
)

// Stats are the statistics of one counter, or the sum of several.
type Stats struct {
	// After: of events up to here they know nothing. A fold that begins at a boundary of the archive does not read what is
	// before it; and where a foreign writer's event was taken for what it was not, they begin again.
	After   schemas.Seq
	Minutes []StatSlot // ascending; a slot in which nothing happened is not there
	Hours   []StatSlot
	Days    []StatSlot
	Tens    []StatTimes
}

// StatSlot is what happened in a minute, an hour or a day, of UTC.
type StatSlot struct {
	At                                                 int32 // its beginning since 1970, in its own unit
	Submitted, Started, Ended, Failed, Completed, Dead uint32
	RanMS, In, Out                                     int64
	// Jobs that wait and could run: before its first event, behind its last, and the most of them.
	WaitingFirst, WaitingLast, WaitingMax int32
}

// StatTimes are the durations of jobs and attempts that ended in ten minutes.
type StatTimes struct {
	At               int32 // its beginning since 1970, in ten minutes
	Wait, Run, Total Histogram
}

// Histogram counts durations in buckets, each of which reaches 2^(1/4) times as far as the one before, from a millisecond on:
// what it says of a quantile is off by 9 % at most, and below a millisecond by one.
type Histogram struct {
	N     uint64
	SumMS int64
	Hit   []HistogramBucket // ascending
}

// HistogramBucket is one that was hit.
type HistogramBucket struct {
	Bucket uint16
	N      uint32
}

// Add adds what an event at a stream time does, behind which so many jobs wait, and before which so many did.
func (s *Stats) Add(at time.Time, e *Sample, before, waiting int64) {
	unix := at.Unix()
	addSlot(&s.Minutes, int32(unix/60), StatMinutes, e, before, waiting)
	addSlot(&s.Hours, int32(unix/3600), StatHours, e, before, waiting)
	addSlot(&s.Days, int32(unix/86_400), StatDays, e, before, waiting)
	if !e.HasWait && !e.HasRun && !e.HasTotal {
		return
	}
	n := len(s.Tens)
	if ten := int32(unix / 600); n == 0 || s.Tens[n-1].At < ten {
		s.Tens = slices.DeleteFunc(s.Tens, func(t StatTimes) bool { return t.At <= ten-statTens })
		s.Tens = append(s.Tens, StatTimes{At: ten})
		n = len(s.Tens)
	}
	t := &s.Tens[n-1]
	t.Wait.add(e.Wait, e.HasWait)
	t.Run.add(e.Run, e.HasRun)
	t.Total.add(e.Total, e.HasTotal)
}

// Equal reports whether both say the same.
func (s *Stats) Equal(o *Stats) bool {
	sameTimes := func(a, b StatTimes) bool {
		return a.At == b.At && a.Wait.equal(&b.Wait) && a.Run.equal(&b.Run) && a.Total.equal(&b.Total)
	}
	return s.After == o.After && slices.Equal(s.Minutes, o.Minutes) && slices.Equal(s.Hours, o.Hours) && slices.Equal(s.Days, o.Days) && slices.EqualFunc(s.Tens, o.Tens, sameTimes)
}

func (h *Histogram) equal(o *Histogram) bool {
	return h.N == o.N && h.SumMS == o.SumMS && slices.Equal(h.Hit, o.Hit)
}

// addSlot adds to the slot of a time: the newest, or a new one, for which the oldest may have to go.
func addSlot(slots *[]StatSlot, at int32, limit int, e *Sample, before, waiting int64) {
	have := *slots
	n := len(have)
	if n == 0 || have[n-1].At < at {
		have = slices.DeleteFunc(have, func(x StatSlot) bool { return x.At <= at-int32(limit) })
		have = append(have, StatSlot{At: at, WaitingFirst: int32(before), WaitingMax: int32(before)})
		*slots, n = have, len(have)
	}
	x := &have[n-1]
	x.Submitted += one(e.Submitted)
	x.Started += one(e.Started)
	x.Ended += one(e.Ended)
	x.Failed += one(e.Failed)
	x.Completed += one(e.Completed)
	x.Dead += one(e.Dead)
	x.RanMS += e.RanMS
	x.In += e.In
	x.Out += e.Out
	x.WaitingLast, x.WaitingMax = int32(waiting), max(x.WaitingMax, int32(waiting))
}

func one(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}

// quarters are 2^(i/4) in 32 binary digits behind the point.
var quarters = [4]uint64{1 << 32, uint64(math.Exp2(32.25)), uint64(math.Exp2(32.5)), uint64(math.Exp2(32.75))}

// bucketOf is 0 below a millisecond, and else 1 for 1 to 2^(1/4) ms, and so on.
func bucketOf(d time.Duration) uint16 {
	ms := uint64(d / time.Millisecond)
	if ms == 0 {
		return 0
	}
	ms = min(ms, 1<<31) // 24 days
	e := bits.Len64(ms) - 1
	scaled := ms << 32 >> e // between 1 and 2
	i := 3
	for quarters[i] > scaled {
		i--
	}
	return uint16(1 + 4*e + i)
}

// bucketMS is the middle of a bucket.
func bucketMS(b uint16) float64 {
	if b == 0 {
		return 0.5
	}
	return math.Exp2((float64(b-1) + 0.5) / 4)
}

func (h *Histogram) add(d time.Duration, known bool) {
	if !known {
		return
	}
	h.N++
	h.SumMS += d.Milliseconds()
	h.hit(bucketOf(d), 1)
}

func (h *Histogram) hit(bucket uint16, n uint32) {
	i := len(h.Hit)
	for i > 0 && h.Hit[i-1].Bucket > bucket {
		i--
	}
	if i > 0 && h.Hit[i-1].Bucket == bucket {
		h.Hit[i-1].N += n
		return
	}
	h.Hit = slices.Insert(h.Hit, i, HistogramBucket{bucket, n})
}

// Merge adds another histogram.
func (h *Histogram) Merge(o *Histogram) {
	h.N += o.N
	h.SumMS += o.SumMS
	for _, b := range o.Hit {
		h.hit(b.Bucket, b.N)
	}
}

// Quantile is below which a part of the durations lies, from 0 to 1, in ms; nil if there are none.
func (h *Histogram) Quantile(part float64) *float64 {
	if h.N == 0 {
		return nil
	}
	rank, seen := uint64(math.Ceil(part*float64(h.N))), uint64(0)
	for _, b := range h.Hit {
		if seen += uint64(b.N); seen >= max(rank, 1) {
			ms := bucketMS(b.Bucket)
			return &ms
		}
	}
	return nil
}
