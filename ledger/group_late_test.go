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
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// message is that of a new job.
func message(t *testing.T, id schemas.JobID) *nats.Msg {
	t.Helper()
	m, err := newSubmitted(id).Encode()
	if err != nil {
		t.Fatal(err)
	}
	m.Header[schemas.HeaderExpect] = []string{"0"}
	return m
}

// D12: whoever is late for his answer while his append is in a batch waits for the batch: sent once more it would be in the
// next one, which would be refused for it.
func TestGroupLate(t *testing.T) {
	t.Parallel()
	_, l := strictly(t)
	until := time.Now().Add(500 * time.Millisecond)
	var batched atomic.Int64
	held, let := make(chan struct{}, groups.Worth), make(chan struct{})
	l.InGroups(func(next ledger.GroupFunc) ledger.GroupFunc {
		return func(ctx context.Context, msgs []*nats.Msg, wait time.Duration) (uint64, error) {
			batched.Add(int64(len(msgs)))
			first, err := next(ctx, msgs, wait)
			<-time.After(time.Until(until) + 20*time.Millisecond)
			return first, err
		}
	}, func(next ledger.PublishFunc) ledger.PublishFunc {
		return func(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
			held <- struct{}{}
			<-let
			return next(context.WithoutCancel(ctx), m)
		}
	})
	var all sync.WaitGroup
	var answered, late atomic.Int64
	for i := range groups.Worth {
		m := message(t, schemas.JobID(fmt.Sprintf("single-%d", i)))
		all.Go(func() { _, _ = l.PublishBy(t.Context(), until, m) })
	}
	for range groups.Worth {
		<-held
	}
	const n = 20
	for i := range n {
		m := message(t, schemas.JobID(fmt.Sprintf("group-%d", i)))
		all.Go(func() {
			switch _, err := l.PublishBy(t.Context(), until, m); {
			case err == nil:
				answered.Add(1)
			case errors.Is(err, context.DeadlineExceeded):
				late.Add(1)
			default:
				t.Errorf("publish: %v", err)
			}
		})
	}
	eventually(t, "the appends to wait, or to be late", func() bool { return l.Gathered()+int(late.Load()) == n })
	close(let)
	all.Wait()
	if answered.Load() < batched.Load() || answered.Load()+late.Load() != n {
		t.Errorf("%d were in batches, %d have an answer, %d are late", batched.Load(), answered.Load(), late.Load())
	}
}

// D3: a batch whose answer went with the connection is given up, and what was in it is settled as ever.
func TestGroupConnectionLost(t *testing.T) {
	t.Parallel()
	env, l := strictly(t)
	var calls atomic.Int64
	l.InGroups(func(next ledger.GroupFunc) ledger.GroupFunc {
		return func(ctx context.Context, msgs []*nats.Msg, wait time.Duration) (uint64, error) {
			if calls.Add(1) > 1 {
				return next(ctx, msgs, wait)
			}
			if _, err := next(ctx, msgs, wait); err != nil {
				t.Errorf("the batch: %v", err)
			}
			env.Stop()
			env.StartServer()
			select {
			case <-ctx.Done():
			case <-time.After(2 * time.Minute):
				t.Error("the batch is not given up")
			}
			return 0, context.Canceled
		}
	}, nil)
	outcomes := make([]ledger.Submission, 30)
	meet(t, l, len(outcomes), func(ctx context.Context, i int) {
		outcomes[i].Receipt, outcomes[i].Err = l.Submit(ctx, distinct(i))
	})
	wantStored(t, env.Ledger, outcomes, false)
	if end, err := env.Ledger.End(t.Context()); err != nil || countJobs(t, env.Ledger, end.Seq) != len(outcomes) {
		t.Errorf("%d submits are stored, want %d (%v)", countJobs(t, env.Ledger, end.Seq), len(outcomes), err)
	}
}

// An append whose look at the settings of LEDGER is not answered waits for it no longer than for itself.
func TestGroupSettingsUnanswered(t *testing.T) {
	t.Parallel()
	env, _ := strictly(t)
	l, err := ledger.New(ledger.Config{Conn: env.Connect(), Logger: zap.NewNop()}) // it has not looked yet
	if err != nil {
		t.Fatal(err)
	}
	env.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if _, err := l.PublishBy(ctx, time.Now().Add(10*time.Millisecond), message(t, "one")); err == nil || ctx.Err() != nil {
		t.Errorf("publish to nobody: %v, %v", err, ctx.Err())
	}
}

// D3: an append that is too large for a batch, and not by itself, is stored, as are those that it met.
func TestGroupTooLarge(t *testing.T) {
	t.Parallel()
	env, l := strictly(t)
	let := make(chan struct{})
	held := make(chan struct{}, groups.Worth)
	var once sync.Once
	l.InGroups(nil, func(next ledger.PublishFunc) ledger.PublishFunc {
		return func(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
			select {
			case held <- struct{}{}:
			default:
			}
			<-let
			return next(context.WithoutCancel(ctx), m)
		}
	})
	defer once.Do(func() { close(let) })
	until := time.Now().Add(time.Hour)
	var all sync.WaitGroup
	publish := func(m *nats.Msg) {
		all.Go(func() {
			if answer, err := l.PublishBy(t.Context(), until, m); err != nil {
				t.Errorf("%s: %v", m.Subject, err)
			} else if _, ok := ledger.PlainAck(ledger.StreamLedger, answer.Data); !ok {
				t.Errorf("%s: %s", m.Subject, answer.Data)
			}
		})
	}
	for i := range groups.Worth {
		publish(message(t, schemas.JobID(fmt.Sprintf("single-%d", i))))
	}
	for range groups.Worth {
		<-held
	}
	for i := range 20 {
		m := message(t, schemas.JobID(fmt.Sprintf("group-%d", i)))
		if i == 10 {
			head := len("NATS/1.0\r\n\r\n")
			for k, v := range m.Header {
				head += len(k) + len(": \r\n") + len(v[0])
			}
			m.Data = make([]byte, int(env.Ledger.Conn().MaxPayload())-head)
		}
		publish(m)
	}
	eventually(t, "the appends to wait", func() bool { return l.Gathered() == 20 })
	once.Do(func() { close(let) })
	all.Wait()
	env.SkipVerify() // the large one is no event
}
