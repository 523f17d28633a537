package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// Right tells whether a job may still run as its stored principal, Job.Principal. It is asked by the leader about
// each job that it is about to queue, and by a worker about each job that it is about to claim: from several goroutines at
// once, before anything is stored. It answers from memory as a rule: jobs of every org wait for it meanwhile. It must not
// change the job.
//
// false ends the job: dead-lettered permanent_error, code permission_denied. An error, a panic, or no answer within
// RightTimeout means that nobody knows: the job is not started and not ended; it waits and is asked about again, until its
// start-by deadline if it has one.
type Right func(ctx context.Context, j *Job) (bool, error)

const (
	// RightTimeout bounds one question.
	RightTimeout = time.Second
	// RightPause is how long nobody is asked after a question that was not answered; then one job is asked about, and
	// the others once that was answered.
	RightPause = 5 * time.Second
	// rightsMax bounds questions under way, those that are not answered for ever included.
	rightsMax = 256
)

// ErrRightLost: the job's principal may not run it any more.
var ErrRightLost = errors.New("the job's principal has not the right to run it any more")

// ErrRightUnknown: whether it may could not be found out. Nothing is decided; ask again after RightPause.
var ErrRightUnknown = errors.New("whether the job's principal has the right to run it is not known")

// RightCheck asks a Right, within bounds. A nil one allows everything.
type RightCheck struct {
	ask   Right
	slots chan struct{}
	start time.Time
	again atomic.Int64 // since start: nobody is asked before; 0: the latest question was answered
}

// NewRightCheck returns nil for a nil Right.
func NewRightCheck(r Right) *RightCheck {
	if r == nil {
		return nil
	}
	return &RightCheck{ask: r, slots: make(chan struct{}, rightsMax), start: time.Now()}
}

// Judge returns nil when the job may run, ErrRightLost when it may not, and an error that wraps ErrRightUnknown when
// that is not known. It returns within RightTimeout, or when ctx ends.
func (c *RightCheck) Judge(ctx context.Context, j *Job) error {
	if c == nil {
		return nil
	}
	now := int64(time.Since(c.start)) + 1
	if again := c.again.Load(); again != 0 && (now < again || !c.again.CompareAndSwap(again, now+int64(RightPause))) {
		return fmt.Errorf("%w: an earlier question was not answered", ErrRightUnknown)
	}
	ok, err := c.question(ctx, j)
	switch {
	case err != nil && ctx.Err() == nil: // else it was the caller's time that ended
		c.again.Store(int64(time.Since(c.start)+RightPause) + 1)
		return fmt.Errorf("%w: %w", ErrRightUnknown, err)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrRightUnknown, err)
	case !ok:
		err = ErrRightLost
	}
	c.again.Store(0)
	return err
}

// Failing reports whether the latest question was not answered.
func (c *RightCheck) Failing() bool { return c != nil && c.again.Load() != 0 }

// question asks once. A hook that does not return keeps its slot and goroutine, and nothing else.
func (c *RightCheck) question(ctx context.Context, j *Job) (bool, error) {
	select {
	case c.slots <- struct{}{}:
	default:
		return false, fmt.Errorf("%d questions are not answered yet", rightsMax)
	}
	ctx, cancel := context.WithTimeout(ctx, RightTimeout)
	defer cancel()
	type answer struct {
		ok  bool
		err error
	}
	answered := make(chan answer, 1)
	go func() {
		a := answer{err: errors.New("the question panicked")}
		defer func() {
			if v := recover(); v != nil {
				a = answer{err: fmt.Errorf("the question panicked: %v", v)}
			}
			<-c.slots
			answered <- a
		}()
		a.ok, a.err = c.ask(ctx, j)
	}()
	select {
	case a := <-answered:
		return a.ok, a.err
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// RightDenied is the error of a job whose principal lost the right to run it.
func RightDenied() *schemas.JobError {
	return &schemas.JobError{Class: schemas.ClassPermanent, Code: string(CodePermissionDenied), Message: "Permission denied"}
}
