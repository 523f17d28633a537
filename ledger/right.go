package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
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
// start-by deadline if it has one. No answer in time, and errors about several principals in a row, have all other jobs wait
// too, for RightPause.
type Right func(ctx context.Context, j *Job) (bool, error)

const (
	// RightTimeout bounds one question.
	RightTimeout = time.Second
	// RightPause is how long a job waits whose question failed. Nobody at all is asked for as long after a question that had
	// no answer in time, or errors about rightsInRow principals without an answer between; then one job is asked about, and
	// the others once that was answered.
	RightPause = 5 * time.Second
	// rightsInRow principals about whom a Right fails in a row mean that it fails for all: one may be its own fault.
	rightsInRow = 3
	// rightsMax bounds questions under way, those that are not answered for ever included.
	rightsMax = 256
	// rightsTold bounds the jobs that are known to wait for a right while others are answered.
	rightsTold = 4096
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

	mu sync.Mutex
	// again is the time since start before which nobody is asked; 0: there is no pause.
	again time.Duration
	// hung is the principal about whom there was no answer when the pause began. Others try first after it: its job comes
	// back first, and would begin the next pause if it is alone in having no answer.
	hung string
	// failed are the principals about whom questions failed since the latest answer, at most rightsMax.
	failed map[string]struct{}
	// waits are jobs by their SubmittedSeq whose own question failed, with the time since start until which that holds.
	waits map[schemas.Seq]time.Duration
}

// NewRightCheck returns nil for a nil Right.
func NewRightCheck(r Right) *RightCheck {
	if r == nil {
		return nil
	}
	return &RightCheck{ask: r, slots: make(chan struct{}, rightsMax), start: time.Now(),
		failed: make(map[string]struct{}), waits: make(map[schemas.Seq]time.Duration)}
}

// Judge returns nil when the job may run, ErrRightLost when it may not, and an error that wraps ErrRightUnknown when
// that is not known. It returns within RightTimeout, or when ctx ends.
func (c *RightCheck) Judge(ctx context.Context, j *Job) error {
	if c == nil {
		return nil
	}
	may, probe := c.mayAsk(j.Principal())
	if !may {
		return fmt.Errorf("%w: earlier questions were not answered", ErrRightUnknown)
	}
	ok, all, err := c.question(ctx, j)
	switch {
	case err != nil && ctx.Err() == nil: // else it was the caller's time that ended
		c.unanswered(j, all, probe)
		return fmt.Errorf("%w: %w", ErrRightUnknown, err)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrRightUnknown, err)
	}
	c.answered(j)
	if !ok {
		return ErrRightLost
	}
	return nil
}

// now is the time since start, never 0.
func (c *RightCheck) now() time.Duration { return time.Since(c.start) + 1 }

// mayAsk reports whether a question may be asked, and whether it is the one that tries after a pause.
func (c *RightCheck) mayAsk(principal string) (may, probe bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	switch {
	case c.again == 0:
		return true, false
	case now < c.again, principal == c.hung && now < c.again+RightPause:
		return false, false
	}
	c.again = now + RightPause
	return true, true
}

// unanswered notes that a question failed. all: not only this job's may.
func (c *RightCheck) unanswered(j *Job, all, probe bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, principal := c.now(), j.Principal()
	_, known := c.failed[principal]
	if len(c.failed) < rightsMax {
		c.failed[principal] = struct{}{}
	}
	switch {
	case all:
		c.again, c.hung = now+RightPause, principal
	case !known && len(c.failed) >= rightsInRow:
		c.again, c.hung = now+RightPause, ""
	case probe: // it says nothing about the others: the next one tries
		c.again, c.hung = now, ""
	}
	if len(c.waits) >= rightsTold {
		maps.DeleteFunc(c.waits, func(_ schemas.Seq, until time.Duration) bool { return until < now })
	}
	if len(c.waits) < rightsTold {
		c.waits[j.SubmittedSeq] = now + 2*RightPause
	}
}

func (c *RightCheck) answered(j *Job) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.again, c.hung = 0, ""
	clear(c.failed)
	delete(c.waits, j.SubmittedSeq)
}

// Failing reports whether a job, named by its Job.SubmittedSeq, is not asked about or its latest question failed.
func (c *RightCheck) Failing(job schemas.Seq) bool {
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	until, waits := c.waits[job]
	return c.again != 0 || waits && c.now() <= until
}

// question asks once. A hook that does not return keeps its slot and goroutine, and nothing else. all: it failed for want of
// time or slots.
func (c *RightCheck) question(ctx context.Context, j *Job) (ok, all bool, err error) {
	select {
	case c.slots <- struct{}{}:
	default:
		return false, true, fmt.Errorf("%d questions are not answered yet", rightsMax)
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
		return a.ok, ctx.Err() != nil, a.err
	case <-ctx.Done():
		return false, true, ctx.Err()
	}
}

// RightDenied is the error of a job whose principal lost the right to run it.
func RightDenied() *schemas.JobError {
	return &schemas.JobError{Class: schemas.ClassPermanent, Code: string(CodePermissionDenied), Message: "Permission denied"}
}
