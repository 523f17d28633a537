package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/choria-io/fisk"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// workerFlags say what `worker run` serves and how.
type workerFlags struct {
	types        []string
	exec, url    string
	strictJSON   bool
	allowPrivate bool
	secretFile   string
	queue, name  string
	slots        option[int]
	maxJobs      option[int]
	grace        option[time.Duration]
	exitIdle     option[time.Duration]
}

func (p *program) addWorkerRun(worker *fisk.CmdClause) {
	var f workerFlags
	cmd := p.command(worker, "run", "Serve jobs with a command or an HTTP service", func(ctx context.Context) error {
		return p.runWorker(ctx, &f)
	})
	cmd.HelpLong(`The command gets the args as JSON on stdin and prints the result on stdout.
Exit 0 completes the job, 75 retries it later, 65 gives it up at once, anything
else retries it. Progress goes to fd 3, one JSON object a line, and so does what
a later attempt is to resume from, which finds it in $JOBLEDGER_CONTEXT_FILE:

	{"percent":40,"message":"rendering","step":"render"}
	{"checkpoint":{"page":7}}

SIGTERM or Ctrl-C drains: running jobs may finish within --grace, then they are
handed back. A second Ctrl-C hands them back at once.

Examples:

	jobledger worker run report-build --exec ./build.sh
	jobledger worker run mail-send mail-digest --http https://mail.example/jobs --secret-file keys
	jobledger worker run thumbnail --exec 'convert - -resize 200x png:-' --slots 4 --exit-idle 1m`)
	cmd.Arg("type", "Types to serve").Required().StringsVar(&f.types)
	cmd.Flag("exec", "Command, run by /bin/sh -c for each attempt").PlaceHolder("CMD").StringVar(&f.exec)
	cmd.Flag("strict-json", "Output that is not JSON fails the job for good").UnNegatableBoolVar(&f.strictJSON)
	cmd.Flag("http", "Service to POST each attempt to").PlaceHolder("URL").StringVar(&f.url)
	cmd.Flag("allow-private", "The service may have a private or loopback address").UnNegatableBoolVar(&f.allowPrivate)
	cmd.Flag("secret-file", "File with secrets that sign each request, one a line").PlaceHolder("FILE").StringVar(&f.secretFile)
	cmd.Flag("queue", "Queue to serve; the types' own when absent").PlaceHolder("NAME").StringVar(&f.queue)
	cmd.Flag("name", "Name shown to people; the host's when absent").PlaceHolder("NAME").StringVar(&f.name)
	optionFlag(cmd, "slots", fmt.Sprintf("Jobs at once, %d by default", handlers.SlotsDefault), &f.slots, parseInt).PlaceHolder("N")
	optionFlag(cmd, "grace", fmt.Sprintf("How long a drain waits for running jobs, %s by default", handlers.DrainDefault), &f.grace, parseDuration).PlaceHolder("D")
	optionFlag(cmd, "max-jobs", "End after that many attempts", &f.maxJobs, parseInt).PlaceHolder("N")
	optionFlag(cmd, "exit-idle", "End when nothing ran for so long", &f.exitIdle, parseDuration).PlaceHolder("D")
}

func (p *program) runWorker(ctx context.Context, f *workerFlags) error {
	log := p.logger(zap.InfoLevel)
	handler, err := f.handler(log)
	if err != nil {
		return err
	}
	if err := f.check(); err != nil {
		return err
	}
	l, err := p.openLedger(ctx, "worker "+f.name, log)
	if err != nil {
		return err
	}
	defer l.Conn().Close()
	t, err := p.resolveTarget()
	if err != nil {
		return err
	}
	work, err := p.connect(t, "worker "+f.name+" offers")
	if err != nil {
		return err
	}
	defer work.Close()
	live, err := p.connect(t, "worker "+f.name+" progress")
	if err != nil {
		return err
	}
	defer live.Close()
	serves, err := f.serves(ctx, l, handler)
	if err != nil {
		return err
	}
	traces, err := p.startTracing(ctx, log)
	if err != nil {
		return err
	}
	defer traces.stop()
	w, err := handlers.New(handlers.Config{
		Tracer: traces.attempts,
		Ledger: l, Work: work, Live: live, Serves: serves, Name: f.name, Version: version, Logger: log,
		Slots: f.slots.Or(0), MaxJobs: f.maxJobs.Or(0), Grace: f.drain(), ExitIdle: f.exitIdle.Or(0),
		Report: p.attemptReporter(log),
	})
	if err != nil {
		return usagef("%w", err)
	}
	defer p.onSecondSignal(w.Abort)()
	return w.Run(ctx)
}

// handler is what does the work: one command or one service for all types.
func (f *workerFlags) handler(log *zap.Logger) (handlers.Handler, error) {
	switch {
	case (f.exec == "") == (f.url == ""):
		return nil, usagef("give --exec or --http: one of them does the work")
	case f.exec != "" && (f.secretFile != "" || f.allowPrivate):
		return nil, usagef("--secret-file and --allow-private are for --http")
	case f.exec != "":
		return &handlers.Exec{Command: f.exec, StrictJSON: f.strictJSON, Logger: log}, nil
	case f.strictJSON:
		return nil, usagef("--strict-json is for --exec")
	}
	h := &handlers.HTTP{URL: f.url, AllowPrivate: f.allowPrivate, Logger: log}
	if err := h.Validate(); err != nil {
		return nil, usagef("--http: %w", err)
	}
	if f.secretFile != "" {
		text, err := os.ReadFile(f.secretFile)
		if err != nil {
			return nil, usagef("--secret-file: %w", err)
		}
		h.Secrets = strings.Fields(string(text))
		if len(h.Secrets) == 0 {
			return nil, usagef("--secret-file: %s holds no secret", f.secretFile)
		}
	}
	return h, nil
}

// check finds what is wrong with the rest of the command line.
func (f *workerFlags) check() error {
	for _, name := range f.types {
		if err := schemas.CheckToken("type", name); err != nil {
			return usagef("%w", err)
		}
	}
	if f.queue != "" {
		if err := schemas.CheckToken("queue", f.queue); err != nil {
			return usagef("%w", err)
		}
	}
	for _, n := range []struct {
		flag string
		option[int]
	}{{"slots", f.slots}, {"max-jobs", f.maxJobs}} {
		if n.Set && n.Value < 1 {
			return usagef("--%s must be at least 1", n.flag)
		}
	}
	return nil
}

// serves pairs each type with its queue: the flag's, else the one the type is
// registered with, else the default.
func (f *workerFlags) serves(ctx context.Context, l *ledger.Ledger, h handlers.Handler) ([]handlers.Registration, error) {
	serves := make([]handlers.Registration, 0, len(f.types))
	for _, name := range f.types {
		r := handlers.Registration{Queue: schemas.QueueName(f.queue), Type: schemas.TypeName(name), Handler: h}
		settings, err := l.Type(ctx, r.Type)
		var e *ledger.Error
		switch {
		case err == nil && r.Queue == "":
			r.Queue = settings.Queue
		case errors.As(err, &e) && e.Code == ledger.CodeUnknownType:
			// It may be registered later, or at its first job.
		case err != nil:
			return nil, err
		}
		if settings != nil {
			r.Exclusive = settings.Exclusive
		}
		serves = append(serves, r)
	}
	return serves, nil
}

// drain is the grace in the worker's terms, where 0 means the default.
func (f *workerFlags) drain() time.Duration {
	if f.grace.Set && f.grace.Value == 0 {
		return -1
	}
	return f.grace.Value
}

// attemptLine is what `worker run --json` prints for each attempt.
type attemptLine struct {
	Time       time.Time          `json:"time"`
	Org        schemas.OrgID      `json:"org"`
	ID         schemas.JobID      `json:"id"`
	Type       schemas.TypeName   `json:"type"`
	Attempt    int                `json:"attempt"`
	Outcome    *schemas.EventName `json:"outcome"` // null: nothing was left to store
	DurationMS int64              `json:"duration_ms"`
	Error      *schemas.JobError  `json:"error"`
}

// attemptReporter prints one line per attempt; attempts end in many goroutines.
func (p *program) attemptReporter(log *zap.Logger) func(handlers.Report) {
	var mu sync.Mutex
	return func(r handlers.Report) {
		line := attemptLine{Time: p.Now().UTC(), Org: r.Org, ID: r.ID, Type: r.Type, Attempt: r.Attempt,
			DurationMS: r.Duration.Milliseconds(), Error: r.Error}
		if r.Outcome != "" {
			line.Outcome = &r.Outcome
		}
		mu.Lock()
		defer mu.Unlock()
		err := p.printAttempt(&line)
		if err != nil {
			log.Warn("an attempt could not be printed", zap.Error(err)) // the job is done all the same
		}
	}
}

func (p *program) printAttempt(a *attemptLine) error {
	if p.flags.JSON {
		return p.line(a)
	}
	outcome := "nothing left to store"
	if a.Outcome != nil {
		outcome = string(*a.Outcome)
	}
	text := fmt.Sprintf("%s  %s/%s  %s  attempt %d  %s  %d ms", a.Time.In(p.flags.zone).Format(time.TimeOnly), a.Org, a.ID, a.Type, a.Attempt, outcome, a.DurationMS)
	if a.Error != nil {
		text += "  " + a.Error.Message
	}
	return p.printf("%s\n", quiet(oneLine.Replace(text)))
}
