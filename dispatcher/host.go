package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// inFlightMax is how many decisions are carried out at a time. Each is two or three requests one after
	// the other, so at 2 ms a request this many make 20,000 a second.
	inFlightMax = 128

	// actTimeout bounds one decision; what is not settled by then is decided again.
	actTimeout = 10 * time.Second

	// tickEvery is the longest time between two looks at timers, leases and the connection.
	tickEvery = 50 * time.Millisecond

	// failPause is how long nothing new is decided after a decision failed: as a rule the server is away.
	failPause = 100 * time.Millisecond

	// beatsMax bounds beats not yet looked at; more are dropped, and sent again by their workers.
	beatsMax = 1024
)

// Config configures a Host.
type Config struct {
	// Ledger appends and offers. Required. Give it a connection of its own (ENGINE 10).
	Ledger *ledger.Ledger
	// Feed is the server's one tail. Required. Somebody runs it.
	Feed *ledger.Feed
	// Server is this process's id in leader events and in the lease. Required; unique.
	Server string
	// Logger is required; use zap.NewNop() for none.
	Logger *zap.Logger
	// Provision creates what the cell's streams lack. It is called when LEASE is missing, as after a restart
	// of a single server; nil provisions with the settings of what is there.
	Provision func(ctx context.Context) error
	// WhileLeading run while this server leads: ctx ends with the epoch, and the next one begins only after
	// they have returned. An error of one before that ends Run.
	WhileLeading []func(ctx context.Context, epoch schemas.Seq) error
	// Right is asked before each queueing whether the job may still run as its principal. nil: every job may.
	Right ledger.Right
	// Folds is where the fold is kept for the next start; nil: nowhere, and a start folds the ledger from its beginning.
	Folds Folds
	// Times are the durations of leases; zero fields take their defaults.
	Times HostTimes
}

// HostTimes are the durations of a Host.
type HostTimes struct {
	Core      Times
	LeaseTTL  time.Duration // of the leader's lease: 3 s; at least 1 s (ENGINE 5)
	Renew     time.Duration // between renewals, 1 s; a standby tries twice as often
	Reconcile time.Duration // between looks at WORK, 1 s
	Save      time.Duration // between two savings of the fold, 1 min
}

func (t *HostTimes) fill() {
	core := DefaultTimes()
	for _, d := range []struct {
		at      *time.Duration
		initial time.Duration
	}{
		{&t.Core.Lease, core.Lease}, {&t.Core.Reoffer, core.Reoffer}, {&t.Core.CancelMargin, core.CancelMargin}, {&t.Core.Sweep, core.Sweep},
		{&t.LeaseTTL, 3 * time.Second}, {&t.Renew, time.Second}, {&t.Reconcile, time.Second}, {&t.Save, time.Minute},
	} {
		if *d.at == 0 {
			*d.at = d.initial
		}
	}
}

func (c *Config) validate() error {
	switch {
	case c.Ledger == nil:
		return errors.New("dispatcher: Config.Ledger is required")
	case c.Feed == nil:
		return errors.New("dispatcher: Config.Feed is required")
	case c.Server == "":
		return errors.New("dispatcher: Config.Server is required")
	case c.Logger == nil:
		return errors.New("dispatcher: Config.Logger is required")
	}
	c.Times.fill()
	if c.Times.LeaseTTL < time.Second || c.Times.Renew > c.Times.LeaseTTL/3 {
		return fmt.Errorf("dispatcher: a lease of %s renewed every %s: it lasts at least 1s and three renewals", c.Times.LeaseTTL, c.Times.Renew)
	}
	return nil
}

// Host carries a Core's decisions out. Its loop alone touches the core; everybody else hands it work over
// channels. One server process runs one.
type Host struct {
	cfg   Config
	l     *ledger.Ledger
	log   *zap.Logger
	start time.Time // zero of the monotonic clock

	entries chan feedBatch
	beats   chan heardBeat
	calls   chan func()
	asks    chan ask
	acts    chan act
	settled chan settlement
	ensures chan ensureRequest
	repair  chan struct{} // capacity 1: WORK is in doubt

	// Owned by the loop.
	core    *Core
	waits   []wait
	ensured map[ledger.Serves]bool // pairs whose consumer was made in the present WORK
	own     map[schemas.Seq]time.Time
	// unanswered are the latest beats heard while another host, or none, led: of as many sessions as the core knows.
	unanswered map[schemas.SessionID]heardBeat
	offset     time.Time // when the clock offset was last measured
	pauseTo    time.Time // nothing is decided before

	saved   schemas.Seq // position of the fold that was saved last, or loaded
	savedAt time.Time   // when it was
	saving  atomic.Bool // one is being written
	// saveTook is how long the last one took, ns.
	saveTook atomic.Int64
	savers   sync.WaitGroup

	from     schemas.Position // of the saved fold that was taken up, zero without one
	cache    *argsCache
	ahead    *readAhead
	skew     atomic.Int64 // stream time minus this clock, ns
	cell     atomic.Pointer[string]
	lease    atomic.Pointer[lease] // held now, nil if none
	status   atomic.Pointer[Status]
	counters Counters
	right    *ledger.RightCheck
}

// wait is somebody who waits for the fold to reach a sequence.
type wait struct {
	seq  schemas.Seq
	done chan struct{}
}

type feedBatch struct {
	entries []*ledger.Entry
	restart bool // the ledger has gone back: fold from zero
}

// act is a decision on its way to be carried out under an epoch.
type act struct {
	d     Decision
	lease *lease
}

type settlement struct {
	d  Decision
	r  Result
	at time.Time // this clock, when the append was acknowledged
}

// New returns a host. Run makes it work.
func New(cfg Config) (*Host, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	h := &Host{cfg: cfg, l: cfg.Ledger, start: time.Now(),
		log:     cfg.Logger.With(zap.String("component", "dispatcher"), zap.String("server", cfg.Server)),
		entries: make(chan feedBatch), beats: make(chan heardBeat, beatsMax), calls: make(chan func()),
		asks: make(chan ask, asksMax),
		acts: make(chan act, 2*inFlightMax), settled: make(chan settlement, inFlightMax),
		ensures: make(chan ensureRequest, beatsMax), repair: make(chan struct{}, 1),
		core: NewCore(cfg.Times.Core), ensured: make(map[ledger.Serves]bool), own: make(map[schemas.Seq]time.Time),
		unanswered: make(map[schemas.SessionID]heardBeat),
		cache:      newArgsCache(), ahead: newReadAhead(), right: ledger.NewRightCheck(cfg.Right)}
	if h.cfg.Provision == nil {
		h.cfg.Provision = func(ctx context.Context) error {
			_, err := ledger.Provision(ctx, h.l, ledger.ProvisionConfig{})
			return err
		}
	}
	h.cell.Store(new(string))
	h.status.Store(&Status{})
	return h, nil
}

// Run folds the ledger, hears beats and stands for leader until ctx ends; it returns nil then, or why it
// could not go on. A leader that ends this way gives its lease back.
func (h *Host) Run(ctx context.Context) error {
	h.takeUp(ctx)
	h.savedAt = time.Now()
	sub, err := h.l.Conn().Subscribe(ledger.SubjectBeat, h.onBeat)
	if err != nil {
		return fmt.Errorf("dispatcher: %w", err)
	}
	asked, err := h.l.Conn().Subscribe(ledger.SubjectExplain, h.onExplain)
	if err != nil {
		return errors.Join(fmt.Errorf("dispatcher: %w", err), sub.Unsubscribe())
	}
	// The loop and the hands outlive the candidate, which ends its epoch through them.
	life, end := context.WithCancelCause(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	run := func(f func(context.Context)) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			f(life)
		}()
	}
	run(h.loop)
	run(h.follow)
	run(h.ensureLoop)
	for range inFlightMax {
		run(h.actLoop)
	}
	err = h.stand(ctx)
	end(err)
	wg.Wait()
	h.saveLast()
	for _, s := range []*nats.Subscription{sub, asked} {
		if uerr := s.Unsubscribe(); uerr != nil && !errors.Is(uerr, nats.ErrConnectionClosed) && err == nil {
			err = uerr
		}
	}
	if err != nil {
		return fmt.Errorf("dispatcher: %w", err)
	}
	return nil
}

// follow hands the tail to the loop.
func (h *Host) follow(ctx context.Context) {
	for from := h.from; ; from = (schemas.Position{}) { // if the event there is no more
		c := h.cfg.Feed.Subscribe(from)
		err := h.followOne(ctx, c)
		c.Close()
		if !errors.Is(err, ledger.ErrPositionExpired) {
			return
		}
		h.log.Warn("the fold's position is gone, the ledger is folded from its beginning", zap.Error(err))
		select {
		case h.entries <- feedBatch{restart: true}:
		case <-ctx.Done():
			return
		}
	}
}

func (h *Host) followOne(ctx context.Context, c *ledger.Cursor) error {
	for {
		entries, err := c.Next(ctx)
		if err != nil {
			return err
		}
		select {
		case h.entries <- feedBatch{entries: entries}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// now is the present stream time, by this clock and the offset learnt from own events.
func (h *Host) now() time.Time { return time.Now().Add(time.Duration(h.skew.Load())) }

// mono is the monotonic clock of leases.
func (h *Host) mono() time.Duration { return time.Since(h.start) }

// call runs f in the loop and waits for it.
func (h *Host) call(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case h.calls <- func() { f(); close(done) }:
	case <-ctx.Done():
		return ctx.Err()
	}
	<-done
	return nil
}

// Status says how a host stands.
type Status struct {
	Leading  bool
	Epoch    schemas.Seq // of this leader, 0 if it is none
	Cell     string      // id of the cell's latest start in the fold
	Position schemas.Seq // of the fold
	Core     Stats
}

// Status returns how the host stood a moment ago.
func (h *Host) Status() Status { return *h.status.Load() }

// Counters counts what a host did. They only rise.
type Counters struct {
	Queued, Offered, Reoffered, OffersRemoved, OffersStale       atomic.Int64
	Lost, Overrun, EndedCancels, Expired, Duplicates             atomic.Int64
	ParentsRead, Dependencies, Dissolved                         atomic.Int64
	Epochs, WorkRecreated, BeatsDropped, ReadsAhead, ReadsSingle atomic.Int64
	Ticks                                                        atomic.Int64 // of schedules, that made a job
	Denied, RightsUnknown                                        atomic.Int64 // jobs whose right was lost, or not to be found out
	FoldsSaved                                                   atomic.Int64
}

// Counters returns the host's counters.
func (h *Host) Counters() *Counters { return &h.counters }
