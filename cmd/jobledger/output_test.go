package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

func testProgram(t *testing.T) (*program, *bytes.Buffer) {
	t.Helper()
	m, stdout, _ := testMain(t, nil, "")
	p := newProgram(m)
	p.flags.zone = time.UTC
	return p, stdout
}

// INTERFACE 2.2: args and result pass through; integers above 2^53 survive,
// nothing is escaped, one object is one line.
func TestJSONKeepsRawBytes(t *testing.T) {
	p, stdout := testProgram(t)
	raw := json.RawMessage("{\"id\":9007199254740993,\n\"html\":\"<b>&\\u00e9\"}")
	if err := p.line(map[string]any{"args": raw, "none": nil}); err != nil {
		t.Fatal(err)
	}
	want := `{"args":{"id":9007199254740993,"html":"<b>&\u00e9"},"none":null}` + "\n"
	if stdout.String() != want {
		t.Errorf("got  %swant %s", stdout, want)
	}
}

func exampleGrid() *grid {
	g := &grid{Title: "Jobs", Columns: []string{"id", "error"}}
	g.add("a", "exit 1")
	g.add("b", "red \x1b[31malert\ttab\nline")
	return g
}

// INTERFACE 1.8: a pipe sees rows and nothing else; text of jobs cannot steer
// the terminal.
func TestListInPipe(t *testing.T) {
	p, stdout := testProgram(t)
	if err := p.list(exampleGrid()); err != nil {
		t.Fatal(err)
	}
	want := "a\texit 1\nb\tred \uFFFD[31malert tab line\n"
	if stdout.String() != want {
		t.Errorf("got %q, want %q", stdout, want)
	}
}

func TestListOnTerminal(t *testing.T) {
	p, stdout := testProgram(t)
	p.IsTerminal = func(any) bool { return true }
	g := &grid{Title: "Jobs", Columns: []string{"id", "error"}}
	g.add("a", "exit 1")
	if err := p.list(g); err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		"╭─────────────╮",
		"│     Jobs    │",
		"├────┬────────┤",
		"│ id │ error  │",
		"├────┼────────┤",
		"│ a  │ exit 1 │",
		"╰────┴────────╯",
		"",
	}, "\n")
	if stdout.String() != want {
		t.Errorf("got\n%swant\n%s", stdout, want)
	}
}

// NO_COLOR, TERM=dumb and a pipe are honoured (INTERFACE 1.8).
func TestColourOnlyWhereItIsWanted(t *testing.T) {
	for _, c := range []struct {
		env      map[string]string
		terminal bool
		want     bool
	}{
		{nil, true, true},
		{nil, false, false},
		{map[string]string{"NO_COLOR": "1"}, true, false},
		{map[string]string{"TERM": "dumb"}, true, false},
	} {
		m, _, _ := testMain(t, c.env, "")
		m.IsTerminal = func(any) bool { return c.terminal }
		p := newProgram(m)
		p.flags.Colors.Value = "cyan"
		if got := p.frameColor() != nil; got != c.want {
			t.Errorf("env %v, terminal %v: colour %v, want %v", c.env, c.terminal, got, c.want)
		}
	}
}

func TestCSV(t *testing.T) {
	var out bytes.Buffer
	if err := exampleGrid().writeCSV(&out); err != nil {
		t.Fatal(err)
	}
	if want := "id,error\na,exit 1\nb,\"red \x1b[31malert\ttab\nline\"\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

// INTERFACE 1.7: relative in lists, absolute with zone in records.
func TestTimesOnScreen(t *testing.T) {
	p, _ := testProgram(t)
	for ago, want := range map[time.Duration]string{
		5 * time.Second: "5s ago", 3 * time.Minute: "3m ago", 26 * time.Hour: "26h ago", 72 * time.Hour: "3d ago",
		-90 * time.Minute: "in 1h",
	} {
		if got := p.listTime(testNow.Add(-ago)); got != want {
			t.Errorf("%v: %q, want %q", ago, got, want)
		}
	}
	if got := p.listTime(time.Time{}); got != "" {
		t.Errorf("no time is shown as %q", got)
	}
	p.flags.zone = time.FixedZone("CET", 3600)
	if got := p.recordTime(testNow); got != "2026-11-25 13:00:00 CET" {
		t.Errorf("record: %q", got)
	}
	p.flags.UTC = true
	if got := p.listTime(testNow); got != "2026-11-25 12:00:00 UTC" {
		t.Errorf("list with --utc: %q", got)
	}
}

// Logs go to stderr, at the level of the command unless a flag says otherwise.
func TestLogger(t *testing.T) {
	for _, c := range []struct {
		args string
		want []string
		not  string
	}{
		{"", []string{"WARN", "lag"}, "started"},
		{"--log-level info", []string{"started", `{"job": "a"}`}, "detail"},
		{"--log-format json --log-level debug", []string{`"msg":"detail"`, `"job":"a"`}, "\t"},
	} {
		m, stdout, stderr := testMain(t, nil, "", append(strings.Fields(c.args), "version")...)
		p := newProgram(m)
		if _, err := p.parse(); err != nil {
			t.Fatal(err)
		}
		log := p.logger(zapcore.WarnLevel)
		log.Debug("detail")
		log.Info("started", zap.String("job", "a"))
		log.Warn("lag")
		for _, want := range c.want {
			if !strings.Contains(stderr.String(), want) {
				t.Errorf("%q: log %q has no %q", c.args, stderr, want)
			}
		}
		if strings.Contains(stderr.String(), c.not) || stdout.Len() > 0 {
			t.Errorf("%q: log %q, stdout %q", c.args, stderr, stdout)
		}
	}
}
