package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/schemas"
)

const (
	// archiveEvery is how often the archiver looks for events that have come of age.
	archiveEvery = 15 * time.Second
	// archiveSettle is how long a new leader's archiver waits: until every writer knows the hot window that was set before
	// it (streamConfigTTL), and the duplicates that waited for a leader are canceled.
	archiveSettle = 2 * streamConfigTTL
	// archiveDurable is how long the server may take to bring to the disk what it has confirmed (ENGINE 8: 1 s embedded),
	// twice and more. Before that the power may take a commit away, but not a purge.
	archiveDurable = 3 * time.Second
	// heldEvery is how often the job that holds the boundary is named again in the log.
	heldEvery = 10 * time.Minute
	// sweepEvery is how often what dead writers left in ARCHIVE is removed, once it is that old.
	sweepEvery = 15 * time.Minute
	// asksMax is how many operators may wait for the archiver at a time; more are told to come again.
	asksMax = 4
)

// ArchiverConfig describes an Archiver.
type ArchiverConfig struct {
	// Ledger whose events leave. Required. Give it a connection of its own (ENGINE 10).
	Ledger *Ledger
	// Logger is required; use zap.NewNop() for none.
	Logger *zap.Logger
	// Schedule tells how a schedule stands in the leader's fold, which must have come as far as reached; false if there is
	// none. Without it the settings of schedules do not leave, nor does anything behind them.
	Schedule func(ctx context.Context, org schemas.OrgID, name string, reached schemas.Seq) (schemas.ScheduleCarried, bool, error)
	// Window is the hot window; 0 means the cell's own (ProvisionConfig.HotWindow). Others are for tests.
	Window time.Duration
	// Every is the time between two looks, 0 means 15 s. Settle is the wait before the first, 0 means 2 min.
	Every, Settle time.Duration
	// Durable is how long a commit is left to reach the disk before what it covers is purged; 0 means 3 s, less than 0
	// not at all.
	Durable time.Duration
	// SegmentEvents is how many events leave in one step at most; 0 means as many as a segment takes.
	SegmentEvents int
}

// Archiver moves the beginning of LEDGER to ARCHIVE, step by step (DESIGN D13). A step covers a stretch of the ledger
// whose events are older than the hot window:
//
//  1. read it, and find out how each job in it stands: a running one ends the stretch before it;
//  2. append carried to each unfinished job, open dead letters included, that LEDGER behind the stretch does not begin
//     already, and tell settings again whose last event is in the stretch;
//  3. write the segment and commit it: from here its messages are in the archive;
//  4. purge LEDGER up to it, once a good part of LEDGER is in the archive.
//
// Whatever a restart finds is either no part of the archive yet, and done again, where a job that was carried is not
// carried twice; or it is, and only purged. Two archivers at once do the same work twice and the catalogue takes one.
//
// It keeps nothing that a restart would miss.
type Archiver struct {
	cfg  ArchiverConfig
	l    *Ledger
	held atomic.Pointer[ArchiverHeld]
	// status is for those who ask; set while Run goes on.
	status atomic.Pointer[ArchiverStatus]
	// named is when the holder was last named in the log.
	named time.Time
	swept time.Time // when what dead writers left was removed last
	// holder is what held the boundary last: as long as it does, the stretch behind it is not read again.
	holder *ArchiverHeld
	kept   keptJobs
	// segment is how many events a segment takes: fewer than it may, where they are large.
	segment int
	ahead   lookahead      // while a look goes on
	pages   []*pageBuilder // likewise
	decoder placeDecoder   // of the messages in the stretch
	onward  placeDecoder   // of what stands behind the stretch
	counted Job            // of the place that was counted last
	// at is called before each durable step; what it returns ends the look. nil but in tests.
	at func(step string) error
	// clock is what a test has the computer say at the time of a message; nil but there.
	clock func(time.Time) time.Time
}

// Moved says what left LEDGER.
type Moved struct {
	Segments int         `json:"segments"`
	Events   int         `json:"events"`
	Jobs     int         `json:"jobs"`  // once for each segment that holds events of it
	Bytes    int64       `json:"bytes"` // of contents, before the server compresses them
	Carried  int         `json:"carried"`
	Settings int         `json:"settings"` // told again
	First    schemas.Seq `json:"first_seq"`
	Last     schemas.Seq `json:"last_seq"`
	// Sum is the SHA-256 of the last record, which names the sums of all before it.
	Sum string `json:"sha256"`
}

// ArchiverHeld says why the boundary does not go on.
type ArchiverHeld struct {
	Subject string      `json:"subject"` // the job, or the settings, whose event is next
	Seq     schemas.Seq `json:"seq"`     // of that event
	Why     string      `json:"why"`
	Since   time.Time   `json:"since"` // stream time of the event

	fence schemas.Fence // of the attempt that is waited for
}

// NewArchiver returns an archiver; it does nothing before Run.
func NewArchiver(cfg ArchiverConfig) (*Archiver, error) {
	switch {
	case cfg.Ledger == nil:
		return nil, errors.New("ledger: ArchiverConfig.Ledger is required")
	case cfg.Logger == nil:
		return nil, errors.New("ledger: ArchiverConfig.Logger is required")
	}
	if cfg.Every == 0 {
		cfg.Every = archiveEvery
	}
	if cfg.Settle == 0 {
		cfg.Settle = archiveSettle
	}
	if cfg.Durable == 0 {
		cfg.Durable = archiveDurable
	}
	if cfg.SegmentEvents <= 0 || cfg.SegmentEvents > segmentEventsMax {
		cfg.SegmentEvents = segmentEventsMax
	}
	return &Archiver{cfg: cfg, l: cfg.Ledger, segment: cfg.SegmentEvents}, nil
}

// Held says what the boundary waits for, nil if for nothing but time.
func (a *Archiver) Held() *ArchiverHeld { return a.held.Load() }

// Run looks every ArchiverConfig.Every until ctx ends, and returns nil then; it answers those who ask for a look
// (AskArchive). It is made to run on the leader, whose epoch does not matter to it.
func (a *Archiver) Run(ctx context.Context, _ schemas.Seq) error {
	asks := make(chan *nats.Msg, asksMax)
	sub, err := a.l.nc.ChanSubscribe(subjectArchive, asks)
	if err != nil {
		return fmt.Errorf("take requests to archive: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only when the connection is closed, which ends it too
	stop, err := a.tell()
	if err != nil {
		return err
	}
	defer stop()
	for wait := a.cfg.Settle; ; wait = a.cfg.Every {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case m := <-asks:
			timer.Stop()
			a.answer(ctx, m)
		case <-timer.C:
			a.look(ctx)
		}
	}
}

// look moves what has come of age by the hot window.
func (a *Archiver) look(ctx context.Context) {
	moved, err := a.Look(ctx)
	log := a.cfg.Logger
	if ctx.Err() != nil {
		return
	}
	if errors.Is(err, ErrRefused) {
		a.looked(nil)
	} else {
		a.looked(err)
	}
	switch {
	case errors.Is(err, ErrRefused):
		log.Info("another server moved events to the archive", zap.Error(err))
	case err != nil:
		log.Warn("events could not be moved to the archive", zap.Error(err))
	}
	if moved.Segments > 0 {
		log.Info("moved events to the archive", zap.Int("events", moved.Events), zap.Int("segments", moved.Segments),
			zap.Int("carried", moved.Carried), zap.Uint64("through", uint64(moved.Last)))
	}
	if time.Since(a.swept) >= sweepEvery {
		a.swept = time.Now()
		if n, err := a.l.sweepArchive(ctx, sweepEvery); err != nil && ctx.Err() == nil {
			log.Warn("what a dead writer left in the archive could not be removed", zap.Error(err))
		} else if n > 0 {
			log.Info("removed what a dead writer left in the archive", zap.Int("messages", n))
		}
	}
	if held := a.Held(); held != nil && time.Since(a.named) >= heldEvery {
		a.named = time.Now()
		a.name(ctx, held)
	}
}

// Look moves what has come of age by the hot window, and returns what it moved, also with an error.
func (a *Archiver) Look(ctx context.Context) (Moved, error) {
	window := a.cfg.Window
	if window == 0 {
		var err error
		if window, err = a.l.HotWindow(ctx); err != nil || window == 0 {
			return Moved{}, err
		}
	}
	now, err := a.l.StreamTime(ctx)
	if err != nil {
		return Moved{}, err
	}
	if own := time.Now(); own.Before(now) {
		now = own // of two clocks the earlier: one that is ahead would have leave what is seconds old
	}
	cut := cutoff{before: now.Add(-window), rests: restByNeed}
	cut.full = cut.before.Add(-leaveMargin(window))
	return a.move(ctx, cut, nil)
}

// cutoff says which events leave, by stream time, and how quickly.
type cutoff struct {
	before time.Time // those that are older
	full   time.Time // fewer than a segment takes only if the first is older
	rests  rests
}

// move takes steps until nothing is left to move. progress, if set, is told after each.
func (a *Archiver) move(ctx context.Context, cut cutoff, progress func(Moved)) (Moved, error) {
	var sum Moved
	a.held.Store(nil)
	defer func() { a.ahead, a.pages = lookahead{}, nil }()
	for {
		more, err := a.step(ctx, cut, &sum)
		if progress != nil {
			progress(sum)
		}
		if err != nil || !more {
			return sum, err
		}
	}
}

// step moves one stretch; false if there is none that may leave.
func (a *Archiver) step(ctx context.Context, cut cutoff, sum *Moved) (more bool, err error) {
	state, err := a.l.Archived(ctx)
	if err != nil {
		return false, err
	}
	if err := a.l.sameLedger(ctx, state.Through); err != nil {
		return false, err
	}
	// What an earlier step committed and did not purge.
	rest := &rester{rests: cut.rests}
	if err := a.purge(ctx, state.Through.Seq, rest, 0); err != nil {
		return false, err
	}
	a.kept.begin(state.Through.Seq)
	s, err := a.read(ctx, state.Through.Seq, cut, rest)
	if err != nil || s == nil {
		return false, err
	}
	if err := a.judge(ctx, s, rest); err != nil {
		return false, err
	}
	// From here on a program that reads LEDGER alone would miss something.
	if err := a.l.raiseLevel(ctx, levelArchive); err != nil {
		return false, err
	}
	if err := a.carry(ctx, s, rest, sum); err != nil {
		return false, err
	}
	if s.held != nil {
		a.holder = s.held
		a.held.Store(s.held)
	}
	if s.through < s.first {
		return false, nil
	}
	if err := a.commit(ctx, s, sum); err != nil {
		return false, err
	}
	// If this process dies here, the next step begins with the purge.
	if err := a.purge(ctx, s.through, rest, a.cfg.Durable); err != nil {
		return false, err
	}
	return s.held == nil && !s.end, nil
}

// commit writes what leaves and makes it part of the archive.
func (a *Archiver) commit(ctx context.Context, s *departure, sum *Moved) error {
	if err := a.reach("commit"); err != nil {
		return err
	}
	w := a.l.newSegment(s.from)
	w.free = a.pages
	for _, m := range s.messages {
		if m.Seq > s.through {
			break
		}
		w.Add(m)
	}
	var err error
	if w.tally, err = a.tally(ctx, s); err != nil {
		return fmt.Errorf("count what leaves: %w", err)
	}
	if err := a.classify(ctx, s, w); err != nil {
		return err
	}
	r, err := w.Commit(ctx, w.Last())
	if err != nil {
		return err
	}
	a.pages = w.free
	a.kept.left(s)
	for _, g := range r.Segments {
		sum.Segments++
		sum.Events, sum.Jobs, sum.Bytes = sum.Events+g.Events, sum.Jobs+g.Jobs, sum.Bytes+g.Bytes
	}
	if sum.First == 0 {
		sum.First = s.first
	}
	if body, err := r.encode(); err == nil { // it was just now
		sum.Sum = sumOf(body)
	}
	sum.Last = s.through
	return nil
}

// reach tells a test that a step is about to be made.
func (a *Archiver) reach(step string) error {
	if a.at == nil {
		return nil
	}
	return a.at(step)
}
