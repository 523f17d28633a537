package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/choria-io/fisk"
	"github.com/google/uuid"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	benchJobsDefault    = 10_000
	benchJobsMax        = 10_000_000 // each is remembered until the end, about 200 bytes
	benchOrgsMax        = 1_000
	benchSlotsDefault   = 64
	benchPayloadDefault = 128
	benchPublishers     = 64               // submits under way at once
	benchBatches        = 2                // calls under way at once where each is of many
	benchQuiet          = 30 * time.Second // without an event of ours for so long, what is unfinished is lost
	benchSubmitTries    = 3                // of one job that the engine did not take
)

// flowFlags say what `bench flow` and its parts send through the cell.
type flowFlags struct {
	phase                                   phase
	jobs, orgs, slots, payload, rate, batch option[int]
	embedded, rules, index                  bool
	cpuProfile                              string
}

func (p *program) addBenchFlow(bench *fisk.CmdClause) {
	var f flowFlags
	cmd := p.command(bench, "flow", "Jobs all the way: submitted, offered, run, completed", func(ctx context.Context) error {
		return p.benchFlow(ctx, &f)
	})
	cmd.HelpLong(`Submits jobs that do nothing, serves them with one worker in this process, and
reads from the ledger what became of them. Exit code 0 only if every job that was
acknowledged has finished and no attempt has two outcomes.

It measures the cell that --server or --context name, or NATS_URL or NATS_CONTEXT;
without any of them, or with --embedded, a cell of its own in this process and a
temporary folder. A selected context is not used: the jobs have an org, a queue
and a type of their own, and stay in the ledger.

Examples:

	jobledger bench flow --jobs 20000
	jobledger bench flow --jobs 3000 --rate 500 --json
	jobledger bench flow --server nats://10.0.0.5 --orgs 10 --payload 4096`)
	f.declare(cmd)
	cmd.Flag("rules", "Put every kind of rule in force, none of which holds a job up").UnNegatableBoolVar(&f.rules)
}

// declare adds the flags that all parts have.
func (f *flowFlags) declare(cmd *fisk.CmdClause) {
	optionFlag(cmd, "jobs", fmt.Sprintf("Jobs to submit, %d by default", benchJobsDefault), &f.jobs, parseInt).PlaceHolder("N")
	optionFlag(cmd, "orgs", "Orgs they belong to, 1 by default", &f.orgs, parseInt).PlaceHolder("M")
	optionFlag(cmd, "slots", fmt.Sprintf("Jobs the worker runs at once, %d by default", benchSlotsDefault), &f.slots, parseInt).PlaceHolder("S")
	optionFlag(cmd, "payload", fmt.Sprintf("Size of the args, %d by default", benchPayloadDefault), &f.payload, parseInt).PlaceHolder("BYTES")
	optionFlag(cmd, "batch", "Jobs that are submitted at once, 1 by default", &f.batch, parseInt).PlaceHolder("B")
	if f.phase != phaseWork {
		optionFlag(cmd, "rate", "Submits a second; as fast as they go when absent", &f.rate, parseInt).PlaceHolder("R")
	}
	cmd.Flag("index", "Keep a query index in the cell that is measured, as servers do").UnNegatableBoolVar(&f.index)
	cmd.Flag("embedded", "Measure a cell of its own whatever the environment names").UnNegatableBoolVar(&f.embedded)
	cmd.Flag("cpuprofile", "Write a CPU profile").Hidden().StringVar(&f.cpuProfile)
}

func (f *flowFlags) check() error {
	for _, n := range []struct {
		flag string
		option[int]
		least, most int
	}{
		{"jobs", f.jobs, 1, benchJobsMax},
		{"orgs", f.orgs, 1, benchOrgsMax},
		{"slots", f.slots, 1, handlers.SlotsMax},
		{"payload", f.payload, 2, schemas.ArgsMax}, // the shortest text in JSON is ""
		{"rate", f.rate, 1, 1_000_000},
		{"batch", f.batch, 1, ledger.SubmitManyMax},
	} {
		if n.Set && (n.Value < n.least || n.Value > n.most) {
			return usagef("--%s must be from %d to %d", n.flag, n.least, n.most)
		}
	}
	return nil
}

// flow is one measurement under way.
type flow struct {
	phase               phase
	jobs, slots, rate   int
	batch               int
	orgs                []schemas.OrgID
	rules               bool
	name                string // of its queue and type
	args                json.RawMessage
	log                 *zap.Logger
	submits, work, look *ledger.Ledger
	track               *flowTrack
	line                *liveLine
}

func (p *program) benchFlow(ctx context.Context, f *flowFlags) (err error) {
	if err := f.check(); err != nil {
		return err
	}
	log := p.logger(zap.WarnLevel)
	c, err := p.openBenchCell(ctx, f.embedded, f.index, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	run := f.flow(log)
	run.line = p.newLiveLine()
	for _, role := range []struct {
		name string
		to   **ledger.Ledger
	}{{"submits", &run.submits}, {"work", &run.work}, {"look", &run.look}} {
		l, err := c.ledger(ctx, "bench "+role.name, log)
		if err != nil {
			return err
		}
		defer l.Conn().Close()
		*role.to = l
	}
	stop, err := profileTo(f.cpuProfile)
	if err != nil {
		return err
	}
	result, err := run.measure(ctx)
	run.line.clear()
	if err := errors.Join(err, stop()); err != nil {
		return err
	}
	result.Payload, result.Durability = len(run.args), c.durability
	if err := p.printFlow("bench "+run.phase.String(), result); err != nil {
		return err
	}
	if result.Lost != 0 || result.Duplicates != 0 {
		return exitRequest{exitError}
	}
	return nil
}

func (f *flowFlags) flow(log *zap.Logger) *flow {
	id := string(schemas.NewJobID())
	run := &flow{phase: f.phase, batch: f.batch.Or(1), jobs: f.jobs.Or(benchJobsDefault), slots: f.slots.Or(benchSlotsDefault), rate: f.rate.Value,
		rules: f.rules, name: "bench-" + id, log: log}
	for i := range f.orgs.Or(1) {
		run.orgs = append(run.orgs, schemas.OrgID(fmt.Sprintf("bench-%s-%d", id, i+1)))
	}
	run.args = append(append([]byte{'"'}, bytes.Repeat([]byte{'x'}, f.payload.Or(benchPayloadDefault)-2)...), '"')
	run.track = newFlowTrack(run.orgs)
	return run
}

// benchHandler does nothing: what is measured is everything else.
type benchHandler struct{}

func (benchHandler) Run(context.Context, *handlers.Attempt) (json.RawMessage, error) { return nil, nil }

// measure sends all jobs through the cell and returns what the ledger says of
// them. A process that dies in here leaves an org with unfinished jobs and no
// worker for them.
func (f *flow) measure(ctx context.Context) (*flowResult, error) {
	if err := f.settle(ctx); err != nil {
		return nil, err
	}
	begin, err := f.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	between := begin // of submitting and working, where the one comes after the other
	if f.phase != phaseFlow {
		if err := f.submitAll(ctx); err != nil {
			return nil, err
		}
		if between, err = f.snapshot(ctx); err != nil {
			return nil, err
		}
	}
	end, err := f.serve(ctx, begin)
	if err != nil {
		return nil, err
	}
	switch f.phase {
	case phaseSubmit:
		return f.result(begin, between), nil
	case phaseWork:
		return f.result(between, end), nil
	}
	return f.result(begin, end), nil
}

// serve works all jobs off, which it submits meanwhile unless they are there, and reads what became of them since
// begin. It returns the ledger as it is then, with what the process had used when the last job had ended.
func (f *flow) serve(ctx context.Context, begin *flowSnapshot) (after *flowSnapshot, err error) {
	queue, kind := schemas.QueueName(f.name), schemas.TypeName(f.name)
	w, err := handlers.New(handlers.Config{Ledger: f.work, Slots: f.slots, Name: "bench", Version: version, Logger: f.log,
		Serves: []handlers.Registration{{Queue: queue, Type: kind, Handler: benchHandler{}}}})
	if err != nil {
		return nil, err
	}
	group, running := errgroup.WithContext(ctx)
	working, stopWork := context.WithCancel(running)
	defer stopWork()
	workEnded := make(chan struct{})
	group.Go(func() error { defer close(workEnded); return w.Run(working) })
	group.Go(func() error {
		defer stopWork()
		if f.phase == phaseFlow {
			if err := f.submitAll(running); err != nil {
				return err
			}
		}
		if err := f.awaitEnd(running); err != nil {
			return err
		}
		measured := benchUsage()
		stopWork()
		<-workEnded // its last outcomes are stored: a second one would be before the end we read up to
		if after, err = f.snapshot(running); err != nil {
			return err
		}
		after.usage = measured
		return f.read(running, begin.end.Seq+1, after.end.Seq)
	})
	return after, group.Wait()
}

// awaitEnd returns when the counters of these jobs say that as many have finished as were acknowledged, or
// have not moved for benchQuiet: what has not ended by then is counted as it stands. The counters only tell
// when to look; what became of each job is read from the ledger.
func (f *flow) awaitEnd(ctx context.Context) error {
	bucket, err := f.look.JetStream().KeyValue(ctx, ledger.BucketCounts)
	if err != nil {
		return err
	}
	counters, err := bucket.Watch(ctx, "*."+f.name+"."+f.name)
	if err != nil {
		return err
	}
	defer func() { _ = counters.Stop() }() // fails only with the connection
	quiet := time.NewTimer(benchQuiet)
	defer quiet.Stop()
	finished := map[schemas.OrgID]int64{}
	for {
		select {
		case entry := <-counters.Updates():
			var count ledger.CountHead
			if entry == nil || json.Unmarshal(entry.Value(), &count) != nil {
				continue // the mark behind what was there, or a deletion
			}
			quiet.Reset(benchQuiet)
			finished[count.Org] = count.Total() - count.Unfinished()
			sum := int64(0)
			for _, n := range finished {
				sum += n
			}
			f.line.set(func() string {
				return fmt.Sprintf("%s of %s jobs finished", thousands(uint64(sum)), thousands(uint64(f.jobs)))
			})
			if sum >= int64(f.track.acked) {
				return nil
			}
		case <-quiet.C:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// read folds the ledger's events from one sequence to another into the track. It costs nothing of what is
// measured: the jobs have ended.
func (f *flow) read(ctx context.Context, from, to schemas.Seq) error {
	return f.look.Replay(ctx, ledger.ReplayQuery{From: ledger.ReplayBound{Seq: from}, To: ledger.ReplayBound{Seq: to}, Foreign: true},
		func(e *ledger.Entry) error {
			f.track.event(e)
			return nil
		})
}

// submitAll submits every job, benchPublishers calls at once; with a rate each at its
// own time, which does not move when earlier ones were slow.
func (f *flow) submitAll(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	var next, stored atomic.Int64
	calls := (f.jobs + f.batch - 1) / f.batch
	begin := time.Now()
	for range min(max(benchPublishers/f.batch, benchBatches), calls) {
		group.Go(func() error {
			for {
				first := int(next.Add(1)-1) * f.batch
				if first >= f.jobs {
					return nil
				}
				due := begin
				if f.rate > 0 {
					due = begin.Add(time.Duration(float64(first) / float64(f.rate) * float64(time.Second)))
				}
				if err := waitUntil(ctx, due); err != nil {
					return err
				}
				n := min(f.batch, f.jobs-first)
				if err := f.submit(ctx, first, n); err != nil {
					return err
				}
				done := stored.Add(int64(n))
				f.line.set(func() string {
					return fmt.Sprintf("%s of %s jobs submitted", thousands(uint64(done)), thousands(uint64(f.jobs)))
				})
			}
		})
	}
	err := group.Wait()
	f.track.submitsEnded(time.Since(begin))
	return err
}

// submit submits n jobs. A submit that the engine did not answer is repeated
// under its request id, which finds the job if it was stored.
func (f *flow) submit(ctx context.Context, first, n int) error {
	requests := make([]ledger.SubmitRequest, n)
	for i := range requests {
		requests[i] = ledger.SubmitRequest{Org: f.orgs[(first+i)%len(f.orgs)], Type: schemas.TypeName(f.name), Args: f.args, NoDedup: true,
			Meta: ledger.Meta{Actor: benchActor}, RequestID: uuid.New()}
		f.obey(&requests[i], first+i)
	}
	begin := time.Now()
	for try := 1; len(requests) > 0; try++ {
		outcomes, err := f.submitOnce(ctx, requests)
		if err != nil {
			return err
		}
		took, again := time.Since(begin), requests[:0]
		for i, o := range outcomes {
			switch {
			case o.Err == nil:
				f.track.acknowledged(o.Receipt.ID, took)
			case ledger.AsError(o.Err).Code != ledger.CodeUnavailable || try == benchSubmitTries || ctx.Err() != nil:
				return o.Err
			default:
				again = append(again, requests[i])
			}
		}
		requests = again
	}
	return nil
}

func (f *flow) submitOnce(ctx context.Context, requests []ledger.SubmitRequest) ([]ledger.Submission, error) {
	if len(requests) > 1 {
		return f.submits.SubmitMany(ctx, requests)
	}
	receipt, err := f.submits.Submit(ctx, requests[0])
	return []ledger.Submission{{Receipt: receipt, Err: err}}, nil
}

func waitUntil(ctx context.Context, at time.Time) error {
	d := time.Until(at)
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
