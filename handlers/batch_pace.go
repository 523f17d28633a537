package handlers

import (
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// paceStep is the stretch of time in which a pace is even: what a rate allows within it may go at once, the rest of
// the window is not used up at its beginning.
const paceStep = 100 * time.Millisecond

// pace lets a batch's items out: at most Count in any window of the rate, evenly. Items are counted when the ledger
// has answered, so that the times of the ledger keep the rate too. A nil rate lets out everything.
type pace struct {
	count, step  int // in a window; in a step
	window, each time.Duration
	out          []time.Time // of the items let out within the last window, oldest first; at most count
}

func newPace(r *schemas.Rate) *pace {
	if r == nil {
		return &pace{}
	}
	p := &pace{count: r.Count, window: r.PerMS.Duration()}
	p.step = max(1, int(time.Duration(p.count)*paceStep/p.window))
	p.each = p.window * time.Duration(p.step) / time.Duration(p.count)
	return p
}

// room is how many of n items may go now; where it is none, when the next one may.
func (p *pace) room(n int, now time.Time) (int, time.Time) {
	if p.count == 0 {
		return n, time.Time{}
	}
	for len(p.out) > 0 && now.Sub(p.out[0]) >= p.window {
		p.out = p.out[1:]
	}
	lately := 0 // within the step that ends now
	for i := len(p.out) - 1; i >= 0 && now.Sub(p.out[i]) < p.each && lately < p.step; i-- {
		lately++
	}
	if free := min(p.count-len(p.out), p.step-lately); free > 0 {
		return min(n, free), time.Time{}
	}
	var next time.Time
	if len(p.out) >= p.count {
		next = p.out[len(p.out)-p.count].Add(p.window)
	}
	if len(p.out) >= p.step {
		if even := p.out[len(p.out)-p.step].Add(p.each); even.After(next) {
			next = even
		}
	}
	return 0, next
}

// took counts n items that were let out, at the latest now.
func (p *pace) took(n int, now time.Time) {
	for ; n > 0 && p.count > 0; n-- {
		p.out = append(p.out, now)
	}
}
