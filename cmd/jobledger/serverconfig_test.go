package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func writeConf(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "jobledger.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// checkConfig runs `server config check --json`.
func checkConfig(t *testing.T, env map[string]string, args ...string) (run, configReport) {
	t.Helper()
	got := runMain(t, env, append([]string{"server", "config", "check", "--json"}, args...)...)
	var report configReport
	if err := json.Unmarshal([]byte(got.stdout), &report); err != nil {
		t.Fatalf("stdout %q, stderr %q: %v", got.stdout, got.stderr, err)
	}
	return got, report
}

// INTERFACE 2.1: flag > JOBLEDGER_* > file > default, each with its source,
// secrets masked.
func TestConfigSources(t *testing.T) {
	path := writeConf(t, "store: /file\nlisten: \"127.0.0.1:5000\"\ndurability: strict\npassword: hunter2\nlog_level: debug\n")
	env := map[string]string{"JOBLEDGER_LISTEN": "127.0.0.1:6000", "JOBLEDGER_STORE": "/env"}
	got, report := checkConfig(t, env, path, "--store", "/flag")
	if got.code != exitOK || !report.Valid || len(report.Problems) != 0 {
		t.Errorf("exit %d, %+v", got.code, report)
	}
	for _, want := range []effective{
		{"store", "/flag", "flag"},
		{"listen", "127.0.0.1:6000", "JOBLEDGER_LISTEN"},
		{"durability", "strict", "line 3"},
		{"password", "********", "line 4"},
		{"log_level", "debug", "line 5"},
		{"log_format", "console", "default"},
	} {
		if !slices.Contains(report.Settings, want) {
			t.Errorf("no %+v in %+v", want, report.Settings)
		}
	}
	if text := runMain(t, env, "server", "config", "check", path); strings.Contains(text.stdout+text.stderr, "hunter2") || text.code != exitOK {
		t.Errorf("exit %d, output %s%s", text.code, text.stdout, text.stderr)
	}
}

// Every problem is named with its line, and the exit code is 1.
func TestConfigProblems(t *testing.T) {
	for _, c := range []struct {
		text string
		args string
		want []string // "line: part of the message"; line 0 for none
	}{
		{text: "stroe: /x\nreplicas: 2\n", want: []string{"1: did you mean store?", "2: not 1, 3 or 5"}},
		{text: "\ndedup_window: 10m\n", want: []string{"2: quote it"}},
		{text: "dedup_window: \"2h\"\n", want: []string{"1: up to 1h"}},
		{text: "hot_window: \"15m\"\ndedup_window: \"10m\"\n", want: []string{"0: below 20m0s"}},
		{text: "hot_window: \"5m\"\n", want: []string{"0: below 10m0s"}},
		{text: "hot_window: \"0\"\n"},
		{text: "hot_window: \"24h\"\n"},
		{text: "retention: \"29d\"\n", want: []string{"1: not between 30d"}},
		{text: "retention: \"0\"\n"},
		{text: "trace_link: \"https://jaeger.example.com/trace/{trace_id}\"\n"},
		{text: "trace_link: \"https://jaeger.example.com/\"\n", want: []string{"1: with {trace_id} in it"}},
		{text: "trace_link: \"javascript:{trace_id}\"\n", want: []string{"1: with {trace_id} in it"}},
		{text: "retention: \"365d\"\n"},
		{text: "listen: 4222\n", want: []string{"1: not host:port"}},
		{text: "listen: \"127.0.0.1:0\"\n", want: []string{"1: not a port"}},
		{text: "durability: async\n", want: []string{"1: standard or strict"}},
		{text: "store { a: 1 }\n", want: []string{"1: takes one value"}},
		{text: "log_level: loud\nlog_format: xml\n", want: []string{"1: not debug", "2: not console"}},
		{text: "store: \"open\n", want: []string{"0: line"}},
		{text: "", args: "--listen 0.0.0.0:4222", want: []string{"0: --unsafe-bind"}},
		{text: "http: \"0.0.0.0:8422\"\n", want: []string{"0: --http-tls-cert"}},
		{text: "http: \"0.0.0.0:8422\"\nhttp_tls_cert: \"/x\"\n", want: []string{"0: belong together"}},
		{text: "http: \"0.0.0.0:8422\"\nhttp_tls_cert: \"/none/c\"\nhttp_tls_key: \"/none/k\"\n", want: []string{"0: /none/c"}},
		{text: "replicas: 3\n", want: []string{"0: outside NATS"}},
		{text: "replicas: 3\nserver: \"nats://n1:4222\"\n"},
		{text: "listen: \"0.0.0.0:4222\"\nunsafe_bind: true\n"},
	} {
		got, report := checkConfig(t, nil, append(strings.Fields(c.args), writeConf(t, c.text))...)
		if len(report.Problems) != len(c.want) || report.Valid != (len(c.want) == 0) || (got.code == exitError) != (len(c.want) > 0) {
			t.Errorf("%q: exit %d, %s", c.text, got.code, got.stdout)
			continue
		}
		for i, want := range c.want {
			p, line := report.Problems[i], 0
			if p.Line != nil {
				line = *p.Line
			}
			number, part, _ := strings.Cut(want, ": ")
			if !strings.Contains(p.Message, part) || number != strconv.Itoa(line) {
				t.Errorf("%q: problem %s, want %q", c.text, got.stdout, want)
			}
		}
	}
	got := runMain(t, nil, "server", "config", "check", "/nonexistent.conf")
	if got.code != exitError || !strings.Contains(got.stderr, "/nonexistent.conf") {
		t.Errorf("a file that is not there: exit %d, %q", got.code, got.stderr)
	}
}

func TestServerUrlsAreShownWithoutPasswords(t *testing.T) {
	for urls, want := range map[string]string{
		"nats://a:4222":                      "nats://a:4222",
		"nats://ada:pw@a:4222,nats://b:4222": "nats://ada:xxxxx@a:4222,nats://b:4222",
		"nats://token@a:4222":                "nats://xxxxx@a:4222",
		"nats://a b:pw@\x7f":                 "********",
	} {
		if got := withoutPasswords(urls); got != want {
			t.Errorf("%q is shown as %q, want %q", urls, got, want)
		}
	}
}
