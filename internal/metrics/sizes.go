package metrics

import (
	"context"
	"sync"
	"time"

	"github.com/dartwing/jobledger/ledger"
)

const (
	// sizeEvery is how often the ledger's stream is asked how large it is.
	sizeEvery = 10 * time.Second
	// sizeTimeout bounds the question; what is not answered is not told.
	sizeTimeout = 2 * time.Second
	// sizeForgotten is when the last answer is no longer told.
	sizeForgotten = time.Minute
)

// sizes are the ledger's events and bytes, as its stream told last.
type sizes struct {
	asked time.Time // owned by look

	mu            sync.Mutex
	at            time.Time
	events, bytes uint64
}

// look asks, if it is time. It belongs to one goroutine.
func (s *sizes) look(ctx context.Context, l *ledger.Ledger) {
	if time.Since(s.asked) < sizeEvery {
		return
	}
	s.asked = time.Now()
	ctx, cancel := context.WithTimeout(ctx, sizeTimeout)
	defer cancel()
	stream, err := l.JetStream().Stream(ctx, ledger.StreamLedger)
	if err != nil {
		return // the next look tells
	}
	state := stream.CachedInfo().State
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at, s.events, s.bytes = time.Now(), state.Msgs, state.Bytes
}

// known returns what was told lately.
func (s *sizes) known() (events, bytes uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.events, s.bytes, !s.at.IsZero() && time.Since(s.at) < sizeForgotten
}
