package gateway

import (
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// statUnit is a width of slots.
type statUnit struct {
	seconds int64
	slots   int
	of      func(*ledger.Stats) []ledger.StatSlot
}

var (
	minutes = statUnit{60, ledger.StatMinutes, func(s *ledger.Stats) []ledger.StatSlot { return s.Minutes }}
	hours   = statUnit{3600, ledger.StatHours, func(s *ledger.Stats) []ledger.StatSlot { return s.Hours }}
	days    = statUnit{86_400, ledger.StatDays, func(s *ledger.Stats) []ledger.StatSlot { return s.Days }}
)

func (u statUnit) at(t time.Time) int32    { return int32(t.Unix() / u.seconds) }
func (u statUnit) time(at int32) time.Time { return time.Unix(int64(at)*u.seconds, 0).UTC() }

// points are the sums of all counters for each slot up to now, also of those in which nothing happened.
func (f *figures) points(u statUnit, now time.Time) []StatPoint {
	out := make([]StatPoint, u.slots)
	first := u.at(now) - int32(u.slots) + 1
	for i := range out {
		out[i].Time = u.time(first + int32(i))
	}
	for i := range f.docs {
		d := &f.docs[i]
		slots := u.of(d.Stats)
		waiting := d.Waiting() // if nothing happened lately it has been so all the time
		if len(slots) > 0 {
			waiting = int64(slots[0].WaitingFirst)
		}
		for len(slots) > 0 && slots[0].At < first {
			waiting, slots = int64(slots[0].WaitingLast), slots[1:]
		}
		for k := range out {
			p := &out[k]
			if len(slots) == 0 || slots[0].At > first+int32(k) {
				p.Waiting, p.WaitingMax = p.Waiting+waiting, p.WaitingMax+waiting
				continue
			}
			s := &slots[0]
			slots = slots[1:]
			waiting = int64(s.WaitingLast)
			p.Submitted += int64(s.Submitted)
			p.Started += int64(s.Started)
			p.Ended += int64(s.Ended)
			p.Failed += int64(s.Failed)
			p.Completed += int64(s.Completed)
			p.DeadLettered += int64(s.Dead)
			p.Waiting += waiting
			p.WaitingMax += int64(s.WaitingMax)
		}
	}
	return out
}

// typeStats sums the counters of a type.
func typeStats(typ schemas.TypeName, docs []ledger.CountDocument, now time.Time) TypeStats {
	var sum ledger.StatTimes
	t := TypeStats{Type: typ}
	month := statUnit{days.seconds, 30, days.of}
	for i := range docs {
		s := docs[i].Stats
		for k := range s.Tens {
			if ten := &s.Tens[k]; int64(ten.At) > now.Unix()/600-6 {
				sum.Wait.Merge(&ten.Wait)
				sum.Run.Merge(&ten.Run)
				sum.Total.Merge(&ten.Total)
			}
		}
		t.Failures.Minute.add(minutes, 1, s, now)
		t.Failures.Hour.add(minutes, ledger.StatMinutes, s, now)
		t.Failures.Day.add(hours, ledger.StatHours, s, now)
		t.Failures.Month.add(month, month.slots, s, now)
	}
	run := durationsOf(&sum.Run)
	t.P50MS, t.P95MS, t.P99MS, t.AvgMS, t.Samples = run.P50MS, run.P95MS, run.P99MS, run.AvgMS, run.Samples
	t.Wait, t.Total, t.FailureRate = durationsOf(&sum.Wait), durationsOf(&sum.Total), t.Failures.Day.Rate
	return t
}

// add adds the attempts of the last so many slots, of which a minute has one more: that which is not over may have begun.
func (r *FailureRate) add(u statUnit, slots int, s *ledger.Stats, now time.Time) {
	first := u.at(now) - int32(slots) + 1
	if slots == 1 {
		first--
	}
	for _, x := range u.of(s) {
		if x.At >= first {
			r.Ended += int64(x.Ended)
			r.Failed += int64(x.Failed)
			r.DeadLettered += int64(x.Dead)
		}
	}
	if r.Ended > 0 {
		rate := float64(r.Failed) / float64(r.Ended)
		r.Rate = &rate
	}
}

func durationsOf(h *ledger.Histogram) Durations {
	d := Durations{P50MS: h.Quantile(0.5), P95MS: h.Quantile(0.95), P99MS: h.Quantile(0.99), Samples: int64(h.N)}
	if h.N > 0 {
		avg := float64(h.SumMS) / float64(h.N)
		d.AvgMS = &avg
	}
	return d
}
