package ledger_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dartwing/jobledger/ledger"
)

// a right stands, is lost, or is not known: by an error, a panic, or no answer in time. After such a one nobody is
// asked for a while, then one question tries, and an answer lets all others through.
func TestRightCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		var hook atomic.Pointer[ledger.Right]
		c := ledger.NewRightCheck(func(ctx context.Context, j *ledger.Job) (bool, error) {
			asked.Add(1)
			return (*hook.Load())(ctx, j)
		})
		judge := func(what string, h ledger.Right, want error, questions int64) {
			t.Helper()
			hook.Store(&h)
			asked.Store(0)
			if err := c.Judge(t.Context(), &ledger.Job{}); !errors.Is(err, want) || asked.Load() != questions {
				t.Errorf("%s: %v after %d questions, want %v after %d", what, err, asked.Load(), want, questions)
			}
			if c.Failing() != (want == ledger.ErrRightUnknown) {
				t.Errorf("%s: failing is %t", what, c.Failing())
			}
		}
		yes := func(context.Context, *ledger.Job) (bool, error) { return true, nil }
		no := func(context.Context, *ledger.Job) (bool, error) { return false, nil }
		broken := func(context.Context, *ledger.Job) (bool, error) { return true, errors.New("no directory") }
		judge("it stands", yes, nil, 1)
		judge("it is lost", no, ledger.ErrRightLost, 1)
		judge("an error", broken, ledger.ErrRightUnknown, 1)
		judge("too soon", yes, ledger.ErrRightUnknown, 0)
		<-time.After(ledger.RightPause)
		judge("a panic", func(context.Context, *ledger.Job) (bool, error) { panic("oh") }, ledger.ErrRightUnknown, 1)
		<-time.After(ledger.RightPause)
		began := time.Now()
		release := make(chan struct{})
		judge("no answer", func(context.Context, *ledger.Job) (bool, error) { <-release; return true, nil }, ledger.ErrRightUnknown, 1)
		if took := time.Since(began); took != ledger.RightTimeout {
			t.Errorf("a question that is not answered took %s, want %s", took, ledger.RightTimeout)
		}
		close(release)
		<-time.After(ledger.RightPause)
		judge("again", yes, nil, 1)
		judge("and all others", yes, nil, 1)
		over, cancel := context.WithCancel(t.Context())
		cancel()
		late := ledger.Right(func(ctx context.Context, _ *ledger.Job) (bool, error) { <-ctx.Done(); return false, ctx.Err() })
		hook.Store(&late)
		if err := c.Judge(over, &ledger.Job{}); !errors.Is(err, ledger.ErrRightUnknown) || c.Failing() {
			t.Errorf("a caller that is over: %v, failing %t", err, c.Failing())
		}
		synctest.Wait()
	})
	var none *ledger.RightCheck
	if none = ledger.NewRightCheck(nil); none.Judge(t.Context(), nil) != nil || none.Failing() {
		t.Error("without a hook not everything is allowed")
	}
}
