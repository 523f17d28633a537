package ledger

import (
	"context"
	"sync"

	"github.com/dartwing/jobledger/schemas"
)

const (
	// aheadEvents and aheadBytes are how far the archiver reads beyond a stretch at least: a job that begins in it most often
	// ends there, and to ask for each of them would cost more than all else. What was read so is the next stretch's beginning.
	aheadEvents = 1 << 15
	aheadBytes  = 16 << 20
	// hotReads is how many jobs are read at a time that go on further behind.
	hotReads = 32
)

// lookahead is what was read of LEDGER and is part of no stretch yet.
type lookahead struct {
	first    schemas.Seq // everything from here to the last of messages is there
	life     uint64      // the ledger's, from before it was read
	messages []*rawMessage
}

// next returns the next messages from a sequence on: those that were read ahead, once, or else some from LEDGER.
func (a *Archiver) next(ctx context.Context, seq schemas.Seq) ([]*rawMessage, error) {
	have := a.ahead
	a.ahead = lookahead{}
	if have.first == seq && have.life == a.l.Life() && len(have.messages) > 0 {
		return have.messages, nil
	}
	return a.raw(ctx, seq)
}

// raw reads messages from LEDGER.
func (a *Archiver) raw(ctx context.Context, seq schemas.Seq) ([]*rawMessage, error) {
	batch, err := a.l.rawFrom(ctx, seq)
	messages := make([]*rawMessage, len(batch))
	for i := range batch {
		messages[i] = &batch[i]
		if a.clock != nil {
			messages[i].Time = a.clock(messages[i].Time)
		}
	}
	return messages, err
}

// lookAhead reads on behind a stretch, of which h was read already, and notes what belongs to its jobs.
func (a *Archiver) lookAhead(ctx context.Context, s *departure, bySubject map[string]*leavingPlace, h lookahead, rest *rester) error {
	bytes := 0
	for _, m := range h.messages {
		bytes += m.size()
	}
	for len(h.messages) < min(aheadEvents, a.cfg.SegmentEvents) && bytes < aheadBytes {
		rest.work()
		next := h.first
		if n := len(h.messages); n > 0 {
			next = h.messages[n-1].Seq + 1
		}
		batch, err := a.raw(ctx, next)
		if err != nil {
			return err
		}
		if len(batch) == 0 {
			break
		}
		for _, m := range batch {
			bytes += m.size()
		}
		h.messages = append(h.messages, batch...)
		if err := rest.rest(ctx); err != nil {
			return err
		}
	}
	for _, m := range h.messages {
		s.read = m.Seq
		if p := bySubject[m.Subject]; p != nil {
			p.ahead = append(p.ahead, m)
		}
	}
	a.ahead = h
	return nil
}

// hot returns all that LEDGER holds of jobs that go on behind what was read ahead; nil for others. last are their last messages
// there, else 0.
func (a *Archiver) hot(ctx context.Context, s *departure, places []*leavingPlace, last []schemas.Seq) ([][]*Entry, error) {
	hot, errs := make([][]*Entry, len(places)), make([]error, len(places))
	var wg sync.WaitGroup
	free := make(chan struct{}, hotReads)
	for i, p := range places {
		if last[i] == 0 || p.at.Job == "" || p.first > s.through {
			continue
		}
		free <- struct{}{}
		wg.Go(func() {
			hot[i], errs[i] = a.l.subject(ctx, p.at)
			<-free
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return hot, nil
}
