package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/schemas"
)

const (
	// removeEvery is how often the remover looks for segments whose time is over, removeSettle how long a new leader's
	// waits before the first look.
	removeEvery  = time.Hour
	removeSettle = 5 * time.Minute
	// removeMax is how many segments one record removes.
	removeMax = 64
	// openEvery and openRest are how often a segment of jobs that were not over is looked at again: the longer the
	// further off its time is.
	openEvery = schemas.Day
	openRest  = 7 * schemas.Day
	// openBudget is how long one look goes on to look into such segments: the next one begins with those that wait longest.
	openBudget = 5 * time.Minute
	// openGroupsMax is how many orgs and types of such a segment are told apart; more are not remembered.
	openGroupsMax = 1024
)

// RemoverConfig describes a Remover.
type RemoverConfig struct {
	// Ledger whose archive it looks after. Required. It may be the archiver's.
	Ledger *Ledger
	// Logger is required; use zap.NewNop() for none.
	Logger *zap.Logger
	// Views says up to where the views are written (ViewsAt): nothing goes before they have come to the end of the archive.
	// nil means that there are none.
	Views func(ctx context.Context) (schemas.Seq, error)
	// Now is the time that retentions are counted to; nil means the ledger's clock, or this computer's where that is
	// behind.
	Now func() time.Time
	// Every is the time between two looks, 0 means an hour. Settle is the wait before the first, 0 means 5 min.
	Every, Settle time.Duration
	// Wait is how long it must have been known of a segment that its time is over before it goes, 0 means 24 h, less than 0
	// not at all. Who asks for a removal (AskRetain) does not wait.
	Wait time.Duration
	// OpenBudget is how long one look goes on to find out what became of jobs that were not over, 0 means 5 min; it always
	// looks into one segment.
	OpenBudget time.Duration
}

// Remover takes segments out of the archive when their time is over: so long after the last of their jobs was
// over as the settings say that their class names, unless a legal hold stands on anything in them. A step is one record of
// the catalogue, behind the last one that it was decided by: of two removers one is refused and decides anew, and so is one
// that knew nothing of a legal hold. What the record names is deleted from ARCHIVE removeDelay later.
//
// Whatever a restart finds is either still part of the archive, or it is not and only to be deleted. It keeps nothing that
// a restart would miss but for what it found out about jobs that were not over.
type Remover struct {
	cfg    RemoverConfig
	l      *Ledger
	opened map[string]openSegment // by id
	done   map[string]bool        // removed segments whose messages are deleted
	stays  map[string]bool        // segments that cannot go in this look
	stood  map[string]time.Time   // segments of which no job lives on, and when that was found in this look
	seen   map[string]sighting    // segments whose time is over, and when that was found first
	looks  int
	asked  bool // by an operator, this look
	// counted is up to where the tallies were read and found whole in this look.
	counted schemas.Seq
	state   atomic.Pointer[RetainState]
	// at is called before each durable step, and what it returns ends the look, or before a segment is looked into. nil but in tests.
	at func(step string) error
}

// openSegment is what was found out about a segment of jobs that were not over when it was written.
type openSegment struct {
	next  time.Time // when to look again
	look  int       // which one found it out
	ended []openEnd // nil: some are not over yet, or it is not known
}

// openEnd is when the last job of an org and a type was over.
type openEnd struct {
	org   schemas.OrgID
	typ   schemas.TypeName
	ended time.Time
}

// RetainPlan says what a removal takes, or took.
type RetainPlan struct {
	At       time.Time     `json:"at"` // the time that retentions were counted to
	Segments int           `json:"segments"`
	Events   int           `json:"events"`
	Jobs     int           `json:"jobs"`  // once for each segment that holds events of it
	Bytes    int64         `json:"bytes"` // of contents, before the server compresses them
	Oldest   time.Time     `json:"oldest,omitzero"`
	Newest   time.Time     `json:"newest,omitzero"`
	Classes  []RetainClass `json:"classes"`
	// Held are segments whose time is over, which a legal hold keeps.
	Held int `json:"held"`
	// Sum is the SHA-256 of the last record; empty if none was written.
	Sum string `json:"sha256,omitempty"`
}

// RetainClass is what of a plan is kept by the same settings.
type RetainClass struct {
	Class    string    `json:"class"` // "" the cell's own; org:<org>, type:<type>, both:<org>:<type>, many, open
	Segments int       `json:"segments"`
	Events   int       `json:"events"`
	Jobs     int       `json:"jobs"`
	Oldest   time.Time `json:"oldest"` // stream times of its events
	Newest   time.Time `json:"newest"`
}

// RetainState is what the last look of the leader's remover found.
type RetainState struct {
	LookedAt time.Time `json:"looked_at"`
	// Removed are segments that this server has removed since it leads.
	Removed int `json:"removed"`
	// Held are segments whose time is over, which a legal hold keeps.
	Held int `json:"held"`
	// Leaving are segments that were removed, and whose messages are still in ARCHIVE.
	Leaving int `json:"leaving"`
}

// NewRemover returns a remover; it does nothing before Run.
func NewRemover(cfg RemoverConfig) (*Remover, error) {
	switch {
	case cfg.Ledger == nil:
		return nil, errors.New("ledger: RemoverConfig.Ledger is required")
	case cfg.Logger == nil:
		return nil, errors.New("ledger: RemoverConfig.Logger is required")
	}
	cfg.Every, cfg.Settle = cmp.Or(cfg.Every, removeEvery), cmp.Or(cfg.Settle, removeSettle)
	cfg.Wait = cmp.Or(cfg.Wait, sureWait)
	cfg.OpenBudget = cmp.Or(cfg.OpenBudget, openBudget)
	return &Remover{cfg: cfg, l: cfg.Ledger, opened: make(map[string]openSegment), done: make(map[string]bool),
		stays: make(map[string]bool), stood: make(map[string]time.Time),
		seen: make(map[string]sighting)}, nil
}

// Run looks every RemoverConfig.Every until ctx ends, and returns nil then; it answers those who ask for a look
// (AskRetain). It is made to run on the leader, whose epoch does not matter to it.
func (r *Remover) Run(ctx context.Context, _ schemas.Seq) error {
	asks := make(chan *nats.Msg, asksMax)
	sub, err := r.l.nc.ChanSubscribe(subjectRetain, asks)
	if err != nil {
		return fmt.Errorf("take requests to remove history: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only when the connection is closed, which ends it too
	states, err := r.l.nc.Subscribe(subjectRetainState, r.tell)
	if err != nil {
		return fmt.Errorf("tell about removed history: %w", err)
	}
	defer func() { _ = states.Unsubscribe() }()
	for wait := r.cfg.Settle; ; wait = r.cfg.Every {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case m := <-asks:
			timer.Stop()
			r.answer(ctx, m)
		case <-timer.C:
			r.look(ctx)
		}
	}
}

func (r *Remover) look(ctx context.Context) {
	plan, err := r.Look(ctx)
	if err != nil && ctx.Err() == nil {
		r.cfg.Logger.Warn("history whose time is over could not be removed", zap.Error(err))
	}
	if plan.Segments > 0 {
		r.cfg.Logger.Info("removed history whose time is over", zap.Int("segments", plan.Segments), zap.Int("events", plan.Events),
			zap.Time("oldest", plan.Oldest), zap.Time("newest", plan.Newest), zap.Int("held", plan.Held))
	}
}

// systemRemover is the actor of what nobody asked for.
var systemRemover = schemas.Actor{Type: "system", ID: "remover"}

// Look removes all whose time is over, deletes what was removed long enough ago, and returns what it removed, also with an
// error.
func (r *Remover) Look(ctx context.Context) (RetainPlan, error) {
	r.asked = false
	return r.remove(ctx, systemRemover, "its retention is over")
}

func (r *Remover) remove(ctx context.Context, actor schemas.Actor, reason string) (RetainPlan, error) {
	sum := RetainPlan{Classes: []RetainClass{}}
	now, err := r.now(ctx)
	if err != nil {
		return sum, err
	}
	sum.At = now
	r.begin()
	q := removal{Actor: actor, Reason: reason, At: now}
	// What a record tells of goes first: to find out about the others takes long, and may fail.
	err = r.take(ctx, q, &sum)
	_, left := r.l.expel(ctx, now, r.done, func() error { return r.pace(ctx, "delete") })
	found, unknown := r.judgeOpen(ctx, now)
	if found && err == nil {
		clear(r.stays) // they may go together with those that were found
		err = r.take(ctx, q, &sum)
	}
	r.tidy(ctx, now, &sum)
	return sum, errors.Join(err, left, unknown)
}

// take takes steps until nothing is left whose time is over.
func (r *Remover) take(ctx context.Context, q removal, sum *RetainPlan) error {
	for try, more := 0, true; more; {
		var err error
		if more, err = r.step(ctx, q, sum); errors.Is(err, ErrRefused) && pause(ctx, try) {
			try, more = try+1, true // the archive went on meanwhile: what is decided anew knows of it
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// begin forgets what holds for one look only.
func (r *Remover) begin() {
	r.counted = 0
	r.looks++
	clear(r.stays)
	clear(r.stood)
}

// step removes up to removeMax segments with one record; false if none is left.
func (r *Remover) step(ctx context.Context, q removal, sum *RetainPlan) (more bool, err error) {
	d, err := r.due(ctx, q.At)
	if err != nil {
		return false, err
	}
	sum.Held = d.held
	due, err := r.standing(ctx, d, q.At)
	if err != nil || len(due) == 0 {
		return false, err
	}
	for _, s := range due {
		q.Segments = append(q.Segments, s.ID)
	}
	stayed := len(r.stays)
	q.Stays = func(s *archiveSegment, why error) {
		r.stays[s.ID] = true
		r.cfg.Logger.Info("a segment of the archive stays, though its time is over", zap.String("segment", s.ID), zap.Error(why))
	}
	if err := r.l.leftLedger(ctx, due, min(archiveDurable, max(r.cfg.Wait, 0))); err != nil {
		return false, err
	}
	if err := r.pace(ctx, "remove"); err != nil {
		return false, err
	}
	// Up to here nothing has happened. Behind the record the segments are gone for every reader.
	record, err := r.l.appendRemoval(ctx, d.c, q)
	if err != nil || record == nil {
		return len(r.stays) > stayed, err
	}
	for _, s := range due {
		if slices.ContainsFunc(record.Removed, func(m archiveRemoval) bool { return m.ID == s.ID }) {
			sum.add(s)
		}
	}
	if body, err := record.encode(); err == nil { // it was just now
		sum.Sum = sumOf(body)
	}
	return true, nil
}

// duty is what is to go, as it was at one moment.
type duty struct {
	c        *catalog
	k        *keeping
	segments []*archiveSegment // their time is over, and nothing holds them
	held     int               // those that a legal hold keeps
}

// due are the segments whose time is over and that nothing holds, by a catalogue that was read before the settings and
// holds: a hold that is laid later moves its end.
func (r *Remover) due(ctx context.Context, now time.Time) (*duty, error) {
	c, err := r.l.archive.refresh(ctx)
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	k, err := r.l.keeping(ctx)
	if err != nil {
		return nil, err
	}
	d := &duty{c: c, k: k}
	for _, chunk := range c.chunks {
		for _, s := range chunk.segments {
			if r.stays[s.ID] {
				continue
			}
			over, kept, err := r.judge(ctx, c, k, s, now)
			if err != nil {
				return nil, err
			}
			if over && kept {
				d.held++
				continue
			}
			sure, err := r.sure(ctx, d, s, over, now)
			if err != nil {
				return nil, err
			}
			if over && sure {
				d.segments = append(d.segments, s)
			}
		}
	}
	if len(d.segments) > 0 {
		if err := r.tallied(ctx, c); err != nil {
			return d, err
		}
	}
	return d, r.shown(ctx, d)
}

// tallied refuses while the counts of any commit stand nowhere but in its messages. Counts that are made anew begin with the
// sum of the tallies, which ends before the first that is missing or damaged: what was removed behind it would be counted by
// nobody, for ever, however whole its own tally is.
func (r *Remover) tallied(ctx context.Context, c *catalog) error {
	if r.counted == c.through.Seq {
		return nil
	}
	t, err := r.l.Tallied(ctx, time.Time{})
	switch {
	case err != nil:
		return err
	case t.Missing != "":
		return fmt.Errorf("history stays, for the counts of jobs could not be told without it: %w: %s", errUntallied, t.Missing)
	}
	r.counted = t.Seq
	return nil
}

// judge reports whether the time of a segment is over, and whether a legal hold keeps it all the same. One that is damaged
// stays: there is nothing to judge it by.
func (r *Remover) judge(ctx context.Context, c *catalog, k *keeping, s *archiveSegment, now time.Time) (over, held bool, err error) {
	if over, err = r.over(ctx, c, k, s, now); over {
		held, err = k.held(ctx, &r.l.archive, s)
	}
	var damage *damageError
	if errors.As(err, &damage) {
		r.cfg.Logger.Warn("a damaged segment of the archive stays", zap.Error(err))
		return false, false, nil
	}
	return over, held, err
}

// over reports whether the time of a segment is over, and all that its jobs ended with has left LEDGER too: the end of a
// story whose beginning is gone would be counted by nobody.
func (r *Remover) over(ctx context.Context, c *catalog, k *keeping, s *archiveSegment, now time.Time) (bool, error) {
	switch {
	case s.Class == classControl:
		return false, nil
	case s.Class == classOpen:
		o, ok := r.opened[s.ID]
		return ok && o.look == r.looks && o.over(k, now) && !slices.ContainsFunc(o.ended, func(e openEnd) bool { return e.ended.After(c.throughAt) }), nil
	case s.Ended.After(c.throughAt):
		return false, nil
	case s.Ended.IsZero():
		return false, nil // written before there were classes: it may hold settings
	}
	return k.over(ctx, &r.l.archive, s, now)
}

func (r *Remover) pace(ctx context.Context, step string) error {
	if r.at != nil {
		if err := r.at(step); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// now is the time that retentions are counted to: of two clocks the earlier.
func (r *Remover) now(ctx context.Context) (time.Time, error) {
	if r.cfg.Now != nil {
		return r.cfg.Now(), nil
	}
	now, err := r.l.StreamTime(ctx)
	if own := time.Now(); own.Before(now) {
		now = own
	}
	return now, err
}

// tidy forgets what is of segments that are gone, and notes how things stand.
func (r *Remover) tidy(ctx context.Context, now time.Time, sum *RetainPlan) {
	c, err := r.l.archive.refresh(ctx)
	if err != nil {
		return
	}
	there := make(map[string]bool)
	for _, k := range c.chunks {
		for _, s := range k.segments {
			there[s.ID] = true
		}
	}
	for id := range r.opened {
		if !there[id] {
			delete(r.opened, id)
		}
	}
	maps.DeleteFunc(r.seen, func(id string, _ sighting) bool { return !there[id] })
	leaving := make(map[string]bool, len(c.leaving))
	state := &RetainState{LookedAt: now, Held: sum.Held, Removed: sum.Segments}
	for i := range c.leaving {
		leaving[c.leaving[i].ID] = true
		if !r.done[c.leaving[i].ID] {
			state.Leaving++
		}
	}
	for id := range r.done {
		if !leaving[id] {
			delete(r.done, id)
		}
	}
	if before := r.state.Load(); before != nil {
		state.Removed += before.Removed
	}
	r.state.Store(state)
}

// add counts a segment.
func (p *RetainPlan) add(s *archiveSegment) {
	p.Segments++
	p.Events, p.Jobs, p.Bytes = p.Events+s.Events, p.Jobs+s.Jobs, p.Bytes+s.Bytes
	if p.Oldest.IsZero() || s.FirstAt.Before(p.Oldest) {
		p.Oldest = s.FirstAt
	}
	if s.LastAt.After(p.Newest) {
		p.Newest = s.LastAt
	}
	i := slices.IndexFunc(p.Classes, func(c RetainClass) bool { return c.Class == s.Class })
	if i < 0 {
		i = len(p.Classes)
		p.Classes = append(p.Classes, RetainClass{Class: s.Class, Oldest: s.FirstAt, Newest: s.LastAt})
	}
	c := &p.Classes[i]
	c.Segments, c.Events, c.Jobs = c.Segments+1, c.Events+s.Events, c.Jobs+s.Jobs
	if s.FirstAt.Before(c.Oldest) {
		c.Oldest = s.FirstAt
	}
	if s.LastAt.After(c.Newest) {
		c.Newest = s.LastAt
	}
}
