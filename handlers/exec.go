package handlers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/schemas"
)

// Bounds of what one child process can make the worker hold.
const (
	stderrTailMax = 4 << 10         // bytes of stderr kept for error.message
	logLineMax    = 8 << 10         // bytes of one line of stderr in the log
	pipesDelay    = 2 * time.Second // how long a process that left the group may keep our pipes open
)

// Exit statuses with a meaning of their own, from sysexits.h.
const (
	exitPermanent = 65 // EX_DATAERR
	exitRetry     = 75 // EX_TEMPFAIL
)

// workerEnv are the prefixes of the worker's own variables, its credentials among them: no child sees them.
var workerEnv = [...]string{"NATS_", "JOBLEDGER_"}

// Exec runs a command for each attempt: args JSON on stdin, result on stdout, progress and checkpoints on
// fd 3, errors on stderr and by exit status. The process group of the command dies with the attempt, and with
// the worker, also when that is killed (DESIGN D7). Unix only: elsewhere every attempt fails as permanent.
//
// An Exec may run any number of attempts at once. Its zero value but for Command is ready for use; Close it
// at the end.
type Exec struct {
	// Command is run by /bin/sh -c. Required.
	Command string
	// StrictJSON makes output that is not JSON a permanent error; otherwise it becomes a JSON string.
	StrictJSON bool
	// Env are further variables, as NAME=value. The worker's own environment, less its credentials and what
	// begins with NATS_ or JOBLEDGER_, is passed on.
	Env []string
	// Logger takes the lines of stderr. nil: they are dropped, but for the tail that becomes the error.
	Logger *zap.Logger

	mu    sync.Mutex
	guard *guard // started by the first attempt, stopped by Close
}

// Run implements Handler. It returns when the process has ended, however long it takes to die.
func (e *Exec) Run(ctx context.Context, a *Attempt) (json.RawMessage, error) {
	if e.Command == "" {
		return nil, Permanent(errors.New("exec: Command is empty"))
	}
	log := e.Logger
	if log == nil {
		log = zap.NewNop()
	}
	log = log.With(zap.String("org", string(a.Org)), zap.String("job", string(a.ID)),
		zap.String("type", string(a.Type)), zap.Int("attempt", a.Number))
	c := &child{attempt: a, log: log, stdout: capped{max: schemas.PayloadMax}, stderr: tail{log: log, max: stderrTailMax}}
	if err := e.run(ctx, c); err != nil {
		return nil, err
	}
	return resultOf("stdout", &c.stdout, e.StrictJSON)
}

// child is what is known of one attempt's process.
type child struct {
	attempt *Attempt
	log     *zap.Logger
	stdout  capped
	stderr  tail
	control *control // what fd 3 said
}

// ended is how a process ended.
type ended struct {
	status int    // exit status, when signal is empty
	signal string // name of the signal that killed it
}

// verdict turns the end of a process into the attempt's error (INTERFACE 2.6).
func (c *child) verdict(end ended) error {
	text := fmt.Sprintf("exit %d", end.status)
	if end.signal != "" {
		text = "signal " + end.signal
	}
	if t := c.stderr.String(); t != "" {
		text += ": " + t
	}
	m := &marked{err: errors.New(text), code: fmt.Sprintf("exit_%d", end.status)}
	switch {
	case end.signal != "":
		m.class, m.code = schemas.ClassUnclassified, CodeSignal
	case end.status == 0:
		return nil
	case end.status == exitPermanent:
		m.class = schemas.ClassPermanent
	case end.status == exitRetry:
		m.class, m.after = schemas.ClassTransient, c.control.retryAfter
	default:
		m.class = schemas.ClassUnclassified
	}
	return m
}

// environ is the child's environment: the worker's without its credentials, then the attempt's.
func (e *Exec) environ(a *Attempt, contextFile string) []string {
	env := make([]string, 0, 64)
	for _, kv := range os.Environ() {
		if !hasAnyPrefix(kv, workerEnv[:]) && !strings.HasPrefix(kv, "TRACEPARENT=") {
			env = append(env, kv)
		}
	}
	env = append(env, e.Env...)
	put := func(name, value string) {
		// A NUL ends a C string: the rest would silently be another value.
		env = append(env, name+"="+strings.ReplaceAll(value, "\x00", ""))
	}
	put("JOBLEDGER_JOB_ID", string(a.ID))
	put("JOBLEDGER_ORG", string(a.Org))
	put("JOBLEDGER_TYPE", string(a.Type))
	put("JOBLEDGER_QUEUE", string(a.Queue))
	put("JOBLEDGER_GENERATION", strconv.Itoa(a.Generation))
	put("JOBLEDGER_ATTEMPT", strconv.Itoa(a.Number))
	put("JOBLEDGER_MAX_ATTEMPTS", strconv.Itoa(a.MaxAttempts))
	put("JOBLEDGER_DEADLINE", a.Deadline.UTC().Format(time.RFC3339Nano))
	put("JOBLEDGER_FENCE", a.Fence.Seq.String())
	put("JOBLEDGER_IDEMPOTENCY_TOKEN", a.Token)
	put("JOBLEDGER_SUBMITTED_BY", a.SubmittedBy)
	put("JOBLEDGER_CORRELATION_ID", a.CorrelationID)
	put("JOBLEDGER_CONTEXT_FILE", contextFile)
	if a.Traceparent != "" {
		put("TRACEPARENT", a.Traceparent)
	}
	return env
}

func hasAnyPrefix(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

// contextJSON is the content of _CONTEXT_FILE.
func contextJSON(ctx context.Context, a *Attempt) ([]byte, error) {
	parents, err := a.parentFacts(ctx, ParentResultsMax)
	if err != nil {
		return nil, err
	}
	return parents.json(schemas.RawField{Name: "checkpoint", Value: nullIfEmpty(a.Checkpoint)})
}

// resultOf turns what a process or a service answered into a job's result: nothing is null, JSON stays as
// it is byte for byte, other text becomes a JSON string without its last line end.
func resultOf(what string, out *capped, strict bool) (json.RawMessage, error) {
	if err := checkResultSize(what, out.total); err != nil {
		return nil, err
	}
	body := bytes.TrimSpace(out.buf.Bytes())
	switch {
	case len(body) == 0:
		return nil, nil
	case json.Valid(body):
		return body, nil
	case strict:
		return nil, &marked{err: schemas.CheckJSON(what, body), class: schemas.ClassPermanent, code: CodeInvalidResult}
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(strings.TrimRight(out.buf.String(), "\r\n")); err != nil {
		return nil, Permanent(err)
	}
	text := bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
	if err := checkResultSize(what+" as a JSON string", int64(len(text))); err != nil {
		return nil, err
	}
	return text, nil
}

// checkResultSize refuses what is not kept even by reference.
func checkResultSize(what string, n int64) error {
	if n <= schemas.PayloadMax {
		return nil
	}
	return &marked{err: fmt.Errorf("%s is %d bytes: a result has at most %d", what, n, schemas.PayloadMax),
		class: schemas.ClassPermanent, code: CodeInvalidResult}
}
