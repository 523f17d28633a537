package dispatcher

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// loop owns the core until ctx ends.
func (h *Host) loop(ctx context.Context) {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	for {
		select {
		case b := <-h.entries:
			h.apply(b)
		case s := <-h.settled:
			h.settle(s)
		case b := <-h.beats:
			h.hear(b)
		case f := <-h.calls:
			f()
		case a := <-h.asks:
			h.explain(a)
		case <-tick.C:
			h.ticked()
		case <-ctx.Done():
			return
		}
		h.drain()
		h.decide()
	}
}

// drain takes what has come in meanwhile, so that one look at the core serves all of it.
func (h *Host) drain() {
	for range inFlightMax {
		select {
		case s := <-h.settled:
			h.settle(s)
		case b := <-h.beats:
			h.hear(b)
		default:
			return
		}
	}
}

func (h *Host) apply(b feedBatch) {
	if b.restart {
		h.restart()
		return
	}
	for _, e := range b.entries {
		if e.Err != nil {
			h.core.Skip(e.Event, errors.Is(e.Err, schemas.ErrUndecodable))
			continue
		}
		h.core.Apply(e.Event)
		switch d := e.Data.(type) {
		case *schemas.Submitted:
			if d.Generation == 1 {
				h.cache.put(e)
			}
		case *schemas.CellStarted:
			h.cell.Store(&d.Cell)
		}
		if at, ok := h.own[e.Seq]; ok {
			delete(h.own, e.Seq)
			h.measure(e.Time, at)
		}
	}
	h.wake()
}

// restart begins the fold anew; the epoch, if any, is over: its events may be gone.
func (h *Host) restart() {
	old := h.core
	h.core = NewCore(h.cfg.Times.Core)
	h.core.flown = old.flown // late settlements of the old core must name nothing in the new one
	h.core.clock = old.clock
	clear(h.own)
	h.cache.clear()
	h.ahead.clear()
	if l := h.lease.Load(); l != nil {
		l.lose("the ledger went back to older data")
	}
}

// measure learns the clock offset from an event of our own: stored before at, by this clock.
func (h *Host) measure(stream, at time.Time) {
	if time.Since(h.offset) >= time.Second {
		h.offset = time.Now()
		h.skew.Store(int64(stream.Sub(at)))
	}
}

// wake tells who waited for the fold's position.
func (h *Host) wake() {
	h.waits = slices.DeleteFunc(h.waits, func(w wait) bool {
		if h.core.Position() < w.seq {
			return false
		}
		close(w.done)
		return true
	})
}

// ownMax bounds the events waiting to be seen in the tail, for the clock offset alone.
const ownMax = 1024

func (h *Host) settle(s settlement) {
	h.core.Settle(s.d, s.r)
	switch {
	case s.r.Outcome == Failed:
		h.pauseTo = time.Now().Add(failPause)
	case s.r.Event != nil && len(h.own) < ownMax && s.r.Event.Seq > h.core.Position():
		h.own[s.r.Event.Seq] = s.at
	}
}

// ticked looks at the connection and publishes the status.
func (h *Host) ticked() {
	if up := h.l.Conn().IsConnected(); up == h.core.Paused() {
		if up {
			h.core.Resume(h.mono())
		} else {
			h.core.Pause(h.mono())
		}
	}
	h.saveIfDue()
	now := h.mono()
	maps.DeleteFunc(h.unanswered, func(_ schemas.SessionID, b heardBeat) bool { return now-b.at > answerAge })
	h.status.Store(&Status{Leading: h.core.Leading(), Epoch: h.core.epoch, Cell: *h.cell.Load(),
		Position: h.core.Position(), Core: h.core.Stats()})
}

// decide gives out what the core decides. A decision that finds no place here is in flight all the same
// only if it will be settled, so the core is asked for no more than fit.
func (h *Host) decide() {
	room := min(inFlightMax-h.core.InFlight(), cap(h.acts)-len(h.acts))
	l := h.lease.Load()
	if h.core.Leading() {
		// A process that was stopped finds out here, before anything is decided (DESIGN D6).
		if l == nil || !l.valid() || h.core.Paused() || time.Now().Before(h.pauseTo) {
			room = 0
		}
	}
	for _, d := range h.core.Decide(h.now(), h.mono(), room) {
		a := act{d: d, lease: l}
		if d.Kind < DecideRemove {
			h.acts <- a // there is room: only the loop sends
			continue
		}
		select {
		case h.acts <- a:
		default: // a hint: an offer left behind is found by the reconciler, a cancel told by the next answer
		}
	}
}

// heardBeat is a beat on its way to the loop.
type heardBeat struct {
	b       *ledger.Beat
	at      time.Duration // monotonic
	answer  func([]byte)
	ensured bool // its pairs' consumers exist
}

func (h *Host) hear(b heardBeat) {
	known := h.core.Knows(b.b.Session)
	if !b.ensured && !h.core.Beat(b.b, b.at) {
		h.log.Warn("too many sessions, a beat is not answered", zap.String("session", string(b.b.Session)))
		return
	}
	if l := h.lease.Load(); !h.core.Leading() || l == nil || !l.valid() {
		// Whoever leads answers; if that becomes this host, it need not wait for the next beats.
		h.unanswered[b.b.Session] = b
		return
	}
	h.respond(b, known)
}

// respond answers a beat. The first answer opens a worker's pulls, so its consumers must exist by then; one
// to a worker that pulls already does not wait for them.
func (h *Host) respond(b heardBeat, known bool) {
	missing := slices.DeleteFunc(slices.Clone(b.b.Serves), func(s ledger.Serves) bool { return h.ensured[s] })
	if len(missing) > 0 && !b.ensured {
		select {
		case h.ensures <- ensureRequest{pairs: missing, beat: b}:
		default:
		}
		if !known {
			return
		}
	}
	h.answer(b)
}

// answerAge is how long a beat that nobody answered may still be answered: a worker does not wait longer.
const answerAge = 2 * time.Second

// beginLeading is called when the fold has reached the epoch.
func (h *Host) beginLeading(epoch schemas.Seq) {
	h.core.Lead(epoch, h.mono())
	for _, id := range slices.Sorted(maps.Keys(h.unanswered)) {
		h.respond(h.unanswered[id], false)
	}
	clear(h.unanswered)
}
