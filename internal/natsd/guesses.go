package natsd

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Whoever shows secrets that open nothing is slowed, and the log tells of all of them in one line a minute. What opens something is
// neither kept waiting nor sent away for what others of its address show.
const (
	// guessesFree is how many wrong secrets an address may show in guessWindow before its next ones are answered guessDelay later;
	// guessesHeld is how many answers of one address are held back at a time: beyond, a connection is ended without one.
	guessesFree = 10
	guessesHeld = 16
	guessWindow = time.Minute
	guessDelay  = time.Second
	// guessersMax bounds the addresses that are remembered; when they are that many all others are taken for one.
	guessersMax   = 4096
	otherGuessers = "others"
	// guessersTold is how many addresses a line of the log names, those with the most guesses.
	guessersTold = 3
)

// guesses counts wrong secrets by address.
type guesses struct {
	log *zap.Logger

	mu     sync.Mutex
	by     map[string]*guesser
	since  time.Time // of the last line in the log
	untold int
	waits  bool // a line is on its way
}

// guesser is an address that showed wrong secrets.
type guesser struct {
	since  time.Time // when its window began
	n      int       // in the window
	untold int       // since the last line in the log
	held   int
}

func newGuesses(log *zap.Logger) *guesses { return &guesses{log: log, by: map[string]*guesser{}} }

// addressOf is what guesses are counted by: an address, or the network of one with IPv6, whose owner has all of its addresses.
func addressOf(from net.Addr) string {
	at, err := netip.ParseAddrPort(from.String())
	if err != nil { // a pipe
		return from.Network()
	}
	a := at.Addr().Unmap()
	if a.Is6() {
		if p, err := a.WithZone("").Prefix(64); err == nil {
			return p.String()
		}
	}
	return a.String()
}

// crowded reports whether so many answers to an address are held back that a further wrong secret gets none.
func (g *guesses) crowded(from net.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	w := g.by[addressOf(from)]
	if w == nil && len(g.by) >= guessersMax {
		w = g.by[otherGuessers]
	}
	return w != nil && w.held >= guessesHeld
}

// wrong notes a wrong secret, and returns when it may be answered.
func (g *guesses) wrong(from net.Addr) {
	now := time.Now()
	g.mu.Lock()
	w := g.of(addressOf(from), now)
	if now.Sub(w.since) >= guessWindow {
		w.since, w.n = now, 0
	}
	w.n++
	w.untold++
	g.untold++
	g.tell(now)
	if w.n <= guessesFree || w.held >= guessesHeld {
		g.mu.Unlock()
		return
	}
	w.held++
	g.mu.Unlock()
	held := time.NewTimer(guessDelay)
	<-held.C
	g.mu.Lock()
	w.held--
	g.mu.Unlock()
}

// of is the count of an address. g.mu is held.
func (g *guesses) of(address string, now time.Time) *guesser {
	if w := g.by[address]; w != nil {
		return w
	}
	if len(g.by) >= guessersMax {
		for a, w := range g.by {
			if now.Sub(w.since) >= guessWindow && w.held == 0 && w.untold == 0 {
				delete(g.by, a)
			}
		}
	}
	if len(g.by) >= guessersMax {
		address = otherGuessers
		if w := g.by[address]; w != nil {
			return w
		}
	}
	w := &guesser{since: now}
	g.by[address] = w
	return w
}

// tell writes the line: the first one at once, and no other within a minute. g.mu is held.
func (g *guesses) tell(now time.Time) {
	if left := guessWindow - now.Sub(g.since); left > 0 {
		if !g.waits {
			g.waits = true
			time.AfterFunc(left, func() {
				g.mu.Lock()
				defer g.mu.Unlock()
				g.waits = false
				g.line(time.Now())
			})
		}
		return
	}
	g.line(now)
}

func (g *guesses) line(now time.Time) {
	var from []string
	for a, w := range g.by {
		if w.untold > 0 {
			from = append(from, a)
		}
	}
	slices.SortFunc(from, func(a, b string) int { return g.by[b].untold - g.by[a].untold })
	g.log.Warn("logins were refused", zap.Int("count", g.untold), zap.Int("addresses", len(from)), zap.Strings("most", from[:min(len(from), guessersTold)]))
	for _, a := range from {
		g.by[a].untold = 0
	}
	g.since, g.untold = now, 0
}
