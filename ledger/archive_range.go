package ledger

import (
	"cmp"
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"

	"github.com/dartwing/jobledger/schemas"
)

// archiveRange reads a stretch of the archive, chunk by chunk. It belongs to one goroutine.
type archiveRange struct {
	a    *archive
	next schemas.Seq // to be handed out
	to   schemas.Seq
	org  schemas.OrgID
	fn   func([]*Entry) error
}

func (r *archiveRange) run(ctx context.Context) error {
	end := false
	for try := 0; !end; {
		c, err := r.a.refresh(ctx)
		if err != nil {
			return err
		}
		if try == 0 {
			r.to = min(r.to, c.through.Seq)
		}
		damage, err := r.pass(ctx, c)
		if err != nil {
			return err
		}
		if damage == nil {
			return nil
		}
		try++
		now, err := r.a.refresh(ctx)
		switch {
		case err != nil:
			return err
		case now.holds(damage.segment):
			return damage
		}
		r.a.forget(damage.segment) // it was removed while it was read
	}
	return nil
}

// pass goes through the chunks from next on. A damage is returned apart: the segment may be gone by now.
func (r *archiveRange) pass(ctx context.Context, c *catalog) (*damageError, error) {
	for _, k := range c.chunks {
		if k.through < r.next {
			continue
		}
		if k.from >= r.to {
			break
		}
		events, err := r.chunk(ctx, c, k)
		var damage *damageError
		if errors.As(err, &damage) {
			return damage, nil
		}
		if err != nil {
			return nil, err
		}
		for batch := range slices.Chunk(events, tailBatch) {
			entries, err := decodePaged(batch)
			if errors.As(err, &damage) {
				return damage, nil
			}
			if err != nil {
				return nil, err
			}
			if err := r.fn(entries); err != nil {
				return nil, err
			}
			r.next = entries[len(entries)-1].Seq + 1
		}
		r.next = max(r.next, k.through+1)
	}
	return nil, nil
}

// rangedEvent is an event with where it was found.
type rangedEvent struct {
	pagedEvent
	page *rangedPage
}

type rangedPage struct {
	segment *archiveSegment
	number  int
	at      schemas.Seq
}

func (p *rangedPage) damaged(err error) *damageError {
	return &damageError{segment: p.segment.ID, page: p.number, at: p.at, problem: err.Error()}
}

// chunk are the events of a chunk that are asked for, ascending.
func (r *archiveRange) chunk(ctx context.Context, c *catalog, k *chunk) ([]rangedEvent, error) {
	var events []rangedEvent
	for _, s := range k.segments {
		if s.Last < r.next || s.First > r.to {
			continue
		}
		numbers, x, err := r.numbers(ctx, s)
		if err != nil {
			return nil, err
		}
		if events == nil {
			events = make([]rangedEvent, 0, k.events())
		}
		gone := c.gone[s.ID]
		for window := range slices.Chunk(numbers, partsWindow) {
			contents, err := r.a.pages(ctx, s, x, window)
			if err != nil {
				return nil, err
			}
			for i, content := range contents {
				page := &rangedPage{segment: s, number: window[i], at: x.pages[window[i]].at[0]}
				err := walkPage(content, "", func(e pagedEvent) {
					if e.seq >= r.next && e.seq <= r.to && !(len(gone) > 0 && gone[keyOf(e.subject)]) {
						events = append(events, rangedEvent{pagedEvent: e, page: page})
					}
				})
				if err != nil {
					return nil, page.damaged(err)
				}
			}
		}
	}
	slices.SortFunc(events, func(a, b rangedEvent) int { return cmp.Compare(a.seq, b.seq) })
	return events, nil
}

// events are how many a chunk holds.
func (k *chunk) events() (n int) {
	for _, s := range k.segments {
		n += s.Events
	}
	return n
}

// numbers are the pages of a segment that have to be read.
func (r *archiveRange) numbers(ctx context.Context, s *archiveSegment) ([]int, *segmentIndex, error) {
	place := pageOrgs + string(r.org)
	if r.org != "" {
		f, err := r.a.filter(ctx, s, false)
		if err != nil || !f.may(keyOf(place)) {
			return nil, nil, err
		}
	}
	x, err := r.a.indexOf(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	numbers := x.between(r.next, r.to, s.First)
	if r.org != "" {
		numbers = slices.DeleteFunc(numbers, func(i int) bool { return x.pages[i].place != place })
	}
	return numbers, x, nil
}

// decodePaged decodes events in order; many are shared among a few processors, as decodeAll does.
func decodePaged(batch []rangedEvent) ([]*Entry, error) {
	entries := make([]*Entry, len(batch))
	decode := func(from, to int) error {
		var d pageDecoder
		for i := from; i < to; i++ {
			var err error
			if entries[i], err = d.entry(batch[i].pagedEvent); err != nil {
				return batch[i].page.damaged(err)
			}
		}
		return nil
	}
	workers := min(runtime.GOMAXPROCS(0), decodeWorkersMax, len(batch)/decodeShare)
	if workers < 2 {
		return entries, decode(0, len(batch))
	}
	share := (len(batch) + workers - 1) / workers
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() { errs[w] = decode(w*share, min((w+1)*share, len(batch))) })
	}
	wg.Wait()
	return entries, errors.Join(errs...)
}
