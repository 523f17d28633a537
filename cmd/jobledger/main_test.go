package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"
)

// testNow is the clock of every run in tests.
var testNow = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// run is what one run of the program did.
type run struct {
	code           exitCode
	stdout, stderr string
}

// testMain is a Main for a test: an environment of its own (nothing of the
// developer's contexts leaks in), no terminal.
func testMain(t *testing.T, env map[string]string, stdin string, args ...string) (m *Main, stdout, stderr *bytes.Buffer) {
	t.Helper()
	home := t.TempDir()
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	return &Main{
		Args:   args,
		Stdin:  strings.NewReader(stdin),
		Stdout: stdout,
		Stderr: stderr,
		Getenv: func(name string) string {
			if value, ok := env[name]; ok || name != "HOME" {
				return value
			}
			return home
		},
		Now:        func() time.Time { return testNow },
		IsTerminal: func(any) bool { return false },
	}, stdout, stderr
}

func runMain(t *testing.T, env map[string]string, args ...string) run {
	t.Helper()
	m, stdout, stderr := testMain(t, env, "", args...)
	code := m.Run(t.Context())
	return run{code, stdout.String(), stderr.String()}
}

// INTERFACE 2.2: usage mistakes are exit 2, one line on stderr, nothing on
// stdout; INTERFACE 1.10: near misses are named.
func TestUsageMistakes(t *testing.T) {
	for _, c := range []struct {
		args, want string
	}{
		{"vesion", `unknown command "vesion", did you mean version?`},
		{"frobnicate", `unknown command "frobnicate"`},
		{"--serer x version", "unknown flag --serer, did you mean --server?"},
		{"-x version", "unknown short flag '-x'"},
		{"version --server", "expected argument for flag '--server'"},
		{"version extra", "unexpected argument extra"},
		{"completion", "required argument 'shell'"},
		{"completion fish", "bash,zsh"},
		{"version --timeout 5x", `--timeout: "5x" is not a duration`},
		{"version --timeout 0", "not a duration above 0"},
		{"version --org a.b", `org "a.b" has the character '.'`},
		{"version --tz Mars/Olympus", `"Mars/Olympus" is not a time zone`},
		{"version --log-level loud", `"loud" is not debug, info, warn or error`},
		{"version --log-format xml", `"xml" is not console or json`},
		{"version --colors pink", `"pink" is not red`},
		{"version --org a --org b", "flag 'org' cannot be repeated"},
	} {
		got := runMain(t, nil, strings.Fields(c.args)...)
		if got.code != exitUsage || got.stdout != "" {
			t.Errorf("%s: exit %d, stdout %q; want exit 2 and silence", c.args, got.code, got.stdout)
		}
		if !strings.HasPrefix(got.stderr, "jobledger: "+c.want) && !strings.Contains(got.stderr, c.want) ||
			!strings.HasSuffix(got.stderr, " [invalid_argument]\n") || strings.Count(got.stderr, "\n") != 1 {
			t.Errorf("%s: stderr %q, want one line with %q", c.args, got.stderr, c.want)
		}
	}
}

// INTERFACE 2.2: with -j an error is the HTTP error envelope on stderr, also
// when the command line cannot be parsed.
func TestErrorEnvelope(t *testing.T) {
	for _, args := range [][]string{
		{"vesion", "-j"},
		{"--json", "version", "--nope"},
		{"version", "--org", "a.b", "--json"},
	} {
		got := runMain(t, nil, args...)
		var envelope struct {
			Error struct {
				Code      string
				Message   string
				Details   map[string]any
				RequestID *string `json:"request_id"`
			}
		}
		if err := json.Unmarshal([]byte(got.stderr), &envelope); err != nil {
			t.Fatalf("%q: stderr %q: %v", args, got.stderr, err)
		}
		if got.code != exitUsage || got.stdout != "" || envelope.Error.Code != "invalid_argument" || envelope.Error.Message == "" {
			t.Errorf("%q: exit %d, stdout %q, envelope %+v", args, got.code, got.stdout, envelope)
		}
	}
}

// A command that a signal stopped ends with the signal's code; one that drained
// and returned nil ends with 0; help ends with 0 (INTERFACE 2.2).
func TestSignalCodes(t *testing.T) {
	for _, c := range []struct {
		signal syscall.Signal
		want   exitCode
	}{{syscall.SIGINT, 130}, {syscall.SIGTERM, 143}} {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(signalError{c.signal})
		if code, stopped := stoppedBySignal(ctx); !stopped || code != c.want {
			t.Errorf("%v: code %d, stopped %v; want %d", c.signal, code, stopped, c.want)
		}
		m, _, _ := testMain(t, nil, "", "version")
		if code := m.Run(ctx); code != exitOK {
			t.Errorf("%v: a command that finished ended with %d", c.signal, code)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("something else"))
	if _, stopped := stoppedBySignal(ctx); stopped {
		t.Error("a context that no signal canceled was taken for one")
	}
}

func TestHelpIsDataAndExitsWithZero(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"-h"}, {"help"}, {"version", "--help"}, {}} {
		got := runMain(t, nil, args...)
		if got.code != exitOK || got.stderr != "" || !strings.Contains(got.stdout, "usage: jobledger") {
			t.Errorf("%q: exit %d, stdout %q, stderr %q", args, got.code, got.stdout, got.stderr)
		}
	}
}

// Secrets of the environment are not shown by any form of help.
func TestHelpShowsNoSecret(t *testing.T) {
	env := map[string]string{"NATS_PASSWORD": "hunter2", "NATS_TOKEN": "hunter2"}
	for _, flag := range []string{"--help", "--help-long", "--help-llm"} {
		if got := runMain(t, env, flag); strings.Contains(got.stdout+got.stderr, "hunter2") {
			t.Errorf("%s shows a secret", flag)
		}
	}
}

func TestVersion(t *testing.T) {
	got := runMain(t, nil, "version", "-j")
	var v map[string]any
	if err := json.Unmarshal([]byte(got.stdout), &v); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"version", "revision", "go_version", "nats_version", "event_schema"} {
		if _, ok := v[key]; !ok {
			t.Errorf("version --json has no %s: %s", key, got.stdout)
		}
	}
	if text := runMain(t, nil, "version").stdout; !strings.HasPrefix(text, "jobledger "+version) || text != runMain(t, nil, "--version").stdout {
		t.Errorf("version and --version differ: %q", text)
	}
}

func TestCompletion(t *testing.T) {
	for shell, want := range map[string]string{"bash": "complete -F", "zsh": "#compdef jobledger"} {
		got := runMain(t, nil, "completion", shell)
		if got.code != exitOK || !strings.Contains(got.stdout, want) || got.stderr != "" {
			t.Errorf("completion %s: exit %d, stdout %.80q, stderr %q", shell, got.code, got.stdout, got.stderr)
		}
	}
}

// A lone "-" is not an empty argument.
func TestStdinArgument(t *testing.T) {
	got := stdinMarked([]string{"job", "submit", "-", "", "--x", "-"})
	want := []string{"job", "submit", stdinArg, "", "--x", stdinArg}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("got %q, want %q", got, want)
	}
}

// INTERFACE 1.9: without a terminal nothing is asked; the flag is named.
func TestNobodyIsAskedWithoutTerminal(t *testing.T) {
	m, _, stderr := testMain(t, nil, "yes\n")
	p := newProgram(m)
	if code := p.report(p.confirm("3 jobs match.")); code != exitUsage || !strings.Contains(stderr.String(), "--force") {
		t.Errorf("confirm: exit %d, stderr %q", code, stderr)
	}
	stderr.Reset()
	_, err := p.reason()
	if code := p.report(err); code != exitUsage || !strings.Contains(stderr.String(), "--reason") {
		t.Errorf("reason: exit %d, stderr %q", code, stderr)
	}
	p.flags.Force, p.flags.Reason.Value = true, "fixed"
	if err := p.confirm("3 jobs match."); err != nil {
		t.Errorf("--force: %v", err)
	}
	if reason, err := p.reason(); reason != "fixed" || err != nil {
		t.Errorf("--reason: %q, %v", reason, err)
	}
}

func TestPeopleAreAsked(t *testing.T) {
	for answer, want := range map[string]exitCode{"y\n": exitOK, "Yes\n": exitOK, "n\n": exitError, "\n": exitError, "": exitError} {
		m, _, _ := testMain(t, nil, answer)
		m.IsTerminal = func(any) bool { return true }
		p := newProgram(m)
		if code := p.report(p.confirm("Really?")); code != want {
			t.Errorf("answer %q: exit %d, want %d", answer, code, want)
		}
	}
}
