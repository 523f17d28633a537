package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// Progress is told in its place among the events: never that of an attempt that ended or was followed by another,
// and none twice, in whatever order the two paths bring it.
func TestWatch(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	told := make(chan string, 100)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- env.Ledger.Watch(ctx, ledger.ReplayQuery{Org: sceneOrg, Type: "echo", From: ledger.ReplayBound{Seq: 1}}, func(u ledger.Update) error {
			if p := u.Progress; p != nil {
				told <- fmt.Sprintf("attempt %d: %d %%", p.Attempt, p.Percent)
			} else {
				told <- string(u.Entry.Name())
			}
			return nil
		})
	}()
	expect := func(want string) {
		t.Helper()
		select {
		case got := <-told:
			if got != want {
				t.Errorf("told %q, want %q", got, want)
			}
		case err := <-ended:
			t.Fatalf("the watch ended: %v", err)
		case <-time.After(time.Minute):
			t.Fatalf("never told %q", want)
		}
	}
	a := &actor{t: t, l: env.Ledger, id: "job-1"}
	for _, step := range []func(*actor){toSubmitted, toQueued, toRunning} {
		step(a)
	}
	for _, want := range []string{"submitted", "queued", "running"} {
		expect(want)
	}
	nc := env.Connect()
	say := func(j *ledger.Job, typ schemas.TypeName, n uint64, percent int) {
		t.Helper()
		p := &ledger.LiveProgress{Org: j.Org, Job: j.ID, Type: typ, Generation: 1, Attempt: j.Attempt, Fence: j.Fence, N: n,
			Progress: schemas.Progress{Percent: percent}}
		m, err := p.Encode()
		if err == nil {
			err = nc.PublishMsg(m)
		}
		if err == nil {
			err = nc.Flush()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	first := a.fold()
	say(first, "echo", 1, 10)
	expect("attempt 1: 10 %")
	say(first, "echo", 1, 11)  // a refresh
	say(first, "other", 2, 12) // of no concern
	if err := nc.Publish(ledger.ProgressSubject(sceneOrg, "job-1"), []byte("not ours")); err != nil {
		t.Fatal(err)
	}
	say(first, "echo", 2, 20)
	expect("attempt 1: 20 %")
	a.do(&ledger.Lose{Fence: first.Fence, Cause: schemas.LossWorkerGone})
	expect("lost")
	say(first, "echo", 3, 30) // its worker lives on
	toRunning(a)
	expect("running")
	second := a.fold()
	say(first, "echo", 4, 40)
	say(second, "echo", 1, 1)
	expect("attempt 2: 1 %")
	toCompleted(a)
	expect("completed")
	say(second, "echo", 2, 99) // overtaken by the outcome
	toSubmitted(a)
	expect("submitted")
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
	if len(told) != 0 {
		t.Errorf("also told: %s", <-told)
	}
}

// What the caller returns ends a watch, for an event and for progress alike; a watch needs an org.
func TestWatchEnds(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	stop := errors.New("enough")
	a := &actor{t: t, l: env.Ledger, id: "job-1"}
	for _, step := range []func(*actor){toSubmitted, toQueued, toRunning} {
		step(a)
	}
	j := a.fold()
	for _, progress := range []bool{false, true} {
		seen := make(chan struct{}, 10)
		ended := make(chan error, 1)
		go func() {
			ended <- env.Ledger.Watch(t.Context(), ledger.ReplayQuery{Org: sceneOrg, From: ledger.ReplayBound{Seq: 1}}, func(u ledger.Update) error {
				seen <- struct{}{}
				if progress == (u.Progress != nil) {
					return stop
				}
				return nil
			})
		}()
		<-seen // it listens
		m, err := (&ledger.LiveProgress{Org: j.Org, Job: j.ID, Fence: j.Fence, N: 1}).Encode()
		if err == nil {
			err = env.Ledger.Conn().PublishMsg(m)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, stop) {
			t.Errorf("progress %t: ended with %v", progress, err)
		}
	}
	var e *ledger.Error
	if err := env.Ledger.Watch(t.Context(), ledger.ReplayQuery{}, nil); !errors.As(err, &e) || e.Code != ledger.CodeInvalidArgument {
		t.Errorf("a watch of every org: %v", err)
	}
}
