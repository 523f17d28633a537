//go:build unix

package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/dartwing/jobledger/schemas"
)

func newExec(t *testing.T, command string) *Exec {
	t.Helper()
	e := &Exec{Command: command}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return e
}

// TestExecResult shows the stdin and stdout rows of INTERFACE 2.6.
func TestExecResult(t *testing.T) {
	for name, c := range map[string]struct {
		command, want string
		strict        bool
		class         schemas.ErrorClass
		message       string
	}{
		"args pass through byte for byte": {command: "cat", want: `{"to": "+49", "n": 12345678901234567890}`},
		"empty is null":                   {command: "true"},
		"white space is null":             {command: `printf ' \n'`},
		"JSON keeps its bytes":            {command: `printf '{"a" : 1.0}\n'`, want: `{"a" : 1.0}`},
		"text becomes a string":           {command: `printf 'two <lines>\nof "text"\n'`, want: `"two <lines>\nof \"text\""`},
		"strict refuses text":             {command: "echo text", strict: true, class: schemas.ClassPermanent, message: "not valid JSON"},
		"strict takes JSON":               {command: "echo '[1]'", strict: true, want: `[1]`},
		"over 64 KiB":                     {command: `head -c 65537 /dev/zero | tr '\0' 1`, want: strings.Repeat("1", 65537)},
		"over 32 MiB":                     {command: `head -c 33554433 /dev/zero | tr '\0' 1`, class: schemas.ClassPermanent, message: "33554433 bytes: a result has at most 33554432"},
		"stdin unread":                    {command: "exec <&-; echo 1", want: "1"},
		"text over 32 MiB once encoded":   {command: `head -c 20000000 /dev/zero | tr '\0' '"'`, class: schemas.ClassPermanent, message: "as a JSON string"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newExec(t, c.command)
			e.StrictJSON = c.strict
			got, err := e.Run(context.Background(), testAttempt())
			if string(got) != c.want {
				t.Errorf("result %.100s, want %s", got, c.want)
			}
			if c.class == "" {
				if err != nil {
					t.Errorf("error %v", err)
				}
				return
			}
			if err == nil {
				t.Fatal("no error")
			}
			if v := Classify(err, nil); v.Error.Class != c.class || !strings.Contains(v.Error.Message, c.message) || v.Error.Code != CodeInvalidResult {
				t.Errorf("record %+v, want %s with %q", v.Error, c.class, c.message)
			}
		})
	}
}

// TestExecExit shows the exit rows of INTERFACE 2.6.
func TestExecExit(t *testing.T) {
	for name, c := range map[string]struct {
		command string
		class   schemas.ErrorClass
		code    string
		message string
		after   time.Duration
	}{
		"75 is transient":          {command: "echo busy >&2; exit 75", class: schemas.ClassTransient, code: "exit_75", message: "exit 75: busy"},
		"75 with a wait":           {command: `echo '{"retry_after_s":90}' >&3; exit 75`, class: schemas.ClassTransient, code: "exit_75", message: "exit 75", after: 90 * time.Second},
		"75, wait not the last":    {command: `echo '{"retry_after_s":90}' >&3; echo '{"percent":1}' >&3; exit 75`, class: schemas.ClassTransient, code: "exit_75", message: "exit 75"},
		"75, wait bounded":         {command: `echo '{"retry_after_s":1e30}' >&3; exit 75`, class: schemas.ClassTransient, code: "exit_75", message: "exit 75", after: 24 * time.Hour},
		"65 is permanent":          {command: "echo no such number >&2; exit 65", class: schemas.ClassPermanent, code: "exit_65", message: "exit 65: no such number"},
		"other is unclassified":    {command: "echo oops >&2; exit 3", class: schemas.ClassUnclassified, code: "exit_3", message: "exit 3: oops"},
		"command not found":        {command: "no-such-command-at-all 2>/dev/null", class: schemas.ClassUnclassified, code: "exit_127", message: "exit 127"},
		"a signal is unclassified": {command: "kill -SEGV $$", class: schemas.ClassUnclassified, code: CodeSignal, message: "signal SIGSEGV"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newExec(t, c.command).Run(context.Background(), testAttempt())
			if err == nil {
				t.Fatal("no error")
			}
			v := Classify(err, nil)
			if v.Error.Class != c.class || v.Error.Code != c.code || v.Error.Message != c.message || v.RetryAfter != c.after {
				t.Errorf("got %+v", v)
			}
		})
	}
}

// TestExecStderr shows that stderr goes to the log by lines and its last 4 KiB become the message.
func TestExecStderr(t *testing.T) {
	core, logs := observer.New(zapcore.InfoLevel)
	e := newExec(t, `echo first >&2; head -c 20000 /dev/zero | tr '\0' x >&2; printf '\nlast' >&2; exit 1`)
	e.Logger = zap.New(core)
	_, err := e.Run(context.Background(), testAttempt())
	v := Classify(err, nil)
	if n := len(v.Error.Message); n != len("exit 1: ")+stderrTailMax || !strings.HasSuffix(v.Error.Message, "x\nlast") {
		t.Errorf("message of %d bytes ends with %q", n, v.Error.Message[n-10:])
	}
	var lines []string
	for _, entry := range logs.FilterMessage("stderr").All() {
		line := entry.ContextMap()["line"].(string)
		lines = append(lines, line[:min(5, len(line))])
		if len(line) > logLineMax || entry.ContextMap()["job"] != "job-1" {
			t.Errorf("log line of %d bytes, fields %v", len(line), entry.ContextMap()["job"])
		}
	}
	if !reflect.DeepEqual(lines, []string{"first", "xxxxx", "last"}) {
		t.Errorf("logged %q", lines)
	}
}

// TestExecEnvironment shows the environment row of INTERFACE 2.6, and that credentials stay with the worker.
func TestExecEnvironment(t *testing.T) {
	t.Setenv("NATS_URL", "nats://user:secret@host")
	t.Setenv("NATS_CREDS", "/secret.creds")
	t.Setenv("JOBLEDGER_SECRET", "secret")
	t.Setenv("TRACEPARENT", "of the worker")
	t.Setenv("PASSED_ON", "yes")
	e := newExec(t, `env | grep -e '^JOBLEDGER_' -e '^NATS_' -e '^TRACEPARENT=' -e '^PASSED_ON=' -e '^EXTRA=' | grep -v _CONTEXT_FILE | sort; cat "$JOBLEDGER_CONTEXT_FILE"`)
	e.Env = []string{"EXTRA=1"}
	a := testAttempt()
	a.SubmittedBy = "user:a\x00b"
	a.Checkpoint = json.RawMessage(`{"page":7}`)
	a.Parents = []Parent{{ID: "p1", State: schemas.StateCompleted, Result: json.RawMessage(`[1, 2]`)}, {ID: "p2", State: schemas.StateCanceled},
		{ID: "p3", State: schemas.StateCompleted, Ref: &schemas.ObjectRef{Bytes: 40 << 20}}}
	got, err := e.Run(context.Background(), a)
	if err != nil {
		t.Fatal(err)
	}
	var text string
	if err := json.Unmarshal(got, &text); err != nil {
		t.Fatal(err)
	}
	want := `EXTRA=1
JOBLEDGER_ATTEMPT=3
JOBLEDGER_CORRELATION_ID=root-1
JOBLEDGER_DEADLINE=2026-11-23T14:00:00Z
JOBLEDGER_FENCE=4711
JOBLEDGER_GENERATION=2
JOBLEDGER_IDEMPOTENCY_TOKEN=acme-job-1-2
JOBLEDGER_JOB_ID=job-1
JOBLEDGER_MAX_ATTEMPTS=6
JOBLEDGER_ORG=acme
JOBLEDGER_QUEUE=critical
JOBLEDGER_SUBMITTED_BY=user:ab
JOBLEDGER_TYPE=fax
PASSED_ON=yes
TRACEPARENT=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
{"parent_states":{"p1":"completed","p2":"canceled","p3":"completed"},"parents_omitted":{"p3":41943040},"checkpoint":{"page":7},"parents":{"p1":[1, 2],"p2":null}}`
	if text != want {
		t.Errorf("environment:\n%s\nwant:\n%s", text, want)
	}
	left, err := filepath.Glob(filepath.Join(e.guard.dir, "*"))
	if err != nil || len(left) != 0 {
		t.Errorf("context files left: %v, %v", left, err)
	}
}

// TestExecProgress shows the fd 3 row of INTERFACE 2.6: merged progress, steps, checkpoints, one warning.
func TestExecProgress(t *testing.T) {
	core, logs := observer.New(zapcore.WarnLevel)
	long := strings.Repeat("x", LineMax+1)
	file := filepath.Join(t.TempDir(), "long")
	if err := os.WriteFile(file, []byte(long+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	e := newExec(t, `
echo '{"percent":10,"message":"begun","steps":["fetch",{"name":"render","state":"pending"},{"name":"send","state":"?"}]}' >&3
echo '{"step":"fetch"}' >&3
echo 'not json' >&3
cat `+file+` >&3
echo '{"step":"render","percent":140.7}' >&3
echo '{"checkpoint":{"page": 7}}' >&3
printf '{"step":"bill"}' >&3`)
	e.Logger = zap.New(core)
	var seen []schemas.Progress
	var saved string
	a := testAttempt()
	a.host = host{
		progressed: func() { seen = append(seen, *a.LastProgress()) },
		save: func(_ context.Context, raw json.RawMessage) error {
			saved = string(raw)
			return nil
		},
	}
	if _, err := e.Run(context.Background(), a); err != nil {
		t.Fatal(err)
	}
	want := schemas.Progress{Percent: 100, Message: "begun", Steps: []schemas.Step{
		{Name: "fetch", State: "done"}, {Name: "render", State: "done"}, {Name: "send", State: "pending"}, {Name: "bill", State: "in_progress"}}}
	if got := *a.LastProgress(); !reflect.DeepEqual(got, want) || len(seen) != 4 {
		t.Errorf("progress %+v after %d reports, want %+v after 4", got, len(seen), want)
	}
	if seen[1].Steps[0].State != "in_progress" {
		t.Errorf("an earlier report was changed by a later one: %+v", seen[1])
	}
	if saved != `{"page": 7}` {
		t.Errorf("checkpoint %q", saved)
	}
	if n := logs.Len(); n != 1 {
		t.Errorf("%d warnings, want 1: %v", n, logs.All())
	}
}

// TestExecRefuses shows that an attempt that cannot start is an error like others.
func TestExecRefuses(t *testing.T) {
	if _, err := newExec(t, "").Run(context.Background(), testAttempt()); Classify(err, nil).Error.Class != schemas.ClassPermanent {
		t.Errorf("no command: %v", err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errTestCancel)
	if _, err := newExec(t, "true").Run(ctx, testAttempt()); !errors.Is(err, errTestCancel) {
		t.Errorf("ended context: %v", err)
	}
	e := newExec(t, "true")
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "missing"))
	if _, err := e.Run(context.Background(), testAttempt()); err == nil || Classify(err, nil).Error.Class != schemas.ClassTransient {
		t.Errorf("no folder for context files: %v", err)
	}
}

// TestExecMany runs attempts side by side on one Exec: nothing of one leaks into another.
func TestExecMany(t *testing.T) {
	e := newExec(t, "cat")
	const n = 20
	errs := make(chan error, n)
	for i := range n {
		go func() {
			a := testAttempt()
			a.Args = json.RawMessage(fmt.Sprint(i))
			got, err := e.Run(context.Background(), a)
			if err == nil && string(got) != fmt.Sprint(i) {
				err = fmt.Errorf("attempt %d got %s", i, got)
			}
			errs <- err
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	e.guard.mu.Lock()
	defer e.guard.mu.Unlock()
	if len(e.guard.live) != 0 {
		t.Errorf("guard still protects %v", e.guard.live)
	}
}
