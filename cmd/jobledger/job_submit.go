package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/choria-io/fisk"
	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// countMax bounds --count: more is what `bench submit` and batches are for.
	countMax = 10_000

	// countParallel is how many submits of a --count are under way at once.
	countParallel = 32

	// unservedMax bounds the look after a submit whether anybody serves the job.
	unservedMax = time.Second
)

// submitFlags are those of `job submit` (INTERFACE 2.4).
type submitFlags struct {
	typ, args, file           string
	queue, priority, resource string
	at, deadline              string
	in                        option[time.Duration]
	after                     []string
	afterPolicy               string
	id, key, onDuplicate      string
	noDedup                   bool
	maxAttempts, count        option[int]
	runTimeout, waitTimeout   option[time.Duration]
	tags                      []string
	principal                 string
	batch, pace, parallel     string
	then, thenArgs            string
	wait                      bool
}

func (p *program) addJobSubmit(job *fisk.CmdClause) {
	var f submitFlags
	cmd := p.command(job, "submit", "Submit a job", func(ctx context.Context) error { return p.submit(ctx, &f) })
	cmd.HelpLong(`Prints the job's id once the job is stored. Submitting the same work again
within the type's dedup window finds the job that exists. If no worker serves the
job's type in its queue, stderr says so.

With --wait the id goes to stderr and the result alone to stdout; exit code 0
completed, 3 time is up, 4 dead_lettered, 5 canceled. The job goes on when the
waiting ends.

Examples:

	jobledger job submit echo '{"name":"Ada"}' --wait
	generate | jobledger job submit report-build - --key report-2026-11
	jobledger job submit cleanup --in 2h --max-attempts 1 --tag env=test
	jobledger job submit fax --batch numbers.jsonl --pace 50/1m --parallel 10`)
	cmd.Arg("type", "Type of the job").Required().StringVar(&f.typ)
	cmd.Arg("args", "Arguments as JSON, - for stdin; {} when absent").StringVar(&f.args)
	cmd.Flag("file", "Read the arguments from a file").PlaceHolder("FILE").StringVar(&f.file)
	f.declarePlace(cmd)
	f.declareIdentity(cmd)
	f.declareBatch(cmd)
	cmd.Flag("wait", "Wait for the job's end and print its result").UnNegatableBoolVar(&f.wait)
	optionFlag(cmd, "wait-timeout", "How long to wait; for ever when absent", &f.waitTimeout, parseDuration).PlaceHolder("D")
}

// declarePlace declares where, when and how the job runs.
func (f *submitFlags) declarePlace(cmd *fisk.CmdClause) {
	cmd.Flag("queue", "Queue, instead of the type's").PlaceHolder("NAME").StringVar(&f.queue)
	cmd.Flag("priority", "low, normal, high or critical").PlaceHolder("P").StringVar(&f.priority)
	cmd.Flag("at", "Start not before this time").PlaceHolder("TIME").StringVar(&f.at)
	optionFlag(cmd, "in", "Start not before so long from now", &f.in, parseDuration).PlaceHolder("D")
	cmd.Flag("deadline", "Give up if not started by this time, or so long from now").PlaceHolder("TIME|D").StringVar(&f.deadline)
	cmd.Flag("after", "Start when this job has completed; repeatable").PlaceHolder("ID").StringsVar(&f.after)
	cmd.Flag("after-policy", "When such a job fails: fail, cancel or run").EnumVar(&f.afterPolicy, schemas.ParentFail, schemas.ParentCancel, schemas.ParentRun)
	optionFlag(cmd, "max-attempts", "Runs at most, the first included", &f.maxAttempts, parseInt).PlaceHolder("N")
	optionFlag(cmd, "run-timeout", "How long one attempt may take", &f.runTimeout, parseDuration).PlaceHolder("D")
	cmd.Flag("resource", "Resource whose limit the job counts against").PlaceHolder("NAME").StringVar(&f.resource)
}

// declareIdentity declares what the job is and is known by.
func (f *submitFlags) declareIdentity(cmd *fisk.CmdClause) {
	cmd.Flag("id", "The job's id, exact: never a duplicate by content").PlaceHolder("ID").StringVar(&f.id)
	cmd.Flag("key", "Idempotency key: the same key finds the same job").PlaceHolder("KEY").StringVar(&f.key)
	cmd.Flag("no-dedup", "Run it however often it was submitted").UnNegatableBoolVar(&f.noDedup)
	cmd.Flag("on-duplicate", "return the job that exists, or fail with error").EnumVar(&f.onDuplicate, ledger.DuplicateReturn, ledger.DuplicateError)
	cmd.Flag("tag", "k=v, repeatable").PlaceHolder("K=V").StringsVar(&f.tags)
	cmd.Flag("for", "Whom the job runs as").PlaceHolder("PRINCIPAL").StringVar(&f.principal)
	optionFlag(cmd, "count", "Submit so many of it, each without dedup", &f.count, parseInt).PlaceHolder("N")
}

func (p *program) submit(ctx context.Context, f *submitFlags) error {
	r, err := f.request(p)
	if err != nil {
		return err
	}
	var batch *ledger.BatchSpec
	if f.batch != "" {
		if batch, err = f.batchOf(p, &r); err != nil {
			return err
		}
	}
	if p.flags.DryRun && batch != nil {
		p.talkf("would submit a batch of %d items of %s", len(batch.Items), f.typ)
		return nil
	}
	if p.flags.DryRun {
		p.talkf("would submit %s with %d bytes of arguments", r.Type, len(r.Args))
		return nil
	}
	c, err := p.openClient("job submit")
	if err != nil {
		return err
	}
	defer c.Conn.Close()
	if f.count.Set {
		return p.submitMany(ctx, c, r, f.count.Value)
	}
	reply, err := f.store(ctx, c, r, batch)
	if err != nil {
		return err
	}
	if reply.Duplicate {
		p.talkf("job %s stands for the same work already, it is %s", reply.ID, reply.State)
	}
	switch {
	case f.wait:
		return p.awaitResult(ctx, c, reply, f.waitTimeout)
	case p.flags.JSON:
		err = p.document(reply)
	default:
		err = p.printf("%s\n", reply.ID)
	}
	if batch == nil { // a batch is served by the servers
		p.warnUnserved(ctx, c, reply.ID)
	}
	return err
}

// warnUnserved tells a person that a job which was just stored waits for a worker that is not there, as one whose
// type or queue is misspelt does. The job is stored: what cannot be learned soon is not worth an error.
func (p *program) warnUnserved(ctx context.Context, c *gateway.Client, id schemas.JobID) {
	ctx, cancel := context.WithTimeout(ctx, unservedMax)
	defer cancel()
	if r, err := c.Get(ctx, id); err == nil && unserved(r) {
		p.talkf("job %s waits: %s", id, unservedText(r))
	}
}

func unserved(r *ledger.Record) bool { return deref(r.Reason) == ledger.ReasonUnserved }

func unservedText(r *ledger.Record) string {
	return fmt.Sprintf("nobody serves type %s in queue %s; see `jobledger worker ls`", r.Type, r.Queue)
}

// request reads the flags; every mistake is found before a request is made.
func (f *submitFlags) request(p *program) (ledger.SubmitRequest, error) {
	r := ledger.SubmitRequest{
		Type: schemas.TypeName(f.typ), ID: schemas.JobID(f.id), Key: f.key, NoDedup: f.noDedup,
		OnDuplicate: f.onDuplicate, Queue: schemas.QueueName(f.queue), Priority: schemas.Priority(f.priority),
		Resource: f.resource, Principal: f.principal, Reason: p.flags.Reason.Value, Delay: f.in.Value,
	}
	if err := f.check(&r); err != nil {
		return r, err
	}
	if err := f.times(p, &r); err != nil {
		return r, err
	}
	if f.maxAttempts.Set || f.runTimeout.Set {
		r.Override = &schemas.Override{}
		if f.maxAttempts.Set {
			r.Override.MaxAttempts = &f.maxAttempts.Value
		}
		if f.runTimeout.Set {
			ms := schemas.MillisOf(f.runTimeout.Value)
			r.Override.TimeoutMS = &ms
		}
	}
	for _, id := range split[schemas.JobID](f.after) {
		r.Parents = append(r.Parents, schemas.ParentRef{ID: id, OnFailure: f.afterPolicy})
	}
	for _, tag := range f.tags {
		k, v, ok := strings.Cut(tag, "=")
		if !ok || k == "" {
			return r, usagef("--tag: %q is not k=v", tag)
		}
		if r.Tags == nil {
			r.Tags = make(map[string]string)
		}
		r.Tags[k] = v
	}
	var err error
	r.Args, err = f.readArgs(p)
	return r, err
}

func (f *submitFlags) check(r *ledger.SubmitRequest) error {
	switch {
	case f.count.Set && (f.count.Value < 1 || f.count.Value > countMax):
		return usagef("--count must be 1 to %d", countMax)
	case f.count.Set && (f.wait || f.id != "" || f.key != ""):
		return usagef("--count goes neither with --wait nor with --id or --key: they are about one job")
	case f.key != "" && f.noDedup:
		return usagef("--key and --no-dedup contradict each other")
	case f.waitTimeout.Set && !f.wait:
		return usagef("--wait-timeout needs --wait")
	case f.afterPolicy != "" && len(f.after) == 0:
		return usagef("--after-policy needs --after")
	}
	if err := f.checkBatch(); err != nil {
		return err
	}
	if err := schemas.CheckToken("type", f.typ); err != nil {
		return usagef("%w", err)
	}
	if f.queue != "" {
		if err := schemas.CheckToken("queue", f.queue); err != nil {
			return usagef("%w", err)
		}
	}
	if f.id != "" {
		if err := schemas.CheckCallerJobID(f.id); err != nil {
			return usagef("%w", err)
		}
	}
	if r.Priority != "" {
		if err := r.Priority.Validate(); err != nil {
			return usagef("--priority: %w", err)
		}
	}
	return checkJobIDs(split[string](f.after))
}

func (f *submitFlags) times(p *program, r *ledger.SubmitRequest) error {
	if f.at != "" {
		if f.in.Set {
			return usagef("--at and --in both say when to start: give one")
		}
		at, err := parseTime(f.at, p.Now(), p.flags.zone, +1)
		if err != nil {
			return usagef("--at: %w", err)
		}
		r.NotBefore = &at
	}
	if f.deadline == "" {
		return nil
	}
	if d, err := parseDuration(f.deadline); err == nil {
		r.DeadlineIn = d // counted by the ledger's clock
		return nil
	}
	at, err := parseTime(f.deadline, p.Now(), p.flags.zone, +1)
	if err != nil {
		return usagef("--deadline: %w", err)
	}
	r.Deadline = &at
	return nil
}

// readArgs takes the arguments from the command line, stdin or a file, byte for
// byte, without the white space around them.
func (f *submitFlags) readArgs(p *program) (json.RawMessage, error) {
	var text []byte
	var err error
	switch {
	case f.file != "" && f.args != "":
		return nil, usagef("give the arguments or --file, not both")
	case f.args == stdinArg, f.file == stdinArg:
		text, err = readAtMost(p.Stdin, schemas.PayloadMax)
	case f.file != "":
		text, err = readFileAtMost(f.file, schemas.PayloadMax)
	case f.args == "":
		return json.RawMessage("{}"), nil
	default:
		text = []byte(f.args)
	}
	if err != nil {
		return nil, usagef("read the arguments: %w", err)
	}
	if len(text) > schemas.PayloadMax {
		return nil, failf(ledger.CodePayloadTooLarge, "the arguments are longer than %d bytes", schemas.PayloadMax)
	}
	text = bytes.TrimSpace(text)
	if err := schemas.CheckJSON("the arguments", text); err != nil {
		return nil, usagef("%w", err)
	}
	return text, nil
}

// readAtMost reads everything, and one byte over the limit of what is longer.
func readAtMost(r io.Reader, limit int64) ([]byte, error) {
	return io.ReadAll(io.LimitReader(r, limit+1))
}

func readFileAtMost(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAtMost(f, limit)
}

// submitMany submits the same job n times and prints the ids in order. What was
// stored before an error is printed too.
func (p *program) submitMany(ctx context.Context, c *gateway.Client, r ledger.SubmitRequest, n int) error {
	r.NoDedup = true
	replies := make([]*gateway.SubmitReply, n)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(countParallel)
	for i := range n {
		if gctx.Err() != nil {
			break
		}
		g.Go(func() (err error) {
			one := r
			one.RequestID = uuid.UUID(uuid.Must(uuid.NewV7()))
			replies[i], err = c.Submit(gctx, one)
			return err
		})
	}
	failed := g.Wait()
	stored := make([]*gateway.SubmitReply, 0, n)
	var asOf schemas.Seq
	for _, reply := range replies {
		if reply == nil {
			continue
		}
		stored, asOf = append(stored, reply), max(asOf, reply.Seq)
		if !p.flags.JSON {
			if err := p.printf("%s\n", reply.ID); err != nil {
				return err
			}
		}
	}
	if failed != nil {
		p.talkf("%d of %d are stored", len(stored), n)
		return failed
	}
	if p.flags.JSON {
		if err := p.document(map[string]any{"items": stored, "next": nil, "as_of_seq": asOf}); err != nil {
			return err
		}
	}
	p.warnUnserved(ctx, c, stored[len(stored)-1].ID) // they are all alike
	return nil
}
