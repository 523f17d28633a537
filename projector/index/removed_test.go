package index_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/projector/index"
	"github.com/dartwing/jobledger/schemas"
)

// removalsEvery is how often an index here asks what was removed.
const removalsEvery = 5 * time.Millisecond

// archive has all events leave, so many with each segment, but for what running jobs hold.
func archive(t *testing.T, env *ledgertest.Env, events int) {
	t.Helper()
	a, err := ledger.NewArchiver(ledger.ArchiverConfig{Ledger: env.NewLedger(), Logger: zap.NewNop(), Durable: -1, Window: time.Nanosecond, SegmentEvents: events})
	if err == nil {
		_, err = a.Look(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// remove takes all out of the archive whose time is over so much later, and returns how many segments were removed until now.
func remove(t *testing.T, env *ledgertest.Env, later time.Duration) int {
	t.Helper()
	r, err := ledger.NewRemover(ledger.RemoverConfig{Ledger: env.NewLedger(), Logger: zap.NewNop(), Wait: -1, Now: func() time.Time { return time.Now().Add(later) }})
	if err == nil {
		_, err = r.Look(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	state, err := env.Ledger.Archived(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return state.Removed
}

// until waits for something to be so.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(removalsEvery)
	defer tick.Stop()
	for limit := time.Now().Add(patience); !so(); <-tick.C {
		if time.Now().After(limit) {
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// follows waits until an index has followed so many removals.
func follows(t *testing.T, x *index.Index, removed int) {
	t.Helper()
	until(t, fmt.Sprint("it follows ", removed, " removals"), func() bool {
		n, err := x.Followed(t.Context())
		return err == nil && n >= removed
	})
}

// noting has an index ask often, and returns what it logs about being thrown away.
func noting(since func(context.Context, int, string, func(*ledger.RemovedSegment) error) error) (change func(*index.Index), thrown func() int) {
	core, logs := observer.New(zap.InfoLevel)
	return func(x *index.Index) {
			x.Removals(removalsEvery, since)
			x.LogTo(zap.New(core))
		}, func() int {
			return logs.FilterMessage("the index is thrown away and folded from zero").Len()
		}
}

// what is removed from the archive leaves the index, which is not thrown away for that, and equals a fold from zero of what
// is left: whichever part of a job went first, whether ids were used again, and whenever the index was stopped.
func TestRemovedHistoryLeavesTheIndex(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	dir := t.TempDir()
	walk := ledgertest.NewWalk(env, t, rand.Uint64())
	const years = 3 * 365 * 24 * time.Hour
	change, thrown := noting(nil)
	var removed int
	for range 4 {
		x, stop := start(t, env, feed(t, env), dir, change) // as a server that starts: no feed remembers what was removed before
		for range 3 {
			for range 40 {
				walk.Step()
			}
			walk.Rest()
			archive(t, env, 5+walk.Rand.IntN(30))
			removed = remove(t, env, years)
			if walk.Rand.IntN(2) == 0 {
				follows(t, x, removed)
			}
		}
		if walk.Rand.IntN(2) == 0 {
			follows(t, x, removed)
			check(t, env, x)
		}
		// The file ends with an event that is not removed before the next start, which would have it begin anew.
		if _, err := env.Ledger.Submit(t.Context(), ledger.SubmitRequest{Org: "org0", Type: "t", Delay: time.Hour, NoDedup: true}); err != nil {
			t.Fatal(err)
		}
		caughtUp(t, env, x)
		stop() // also while it follows
		removed = remove(t, env, years)
	}
	x, _ := start(t, env, feed(t, env), dir, change)
	follows(t, x, removed)
	check(t, env, x)
	anew, _ := start(t, env, feed(t, env), t.TempDir(), change)
	check(t, env, anew)
	if removed == 0 || thrown() > 0 {
		t.Errorf("%d segments were removed, and the index was thrown away %d times", removed, thrown())
	}
	t.Logf("%d segments were removed", removed)
}

// nothing of what is removed stays in the index, neither rows nor what leads to them.
func TestNothingOfRemovedJobsStaysInTheIndex(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	schema := `{"properties":{"user":{"properties":{"id":{"x-index":true}}}}}`
	if _, err := env.Ledger.PutType(t.Context(), schemas.TypeSettings{Name: "mail", Schema: json.RawMessage(schema)}, ledger.Meta{}, ""); err != nil {
		t.Fatal(err)
	}
	x, _ := start(t, env, feed(t, env), t.TempDir(), func(x *index.Index) { x.Removals(removalsEvery, nil) })
	for i := range 40 {
		id := schemas.JobID(fmt.Sprint("job-", i))
		_, err := env.Ledger.Submit(t.Context(), ledger.SubmitRequest{Org: "a", ID: id, Type: "mail", Principal: "user:ada", Tags: map[string]string{"env": "test"},
			Args: fmt.Appendf(nil, `{"user":{"id":%d}}`, i)})
		if err == nil {
			var j *ledger.Job
			if j, err = env.Ledger.Fold(t.Context(), "a", id); err == nil {
				_, _, err = env.Ledger.DoFrom(t.Context(), j, &ledger.Cancel{Reason: "enough"}, ledger.Meta{})
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	caughtUp(t, env, x)
	for _, table := range []string{"jobs", "terms"} {
		if n, err := x.Len(t.Context(), table); err != nil || n < 40 {
			t.Fatalf("table %s has %d rows, %v, before", table, n, err)
		}
	}
	archive(t, env, 30)
	follows(t, x, remove(t, env, 3*365*24*time.Hour))
	check(t, env, x)
	for _, table := range []string{"jobs", "terms"} {
		if n, err := x.Len(t.Context(), table); err != nil || n != 0 {
			t.Errorf("table %s has %d rows, %v", table, n, err)
		}
	}
}

// an index that missed a removal, as its server stood still until the segment's messages were deleted, begins anew, and so does one that
// followed other removals than this archive's; it does not where it only could not ask.
func TestForgottenRemovalFoldsTheIndexAnew(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	walk := ledgertest.NewWalk(env, t, 1)
	for range 10 {
		walk.Step()
	}
	var asked atomic.Int64
	var lost atomic.Pointer[error]
	change, thrown := noting(func(context.Context, int, string, func(*ledger.RemovedSegment) error) error {
		asked.Add(1)
		if err := lost.Swap(nil); err != nil {
			return fmt.Errorf("it was long ago: %w", *err)
		}
		return errors.New("nobody answers")
	})
	x, _ := start(t, env, feed(t, env), t.TempDir(), change)
	check(t, env, x)
	from := asked.Load()
	until(t, "it asks", func() bool { return asked.Load() > from+3 })
	if thrown() > 0 {
		t.Error("the index began anew though it only could not ask")
	}
	for i, err := range []error{ledger.ErrRemovalForgotten, ledger.ErrPositionExpired} {
		lost.Store(&err)
		until(t, "it begins anew", func() bool { return thrown() == i+1 })
		check(t, env, x)
	}
}
