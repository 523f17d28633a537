package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
)

// When the store's space ends, new work is refused first, and early: a reserve is left for the events of the jobs
// that exist, which must be able to end. Each server measures the space; whoever submits, also a program that uses
// this package, asks any of them at most once a second on a subject of core NATS: nothing of it is written to the
// disk that is full.

// SubjectSpace is where servers answer with their Space. None answers: nothing is known, and nothing refused.
const SubjectSpace = "jl.space"

// States of the store's space.
const (
	SpaceOK   = "ok"
	SpaceLow  = "low"  // less than twice the reserve is left: warned of
	SpaceFull = "full" // less than the reserve is left: submits are refused
)

// ReasonStorageFull: the store is nearly full, and what is left is kept for jobs that exist. Nothing is stored.
const ReasonStorageFull = "storage_full"

const (
	// spaceEvery is how often a server measures, and how old what a door knows may be.
	spaceEvery = time.Second
	// spaceForgotten is when a door forgets what it heard, if no server answers any more.
	spaceForgotten = 10 * time.Second
	// spaceAnswerMax is how long a submit may wait for an answer: one a second does, the others go by the one before.
	spaceAnswerMax = 250 * time.Millisecond
	// spaceBack is by how much more than the reserve, as a part of it, must be free before the door opens again.
	spaceBack = 10

	reserveMax      = 1 << 30
	reservePerTotal = 20 // a twentieth, 5 %
)

// Room is the space of a store in bytes.
type Room struct {
	Free  int64
	Total int64 // 0: without a limit that is known
}

// Space is what a server says of the store's space.
type Space struct {
	State   string `json:"state"`
	Free    int64  `json:"free_bytes"`
	Total   int64  `json:"total_bytes"` // 0: without a limit that is known
	Reserve int64  `json:"reserve_bytes"`
}

// DefaultReserve is 1 GiB, and a twentieth of a store below 20 GiB.
func DefaultReserve(total int64) int64 { return min(reserveMax, total/reservePerTotal) }

// SpaceWatchConfig describes a SpaceWatch.
type SpaceWatchConfig struct {
	// Ledger whose connection answers. Required.
	Ledger *Ledger
	// Logger is required.
	Logger *zap.Logger
	// Measure tells how much room there is. nil asks for the account's limit on file storage, which is all that
	// a NATS server elsewhere tells of.
	Measure func(context.Context) (Room, error)
	// Reserve is how many bytes of a store of so many are kept; nil means DefaultReserve. 0 of it refuses nothing.
	Reserve func(total int64) int64
	// Every is the time between two measurements; 0 means a second.
	Every time.Duration
}

// SpaceWatch measures the store's space, tells whoever asks, and logs when it ends and when there is some again.
type SpaceWatch struct {
	cfg SpaceWatchConfig

	mu    sync.Mutex
	space Space
}

// NewSpaceWatch returns a watch; it does nothing before Run.
func NewSpaceWatch(cfg SpaceWatchConfig) (*SpaceWatch, error) {
	switch {
	case cfg.Ledger == nil:
		return nil, errors.New("ledger: SpaceWatchConfig.Ledger is required")
	case cfg.Logger == nil:
		return nil, errors.New("ledger: SpaceWatchConfig.Logger is required")
	}
	if cfg.Measure == nil {
		cfg.Measure = cfg.Ledger.accountRoom
	}
	if cfg.Reserve == nil {
		cfg.Reserve = DefaultReserve
	}
	if cfg.Every == 0 {
		cfg.Every = spaceEvery
	}
	return &SpaceWatch{cfg: cfg}, nil
}

// Run measures and answers until ctx ends, and returns nil then.
func (w *SpaceWatch) Run(ctx context.Context) error {
	w.measure(ctx)
	sub, err := w.cfg.Ledger.nc.QueueSubscribe(SubjectSpace, SubjectSpace, w.answer)
	if err != nil {
		return fmt.Errorf("subscribe %s: %w", SubjectSpace, err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only when the connection is closed
	for sleep(ctx, w.cfg.Every) {
		w.measure(ctx)
	}
	return nil
}

// Space is what was measured last.
func (w *SpaceWatch) Space() Space {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.space
}

func (w *SpaceWatch) answer(m *nats.Msg) {
	if body, err := json.Marshal(w.Space()); err == nil {
		_ = m.Respond(body) // who does not hear it asks again
	}
}

// measure looks once. Where it cannot, what was measured before goes on to hold.
func (w *SpaceWatch) measure(ctx context.Context) {
	room, err := w.cfg.Measure(ctx)
	if err != nil {
		if ctx.Err() == nil {
			w.cfg.Logger.Debug("the store's space could not be measured", zap.Error(err))
		}
		return
	}
	before := w.Space()
	now := Space{State: SpaceOK, Free: room.Free, Total: room.Total}
	if room.Total > 0 {
		now.Reserve = w.cfg.Reserve(room.Total)
		now.State = spaceState(before.State, room.Free, now.Reserve)
	}
	w.mu.Lock()
	w.space = now
	w.mu.Unlock()
	if now.State != before.State {
		w.say(before.State, now)
	}
}

func (w *SpaceWatch) say(before string, now Space) {
	fields := []zap.Field{zap.Int64("free_bytes", now.Free), zap.Int64("total_bytes", now.Total), zap.Int64("reserve_bytes", now.Reserve)}
	switch {
	case now.State == SpaceFull:
		w.cfg.Logger.Error("the store is full up to its reserve: submits are refused, jobs that exist go on", fields...)
	case before == SpaceFull:
		w.cfg.Logger.Info("the store has room again: submits are taken", fields...)
	case now.State == SpaceLow:
		w.cfg.Logger.Warn("the store's space ends: at its reserve submits will be refused", fields...)
	}
}

// spaceState judges the free bytes. What was full stays so until there is a little more than the reserve, or the door
// would open and shut with each job.
func spaceState(before string, free, reserve int64) string {
	switch {
	case reserve <= 0:
		return SpaceOK
	case free < reserve, before == SpaceFull && free < reserve+reserve/spaceBack:
		return SpaceFull
	case free < 2*reserve:
		return SpaceLow
	}
	return SpaceOK
}

// accountRoom is what the account may still store in files, on all servers.
func (l *Ledger) accountRoom(ctx context.Context) (Room, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	info, err := l.js.AccountInfo(ctx)
	if err != nil {
		return Room{}, err
	}
	room := Room{}
	take := func(limit int64, used uint64) {
		if free := limit - int64(used); limit > 0 && (room.Total == 0 || free < room.Free) {
			room = Room{Free: free, Total: limit}
		}
	}
	take(info.Limits.MaxStore, info.Store)
	for _, tier := range info.Tiers {
		take(tier.Limits.MaxStore, tier.Store)
	}
	return room, nil
}

// spaceDoor is what this process knows of the store's space.
type spaceDoor struct {
	mu    sync.Mutex
	asked time.Time // when the latest question was put
	heard time.Time // when the latest was answered
	space Space
}

// spaceShut is why the store takes no new work; nil if it does, or nothing is known.
func (l *Ledger) spaceShut(ctx context.Context) *Error {
	s := l.space.current(ctx, l)
	if s.State != SpaceFull {
		return nil
	}
	e := Errorf(CodeUnavailable, "the store is nearly full: %d MiB are free, and %d MiB are kept for jobs that exist; submits are taken again when there is room",
		s.Free>>20, s.Reserve>>20)
	return e.with(DetailReason, ReasonStorageFull).with("free_bytes", s.Free).with("reserve_bytes", s.Reserve)
}

// current asks a server if nobody has for a second. Of many submits one asks, and the others do not wait for it.
func (d *spaceDoor) current(ctx context.Context, l *Ledger) Space {
	now := time.Now()
	d.mu.Lock()
	if now.Sub(d.asked) < spaceEvery {
		defer d.mu.Unlock()
		return d.space
	}
	d.asked = now
	d.mu.Unlock()
	space, err := l.Space(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case err == nil:
		d.space, d.heard = space, now
	case now.Sub(d.heard) > spaceForgotten:
		d.space = Space{}
	}
	return d.space
}

// Space asks a server how much room the store has. The error is unavailable where none answers in time.
func (l *Ledger) Space(ctx context.Context) (Space, error) {
	ctx, cancel := context.WithTimeout(ctx, spaceAnswerMax)
	defer cancel()
	m, err := l.nc.RequestWithContext(ctx, SubjectSpace, nil)
	if err != nil {
		return Space{}, coded(err)
	}
	var s Space
	if err := json.Unmarshal(m.Data, &s); err != nil {
		return Space{}, fmt.Errorf("%s: %w", SubjectSpace, err)
	}
	return s, nil
}

// shutForSpace keeps in s why the store takes no new work.
func (s *submission) shutForSpace(ctx context.Context) bool {
	s.shut = s.l.spaceShut(ctx)
	return s.shut != nil
}
