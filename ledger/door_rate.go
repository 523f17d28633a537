package ledger

import (
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// bucketsMax bounds the buckets of an org; one beyond it begins anew.
const bucketsMax = 1000

// bucket is a token bucket of submits. It begins full. What other doors let in is taken out once COUNTS
// shows it.
type bucket struct {
	rate   schemas.Rate
	tokens float64
	at     time.Time // when tokens was true, by this process's clock
	// By COUNTS, since the bucket began: all submits minus ours are others'.
	known  bool
	base   int64
	own    int64
	others int64
}

// bucket returns the org's bucket of a type, or its own, at its present rate.
func (d *orgDoor) bucket(typ schemas.TypeName, rate schemas.Rate, now time.Time) *bucket {
	b := d.buckets[typ]
	if b == nil {
		if len(d.buckets) >= bucketsMax {
			clear(d.buckets)
		}
		b = &bucket{rate: rate, tokens: float64(rate.Count), at: now}
		if d.counts != nil {
			b.saw(d.counts.submitted(typ))
		}
		d.buckets[typ] = b
	}
	if b.rate != rate {
		b.fill(now)
		b.rate = rate
	}
	return b
}

// fill adds what has come in since.
func (b *bucket) fill(now time.Time) {
	per := b.rate.PerMS.Duration().Seconds()
	b.tokens = min(b.tokens+now.Sub(b.at).Seconds()*float64(b.rate.Count)/per, float64(b.rate.Count))
	b.at = now
}

// take takes a token, or says how long until there is one.
func (b *bucket) take(now time.Time) time.Duration {
	b.fill(now)
	b.tokens = min(b.tokens, float64(b.rate.Count))
	if b.tokens >= 1 {
		b.tokens--
		b.own++
		return 0
	}
	missing := (1 - b.tokens) * b.rate.PerMS.Duration().Seconds() / float64(b.rate.Count)
	return max(time.Duration(missing*float64(time.Second)), time.Millisecond)
}

// back returns a token that was not used.
func (b *bucket) back() {
	b.tokens++
	b.own--
}

// saw takes out what came in through other doors, by the number of jobs that COUNTS has. Where jobs leave the view
// the number falls, and less is taken out.
func (b *bucket) saw(jobs int64) {
	if !b.known {
		b.known, b.base = true, jobs-b.own
		return
	}
	if others := jobs - b.base - b.own; others > b.others {
		b.tokens -= float64(others - b.others)
		b.others = others
	}
}
