package ledger

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

const (
	// paceBytes a second are what a paced read takes of a ledger that others write to: some 20,000 events. At full speed it
	// takes both processors of a small machine, and a submit waits for its turn (docs/PERFORMANCE.md has the figures).
	paceBytes = 8 << 20
	// paceEventBytes is about what an event occupies beside its body.
	paceEventBytes = 256
	// paceQuiet is for how long nothing must have been appended for the ledger to count as idle.
	paceQuiet = 2 * time.Second
	// paceLook is how often a paced read looks whether others write.
	paceLook = 250 * time.Millisecond
)

// pacer keeps a long read from slowing those down who write meanwhile: it reads at full speed only while nobody does. From
// LEDGER the server itself sends slowly, evenly; from ARCHIVE the reader pauses. The nil pacer is full speed always.
type pacer struct {
	l    *Ledger
	busy atomic.Bool
	stop context.CancelFunc
}

// pace begins to look whether others write, until close.
func (l *Ledger) pace(ctx context.Context) *pacer {
	ctx, stop := context.WithCancel(ctx)
	p := &pacer{l: l, stop: stop}
	p.busy.Store(true)
	p.look(ctx)
	go func() {
		look := time.NewTicker(paceLook)
		defer look.Stop()
		for {
			select {
			case <-look.C:
				p.look(ctx)
			case <-ctx.Done():
				return
			}
		}
	}()
	return p
}

func (p *pacer) close() {
	if p != nil {
		p.stop()
	}
}

// look compares the server's clock with when the last event was stored. Who gets no answer takes the ledger for busy.
func (p *pacer) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	s, err := p.l.js.Stream(ctx, StreamLedger)
	if err != nil {
		p.busy.Store(true)
		return
	}
	info := s.CachedInfo()
	p.busy.Store(info.TimeStamp.Sub(info.State.LastTime) < paceQuiet)
}

// bits a second is what the server may send; 0: as much as it can.
func (p *pacer) bits() uint64 {
	switch {
	case p == nil || !p.busy.Load():
		return 0
	case p.l.nc.MaxPayload() < schemas.ArgsMax+2*messageRoom:
		// The server's limiter lets max_payload through at once, and waits for ever with a message that is larger, such as one
		// that was stored when max_payload was more.
		return 0
	}
	return paceBytes * 8
}

// pause waits for as long as these entries may take to read.
func (p *pacer) pause(ctx context.Context, entries []*Entry) error {
	if p.bits() == 0 {
		return nil
	}
	size := len(entries) * paceEventBytes
	for _, e := range entries {
		size += len(e.Body)
	}
	if !sleep(ctx, time.Duration(size)*time.Second/paceBytes) {
		return ctx.Err()
	}
	return nil
}

// repace lets the server send at another speed from now on. If that cannot be had, the consumer is given up for a new one.
func (t *tail) repace(ctx context.Context) {
	bits := t.pace.bits()
	if bits == t.src.cfg.RateLimit {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, tailOpenTimeout)
	defer cancel()
	cfg := t.src.cfg
	cfg.RateLimit = bits
	if _, err := t.l.js.UpdatePushConsumer(ctx, StreamLedger, cfg); err != nil {
		t.drop()
		return
	}
	t.src.cfg = cfg
}
