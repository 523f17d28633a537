package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/dartwing/jobledger/gateway"
)

// Every check against a cell in which a job died, one waits, and nobody works (INTERFACE 2.3, R-47, R-774): its verdict is
// its exit code, and its numbers and messages come in four forms.
func TestCheck(t *testing.T) {
	t.Parallel()
	w := startWorld(t)
	id := strings.TrimSpace(w.must(exitOK, "job", "submit", "never").stdout)
	w.must(exitOK, "worker", "run", "never", "--exec", "exit 65", "--max-jobs", "1")
	w.must(exitDeadLettered, "job", "wait", id, "--wait-timeout", "1m")
	waiting := decode[gateway.SubmitReply](t, w.must(exitOK, "job", "submit", "never", "--queue", "slow", "--json").stdout)
	if _, err := w.Client("acme").Count(t.Context(), gateway.CountRequest{MinSeq: waiting.Seq}); err != nil { // the views show it
		t.Fatal(err)
	}

	check := func(code exitCode, status, says string, args ...string) finding {
		t.Helper()
		f := decode[finding](t, w.must(code, append([]string{"check", "--json"}, args...)...).stdout)
		if f.Status != status || f.Code != code || f.Name != args[0] || f.Perf == nil || !strings.Contains(strings.Join(f.Messages, "; "), says) || (says == "") != (len(f.Messages) == 0) {
			t.Errorf("check %s found %+v", strings.Join(args, " "), f)
		}
		return f
	}
	// A slow machine may answer late: only that is not judged.
	check(checkOK, "OK", "", "connection", "--warn", "1m", "--critical", "1m")
	check(checkOK, "OK", "", "queue")
	check(checkWarning, "WARNING", "jobs that wait in queue slow: 1", "queue", "--warn", "1")
	check(checkOK, "OK", "", "dlq")
	if f := check(checkCritical, "CRITICAL", "open dead letters of acme: 1", "dlq", "--critical", "1"); len(f.Perf) != 1 || f.Perf[0].Item != "dead_letters_open" ||
		f.Perf[0].Value != 1 || *f.Perf[0].Warn != 50 || *f.Perf[0].Crit != 1 {
		t.Errorf("the numbers are %+v", f.Perf)
	}
	check(checkOK, "OK", "", "lag", "--warn", "1m", "--critical", "60")
	check(checkCritical, "CRITICAL", "no server leads", "ledger") // this world's dispatcher takes no lease
	check(checkOK, "OK", "", "schedule")
	check(checkCritical, "CRITICAL", "1 jobs wait in queue slow, which no live worker serves", "worker")
	check(checkCritical, "CRITICAL", "ledger: no server leads", "all")

	for format, form := range map[string]string{
		"nagios":     `^JOBLEDGER DLQ OK \| dead_letters_open=1;50;500\n$`,
		"text":       `^dlq: OK\n  dead_letters_open +1\n$`,
		"prometheus": `(?s)\njobledger_check_status\{check="dlq"\} 0\n.*\njobledger_check_value\{check="dlq",item="dead_letters_open",unit=""\} 1\n$`,
		"json":       `^\{"name":"dlq","status":"OK","code":0,"perf":\[\{"item":"dead_letters_open","value":1,"unit":"","warn":50,"crit":500\}\],"messages":\[\]\}\n$`,
	} {
		if out := w.must(checkOK, "check", "dlq", "--format", format).stdout; !regexp.MustCompile(form).MatchString(out) {
			t.Errorf("%s is %q", format, out)
		}
	}
}

// Where no server answers, a connection is critical, and of all else nothing is known; mistakes are found before.
func TestCheckWithoutServer(t *testing.T) {
	t.Parallel()
	env := map[string]string{"NATS_URL": "nats://127.0.0.1:1", "JOBLEDGER_ORG": "acme"}
	for _, c := range []struct {
		args string
		code exitCode
		says string
	}{
		{"connection", checkCritical, "JOBLEDGER CONNECTION CRITICAL: "},
		{"all", checkCritical, "JOBLEDGER ALL CRITICAL: "},
		{"queue", checkUnknown, "JOBLEDGER QUEUE UNKNOWN: "},
	} {
		if r := runMain(t, env, "check", c.args); r.code != c.code || !strings.HasPrefix(r.stdout, c.says) {
			t.Errorf("check %s: exit code %d, %q, %q", c.args, r.code, r.stdout, r.stderr)
		}
	}
	for _, args := range []string{"all --warn 3", "queue --warn many", "queue --warn -1", "queue --critical inf", "dishes", "queue --format xml", ""} {
		if r := runMain(t, env, append([]string{"check"}, strings.Fields(args)...)...); r.code != exitUsage || r.stdout != "" {
			t.Errorf("check %s: exit code %d, %q, %q", args, r.code, r.stdout, r.stderr)
		}
	}
}
