package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/dartwing/jobledger/internal/where"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// subscriptionsMax is how many subscriptions a server holds: fewer than its connections over HTTP, so that others find room.
	subscriptionsMax = 12_288
	// liveBatch is how many events one look takes.
	liveBatch = 256
)

// LiveRequest says what to follow.
type LiveRequest struct {
	// Org; empty: all orgs.
	Org schemas.OrgID
	// Jobs, if there are any, are the only ones to tell of.
	Jobs []schemas.JobID
	// Filter is asked about the job as it is behind the event, and of ages at the time of the event: every server gives
	// the same answer. Holds pass a filter only if it is empty.
	Filter
	// After is the position behind which to begin; nil: from now on. AfterID, if known, is the id of the event there: after a
	// restore sequences are given out again.
	After   *schemas.Seq
	AfterID schemas.EventID
	// Visible, if set, is asked on each message whether whoever follows may see its job as it is behind the event; of
	// what is about no job nothing is told then. nil: all of it.
	Visible func(*ledger.Record) bool
	// Notices tells of ends of jobs alone, as job_finished.
	Notices bool
	// Progress tells of what running attempts report, too.
	Progress bool
	// ProgressAfter is what Subscription.ProgressMark said; empty: from now on. That of another server asks for the
	// latest of every attempt.
	ProgressAfter string

	transport string // by which the follower has come; empty: it is of this process
}

// Subscription is one follower of the live feed. It belongs to one goroutine, which closes it.
type Subscription struct {
	v     *Live
	r     LiveRequest
	plain bool // the events themselves tell all that the filter asks
	all   bool // there is no filter
	life  int
	scope *liveScope
	pos   schemas.Position // everything up to here was told, or did not match
	heard uint64           // version of progress
	alert uint64           // and of alerts
	close func()
}

// Subscribe begins behind r.After. It costs no memory but for itself. The error is position_expired where what follows
// r.After is not in the ring any more, or r.After is not of this ledger; rate_limited where there are too many.
func (v *Live) Subscribe(ctx context.Context, r LiveRequest) (*Subscription, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	r.transport = cmp.Or(r.transport, transportGo)
	s := &Subscription{v: v, r: r, plain: r.Visible == nil && r.Filter.plain(), all: r.Visible == nil && r.Filter.empty()}
	if err := v.begun(ctx, r.After != nil); err != nil {
		return nil, err
	}
	var err error
	if s.pos, err = v.place(ctx, &r); err != nil {
		return nil, err
	}
	if r.Progress {
		if err := v.progress.listen(); err != nil {
			return nil, ledger.Errorf(ledger.CodeUnavailable, "progress cannot be followed: %v", err)
		}
	}
	s.heard, s.alert = v.from(r.ProgressAfter)
	return s, v.enter(s)
}

func (r *LiveRequest) check() error {
	if err := r.checkFilter(); err != nil {
		return err
	}
	if r.where.Payload() {
		return badField("where", errors.New("args and result are not followed: list the jobs by them, and follow those"))
	}
	return nil
}

func (r *LiveRequest) checkFilter() error {
	if r.Org != "" {
		if err := schemas.CheckToken("org", string(r.Org)); err != nil {
			return badField("org", err)
		}
		return r.Filter.check()
	}
	text := r.Where
	r.Where = ""
	err := r.Filter.check()
	r.Where = text
	if err != nil {
		return err
	}
	if r.where, err = where.Parse(text); err != nil { // it may ask about org
		return badField("where", err)
	}
	return nil
}

// begun waits until the ring is there; whole: until it is known how far back it reaches.
func (v *Live) begun(ctx context.Context, whole bool) error {
	for {
		v.mu.Lock()
		done, more := v.life > 0 && (v.ready || !whole), v.all.changed()
		v.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return unavailableNow(ctx)
		}
	}
}

func unavailableNow(ctx context.Context) error {
	return &ledger.Error{Code: ledger.CodeUnavailable, Message: "this server does not know yet what happened lately", Cause: ctx.Err()}
}

func expired(format string, args ...any) error {
	return ledger.Errorf(ledger.CodePositionExpired, format, args...)
}

// place is behind what the request begins. Now is where the ledger ends, not how far this server has read it: who has just
// done something is not told of it.
func (v *Live) place(ctx context.Context, r *LiveRequest) (schemas.Position, error) {
	if r.After != nil {
		at := schemas.Position{Seq: *r.After, ID: r.AfterID}
		return at, v.find(ctx, at)
	}
	end, err := v.l.End(ctx)
	if err != nil {
		return end, ledger.AsError(err)
	}
	return end, nil
}

// find makes sure that a position is of this ledger, which may end below it after a restore. That it may be behind the
// ring's beginning is for enter to see.
func (v *Live) find(ctx context.Context, at schemas.Position) error {
	v.mu.Lock()
	last, dropped := v.last, v.all.dropped
	i := seqIndex(v.all.items, at.Seq) - 1
	var there schemas.EventID
	if i >= 0 && v.all.items[i].seq == at.Seq {
		there = *v.all.items[i].EventID
	}
	v.mu.Unlock()
	switch {
	case at.Seq < dropped:
		return expired("events behind %d are not kept any more: read again what you show, and follow from now on", at.Seq)
	case at.Seq > last.Seq: // another server told it, which is ahead of this one
		end, err := v.l.End(ctx)
		if err != nil {
			return ledger.AsError(err)
		}
		if end.Seq < at.Seq {
			return expired("the ledger ends at %d, below %d: it went back to older data", end.Seq, at.Seq)
		}
	}
	if at.ID == "" || at == last {
		return nil
	}
	if there == "" {
		e, err := v.l.EventAt(ctx, at.Seq)
		if errors.Is(err, ledger.ErrNotFound) {
			return nil // it has left for the archive: what follows is in the ring all the same
		}
		if err != nil {
			return ledger.AsError(err)
		}
		there = e.ID
	}
	if there != at.ID {
		return expired("at %d stands another event: the ledger went back to older data", at.Seq)
	}
	return nil
}

// enter counts the subscription among those of its scope.
func (v *Live) enter(s *Subscription) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.subscribed >= subscriptionsMax {
		return ledger.Errorf(ledger.CodeRateLimited, "%d follow this server already", subscriptionsMax)
	}
	s.life, s.scope = v.life, &v.all
	if s.r.Org != "" {
		s.scope = v.scope(&s.r.Org)
	}
	if s.pos.Seq < s.scope.dropped {
		v.forget(s)
		return expired("events behind %d are not kept any more: read again what you show, and follow from now on", s.pos.Seq)
	}
	v.subscribed++
	s.scope.waiting++
	s.meter().subscriptions.Add(1)
	s.close = sync.OnceFunc(func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.subscribed--
		s.meter().subscriptions.Add(-1)
		s.scope.waiting--
		v.forget(s)
	})
	return nil
}

// forget drops the scope of an org in which nothing happens. v.mu is held.
func (v *Live) forget(s *Subscription) {
	if org := s.r.Org; org != "" && s.scope.waiting == 0 && len(s.scope.items) == 0 && v.orgs[org] == s.scope {
		delete(v.orgs, org)
	}
}

// Close ends the subscription. It may be called twice.
func (s *Subscription) Close() { s.close() }

// Position is behind everything that Next has returned, and what it passed over: where to go on, on any server.
func (s *Subscription) Position() schemas.Position { return s.pos }

// ProgressMark is how far progress was told, for LiveRequest.ProgressAfter.
func (s *Subscription) ProgressMark() string {
	return fmt.Sprintf("%s.%d.%d", s.v.progress.token, s.heard, s.alert)
}

// from is the versions that a mark means. Another server's alerts are its own: those of this one begin now.
func (v *Live) from(mark string) (progress, alerts uint64) {
	if mark == "" {
		return v.progress.now(), v.alerts.now()
	}
	if n, _ := fmt.Sscanf(mark, v.progress.token+".%d.%d", &progress, &alerts); n < 2 {
		return progress, v.alerts.now()
	}
	return progress, alerts
}

// Next returns what matches, in order, at least one event, waiting for it: every event behind the position once, and the
// latest progress once all of them are told. Where the subscription was so slow that some are gone, that is a PushReset.
//
// The error is that of ctx, also where the events are told in full; position_expired where the ledger went back to older
// data, which ends the subscription; any other one passes, and Next goes on where it was.
func (s *Subscription) Next(ctx context.Context) ([]*LiveEvent, error) {
	for {
		items, last, more, err := s.look()
		if err != nil {
			return nil, err
		}
		if items == nil && more == nil {
			s.pos = last
			return []*LiveEvent{{Push: PushReset, Seq: ptr(last.Seq), EventID: ptr(last.ID), Time: time.Now().UTC()}}, nil
		}
		out, err := s.match(ctx, items)
		if err != nil {
			return out, err
		}
		if more != nil { // all of them
			if last.Seq > s.pos.Seq {
				s.pos = last
			}
			progress, err := s.reported(ctx)
			if err != nil && len(out) == 0 {
				return nil, err
			}
			out = append(out, progress...)
			out = append(out, s.alerted()...)
		}
		if len(out) > 0 {
			s.meter().published.Add(int64(len(out)))
			return out, nil
		}
		if more == nil {
			continue
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// look returns what the ring holds behind the position; with it, if that is all, where the ring ends and what to wait on.
// Neither: some of it is gone.
func (s *Subscription) look() (items []*liveItem, last schemas.Position, more <-chan struct{}, err error) {
	v := s.v
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case s.life != v.life:
		return nil, v.last, nil, expired("the ledger went back to older data: read again what you show")
	case s.pos.Seq < s.scope.dropped:
		return nil, v.last, nil, nil
	}
	items = slices.Clone(s.scope.behind(s.pos.Seq, liveBatch))
	if len(items) < liveBatch {
		more = s.scope.changed()
	}
	return items, v.last, more, nil
}

// match returns the events of items that are asked for, and moves the position. On an error it stands before the item
// that could not be judged.
func (s *Subscription) match(ctx context.Context, items []*liveItem) ([]*LiveEvent, error) {
	var out []*LiveEvent
	for _, item := range items {
		ok, err := s.wants(ctx, item.LiveEvent, func() (*ledger.Record, error) { return s.v.records.of(ctx, item) })
		if err != nil {
			if len(out) > 0 {
				return out, nil // the next call meets it again
			}
			return nil, err
		}
		if ok {
			out = append(out, s.told(item.LiveEvent))
		}
		s.pos = schemas.Position{Seq: item.seq, ID: *item.EventID}
	}
	return out, nil
}

// ends reports whether an event ends a job.
func (ev *LiveEvent) ends() bool {
	return ev.Push == PushStatus && ev.From != nil && !ev.From.Finished() && ev.To != nil && ev.To.Finished()
}

// told is an event as the subscription hears of it.
func (s *Subscription) told(ev *LiveEvent) *LiveEvent {
	if !s.r.Notices || ev.Push != PushStatus {
		return ev
	}
	end := *ev
	end.Push = PushFinished
	if *ev.To == schemas.StateCompleted {
		end.Result = ptr(resultPath(*ev.Org, *ev.ID))
	}
	return &end
}

// alerted returns alerts that are new and for who follows.
func (s *Subscription) alerted() (out []*LiveEvent) {
	all, version := s.v.alerts.since(s.r.Org, s.alert)
	s.alert = version
	for _, ev := range all {
		if len(s.r.Jobs) == 0 && (s.all || ev.Push == PushLimit && s.r.empty()) {
			out = append(out, ev)
		}
	}
	return out
}

func (s *Subscription) wants(ctx context.Context, ev *LiveEvent, record func() (*ledger.Record, error)) (bool, error) {
	switch {
	case s.r.Notices && ev.ID != nil && !ev.ends():
		return false, nil
	case ev.ID == nil:
		return s.all && len(s.r.Jobs) == 0, nil
	case len(s.r.Jobs) > 0 && !slices.Contains(s.r.Jobs, *ev.ID):
		return false, nil
	case s.all:
		return true, nil
	}
	r := ev.plain()
	if !s.plain {
		full, err := record()
		if err != nil {
			if ctx.Err() != nil {
				return false, ctx.Err()
			}
			return false, ledger.AsError(err)
		}
		r = *full
	}
	return (s.r.Visible == nil || s.r.Visible(&r)) && s.r.matches(&r, ev.Time), nil
}

// reported returns progress that is new and asked for.
func (s *Subscription) reported(ctx context.Context) ([]*LiveEvent, error) {
	if !s.r.Progress {
		return nil, nil
	}
	all, version := s.v.progress.since(s.r.Org, s.heard)
	var out []*LiveEvent
	for _, at := range all {
		ev := at.ev
		ok, err := s.wants(ctx, ev, func() (*ledger.Record, error) { return s.v.records.now(ctx, ev) })
		if err != nil {
			return out, err
		}
		if s.heard = at.version; ok { // what was judged is not judged again, should the time be up before all are
			out = append(out, ev)
		}
	}
	s.heard = version
	return out, nil
}

// empty reports that every job passes.
func (f *Filter) empty() bool {
	return len(f.State)+len(f.Type) == 0 && len(f.where.Terms) == 0 && f.plainLists() && len(f.Queue)+len(f.Priority) == 0
}

// plain reports that the filter asks only about what every event tells.
func (f *Filter) plain() bool {
	for _, t := range f.where.Terms {
		switch t.Field {
		case where.FieldState, where.FieldType, where.FieldQueue, where.FieldPriority, where.FieldID, where.FieldOrg:
		default:
			return false
		}
	}
	return f.plainLists()
}

func (f *Filter) plainLists() bool {
	return len(f.Reason)+len(f.Owner)+len(f.Batch)+len(f.Tags) == 0 && f.Error == "" && f.Group == "" && f.Since == nil && f.Until == nil &&
		(f.Resolution == "" || f.Resolution == ResolutionAll)
}
