package ledger

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/schemas"
)

// FreshFor makes payloads old sooner than PayloadFresh, as a suspended process finds them.
func (l *Ledger) FreshFor(d time.Duration) { l.fresh = d }

// AtTheDoor judges a submission and stores nothing.
func AtTheDoor(ctx context.Context, l *Ledger, r *SubmitRequest) error {
	t, err := l.Type(ctx, r.Type)
	if err != nil {
		return err
	}
	s := &submission{l: l, org: r.Org, spec: r.spec(t)}
	if err := s.admit(ctx, r, t); err != nil {
		return err
	}
	s.pass.leave(Receipt{Duplicate: true}, nil)
	return nil
}

// LastControl and LatestControl are looks for changed settings: one that begins anew, and one that reads on.
func (l *Ledger) LastControl(ctx context.Context) (schemas.Position, error) {
	return l.lastControl(ctx, controlAll)
}

// LatestControl reads on.
func (l *Ledger) LatestControl(ctx context.Context) (schemas.Position, error) {
	return l.latestControl(ctx)
}

// ControlClear is up to where the next look at control events does not search, if it reads on.
func (l *Ledger) ControlClear() schemas.Seq { return l.settings.tailed().clear }

// ControlMargin and ClearTo are how a look that begins anew finds that.
const ControlMargin = controlMargin

// ClearTo is clearTo.
func ClearTo(last, before, end schemas.Seq) schemas.Seq { return clearTo(last, before, end) }

// ForgetControl has the latest control event be looked for anew.
func (l *Ledger) ForgetControl() {
	t := l.settings.tailed()
	t.found = time.Now().Add(-2 * controlLastEvery)
	l.settings.leave(t)
}

// AskAt makes what the ledger asks about streams go to a test's own answerer; messages are read from the server still.
func (l *Ledger) AskAt(prefix string) (err error) {
	l.js, err = jetstream.NewWithAPIPrefix(l.nc, prefix)
	return err
}

// At has the archiver call at before each durable step; what it returns ends the look.
func (a *Archiver) At(at func(step string) error) { a.at = at }

// Clock has messages that leave be of another time.
func (a *Archiver) Clock(clock func(time.Time) time.Time) { a.clock = clock }

// LookBefore moves what is older than a time.
func (a *Archiver) LookBefore(ctx context.Context, before time.Time) (Moved, error) {
	return a.move(ctx, cutoff{before: before, full: before}, nil)
}

// WithHotWindowMin allows windows shorter than HotWindowMin.
func (c *ProvisionConfig) WithHotWindowMin(d time.Duration) { c.hotWindowMin = d }

// LookPaced is LookBefore with the rests of a look in time.
func (a *Archiver) LookPaced(ctx context.Context, before time.Time) (Moved, error) {
	return a.move(ctx, cutoff{before: before, full: before, rests: restAlways}, nil)
}

// ArchiveSilent has every look into the archive's catalogue wait, as while its stream has no leader, until the returned
// function is called.
func (l *Ledger) ArchiveSilent() (answer func()) {
	if _, wait := l.archiveLooks.begin(time.Now()); wait != nil {
		panic("a look is under way")
	}
	return func() { l.archiveLooks.end(time.Time{}, context.DeadlineExceeded) }
}

// ForgetLevel has what is known of LEDGER's settings be older than it may get.
func (l *Ledger) ForgetLevel() {
	if known := l.config.Load(); known != nil {
		old := *known
		old.at = time.Time{}
		l.config.Store(&old)
	}
	l.levelLooked.Store(0)
}

// HearMany has SubmitMany hear other answers than the server gave.
func (l *Ledger) HearMany(f func(i int, answer []byte) []byte) { l.heard = f }

// PrepareSubmit does all of a submit but sending it.
func PrepareSubmit(ctx context.Context, l *Ledger, r SubmitRequest) error {
	s, err := l.prepare(ctx, &r)
	if err != nil {
		return err
	}
	e, err := s.beginFresh(s.freshID())
	if err != nil {
		return err
	}
	_, err = l.appendingOf(e, expectation{})
	return err
}

// PacedStretch reads LEDGER as a paced reader does to whom busy tells whether others write.
func (l *Ledger) PacedStretch(ctx context.Context, until schemas.Seq, busy func() bool, fn func([]*Entry) error) error {
	p := &pacer{l: l}
	p.busy.Store(busy())
	return (&stretch{l: l, next: 1, until: until, pace: p}).run(ctx, func(entries []*Entry) error {
		err := fn(entries)
		p.busy.Store(busy())
		return err
	})
}

// Busy reports whether a reader that begins now is paced.
func (l *Ledger) Busy(ctx context.Context) bool {
	p := l.pace(ctx)
	defer p.close()
	return p.bits() > 0
}

// PaceBits is what the server may send a paced reader.
const PaceBits = paceBytes * 8

// Hold has a check let finished jobs go when it holds so many.
func (c *VerifyConfig) Hold(n int) { c.held = n }

// Begins is called when a check has looked up what ARCHIVE holds, and is about to read it.
func (c *VerifyConfig) Begins(f func()) { c.begins = f }

// Busy has a check take the ledger for one that others write to, all the time.
func (c *VerifyConfig) Busy() {
	c.pace = &pacer{l: c.Ledger}
	c.pace.busy.Store(true)
}

// OfAge is how many segments have come of age from a message on, as far as it matters for the archiver's rests.
func (a *Archiver) OfAge(ctx context.Context, first schemas.Seq, before time.Time) (int, error) {
	r := rester{rests: restByNeed}
	err := r.look(ctx, a, first, before)
	return r.wait, err
}

// PurgeBelow removes from LEDGER what stands below a sequence.
func (l *Ledger) PurgeBelow(ctx context.Context, seq schemas.Seq) error {
	return l.purgeBelow(ctx, seq)
}

// GroupFunc stores a batch of appends.
type GroupFunc = func(ctx context.Context, msgs []*nats.Msg, wait time.Duration) (uint64, error)

// InGroups has batches of appends go through what group makes of the way they go, and those that go by themselves through
// what alone makes; nil: as they go.
func (l *Ledger) InGroups(group func(next GroupFunc) GroupFunc, alone func(next PublishFunc) PublishFunc) {
	if group != nil {
		l.gather.commit = group(l.gather.commit)
	}
	if alone != nil {
		l.gather.alone = alone(l.gather.alone)
	}
}

// PublishBy publishes as an append does that waits for its reply until then.
func (l *Ledger) PublishBy(ctx context.Context, until time.Time, m *nats.Msg) (*nats.Msg, error) {
	return l.gather.publish(&replyBy{ctx, until}, m)
}

// Gathered is how many appends wait for others.
func (l *Ledger) Gathered() int {
	l.gather.mu.Lock()
	defer l.gather.mu.Unlock()
	return len(l.gather.waiting)
}
