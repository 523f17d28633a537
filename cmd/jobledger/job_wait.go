package main

import (
	"context"
	"errors"
	"time"

	"github.com/choria-io/fisk"
	"golang.org/x/sync/errgroup"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// waitMany bounds the jobs of one `job wait`: each is a request held by the
// server.
const waitMany = 100

// errTimeUp is the cause of a wait's context that ran out of --wait-timeout.
var errTimeUp = errors.New("time is up")

func (p *program) addJobWait(job *fisk.CmdClause) {
	var ids []string
	var timeout option[time.Duration]
	cmd := p.command(job, "wait", "Wait until jobs have ended", func(ctx context.Context) error {
		return p.waitFor(ctx, ids, timeout)
	})
	cmd.HelpLong(`Exit code of the first job, in the order given, that did not complete: 3 time is
up, 4 dead_lettered, 5 canceled; 0 when all completed.

Example:

	jobledger job wait 0193f0c2-... --wait-timeout 10m && echo done`)
	cmd.Arg("id", "Jobs to wait for").Required().StringsVar(&ids)
	optionFlag(cmd, "wait-timeout", "How long to wait; for ever when absent", &timeout, parseDuration).PlaceHolder("D")
}

// waitLine is what `job wait --json` prints for each job.
type waitLine struct {
	ID     schemas.JobID `json:"id"`
	State  schemas.State `json:"state"`
	Reason *string       `json:"reason"`
	Seq    schemas.Seq   `json:"seq"`
}

func (p *program) waitFor(ctx context.Context, ids []string, timeout option[time.Duration]) error {
	if err := checkJobIDs(ids); err != nil {
		return err
	}
	if len(ids) > waitMany {
		return usagef("%d jobs: at most %d can be waited for at once", len(ids), waitMany)
	}
	c, err := p.openClient("job wait")
	if err != nil {
		return err
	}
	defer c.Conn.Close()
	waiting, cancel := limited(ctx, timeout)
	defer cancel()
	records := make([]*ledger.Record, len(ids))
	var g errgroup.Group
	for i, id := range ids {
		g.Go(func() (err error) {
			records[i], err = awaitJob(waiting, c, schemas.JobID(id))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	code := exitOK
	for i, r := range records {
		if err := p.printWaited(schemas.JobID(ids[i]), r); err != nil {
			return err
		}
		if code == exitOK {
			code = exitOf(r.State)
		}
	}
	return exitWith(code)
}

func (p *program) printWaited(id schemas.JobID, r *ledger.Record) error {
	if p.flags.JSON {
		return p.line(waitLine{ID: id, State: r.State, Reason: r.Reason, Seq: r.Seq})
	}
	return p.printf("%s\t%s\n", id, explained(r))
}

// limited is ctx with a time limit that can be told from a signal.
func limited(ctx context.Context, timeout option[time.Duration]) (context.Context, context.CancelFunc) {
	if !timeout.Set {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, timeout.Value, errTimeUp)
}

// awaitJob returns the job's record when it has ended, or as it last was when
// the time is up.
func awaitJob(ctx context.Context, c *gateway.Client, id schemas.JobID) (*ledger.Record, error) {
	record, err := c.Wait(ctx, id)
	if err == nil || !errors.Is(context.Cause(ctx), errTimeUp) {
		return record, err
	}
	if record != nil {
		return record, nil
	}
	return c.Get(context.WithoutCancel(ctx), id) // the time was too short for one answer
}

// waitedSubmit is what `job submit --wait --json` prints.
type waitedSubmit struct {
	gateway.SubmitReply
	Reason  *string             `json:"reason"`
	Attempt int                 `json:"attempt"`
	Error   *ledger.RecordError `json:"error"`
}

// awaitResult waits for a job that was submitted and prints its result.
func (p *program) awaitResult(ctx context.Context, c *gateway.Client, reply *gateway.SubmitReply, timeout option[time.Duration]) error {
	if !p.flags.JSON {
		p.talkf("%s", reply.ID)
	}
	p.warnUnserved(ctx, c, reply.ID)
	waiting, cancel := limited(ctx, timeout)
	defer cancel()
	r, err := awaitJob(waiting, c, reply.ID)
	if err == nil && r.ResultRef != nil && len(r.Result) <= len("null") { // too large for a record
		r.Result, err = c.Payload(ctx, r.ID, gateway.PayloadResult)
	}
	if err != nil {
		return err
	}
	if p.flags.JSON {
		done := waitedSubmit{SubmitReply: *reply, Reason: r.Reason, Attempt: r.Attempt, Error: r.Error}
		done.State = r.State
		text, err := schemas.SpliceJSON(&done, schemas.RawField{Name: "result", Value: orNull(r.Result)})
		if err != nil {
			return err
		}
		if err := p.printf("%s\n", text); err != nil {
			return err
		}
		return exitWith(exitOf(r.State))
	}
	switch r.State {
	case schemas.StateCompleted:
		return p.printf("%s\n", orNull(r.Result))
	case schemas.StateDeadLettered, schemas.StateCanceled:
		p.talkf("job %s is %s", r.ID, explained(r))
	default:
		p.talkf("time is up: job %s is %s and goes on", r.ID, explained(r))
	}
	return exitWith(exitOf(r.State))
}

func orNull(raw []byte) []byte {
	if len(raw) == 0 {
		return []byte("null")
	}
	return raw
}
