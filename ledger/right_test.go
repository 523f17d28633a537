package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// a right stands, is lost, or is not known: by an error, a panic, or no answer in time. After three principals' errors
// in a row, or no answer, nobody is asked for a while; then one question tries, and an answer lets all others through.
func TestRightCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		var hook atomic.Pointer[ledger.Right]
		c := ledger.NewRightCheck(func(ctx context.Context, j *ledger.Job) (bool, error) {
			asked.Add(1)
			return (*hook.Load())(ctx, j)
		})
		judge := func(what string, seq schemas.Seq, h ledger.Right, want error, questions int64) {
			t.Helper()
			hook.Store(&h)
			asked.Store(0)
			if err := c.Judge(t.Context(), rightOf(seq)); !errors.Is(err, want) || asked.Load() != questions {
				t.Errorf("%s: %v after %d questions, want %v after %d", what, err, asked.Load(), want, questions)
			}
			if c.Failing(seq) != (want == ledger.ErrRightUnknown) {
				t.Errorf("%s: failing is %t", what, c.Failing(seq))
			}
		}
		yes := func(context.Context, *ledger.Job) (bool, error) { return true, nil }
		no := func(context.Context, *ledger.Job) (bool, error) { return false, nil }
		broken := func(context.Context, *ledger.Job) (bool, error) { return true, errors.New("no directory") }
		panics := func(context.Context, *ledger.Job) (bool, error) { panic("oh") }
		unknown := ledger.ErrRightUnknown
		judge("it stands", 1, yes, nil, 1)
		judge("it is lost", 1, no, ledger.ErrRightLost, 1)
		for range 5 {
			judge("an error about one", 1, broken, unknown, 1)
			judge("a panic about one", 2, panics, unknown, 1)
		}
		judge("another one", 3, yes, nil, 1)
		if !c.Failing(1) || !c.Failing(2) {
			t.Error("those that wait are not known any more")
		}
		judge("an error", 1, broken, unknown, 1)
		judge("a panic", 2, panics, unknown, 1)
		judge("three in a row", 3, broken, unknown, 1)
		judge("too soon", 4, yes, unknown, 0)
		<-time.After(ledger.RightPause)
		judge("the same tries first", 1, broken, unknown, 1)
		judge("others are asked all the same", 4, yes, nil, 1)
		judge("and the others", 3, yes, nil, 1)
		began := time.Now()
		release := make(chan struct{})
		hangs := func(context.Context, *ledger.Job) (bool, error) { <-release; return true, nil }
		judge("no answer", 1, hangs, unknown, 1)
		if took := time.Since(began); took != ledger.RightTimeout {
			t.Errorf("a question that is not answered took %s, want %s", took, ledger.RightTimeout)
		}
		judge("too soon", 4, yes, unknown, 0)
		<-time.After(ledger.RightPause)
		judge("the one that has no answer does not try first", 1, hangs, unknown, 0)
		judge("another one tries", 4, yes, nil, 1)
		judge("no answer again", 1, hangs, unknown, 1)
		<-time.After(2 * ledger.RightPause)
		close(release)
		judge("it is the only one", 1, yes, nil, 1)
		judge("and all others", 2, yes, nil, 1)
		over, cancel := context.WithCancel(t.Context())
		cancel()
		late := ledger.Right(func(ctx context.Context, _ *ledger.Job) (bool, error) { <-ctx.Done(); return false, ctx.Err() })
		hook.Store(&late)
		if err := c.Judge(over, rightOf(1)); !errors.Is(err, ledger.ErrRightUnknown) || c.Failing(1) {
			t.Errorf("a caller that is over: %v, failing %t", err, c.Failing(1))
		}
		synctest.Wait()
	})
	var none *ledger.RightCheck
	if none = ledger.NewRightCheck(nil); none.Judge(t.Context(), nil) != nil || none.Failing(1) {
		t.Error("without a hook not everything is allowed")
	}
}

// rightOf is a job of a principal of its own.
func rightOf(seq schemas.Seq) *ledger.Job {
	j := &ledger.Job{SubmittedSeq: seq}
	j.Spec.Principal = fmt.Sprint("user:", seq)
	return j
}
