package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/internal/groups"
	"github.com/dartwing/jobledger/internal/natsd"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// strictly is a ledger on a server that syncs each write, whose appends that meet go together.
func strictly(t *testing.T) (*ledgertest.Env, *ledger.Ledger) {
	t.Helper()
	env := ledgertest.Start(t, ledgertest.WithDurability(natsd.Strict))
	regroup(t, env, ledger.GroupCommitOn)
	l := unhampered(t, env)
	putSetting(t, l, &schemas.TypeSet{Settings: schemas.TypeSettings{Name: "echo"}})
	if !l.Groups(t.Context()) {
		t.Fatal("appends do not go together")
	}
	return env, l
}

func regroup(t *testing.T, env *ledgertest.Env, g ledger.GroupCommit) {
	t.Helper()
	if _, err := ledger.Provision(t.Context(), env.Ledger, ledger.ProvisionConfig{GroupCommit: g}); err != nil {
		t.Fatal(err)
	}
}

// meet makes n appends meet: those that went by themselves are held until all others wait. It returns when all have ended.
func meet(t *testing.T, l *ledger.Ledger, n int, one func(ctx context.Context, i int)) {
	t.Helper()
	let := make(chan struct{})
	l.InGroups(nil, func(next ledger.PublishFunc) ledger.PublishFunc {
		return func(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
			select {
			case <-let:
			case <-t.Context().Done():
			}
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ledger.RequestTimeout) // a reply may go with the server
			defer cancel()
			return next(ctx, m)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { one(ctx, i) })
	}
	eventually(t, "the appends to meet", func() bool { return l.Gathered() == n-groups.Worth })
	close(let)
	all.Wait()
}

// R-02, D12: appends that meet are stored as one batch, each with its own sequence, and survive a restart.
func TestGroupCommit(t *testing.T) {
	t.Parallel()
	env, l := strictly(t)
	var batches atomic.Int64
	l.InGroups(func(next ledger.GroupFunc) ledger.GroupFunc {
		return func(ctx context.Context, msgs []*nats.Msg, wait time.Duration) (uint64, error) {
			batches.Add(1)
			return next(ctx, msgs, wait)
		}
	}, nil)
	const n = 100
	outcomes := make([]ledger.Submission, n)
	meet(t, l, n, func(ctx context.Context, i int) {
		outcomes[i].Receipt, outcomes[i].Err = l.Submit(ctx, distinct(i))
	})
	if b := batches.Load(); b < 1 || b > 5 {
		t.Errorf("%d appends went in %d batches", n, b)
	}
	wantStored(t, l, outcomes, false)
	var all sync.WaitGroup // on jobs that are there, an expectation each
	for _, o := range outcomes {
		all.Go(func() {
			if _, _, err := l.Do(t.Context(), o.Receipt.Org, o.Receipt.ID, &ledger.Cancel{}, ledger.Meta{}); err != nil {
				t.Errorf("cancel %s: %v", o.Receipt.ID, err)
			}
		})
	}
	all.Wait()
	env.Restart()
	for _, o := range outcomes {
		if j, err := env.Ledger.Fold(t.Context(), o.Receipt.Org, o.Receipt.ID); err != nil || j.State != schemas.StateCanceled {
			t.Fatalf("job %s after a restart: %v %v", o.Receipt.ID, j, err)
		}
	}
	groupsLeave(t, env, outcomes)
}

// groupsLeave has all events leave for the archive, and reads them there.
func groupsLeave(t *testing.T, env *ledgertest.Env, outcomes []ledger.Submission) {
	t.Helper()
	a, err := ledger.NewArchiver(ledger.ArchiverConfig{Ledger: env.NewLedger(), Logger: zap.NewNop(), Durable: -1})
	if err != nil {
		t.Fatal(err)
	}
	end, err := env.Ledger.End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	last, err := env.Ledger.EventAt(t.Context(), end.Seq)
	if err != nil {
		t.Fatal(err)
	}
	if moved, err := a.LookBefore(t.Context(), last.Time); err != nil || moved.Events == 0 {
		t.Fatalf("moved %+v: %v", moved, err)
	}
	for _, o := range outcomes {
		h, err := env.NewLedger().History(t.Context(), o.Receipt.Org, o.Receipt.ID)
		if err != nil || len(h.Entries) != 2 {
			t.Fatalf("job %s has a history of %+v, %v; want 2 events", o.Receipt.ID, h, err)
		}
	}
	if v, err := ledger.Verify(t.Context(), ledger.VerifyConfig{Ledger: env.NewLedger(), Full: true}); err != nil || !v.OK {
		t.Fatalf("%+v, %v", v, err)
	}
}

// D3: whatever becomes of a batch, each append in it has the outcome that it would have had by itself, and is stored once.
func TestGroupFaults(t *testing.T) {
	t.Parallel()
	lost := context.DeadlineExceeded
	full := &groups.UnsettledError{Answer: []byte(`{"stream":"LEDGER","error":{"code":500,"err_code":10077,"description":"no space"}}`)}
	for name, fault := range map[string]struct {
		stored, restart bool
		err             error
	}{
		"refused":                       {err: &groups.RefusedError{Code: 10164}},
		"refused, then a restart":       {restart: true, err: &groups.RefusedError{Code: 10071}},
		"too many under way":            {err: &groups.RefusedError{Code: 10210}},
		"never arrived":                 {err: lost},
		"never arrived, then a restart": {restart: true, err: lost},
		"stored, the reply lost":        {stored: true, err: lost},
		"stored, then a restart":        {stored: true, restart: true, err: lost},
		"nobody took it":                {err: nats.ErrNoResponders},
		"a failure":                     {err: full},
		"stored, with a failure":        {stored: true, err: full},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env, l := strictly(t)
			var faults atomic.Int64
			l.InGroups(func(next ledger.GroupFunc) ledger.GroupFunc {
				return func(ctx context.Context, msgs []*nats.Msg, wait time.Duration) (uint64, error) {
					if faults.Add(1) > 1 {
						return next(ctx, msgs, wait)
					}
					if fault.stored {
						if _, err := next(ctx, msgs, wait); err != nil {
							t.Errorf("the batch: %v", err)
						}
					}
					if fault.restart {
						env.Stop()
						env.StartServer()
					}
					return 0, fault.err
				}
			}, nil)
			outcomes := make([]ledger.Submission, 30)
			meet(t, l, len(outcomes), func(ctx context.Context, i int) {
				outcomes[i].Receipt, outcomes[i].Err = l.Submit(ctx, distinct(i))
			})
			if faults.Load() == 0 {
				t.Error("there was no batch")
			}
			wantStored(t, env.Ledger, outcomes, false)
			if end, err := env.Ledger.End(t.Context()); err != nil || countJobs(t, env.Ledger, end.Seq) != len(outcomes) {
				t.Errorf("%d submits are stored, want %d (%v)", countJobs(t, env.Ledger, end.Seq), len(outcomes), err)
			}
		})
	}
}

// countJobs counts the submits that LEDGER holds.
func countJobs(t *testing.T, l *ledger.Ledger, end schemas.Seq) (n int) {
	t.Helper()
	for seq := schemas.Seq(1); seq <= end; seq++ {
		if e, err := l.EventAt(t.Context(), seq); err == nil && e.Event != nil && e.Name() == schemas.EventSubmitted {
			n++
		}
	}
	return n
}

// D3: an append that is to be refused is refused, and touches none of those that it met.
func TestGroupOneRefused(t *testing.T) {
	t.Parallel()
	_, l := strictly(t)
	events := make([]*schemas.Event, 30)
	errs := make([]error, len(events))
	const taken = schemas.JobID("taken")
	there := newSubmitted(taken)
	if err := l.Append(t.Context(), there, 0); err != nil {
		t.Fatal(err)
	}
	meet(t, l, len(events), func(ctx context.Context, i int) {
		e := newSubmitted(schemas.JobID(fmt.Sprintf("own-%d", i)))
		if i == len(events)/2 {
			e = newSubmitted(taken)
		}
		events[i], errs[i] = e, l.Append(ctx, e, 0)
	})
	for i, err := range errs {
		var refused *ledger.RefusedError
		switch {
		case i == len(events)/2:
			if !errors.As(err, &refused) || refused.At != there.Seq {
				t.Errorf("the one behind a stale expectation: %v", err)
			}
		case err != nil || events[i].Seq == 0:
			t.Errorf("append %d: %v", i, err)
		}
	}
}

// A caller who gives up while its append waits for others leaves it unsent.
func TestGroupGivenUp(t *testing.T) {
	t.Parallel()
	env, l := strictly(t)
	gone, giveUp := context.WithCancel(t.Context())
	var alone atomic.Int64
	let := make(chan struct{})
	l.InGroups(nil, func(next ledger.PublishFunc) ledger.PublishFunc {
		return func(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
			alone.Add(1)
			<-let
			return next(context.WithoutCancel(ctx), m)
		}
	})
	var all sync.WaitGroup
	submitOf := func(ctx context.Context, i int) {
		if _, err := l.Submit(ctx, distinct(i)); err != nil {
			t.Errorf("submit %d: %v", i, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for i := range groups.Worth {
		all.Go(func() { submitOf(ctx, i) })
	}
	eventually(t, "the first to be under way", func() bool { return alone.Load() == groups.Worth })
	left := make(chan error, 1)
	r := distinct(99)
	r.ID, r.NoDedup = "left", true
	go func() {
		_, err := l.Submit(gone, r)
		left <- err
	}()
	eventually(t, "the one to wait", func() bool { return l.Gathered() == 1 })
	giveUp()
	if err := <-left; ledger.AsError(err) == nil || ledger.AsError(err).Code != ledger.CodeUnavailable {
		t.Errorf("given up: %v", err)
	}
	if n := l.Gathered(); n != 0 {
		t.Errorf("%d wait still", n)
	}
	close(let)
	all.Wait()
	if j, err := env.Ledger.Fold(t.Context(), "acme", "left"); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("what was given up unsent is there: %v %v", j, err)
	}
}

// many submits go as one batch; where one of them is there already each has its own outcome, and where the reply is
// lost each is stored once.
func TestGroupSubmitMany(t *testing.T) {
	t.Parallel()
	env, l := strictly(t)
	var batches atomic.Int64
	var lose atomic.Bool
	l.InGroups(func(next ledger.GroupFunc) ledger.GroupFunc {
		return func(ctx context.Context, msgs []*nats.Msg, wait time.Duration) (uint64, error) {
			batches.Add(1)
			first, err := next(ctx, msgs, wait)
			if lose.CompareAndSwap(true, false) {
				return 0, context.DeadlineExceeded
			}
			return first, err
		}
	}, nil)
	requests := make([]ledger.SubmitRequest, 300)
	for i := range requests {
		requests[i] = distinct(i)
	}
	wantStored(t, l, submitMany(t, l, requests), true)
	if n := batches.Load(); n != 1 {
		t.Errorf("%d requests went in %d batches", len(requests), n)
	}
	again := submitMany(t, l, append([]ledger.SubmitRequest{distinct(7)}, distinct(1001), distinct(1002), distinct(1002), distinct(1003), distinct(1004),
		distinct(1005), distinct(1006), distinct(1007)))
	for i, o := range again {
		if o.Err != nil || o.Receipt.Duplicate != (i == 0 || i == 3) {
			t.Errorf("request %d: %+v %v", i, o.Receipt, o.Err)
		}
	}
	lose.Store(true)
	for i := range requests {
		requests[i] = distinct(2000 + i)
	}
	wantStored(t, l, submitMany(t, l, requests[:40]), false)
	if end, err := env.Ledger.End(t.Context()); err != nil || countJobs(t, env.Ledger, end.Seq) != 300+7+40 {
		t.Errorf("%d jobs are stored (%v)", countJobs(t, env.Ledger, end.Seq), err)
	}
}

// D12: whether appends go together stands in LEDGER's settings. Who has not heard yet that they do not any more loses nothing.
func TestGroupSwitched(t *testing.T) {
	t.Parallel()
	env, l := strictly(t)
	ctx := t.Context()
	s, err := env.Ledger.JetStream().Stream(ctx, "KV_"+ledger.BucketJobs)
	if err != nil {
		t.Fatal(err)
	}
	old := s.CachedInfo().Config
	old.AllowAtomicPublish = false // as an older version created it
	if _, err := env.Ledger.JetStream().UpdateStream(ctx, old); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		set  ledger.GroupCommit
		want bool
	}{{ledger.GroupCommitKeep, true}, {ledger.GroupCommitOff, false}, {ledger.GroupCommitKeep, false}, {ledger.GroupCommitOn, true}, {ledger.GroupCommitOff, false}} {
		regroup(t, env, step.set)
		other, err := ledger.New(ledger.Config{Conn: env.Ledger.Conn(), Logger: zap.NewNop()})
		if err != nil {
			t.Fatal(err)
		}
		if have := other.Groups(ctx); have != step.want {
			t.Errorf("set to %d: %v, want %v", step.set, have, step.want)
		}
		if _, err := s.Info(ctx); err != nil || s.CachedInfo().Config.AllowAtomicPublish != (step.set == ledger.GroupCommitOn || s.CachedInfo().Config.AllowAtomicPublish) {
			t.Errorf("set to %d: JOBS takes no batches (%v)", step.set, err)
		}
	}
	if !l.Groups(ctx) {
		t.Fatal("it has heard")
	}
	outcomes := make([]ledger.Submission, 30)
	meet(t, l, len(outcomes), func(ctx context.Context, i int) {
		outcomes[i].Receipt, outcomes[i].Err = l.Submit(ctx, distinct(i))
	})
	wantStored(t, l, outcomes, false)
}

// eventually looks until something holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	look, late := time.NewTicker(time.Millisecond), time.After(2*time.Minute)
	defer look.Stop()
	for !holds() {
		select {
		case <-look.C:
		case <-late:
			t.Fatalf("waited too long for %s", what)
		}
	}
}
