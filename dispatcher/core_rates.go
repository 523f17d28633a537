package dispatcher

// A rate is a token bucket on stream time: it holds Count tokens, each start takes one, and Count come back in PerMS
// . All there is to remember is when it would be full again. It is refilled by the times of queued events, so
// every fold of the ledger agrees on it; a leader takes a token when it decides, a moment before. Across a change of
// leader no more starts are overshot than decisions were in flight. A job that comes back to Queued by itself (lost,
// released) takes no token: it has started already.

// interval is the time in which one token comes back.
func (g *gate) interval() int64 {
	return max(1, int64(g.rate.PerMS.Duration())/int64(g.rate.Count))
}

// nextStart is the stream time from which the bucket holds a token.
func (g *gate) nextStart() int64 { return g.full - int64(g.rate.Count-1)*g.interval() }

// take takes a token at a stream time.
func (g *gate) take(at int64) { g.full = max(g.full, at) + g.interval() }
