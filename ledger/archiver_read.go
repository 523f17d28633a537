package ledger

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// behindMax is how many subjects one request asks about: the server takes no append for the half of a millisecond in which it looks.
const behindMax = 512

// fewMessages is how many messages most jobs have.
const fewMessages = 4

// departure is a part of LEDGER that is to leave in one step. It waits in memory: segmentBytesMax and its frame.
type departure struct {
	from     schemas.Seq // where the archive ends
	first    schemas.Seq // the first message
	last     schemas.Seq // the last of messages
	read     schemas.Seq // the last that was read, ahead of the stretch; last if none was
	through  schemas.Seq // the last that may leave
	end      bool        // nothing behind it is old enough
	messages []*rawMessage
	places   []*leavingPlace // by their first message
	held     *ArchiverHeld   // why through is before last
}

// leavingPlace is what a stretch holds of one subject.
type leavingPlace struct {
	subject     string
	at          schemas.Subject
	first, last schemas.Seq
	messages    []*rawMessage
	ahead       []*rawMessage // behind the stretch, as far as that was read
	// carry is the job to be carried; nil if that is not needed.
	carry *Job
	life  uint64 // the ledger's from before that was read
	classified

	counted bool   // moves is what all its messages in the stretch do to the counts
	moves   []Move // most have one
	base    *Job   // before the stretch; nil: nowhere, or the stretch tells it
	later   bool   // LEDGER holds messages of it behind the stretch

	submitted schemas.Seq // of the job at the end of what was counted
	rest      *restOf     // what of it is to be kept; nil if it is no job
}

// hold ends the stretch before a message.
func (s *departure) hold(p *leavingPlace, why string) {
	if p.first > s.through {
		return
	}
	s.through = p.first - 1
	s.held = &ArchiverHeld{Subject: p.subject, Seq: p.first, Why: why, Since: p.messages[0].Time}
}

// read reads the next stretch; nil if there is none that may leave.
func (a *Archiver) read(ctx context.Context, from schemas.Seq, cut cutoff, rest *rester) (*departure, error) {
	s := &departure{from: from}
	bySubject := make(map[string]*leavingPlace)
	bytes, life := 0, a.l.Life()
	var behind []*rawMessage // read, but not of this stretch
	for next := from + 1; len(s.messages) < a.cfg.SegmentEvents && bytes < segmentBytesMax && !s.end; {
		rest.work()
		batch, err := a.next(ctx, next)
		if err != nil {
			return nil, err
		}
		if len(s.messages) == 0 && len(batch) > 0 {
			if ripe, err := a.ripe(ctx, batch[0], cut); err != nil || !ripe {
				return nil, err
			}
			if still, err := a.stillHeld(ctx, batch[0]); err != nil || still {
				return nil, err
			}
			if err := rest.look(ctx, a, batch[0].Seq, cut.before); err != nil {
				return nil, err
			}
		}
		s.end = len(batch) == 0
		for i, m := range batch {
			if s.end = m.Time.After(cut.before); s.end || len(s.messages) == a.cfg.SegmentEvents || bytes >= segmentBytesMax {
				behind = batch[i:]
				break
			}
			next, bytes = m.Seq+1, bytes+m.size()
			s.add(bySubject, m)
		}
		if err := rest.rest(ctx); err != nil {
			return nil, err
		}
	}
	if len(s.messages) == 0 {
		return nil, nil
	}
	if !s.end {
		a.segment = len(s.messages)
	}
	s.first, s.last = s.messages[0].Seq, s.messages[len(s.messages)-1].Seq
	s.through, s.read = s.last, s.last
	return s, a.lookAhead(ctx, s, bySubject, lookahead{first: s.last + 1, life: life, messages: behind}, rest)
}

// ripe reports whether a stretch that begins with m is to leave now: it fills a segment, or waited long enough for that.
func (a *Archiver) ripe(ctx context.Context, m *rawMessage, cut cutoff) (bool, error) {
	switch {
	case m.Time.After(cut.before):
		return false, nil
	case !m.Time.After(cut.full):
		return true, nil
	}
	last, err := a.l.EventAt(ctx, m.Seq+schemas.Seq(a.cfg.SegmentEvents)-1)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil && !last.Time.After(cut.before), err
}

// stillHeld reports whether m holds the boundary, as it did at the last look: an attempt may run for days, and a whole
// stretch would be read and judged at every look.
func (a *Archiver) stillHeld(ctx context.Context, m *rawMessage) (bool, error) {
	h := a.holder
	if h == nil || h.Seq != m.Seq || h.fence.IsZero() {
		return false, nil
	}
	at, err := schemas.ParseSubject(h.Subject)
	if err != nil {
		return false, nil
	}
	j, err := a.l.Fold(ctx, at.Org, at.Job)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil || j.State != schemas.StateRunning || j.Fence != h.fence {
		return false, err
	}
	a.held.Store(h)
	return true, nil
}

func (s *departure) add(bySubject map[string]*leavingPlace, m *rawMessage) {
	p := bySubject[m.Subject]
	if p == nil {
		p = &leavingPlace{subject: m.Subject, first: m.Seq, messages: make([]*rawMessage, 0, fewMessages)}
		p.at, _ = schemas.ParseSubject(m.Subject) // of a foreign one it stays empty: it says nothing about any job
		bySubject[m.Subject] = p
		s.places = append(s.places, p)
	}
	p.last = m.Seq
	p.messages = append(p.messages, m)
	s.messages = append(s.messages, m)
}

// judge finds out how each job of the stretch stands, and ends the stretch before one that cannot leave.
func (a *Archiver) judge(ctx context.Context, s *departure, rest *rester) error {
	for _, p := range s.places {
		if p.at.Job == "" {
			p.class = classControl
		}
	}
	for window := range slices.Chunk(s.places, behindMax) {
		if window[0].first > s.through {
			break // all that follow begin behind the end of the stretch
		}
		rest.work()
		life := a.l.Life()
		later, err := a.l.behind(ctx, window, s.read) // up to there ahead tells
		if err != nil {
			return err
		}
		hot, err := a.hot(ctx, s, window, later)
		if err != nil {
			return err
		}
		for i, p := range window {
			if p.at.Job == "" || p.first > s.through {
				continue
			}
			p.life, p.later = life, later[i] > 0 || len(p.ahead) > 0
			if later[i] == 0 {
				hot[i] = a.onward.decode(p.at, p.ahead)
			}
			if err := a.judgeJob(ctx, s, p, hot[i]); err != nil {
				return err
			}
		}
		if err := rest.rest(ctx); err != nil {
			return err
		}
	}
	return nil
}

// judgeJob finds out whether a job has to be carried; hot are its messages in LEDGER behind the stretch, or all of them there.
func (a *Archiver) judgeJob(ctx context.Context, s *departure, p *leavingPlace, hot []*Entry) error {
	// A command, or an archiver that died before its commit, may have begun it there already.
	if slices.ContainsFunc(hot, func(e *Entry) bool { return e.Seq > s.last && beginning(e) }) {
		p.begunBehind(p.entries())
		return nil
	}
	j, whole, err := a.countPlace(ctx, s, p, s.last)
	if err != nil {
		return err
	}
	for _, e := range hot {
		if e.Seq > s.last {
			e.ApplyTo(j)
		}
	}
	if over := j.State.Finished() && j.Resolution != schemas.ResolutionOpen && !j.Unreadable; !whole && !over {
		if j, err = a.l.Fold(ctx, p.at.Org, p.at.Job); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	s.place(p, j)
	return nil
}

// place decides about a job by its fold, of which it keeps a copy.
func (s *departure) place(p *leavingPlace, j *Job) {
	p.carry = nil
	s.settled(p, j)
	switch {
	case j.Unreadable:
		s.hold(p, "it holds an event that this version cannot read")
	case !j.Exists(): // no event of ours: nothing to be carried
	case j.State == schemas.StateRunning:
		s.hold(p, "it is running")
		if s.held != nil && s.held.Seq == p.first {
			s.held.fence = j.Fence
		}
	case !j.State.Finished(), j.State == schemas.StateDeadLettered && j.Resolution == schemas.ResolutionOpen:
		p.carry = clone(j)
	}
}

// entries are the messages of the subject in the stretch.
func (p *leavingPlace) entries() []*Entry { return entriesOf(p.messages) }

func entriesOf(messages []*rawMessage) []*Entry {
	entries := make([]*Entry, len(messages))
	for i, m := range messages {
		entries[i] = m.entry()
	}
	return entries
}

// behind tells of each place, at most behindMax of them, the last message of its subject in LEDGER if that stands behind its last one, which
// stands after a sequence or at it; else 0. One request asks for all of them, and the server sends only what stands behind that sequence:
// next to nothing. A replica that lags may not know the newest; who judges by that meets it at the append.
func (l *Ledger) behind(ctx context.Context, places []*leavingPlace, after schemas.Seq) ([]schemas.Seq, error) {
	of := make(map[string]int, len(places))
	r := getRequest{MultiLast: make([]string, len(places)), Seq: after + 1, MaxBytes: directBytes, Batch: len(places)}
	for i, p := range places {
		r.MultiLast[i], of[p.subject] = p.subject, i
	}
	batch, more, err := l.directBatchOf(ctx, StreamLedger, r)
	switch half := len(places) / 2; {
	case err != nil:
		return nil, err
	case more && half > 0: // they are large, and not all came
		first, err := l.behind(ctx, places[:half], after)
		if err != nil {
			return nil, err
		}
		second, err := l.behind(ctx, places[half:], after)
		return append(first, second...), err
	}
	out := make([]schemas.Seq, len(places))
	for _, e := range batch {
		if i, ok := of[e.RawSubject]; ok && e.Seq > places[i].last {
			out[i] = e.Seq
		}
	}
	return out, nil
}

// settingTime is when a setting was meant to be made.
func settingTime(e *Entry) *time.Time {
	if e.Meant != nil {
		return e.Meant
	}
	t := e.Time.UTC()
	return &t
}
