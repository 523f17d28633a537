package ledger

import (
	"context"
	"errors"

	"github.com/dartwing/jobledger/schemas"
)

// The archiver tallies what leaves (Tally): each job of the stretch is folded from where it stood before, and what its
// messages move is kept until it is known which of them leave. A job that the stretch does not begin is read from LEDGER
// and ARCHIVE, which it has to be anyway to be judged.

// begunHere reports that nothing of a job stands before its first messages in the stretch that they have to be counted upon:
// they begin it, or its whole state is in the first one.
func begunHere(entries []*Entry) bool {
	for _, e := range entries {
		if errors.Is(e.Err, schemas.ErrForeign) {
			continue
		}
		switch d := e.Data.(type) {
		case *schemas.Carried:
			return e.Err == nil
		case *schemas.Submitted:
			return e.Err == nil && e.First && d.From == schemas.StateNone && d.Generation == 1
		}
		return false
	}
	return false
}

// count folds the messages of a place that stand up to a sequence upon the job before them, nil if there was none, and
// keeps what they move. It makes j the job behind them.
func (p *leavingPlace) count(j, base *Job, entries []*Entry, through schemas.Seq) {
	if *j = (Job{Org: p.at.Org, ID: p.at.Job}); base != nil {
		*j = *clone(base)
	}
	p.base, p.moves, p.counted = base, p.moves[:0], true
	p.noteTypes(entries)
	for _, e := range entries {
		if e.Seq > through {
			break
		}
		m := Counted(j, e.Event, e.Err)
		last := len(p.moves) - 1
		if last >= 0 && p.moves[last].Is == m.Was { // one step after the other
			p.moves[last].Is = m.Is
			p.moves[last].Quarantined += m.Quarantined
			p.moves[last].Illegal += m.Illegal
			continue
		}
		p.moves = append(p.moves, m)
	}
	p.note(j)
}

// countPlace counts the messages of a place up to a sequence and returns the job behind them, which is good until the next place is
// counted; whole is false if it is known as far as that needs only.
func (a *Archiver) countPlace(ctx context.Context, s *departure, p *leavingPlace, through schemas.Seq) (_ *Job, whole bool, err error) {
	entries, j := a.decoder.decode(p.at, p.messages), &a.counted
	if begunHere(entries) {
		p.count(j, nil, entries, through)
		return j, true, nil
	}
	base := p.base
	if base == nil {
		base = a.kept.of(p.at, p.subject, entries)
	}
	if base == nil {
		if base, err = a.l.FoldBefore(ctx, p.at.Org, p.at.Job, p.first); err != nil {
			return nil, false, err
		}
	}
	p.count(j, base, entries, through)
	return j, false, nil
}

// tally is what leaves with the stretch does to the counts.
func (a *Archiver) tally(ctx context.Context, s *departure) (*Tally, error) {
	t := &Tally{Counts: make(Counts)}
	for _, p := range s.places {
		if p.first > s.through {
			break // all that follow begin behind the end of the stretch
		}
		if p.at.Job == "" {
			for _, e := range p.entries() {
				if e.Err != nil && e.Seq <= s.through {
					t.Quarantined++
				}
			}
			continue
		}
		if err := a.countLeaving(ctx, s, p); err != nil {
			return nil, err
		}
		for _, m := range p.moves {
			t.Count(m)
		}
	}
	return t, nil
}

// countLeaving counts the messages of a place that leave, where judging it did not or counted too many.
func (a *Archiver) countLeaving(ctx context.Context, s *departure, p *leavingPlace) error {
	if p.counted && p.last <= s.through {
		return nil
	}
	_, _, err := a.countPlace(ctx, s, p, s.through)
	return err
}
