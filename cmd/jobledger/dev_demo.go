package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/internal/demo"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// resultCellMax is how much of a result the table shows, in letters.
const resultCellMax = 60

// demoJob is a job of the batch and how it ended.
type demoJob struct {
	demo.Item
	id     schemas.JobID
	record *ledger.Record // nil: not ended
}

func (j *demoJob) asExpected() bool {
	return j.record != nil && j.Expect.Met(j.record.State, reasonOf(j.record))
}

func reasonOf(r *ledger.Record) schemas.DeadReason {
	if r.Reason == nil {
		return ""
	}
	return schemas.DeadReason(*r.Reason)
}

// runDemo runs the batch with a worker of its own and shows how it went; then it
// stays until running ends, or returns at once when exit is set. fail ends
// running when the worker does.
func (d *dev) runDemo(running context.Context, fail context.CancelCauseFunc, output string, exit bool) (err error) {
	stop, err := d.startWorker(running, fail, output)
	switch {
	case err != nil && running.Err() != nil:
		return d.cutShort(running, nil, exit)
	case err != nil:
		return err
	}
	defer func() { err = joinOnce(err, stop()) }()
	nc, err := d.connect("demo")
	if err != nil {
		return err
	}
	defer nc.Close()
	jobs, err := d.runBatch(running, nc)
	if running.Err() != nil {
		return d.cutShort(running, jobs, exit)
	}
	if err != nil {
		return err
	}
	if !d.flags.JSON {
		if err := d.list(demoGrid(jobs)); err != nil {
			return err
		}
	}
	err = d.judge(jobs)
	if exit {
		return err
	}
	if err != nil {
		d.talk("%v", err)
	}
	d.sayTry(firstDead(jobs))
	<-running.Done()
	return d.cutShort(running, nil, false)
}

// cutShort is what a stop means: nothing, unless jobs were waited for.
func (d *dev) cutShort(running context.Context, jobs []demoJob, exit bool) error {
	var signal signalError
	cause := context.Cause(running)
	if errors.As(cause, &signal) || errors.Is(cause, context.Canceled) {
		if !exit {
			return nil
		}
		return failf(ledger.CodeUnavailable, "stopped before the demo's jobs had ended: dev --demo on the same folder goes on with the %d that are submitted", len(jobs))
	}
	return cause
}

// judge is an error that names the jobs which did not end as they must.
func (d *dev) judge(jobs []demoJob) error {
	var wrong []string
	for i := range jobs {
		if j := &jobs[i]; !j.asExpected() {
			wrong = append(wrong, fmt.Sprintf("%s %s %q is %s, expected %s", j.Org, j.id, j.Title, stateText(j.record), j.Expect))
		}
	}
	if len(wrong) > 0 {
		return failf(ledger.CodeInternal, "%d of %d jobs did not end as expected: %s", len(wrong), len(jobs), strings.Join(wrong, "; "))
	}
	d.talk("all %d jobs ended as expected; %d of them were to fail, %d to be canceled", len(jobs),
		countState(jobs, schemas.StateDeadLettered), countState(jobs, schemas.StateCanceled))
	return nil
}

func stateText(r *ledger.Record) string {
	return demo.Expect{State: r.State, Reason: reasonOf(r)}.String()
}

func countState(jobs []demoJob, state schemas.State) (n int) {
	for i := range jobs {
		if jobs[i].record != nil && jobs[i].record.State == state {
			n++
		}
	}
	return n
}

// firstDead is a dead letter of acme, to look at.
func firstDead(jobs []demoJob) schemas.JobID {
	for i := range jobs {
		if j := &jobs[i]; j.Org == demo.OrgAcme && j.record.State == schemas.StateDeadLettered {
			return j.id
		}
	}
	return ""
}

// startWorker serves the demo's types. stop drains it and then ends what it
// works with. A second signal hands its jobs back.
func (d *dev) startWorker(running context.Context, fail context.CancelCauseFunc, output string) (stop func() error, err error) {
	claims, err := d.connect("demo worker")
	if err != nil {
		return nil, err
	}
	offers, err := d.connect("demo worker offers")
	if err != nil {
		claims.Close()
		return nil, err
	}
	live, err := d.connect("demo worker progress")
	if err != nil {
		claims.Close()
		offers.Close()
		return nil, err
	}
	closeConns := func() { claims.Close(); offers.Close(); live.Close() }
	l, err := ledger.New(ledger.Config{Conn: claims, Logger: d.log})
	if err != nil {
		closeConns()
		return nil, err
	}
	serves, local, err := d.prepareDemo(running, l, output)
	if err != nil {
		closeConns()
		return nil, err
	}
	w, err := handlers.New(handlers.Config{Ledger: l, Work: offers, Live: live, Serves: serves, Name: "demo", Version: version, Logger: d.log})
	own, cancel := context.WithCancel(context.WithoutCancel(running))
	receiver := make(chan error, 1)
	go func() { receiver <- local.Run(own) }()
	endReceiver := func() error { cancel(); closeConns(); return <-receiver }
	if err != nil {
		return nil, errors.Join(err, endReceiver())
	}
	worker := make(chan error, 1)
	forget := d.onSecondSignal(w.Abort)
	draining, drain := context.WithCancel(running)
	go func() {
		err := w.Run(draining)
		switch {
		case draining.Err() != nil:
		case err == nil: // by `worker drain`; everything else goes on
			d.talk("the demo's worker was drained")
		default:
			fail(fmt.Errorf("the demo's worker ended: %w", err))
		}
		worker <- err
	}()
	return func() error {
		if _, signaled := stoppedBySignal(running); signaled {
			d.talk("stopping: running jobs may end; Ctrl-C again hands them back")
		}
		drain()
		err := <-worker
		forget()
		return errors.Join(err, endReceiver())
	}, nil
}

// prepareDemo defines the types that are missing, a user's edits stay, and opens
// what the handlers work with. local must be run.
func (d *dev) prepareDemo(ctx context.Context, l *ledger.Ledger, output string) ([]handlers.Registration, *demo.Local, error) {
	queues := map[schemas.TypeName]schemas.QueueName{}
	for _, t := range demo.Types() {
		settings, err := l.Type(ctx, t.Name)
		if err != nil && ledger.AsError(err).Code == ledger.CodeUnknownType {
			settings = &t
			_, err = l.PutType(ctx, t, ledger.Meta{Actor: d.actor}, "dev --demo")
		}
		if err != nil {
			return nil, nil, err
		}
		queues[t.Name] = settings.Queue
	}
	local, err := demo.Open(output)
	if err != nil {
		return nil, nil, failf(ledger.CodeInternal, "%w", err)
	}
	serves := local.Tasks.Serves()
	for i := range serves {
		if q := queues[serves[i].Type]; q != "" {
			serves[i].Queue = q
		}
	}
	d.talk("  demo      %d types, %d jobs in orgs %s; 2 queues, 1 worker; some fail, time out or are canceled on purpose", len(serves), len(demo.Batch()), joined(demo.Orgs()))
	return serves, local, nil
}

// demoPatience is how long the batch waits for one answer of its own process: on
// a machine that is very busy an answer that comes late must not end dev.
const demoPatience = 30 * time.Second

// runBatch submits the batch and waits for its end. After an error, jobs holds
// what was submitted.
func (d *dev) runBatch(ctx context.Context, nc *nats.Conn) (jobs []demoJob, err error) {
	show := newDemoProgress(d.program, len(demo.Batch()))
	defer show.clear()
	stop, err := show.watch(nc)
	if err != nil {
		return nil, err
	}
	defer stop()
	if err := d.setOrgs(ctx, nc); err != nil {
		return nil, err
	}
	for _, item := range demo.Batch() {
		c := &gateway.Client{Conn: nc, Org: item.Org, Timeout: max(d.flags.Timeout, demoPatience)}
		receipt, err := c.Submit(ctx, item.Request(d.actor))
		if err != nil {
			return jobs, err
		}
		jobs = append(jobs, demoJob{Item: item, id: receipt.ID})
		show.submitted()
	}
	waits, ctx := errgroup.WithContext(ctx)
	for i := range jobs {
		j := &jobs[i]
		c := &gateway.Client{Conn: nc, Org: j.Org, Timeout: max(d.flags.Timeout, demoPatience)}
		waits.Go(func() error {
			if err := callOff(ctx, c, j); err != nil {
				return fmt.Errorf("cancel job %s of %s: %w", j.id, j.Org, err)
			}
			if _, err := c.Wait(ctx, j.id); err != nil {
				return fmt.Errorf("wait for job %s of %s: %w", j.id, j.Org, err)
			}
			var err error
			if j.record, err = c.Get(ctx, j.id); err != nil {
				return fmt.Errorf("job %s of %s: %w", j.id, j.Org, err)
			}
			show.ended(j.record.State)
			return nil
		})
	}
	return jobs, waits.Wait()
}

// setOrgs sets the demo's orgs, so that lists show them; a user's edits stay.
func (d *dev) setOrgs(ctx context.Context, nc *nats.Conn) error {
	for org, about := range map[schemas.OrgID]string{demo.OrgAcme: "a photo shop", demo.OrgGlobex: "a research institute", demo.OrgInitech: "a billing house"} {
		set, err := json.Marshal(map[string]string{"display_name": about})
		if err != nil {
			return err
		}
		c := &gateway.Client{Conn: nc, Org: org, Timeout: max(d.flags.Timeout, demoPatience)}
		if _, err := c.SetOrg(ctx, org, gateway.SetRequest{Set: set, New: true, Reason: "dev --demo"}); err != nil && ledger.AsError(err).Code != ledger.CodeInUse {
			return fmt.Errorf("org %s: %w", org, err)
		}
	}
	return nil
}

// callOffPause is the wait between two looks at a job that is to be canceled
// once it runs.
const callOffPause = 50 * time.Millisecond

// callOff cancels a job that is to be, when it is to be.
func callOff(ctx context.Context, c *gateway.Client, j *demoJob) error {
	if j.Cancel == demo.CancelNever {
		return nil
	}
	for j.Cancel == demo.CancelRunning {
		r, err := c.Get(ctx, j.id)
		if err != nil || r.State == schemas.StateRunning || r.State.Finished() {
			if err != nil {
				return err
			}
			break
		}
		pause := time.NewTimer(callOffPause)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		}
	}
	_, err := c.Cancel(ctx, j.id, demo.CancelReason)
	return err
}

// demoGrid is the table of the batch, in the order of submission.
func demoGrid(jobs []demoJob) *grid {
	g := &grid{Title: fmt.Sprintf("%d jobs", len(jobs)), Columns: []string{"org", "type", "job", "state", "tries", "result or reason"}}
	for i := range jobs {
		j := &jobs[i]
		g.add(string(j.Org), string(j.Type), j.Title, string(j.record.State), tries(j.record), clip(outcomeText(j.record), resultCellMax))
	}
	return g
}

// tries is how many attempts a job took, and how those before the last ended.
func tries(r *ledger.Record) string {
	var earlier []string
	for i := range r.Attempts {
		if o := r.Attempts[i].Outcome; o != nil && i < len(r.Attempts)-1 {
			earlier = append(earlier, string(*o))
		}
	}
	if len(earlier) == 0 {
		return fmt.Sprint(r.Attempt)
	}
	return fmt.Sprintf("%d, after %s", r.Attempt, strings.Join(earlier, ", "))
}

// outcomeText is a job's result, or why it has none.
func outcomeText(r *ledger.Record) string {
	switch {
	case r.State == schemas.StateCompleted:
		return string(r.Result)
	case r.State == schemas.StateCanceled && r.Cancel != nil:
		return fmt.Sprintf("%s (%s)", deref(r.Cancel.Reason), deref(r.Cancel.Actor))
	case r.Error != nil:
		return string(reasonOf(r)) + ": " + r.Error.Message
	}
	return string(reasonOf(r))
}
