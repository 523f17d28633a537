package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// dead submits a job that fails for good and returns its id.
func (w *world) dead(typ, args string) string {
	w.t.Helper()
	got := w.must(exitDeadLettered, "job", "submit", typ, args, "--no-dedup", "--wait")
	id, _, _ := strings.Cut(got.stderr, "\n")
	return id
}

// events are a job's events by name.
func (w *world) events(id string) []map[string]any {
	w.t.Helper()
	var out []map[string]any
	for line := range strings.Lines(w.must(exitOK, "job", "history", id, "-j").stdout) {
		out = append(out, decode[map[string]any](w.t, line))
	}
	return out
}

// seen waits until lists include what is stored now.
func (w *world) seen() {
	w.t.Helper()
	end, err := w.Ledger.End(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	w.must(exitOK, "job", "ls", "--min-seq", end.Seq.String())
}

// a dead letter is retried with a fresh budget and its history, or closed
// with a note; who did it, and why, is stored.
func TestJobRetryAndResolve(t *testing.T) {
	w := startWorld(t)
	echoWorker(w)
	id := w.dead("fail", `{"n":1}`)
	if got := w.must(exitOK, "job", "retry", id, "--dry-run"); !strings.Contains(got.stderr, "would be retried") {
		t.Errorf("dry run: %+v", got)
	}
	got := w.must(exitOK, "job", "retry", id, "--reason", "receiver is back", "-j")
	report := decode[bulkReport](t, got.stdout)
	if report.Done != 1 || report.Matched != 1 || !report.Items[0].OK || report.BulkID != nil {
		t.Errorf("job retry -j: %s", got.stdout)
	}
	w.must(exitDeadLettered, "job", "wait", id) // it fails again, at its second attempt
	events := w.events(id)
	var names []string
	for _, e := range events {
		names = append(names, e["event"].(string))
	}
	if have := strings.Join(names, " "); have != "submitted queued running dead_lettered retried queued running dead_lettered" {
		t.Fatalf("history: %s", have)
	}
	retried := events[4]
	if retried["actor"] != "user:ada" || retried["reason"] != "receiver is back" || events[6]["attempt"] != 2.0 || events[5]["data"].(map[string]any)["used"] != 0.0 {
		t.Errorf("retried: %v; then %v", retried, events[5:7])
	}
	if got := w.must(exitOK, "job", "resolve", id, "--note", "refunded by hand"); got.stderr != id+": resolved\n" {
		t.Errorf("job resolve: %+v", got)
	}
	w.must(exitOK, "job", "resolve", id, "--note", "again is no error")
	w.must(exitOK, "job", "resolve", id, "--note", "on second thought", "--as", "ignored")
	info := decode[ledger.Record](t, w.must(exitOK, "job", "info", id, "-j").stdout)
	if r := info.Resolution; r == nil || r.State != schemas.ResolutionIgnored || *r.Note != "on second thought" || *r.Actor != "user:ada" || r.At == nil {
		t.Errorf("resolution: %+v", info.Resolution)
	}
	w.must(exitOK, "job", "retry", id, "--reason", "any resolution may be retried")
	w.must(exitDeadLettered, "job", "wait", id)
	done := strings.TrimSpace(w.must(exitOK, "job", "submit", "echo", "--wait").stderr)
	for _, args := range []string{"job retry " + done + " --reason r", "job resolve " + done + " --note n", "job cancel " + id} {
		if got := w.must(exitError, strings.Fields(args)...); !strings.Contains(got.stderr, "[invalid_state]") {
			t.Errorf("%s: %+v", args, got)
		}
	}
	partly := w.must(exitError, "job", "retry", id, done, "nope", "--reason", "r", "-j")
	report = decode[bulkReport](t, partly.stdout)
	if report.Done != 1 || report.Matched != 2 || report.Failed != 2 || report.Items[1].Error.Code != ledger.CodeInvalidState || report.Items[2].Error.Code != ledger.CodeNotFound {
		t.Errorf("partly failed: %s", partly.stdout)
	}
	w.must(exitDeadLettered, "job", "wait", id)
}

// What a type redacts is shown by unmask alone, once a reason is given and stored.
func TestJobUnmask(t *testing.T) {
	w := startWorld(t)
	file := filepath.Join(t.TempDir(), "schema.json")
	if err := os.WriteFile(file, []byte(`{"properties":{"card":{"x-redact":true}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	w.must(exitOK, "type", "add", "pay")
	w.must(exitOK, "type", "schema", "pay", "--set", file, "--reason", "a test")
	id := strings.TrimSpace(w.must(exitOK, "job", "submit", "pay", `{"card": "4929","n":1}`).stdout)
	for _, args := range []string{"info " + id, "info " + id + " -j", "history " + id + " -j", "history " + id} {
		if got := w.must(exitOK, strings.Fields("job "+args)...); strings.Contains(got.stdout+got.stderr, "4929") {
			t.Errorf("%s: %+v", args, got)
		}
	}
	if got := w.must(exitError, "job", "resubmit", id, "--set", "n=2", "--reason", "r"); !strings.Contains(got.stderr, "job unmask ID --reason") {
		t.Errorf("the mask in place of a value: %+v", got)
	}
	if got := w.must(exitUsage, "job", "unmask", id); !strings.Contains(got.stderr, "--reason") {
		t.Errorf("without a reason: %+v", got)
	}
	if got := w.must(exitOK, "job", "unmask", id, "--reason", "case 4711"); got.stdout != `{"card": "4929","n":1}`+"\n" || !strings.Contains(got.stderr, "says that you saw card") {
		t.Errorf("job unmask: %+v", got)
	}
	shown := decode[gateway.UnmaskReply](t, w.must(exitOK, "job", "unmask", id, "--reason", "case 4712", "-j").stdout)
	if string(shown.Args) != `{"card": "4929","n":1}` || len(shown.Fields) != 1 || shown.Seq == nil {
		t.Errorf("job unmask -j: %+v", shown)
	}
	var told []string
	for _, e := range w.events(id) {
		if e["event"] == "unmasked" {
			told = append(told, fmt.Sprint(e["actor"], " ", e["reason"]))
		}
	}
	if have := strings.Join(told, ", "); have != "user:ada case 4711, user:ada case 4712" {
		t.Errorf("history: %s", have)
	}
}

// A new job from an old one, linked by causation, with the same or changed arguments.
func TestJobResubmit(t *testing.T) {
	w := startWorld(t)
	echoWorker(w)
	old := strings.TrimSpace(w.must(exitOK, "job", "submit", "echo", `{"big": 9007199254740993,"to":{"name":"Ada"}}`, "--tag", "env=test", "--priority", "high", "--wait").stderr)
	got := w.must(exitOK, "job", "resubmit", old, "--reason", "once more", "-j")
	reply := decode[gateway.ResubmitReply](t, got.stdout)
	if string(reply.From) != old || string(reply.ID) == old || reply.Duplicate {
		t.Fatalf("resubmit: %s", got.stdout)
	}
	w.must(exitOK, "job", "wait", string(reply.ID))
	before := decode[ledger.Record](t, w.must(exitOK, "job", "info", old, "-j").stdout)
	after := decode[ledger.Record](t, w.must(exitOK, "job", "info", string(reply.ID), "-j").stdout)
	if string(after.Args) != string(before.Args) || after.Tags["env"] != "test" || after.Priority != "high" || after.CausationID == nil ||
		*after.CorrelationID != old || w.events(string(reply.ID))[0]["reason"] != "once more" {
		t.Errorf("the new job: %+v", after)
	}
	changed := strings.TrimSpace(w.must(exitOK, "job", "resubmit", old, "--reason", "r", "--set", "to.name=Grace", "--set", "n=1").stdout)
	if args := decode[ledger.Record](t, w.must(exitOK, "job", "info", changed, "-j").stdout).Args; string(args) != `{"big":9007199254740993,"n":1,"to":{"name":"Grace"}}` {
		t.Errorf("--set made %s", args)
	}
	replaced := strings.TrimSpace(w.must(exitOK, "job", "resubmit", changed, "--reason", "r", "--args", "[1]").stdout)
	if r := decode[ledger.Record](t, w.must(exitOK, "job", "info", replaced, "-j").stdout); string(r.Args) != "[1]" || *r.CorrelationID != old {
		t.Errorf("--args: %+v", r)
	}
}

// dead letters are grouped by what they died of, and one action treats a group: counted first, dry
// run, asked about, done, and safe to do again.
func TestDLQ(t *testing.T) {
	w := startWorld(t)
	w.background("worker", "run", "flaky", "--exec", `echo "order $JOBLEDGER_JOB_ID: no route to 10.0.0.7:8080" >&2; exit 65`)
	w.background("worker", "run", "broken", "--exec", "echo bad input >&2; exit 65")
	for i := range 3 {
		w.dead("flaky", fmt.Sprint(i))
	}
	other := w.dead("broken", "{}")
	w.seen()
	report := decode[gateway.ErrorGroups](t, w.must(exitOK, "dlq", "report", "-j").stdout)
	if report.Total != 4 || len(report.Groups) != 2 {
		t.Fatalf("report: %+v", report)
	}
	g := report.Groups[0]
	if g.Count != 3 || g.Type != "flaky" || g.Reason != "permanent_error" || !strings.Contains(g.Message, "order <id>: no route to <n>.<n>.<n>.<n>:<n>") ||
		g.FirstAt.After(g.LastAt) || g.SampleID == "" {
		t.Errorf("the largest group: %+v", g)
	}
	table := w.must(exitOK, "dlq", "report").stdout
	if !strings.HasPrefix(table, g.Key+"\t3\tflaky\t") {
		t.Errorf("table: %q", table)
	}
	if ids := strings.Fields(w.must(exitOK, "dlq", "ls", "--group", g.Key, "-n").stdout); len(ids) != 3 {
		t.Errorf("dlq ls --group: %v", ids)
	}
	dry := w.must(exitOK, "dlq", "retry", "--group", g.Key, "--dry-run", "-j")
	if r := decode[bulkReport](t, dry.stdout); !r.DryRun || r.Matched != 3 || r.Eligible != 3 || r.Done != 0 || dry.stderr != "3 jobs match, 3 eligible\n" {
		t.Errorf("dry run: %+v", dry)
	}
	asked := w.must(exitUsage, "dlq", "retry", "--group", g.Key, "--reason", "route is back")
	if !strings.Contains(asked.stderr, "--force") {
		t.Errorf("without a terminal: %+v", asked)
	}
	closed := w.must(exitOK, "dlq", "resolve", "--where", `error:"BAD input" -type:flaky`, "--as", "ignored", "--note", "test data", "--force", "-j")
	if r := decode[bulkReport](t, closed.stdout); r.Done != 1 || r.BulkID == nil || string(r.Items[0].ID) != other {
		t.Errorf("dlq resolve: %s", closed.stdout)
	}
	done := w.must(exitOK, "dlq", "retry", "--group", g.Key, "--reason", "route is back", "--force", "--rate", "1000")
	if done.stderr != "3 jobs match, 3 eligible\n3 jobs retried\n" {
		t.Errorf("dlq retry: %+v", done)
	}
	retried := w.events(string(g.SampleID))[4]
	if retried["event"] != "retried" || retried["reason"] != "route is back" {
		t.Errorf("retried: %v", retried)
	}
	w.must(exitDeadLettered, "job", "wait", string(g.SampleID))
	w.seen()
	if left := strings.Fields(w.must(exitOK, "dlq", "ls", "--type", "broken", "-n").stdout); len(left) != 0 {
		t.Errorf("closed dead letters are still listed as open: %v", left)
	}
	if ignored := strings.Fields(w.must(exitOK, "dlq", "ls", "--where", "resolution:ignored", "-n").stdout); len(ignored) != 1 {
		t.Errorf("--where resolution:ignored: %v", ignored)
	}
	if all := strings.Fields(w.must(exitOK, "dlq", "ls", "--type", "broken", "--resolution", "all", "-n").stdout); len(all) != 1 {
		t.Errorf("--resolution all: %v", all)
	}
}

// A person is asked for what is missing, once each, and may say no.
func TestBulkAsks(t *testing.T) {
	w := startWorld(t)
	ids := strings.Fields(w.must(exitOK, "job", "submit", "nobody", "--count", "5", "--in", "1h").stdout)
	w.seen()
	ask := func(stdin string, args ...string) run {
		m, stdout, stderr := testMain(t, w.env, stdin, args...)
		m.IsTerminal = func(stream any) bool { return stream == m.Stdin || stream == m.Stderr }
		code := m.Run(t.Context())
		return run{code, stdout.String(), stderr.String()}
	}
	if got := ask("called off\nn\n", "job", "cancel", "--type", "nobody"); got.code != exitError || !strings.Contains(got.stderr, "Reason: ") || !strings.Contains(got.stderr, "5 jobs match, 5 eligible\nCancel 5 jobs? [y/N] ") {
		t.Errorf("no: %+v", got)
	}
	got := ask("called off\ny\n", "job", "cancel", "--type", "nobody", "--for-reason", "scheduled")
	if got.code != exitOK || !strings.Contains(got.stderr, "[==============================] 5 of 5") || !strings.HasSuffix(got.stderr, "5 jobs canceled\n") {
		t.Errorf("yes: %+v", got)
	}
	canceled := decode[ledger.Record](t, w.must(exitOK, "job", "info", ids[0], "-j").stdout)
	if canceled.State != schemas.StateCanceled || *canceled.Cancel.Reason != "called off" {
		t.Errorf("the job: %+v", canceled)
	}
	w.seen()
	again := w.must(exitOK, "job", "cancel", "--type", "nobody", "--reason", "again", "--force")
	if again.stderr != "5 jobs match, 0 eligible\n" {
		t.Errorf("again: %+v", again)
	}
	if !json.Valid([]byte(w.must(exitOK, "job", "cancel", "--type", "nobody", "--reason", "again", "--force", "-j").stdout)) {
		t.Error("--json prints no document where nothing is to be done")
	}
}

// a bulk outlives the command that follows it, which says how to look at it and how to stop it; a stopped one is done
// by the same command again. --detach follows nothing.
func TestBulkIsInterrupted(t *testing.T) {
	w := startWorld(t)
	const n = gateway.BulkChunk + 50
	w.must(exitOK, "job", "submit", "nobody", "--count", fmt.Sprint(n), "--in", "1h")
	w.seen()
	cancel := []string{"job", "cancel", "--type", "nobody", "--state", "submitted", "--reason", "called off", "--force"}
	_, stop := w.background(append(cancel, "--rate", "1")...) // it would take minutes
	canceled := func() int64 {
		return decode[gateway.Count](t, w.must(exitOK, "job", "count", "--type", "nobody", "--state", "canceled", "-j").stdout).Total
	}
	for limit := time.Now().Add(time.Minute); canceled() < 1; {
		if time.Now().After(limit) {
			t.Fatal("nothing is canceled")
		}
	}
	got := stop()
	_, rest, told := strings.Cut(got.stderr, `it goes on without you: "jobledger job watch `)
	id, _, _ := strings.Cut(rest, `"`)
	if got.code != exitSignal+2 || !told || !strings.Contains(rest, `"jobledger job cancel `+id+`" stops it`) {
		t.Fatalf("interrupted: %+v", got)
	}
	before := canceled()
	for limit := time.Now().Add(time.Minute); canceled() <= before; {
		if time.Now().After(limit) {
			t.Fatal("it does not go on")
		}
	}
	w.must(exitOK, "job", "cancel", id, "--reason", "too slow", "--wait")
	w.seen()
	begun := w.must(exitOK, append(cancel, "--detach", "--rate", "1")...)
	id = strings.TrimSpace(begun.stdout)
	if !strings.Contains(begun.stderr, `the servers do it: "jobledger job watch `+id+`"`) {
		t.Errorf("--detach: %+v", begun)
	}
	w.must(exitOK, "job", "cancel", id, "--reason", "too slow", "--wait")
	w.seen()
	again := w.must(exitOK, append(cancel, "--rate", "10000", "-j")...)
	if r := decode[bulkReport](t, again.stdout); !r.Detached || r.Done != r.Eligible || r.Failed != 0 || r.Left != 0 || len(r.Items) != 0 {
		t.Errorf("again: %s", again.stdout)
	}
	w.seen()
	if total := canceled(); total != n {
		t.Errorf("%d of %d are canceled", total, n)
	}
}
