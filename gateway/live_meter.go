package gateway

import (
	"sync/atomic"
	"time"
)

// How followers of the live feed come.
const (
	TransportNATS = "nats"
	TransportSSE  = "sse"
	transportGo   = "go" // of this process itself
)

// liveMeter counts the followers that have come by one transport.
type liveMeter struct {
	subscriptions, published, delivered atomic.Int64
}

// LiveUse is how many follow by one transport, and what they were told since the server started.
type LiveUse struct {
	Transport            string
	Subscriptions        int64
	Published, Delivered int64 // events that matched, and those of them that were written
}

// Use tells how the feed is used.
func (v *Live) Use() []LiveUse {
	out := make([]LiveUse, 0, len(v.meters))
	for _, name := range []string{TransportNATS, TransportSSE, transportGo} {
		m := v.meters[name]
		out = append(out, LiveUse{name, m.subscriptions.Load(), m.published.Load(), m.delivered.Load()})
	}
	return out
}

// Observe has told called with how long each event that is written was on its way. It is set before Run.
func (v *Live) Observe(told func(transport string, took time.Duration)) { v.latency = told }

// delivered notes that events were written to their follower.
func (s *Subscription) delivered(events []*LiveEvent) {
	s.meter().delivered.Add(int64(len(events)))
	if s.v.latency == nil {
		return
	}
	now := time.Now()
	for _, ev := range events {
		if ev.Push == PushStatus { // others have no time of the ledger's clock, or a person's pace
			s.v.latency(s.r.transport, now.Sub(ev.Time))
		}
	}
}

func (s *Subscription) meter() *liveMeter { return s.v.meters[s.r.transport] }
