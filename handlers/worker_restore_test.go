package handlers_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// TestWorkerSequenceGivenOutAgain: older data is put back under a worker, which then claims the same job again, at the
// very sequence of the attempt that it still holds. The older attempt is told to stop and named as hung, what the
// leader says of the sequence is about the newer one, and each handler's end settles its own attempt (DESIGN D2, R-22).
func TestWorkerSequenceGivenOutAgain(t *testing.T) {
	t.Parallel()
	dir, copied := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "copy")
	env := ledgertest.Start(t, ledgertest.WithStoreDir(dir))
	ld := newLeader(t, env)
	j := ld.queueJob(spec{typ: "again", args: `{}`})
	env.Stop()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	type call struct {
		a    *handlers.Attempt
		ctx  context.Context
		free chan struct{}
	}
	calls := make(chan call, 2)
	cfg := serves("again", handlers.HandlerFunc(func(ctx context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		c := call{a, ctx, make(chan struct{})}
		calls <- c
		<-c.free
		return json.RawMessage(`"` + a.Fence.ID + `"`), nil
	}))
	cfg.Slots = 2
	begin := func() {
		env.StartServer()
		env.Provision()
		ld.set(func(ld *leader) { ld.answer.Cell = env.Cell.ID })
		ld.offer(ld.fold(j.ID), 10)
	}
	begin()
	_, reports, _ := ld.worker(cfg)
	older := <-calls
	env.Stop()
	if err := errors.Join(os.RemoveAll(dir), os.CopyFS(dir, os.DirFS(copied))); err != nil {
		t.Fatal(err)
	}
	begin()
	newer := <-calls
	if older.a.Fence.Seq != newer.a.Fence.Seq || older.a.Fence.ID == newer.a.Fence.ID {
		t.Fatalf("fences %v and %v: the sequence was not given out again", older.a.Fence, newer.a.Fence)
	}
	wait(t, "the older attempt is stopped", older.ctx.Done())
	if cause := context.Cause(older.ctx); !errors.Is(cause, handlers.ErrLeaseLost) {
		t.Errorf("the older attempt was stopped by %v", cause)
	}
	// No beat names two running attempts of one sequence, so the answer, which names sequences, is about one of them.
	ld.await("both are named, the older as hung", func(b *ledger.Beat) bool {
		if len(b.Attempts) != 2 {
			return false
		}
		for _, ref := range b.Attempts {
			if ref.Hung != (ref.Fence == older.a.Fence) {
				t.Errorf("attempt %v is named with hung %t", ref.Fence, ref.Hung)
			}
		}
		return true
	})
	close(older.free)
	if r := next(t, reports); r.Outcome != schemas.EventLateResult {
		t.Errorf("report of the older attempt %+v", r)
	}
	ld.await("the newer attempt is still named", func(b *ledger.Beat) bool {
		return len(b.Attempts) == 1 && b.Attempts[0].Fence == newer.a.Fence && !b.Attempts[0].Hung
	})
	if newer.ctx.Err() != nil {
		t.Errorf("the newer attempt was stopped by %v", context.Cause(newer.ctx))
	}
	close(newer.free)
	if r := next(t, reports); r.Outcome != schemas.EventCompleted {
		t.Errorf("report of the newer attempt %+v", r)
	}
	after := ld.fold(j.ID)
	if after.State != schemas.StateCompleted || after.Illegal != 0 || string(after.Result) != `"`+string(newer.a.Fence.ID)+`"` {
		t.Errorf("the job is %s with %d illegal events and the result %s", after.State, after.Illegal, after.Result)
	}
}
