package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// clockStep is by how much the server's clock may have been set back: a replay bounded by time looks so far
// beyond its bounds for events that belong inside.
const clockStep = time.Minute

// ReplayBound is one end of a replay: a sequence or a stream time, inclusive; the zero value is open.
type ReplayBound struct {
	Seq  schemas.Seq
	Time time.Time
}

// ReplayQuery says which events a replay is about; a zero field asks for nothing. Job needs Org.
type ReplayQuery struct {
	Org      schemas.OrgID
	Job      schemas.JobID
	Type     schemas.TypeName
	Event    schemas.EventName // unmasked with Org: those about its jobs, though they stand elsewhere
	Actor    string            // who did it, as a HistoryLine says
	From, To ReplayBound
	// Behind leaves out what stands up to there, beside From: an earlier replay of the same question ended there.
	Behind schemas.Seq
	// Progress is told how far the replay is, in fn's goroutine between two calls: everything up to at was judged, and it
	// ends at end. Where a time bounds it, at is the last event in bounds. nil: nobody asks.
	Progress func(at, end schemas.Seq)
	// FullSpeed reads as fast as it goes. Otherwise it is so while nobody appends, and slow while someone does.
	FullSpeed bool
	// Foreign hands out messages that are no events too.
	Foreign bool
}

func (q *ReplayQuery) validate() error {
	for _, b := range []struct {
		field string
		ReplayBound
	}{{"from", q.From}, {"to", q.To}} {
		if b.Seq > 0 && !b.Time.IsZero() {
			return badField(b.field, errors.New("give a sequence or a time, not both"))
		}
	}
	if q.Job != "" && q.Org == "" {
		return badField("job", errors.New("a job is named together with its org"))
	}
	if q.Org != "" {
		if err := schemas.CheckToken("org", string(q.Org)); err != nil {
			return badField("org", err)
		}
	}
	if q.Job != "" {
		if err := schemas.CheckToken("job", string(q.Job)); err != nil {
			return badField("job", err) // a wildcard would select every job
		}
	}
	return nil
}

// Replay calls fn with every matching event once, those in ARCHIVE first, ascending, from one bound to the other or to the last
// sequence of the ledger when it started (INTERFACE 2.5). Two replays with the same bounds hand out the
// same. It goes on over reconnects and leader changes; what fn returns ends it and is returned. fn is called while more is
// read, and may be slow: no more than about 32 MiB and two thousand events wait for it.
//
// The error is ErrPositionExpired when the ledger went back to older data meanwhile: what fn has seen is
// void then.
func (l *Ledger) Replay(ctx context.Context, q ReplayQuery, fn func(*Entry) error) error {
	if err := q.validate(); err != nil {
		return err
	}
	state, err := l.state(ctx)
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	end := schemas.Seq(state.LastSeq)
	if q.To.Seq == 0 || q.To.Seq > end {
		q.To.Seq = end
	}
	if q.Job != "" {
		return l.replayJob(ctx, &q, fn)
	}
	start, err := l.replayStart(ctx, q.From)
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	start = max(start, q.Behind+1)
	if start > q.To.Seq {
		return nil
	}
	read := &stretch{l: l, org: q.Org, filter: q.filter(), next: start, until: q.To.Seq}
	if q.unmaskings() {
		read.org = "" // in ARCHIVE they stand among all control events
	}
	if !q.FullSpeed {
		read.pace = l.pace(ctx)
		defer read.pace.close()
	}
	ended, err := readAhead(ctx, read.run, func(entries []*Entry) error { return q.handAll(entries, fn) })
	if err == nil && ended == nil {
		q.over()
	}
	switch {
	case errors.Is(ended, errPast):
		return nil
	case ended != nil:
		return ended
	case err != nil:
		return fmt.Errorf("replay: %w", err)
	}
	return nil
}

// handAll hands out a batch, as far as the bound; what stands before it in the batch is told of, too.
func (q *ReplayQuery) handAll(entries []*Entry, fn func(*Entry) error) error {
	for i, e := range entries {
		if !q.To.Time.IsZero() && e.Time.After(q.To.Time.Add(clockStep)) {
			q.judged(entries[:i])
			return errPast
		}
		if err := q.hand(e, fn); err != nil {
			return err
		}
	}
	q.judged(entries)
	return nil
}

// judged tells of a batch.
func (q *ReplayQuery) judged(entries []*Entry) {
	if q.Progress == nil {
		return
	}
	for _, e := range slices.Backward(entries) {
		if !q.late(e) {
			q.Progress(e.Seq, q.To.Seq)
			return
		}
	}
}

// over tells of the end, behind which only a time may be in question.
func (q *ReplayQuery) over() {
	if q.Progress != nil && q.To.Time.IsZero() {
		q.Progress(q.To.Seq, q.To.Seq)
	}
}

// readAhead calls fn, in the caller's goroutine, with what read hands out in another: one batch is read while fn has the
// one before it. What fn returns ends it and is returned as ended; err is what read returned otherwise.
func readAhead(ctx context.Context, read func(context.Context, func([]*Entry) error) error, fn func([]*Entry) error) (ended, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	batches := make(chan []*Entry)
	go func() {
		defer close(batches)
		err = read(ctx, func(entries []*Entry) error {
			select {
			case batches <- entries:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	for entries := range batches {
		if ended != nil {
			continue // until the reader has ended
		}
		if ended = fn(entries); ended != nil {
			cancel()
		}
	}
	return ended, err
}

// errPast: all that follows is behind the bound.
var errPast = errors.New("past the bound")

// filter chooses what is read of LEDGER; empty for all.
func (q *ReplayQuery) filter() string {
	switch {
	case q.Job != "":
		return schemas.JobSubject(q.Org, q.Job).String()
	case q.unmaskings():
		return schemas.UnmaskPlace(q.Org, "*").String()
	case q.Org != "":
		return "jobs." + string(q.Org) + ".>"
	}
	return ""
}

// unmaskings reports that the query is about who saw what is redacted in an org: those events stand elsewhere than the org's.
func (q *ReplayQuery) unmaskings() bool { return q.Org != "" && q.Event == schemas.EventUnmasked }

// of reports whether e is of the org and job that are asked about.
func (q *ReplayQuery) of(e *Entry) bool {
	org, job := e.Org, e.Job
	if u, ok := e.Data.(*schemas.Unmasked); ok && q.unmaskings() {
		org, job = u.Org, u.Job
	}
	return (q.Org == "" || org == q.Org) && (q.Job == "" || job == q.Job)
}

// storyOf is what stands about the job.
func (l *Ledger) storyOf(ctx context.Context, q *ReplayQuery) ([]*Entry, error) {
	if q.unmaskings() {
		return l.Unmaskings(ctx, q.Org, q.Job)
	}
	s, err := l.wholeStory(ctx, q.Org, q.Job)
	if err != nil {
		return nil, err
	}
	return s.entries, nil
}

// replayJob needs what stands about the job only.
func (l *Ledger) replayJob(ctx context.Context, q *ReplayQuery, fn func(*Entry) error) error {
	entries, err := l.storyOf(ctx, q)
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	var in []*Entry
	for _, e := range entries {
		if e.Seq >= max(q.From.Seq, q.Behind+1) && e.Seq <= q.To.Seq {
			if err := q.hand(e, fn); err != nil {
				return err
			}
			in = append(in, e)
		}
	}
	q.judged(in)
	q.over()
	return nil
}

// hand calls fn if e, which is of the org and job, matches.
func (q *ReplayQuery) hand(e *Entry, fn func(*Entry) error) error {
	if !q.chooses(e) {
		return nil
	}
	return fn(e)
}

// Matches reports whether a replay of the whole ledger up to e would hand it out.
func (q *ReplayQuery) Matches(e *Entry) bool {
	return q.of(e) && e.Seq >= q.From.Seq && e.Seq > q.Behind && q.chooses(e)
}

func (q *ReplayQuery) chooses(e *Entry) bool {
	switch {
	case errors.Is(e.Err, schemas.ErrForeign) && !q.Foreign,
		q.Event != "" && e.Name() != q.Event,
		q.unmaskings() && !q.of(e),
		q.Type != "" && typeOf(e.Data) != q.Type,
		q.Actor != "" && actorOf(e.Event) != q.Actor,
		e.Time.Before(q.From.Time), q.late(e):
		return false
	}
	return true
}

// late reports whether e was stored after the time that bounds the replay.
func (q *ReplayQuery) late(e *Entry) bool { return !q.To.Time.IsZero() && e.Time.After(q.To.Time) }

// typeOf is the type that an event is about; empty for none.
func typeOf(data schemas.Data) schemas.TypeName {
	switch d := data.(type) {
	case *schemas.Submitted:
		return d.Type
	case schemas.JobData:
		return d.Common().Type
	case *schemas.TypeSet:
		return d.Settings.Name
	case *schemas.Unmasked:
		return d.Type
	}
	return ""
}

// replayStart is the first sequence that b lets in, or one before it.
func (l *Ledger) replayStart(ctx context.Context, b ReplayBound) (schemas.Seq, error) {
	if b.Time.IsZero() {
		return max(b.Seq, 1), nil
	}
	since := b.Time.UTC().Add(-clockStep)
	cold, err := l.archivedFrom(ctx, since)
	if err != nil || cold > 0 {
		return cold, err
	}
	var first *Entry
	err = l.reading(ctx, func(ctx context.Context) (err error) {
		first, err = l.leaderGet(ctx, getRequest{NextFor: ">", Since: &since})
		return err
	})
	if errors.Is(err, errNoMessage) {
		return schemas.Seq(1<<64 - 1), nil
	}
	if err != nil {
		return 0, err
	}
	return first.Seq, nil
}
