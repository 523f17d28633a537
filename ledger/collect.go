package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/schemas"
)

const (
	// collectEvery is how often the collector looks for payloads that have come of age.
	collectEvery = 10 * time.Minute
	// collectPause is between two objects that are judged: each costs a read of its job, and nobody waits for it.
	collectPause = 5 * time.Millisecond
	// clockSlack is how far the clocks of two servers may differ, each the leader of another stream.
	clockSlack = time.Minute
)

// CollectorConfig describes a Collector.
type CollectorConfig struct {
	// Ledger to look after. Required. Give it a connection of its own (ENGINE 10).
	Ledger *Ledger
	// Logger is required; use zap.NewNop() for none.
	Logger *zap.Logger
	// Grace is how old an object must be before it is judged; 0 means PayloadGrace. Shorter ones are for tests:
	// what is judged while its event is on its way is lost.
	Grace time.Duration
	// Every is the time between two looks; 0 means 10 minutes.
	Every time.Duration
}

// Collector removes payloads that no event names: what a publisher or worker that died between upload and append
// has left, a half-written object, args of a submit that turned out to be a duplicate. It never removes what an
// event names; those leave with their job.
//
// It reads the records of each store in the order in which they were written and judges each once, when it is
// older than the grace. So a look costs what was stored since the last one, whatever the number of jobs and of
// objects; only the first look of a Run judges all. It keeps nothing that a restart would miss.
type Collector struct {
	cfg  CollectorConfig
	l    *Ledger
	from map[string]schemas.Seq // by store: records below are judged
}

// Collected says what one look of a Collector did.
type Collected struct {
	Judged  int // objects that had come of age
	Removed int // of them
}

// NewCollector returns a collector; it does nothing before Run.
func NewCollector(cfg CollectorConfig) (*Collector, error) {
	switch {
	case cfg.Ledger == nil:
		return nil, errors.New("ledger: CollectorConfig.Ledger is required")
	case cfg.Logger == nil:
		return nil, errors.New("ledger: CollectorConfig.Logger is required")
	}
	if cfg.Grace == 0 {
		cfg.Grace = PayloadGrace
	}
	if cfg.Every == 0 {
		cfg.Every = collectEvery
	}
	return &Collector{cfg: cfg, l: cfg.Ledger, from: make(map[string]schemas.Seq)}, nil
}

// Run looks now and every CollectorConfig.Every until ctx ends, and returns nil then. It is made to run on the leader, whose epoch does
// not matter to it: two collectors at once remove the same.
func (c *Collector) Run(ctx context.Context, _ schemas.Seq) error {
	clear(c.from) // the stores may have been put back to older data while another server led
	for {
		got, err := c.Look(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			c.cfg.Logger.Warn("payloads that no event names could not be looked for", zap.Error(err))
		case got.Removed > 0:
			c.cfg.Logger.Info("removed payloads that no event names", zap.Int("removed", got.Removed), zap.Int("judged", got.Judged))
		}
		if !sleep(ctx, c.cfg.Every) {
			return nil
		}
	}
}

// Look judges what has come of age since the last look. After an error the next one goes on where it stopped.
func (c *Collector) Look(ctx context.Context) (Collected, error) {
	var sum Collected
	for _, store := range []string{StoreArgs, StoreResults} {
		if err := c.sweep(ctx, c.l.objects(store), &sum); err != nil {
			return sum, err
		}
	}
	return sum, nil
}

func (c *Collector) sweep(ctx context.Context, o objects, sum *Collected) error {
	s, err := c.l.stream(ctx, o.stream())
	if err != nil {
		return err
	}
	info := s.CachedInfo()
	now := info.TimeStamp
	if uint64(c.from[o.name]) > info.State.LastSeq+1 {
		c.from[o.name] = 0 // older data was put back: its sequences are given out again (DESIGN D2)
	}
	for {
		page, next, err := o.page(ctx, c.from[o.name])
		if err != nil {
			return err
		}
		for _, r := range page {
			if now.Sub(r.at) < c.cfg.Grace {
				return nil // and all behind it: records stand in the order of their times
			}
			removed, err := c.judge(ctx, o, r)
			if err != nil {
				return err
			}
			sum.Judged++
			if removed {
				sum.Removed++
			}
			c.from[o.name] = r.seq + 1
			if !sleep(ctx, collectPause) {
				return ctx.Err()
			}
		}
		if next == 0 {
			return nil
		}
		c.from[o.name] = max(next, c.from[o.name])
	}
}

// judge removes the object if it is an orphan.
//
// It is one if no event names it now, and none can any more: its writer sends the event within twice PayloadFresh
// of the upload. A name not of our form is somebody else's object.
func (c *Collector) judge(ctx context.Context, o objects, r *record) (removed bool, err error) {
	org, id, ours := parsePayloadName(r.Name)
	if !ours {
		return false, nil
	}
	if !r.Deleted {
		named, err := c.l.named(ctx, org, id, o.name, r.Name)
		if err != nil || named {
			return false, err
		}
		// Asked for after the look into the job: what was purged meanwhile is behind the floor.
		floor, err := c.l.floor(ctx)
		if err != nil || r.at.Before(floor) {
			return false, err
		}
	}
	return true, o.remove(ctx, r)
}

// named reports that some event of the job names the object, or may name it: an event that this binary cannot read
// (DESIGN D8).
func (l *Ledger) named(ctx context.Context, org schemas.OrgID, id schemas.JobID, store, name string) (bool, error) {
	s, err := l.wholeStory(ctx, org, id)
	if err != nil {
		return false, fmt.Errorf("look for the event that names %s: %w", name, err)
	}
	for _, e := range s.entries {
		if errors.Is(e.Err, schemas.ErrUndecodable) {
			return true, nil
		}
		for _, ref := range refsOf(e.Data) {
			if ref.Bucket == store && ref.Name == name {
				return true, nil
			}
		}
	}
	return false, nil
}

// floor is the time from which on all events are known: in LEDGER, in ARCHIVE, or removed from there with all that they
// name, because their time was over. Only where somebody purged LEDGER by hand are there others, and what those name is
// not the collector's.
func (l *Ledger) floor(ctx context.Context) (time.Time, error) {
	state, err := l.state(ctx)
	if err != nil || state.FirstSeq <= 1 {
		return time.Time{}, err
	}
	archived, err := l.Archived(ctx)
	switch {
	case err != nil:
		return time.Time{}, err
	case uint64(archived.Through.Seq)+1 >= state.FirstSeq:
		return time.Time{}, nil
	case state.Msgs == 0:
		return time.Now().Add(clockSlack), nil
	}
	return state.FirstTime.Add(clockSlack), nil
}

// refsOf are the payloads that an event names.
func refsOf(data schemas.Data) []*schemas.ObjectRef {
	var refs []*schemas.ObjectRef
	add := func(candidates ...*schemas.ObjectRef) {
		for _, ref := range candidates {
			if ref != nil {
				refs = append(refs, ref)
			}
		}
	}
	switch d := data.(type) {
	case *schemas.Submitted:
		add(d.ArgsRef)
	case *schemas.Completed:
		add(d.ResultRef)
	case *schemas.LateResult:
		add(d.ResultRef)
	case *schemas.Carried:
		add(d.Job.Spec.ArgsRef, d.Job.ResultRef)
	}
	return refs
}
