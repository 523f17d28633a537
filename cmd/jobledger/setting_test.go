package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// says checks that a command's output holds all of these.
func says(t *testing.T, got string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
}

// orgs, queues and resources are added, changed flag by flag, shown with who set them and why, and
// with all that they were before.
func TestSettingCommands(t *testing.T) {
	w := startWorld(t)
	w.must(exitOK, "org", "add", "acme", "--weight", "3", "--max-running", "0", "--submit-rate", "100/1m", "--reason", "plan business")
	got := w.must(exitOK, "org", "edit", "acme", "--max-waiting", "10", "--submit-rate", "none", "--reason", "trial").stdout
	says(t, got, "Weight: 3", "Max running: unlimited", "Max waiting: 10", "by user:ada", "Reason: trial")
	if strings.Contains(got, "Submit rate") {
		t.Errorf("the rate is still there: %s", got)
	}
	says(t, w.must(exitOK, "org", "edit", "acme", "--max-running", "default", "--reason", "r").stdout, "Max running: 100")
	seen := decode[gateway.Org](t, w.must(exitOK, "org", "edit", "acme", "--weight", "5", "--reason", "look", "-j").stdout).Seq.String()
	w.must(exitOK, "org", "edit", "acme", "--weight", "4", "--if-seq", seen, "--reason", "seen")
	if late := w.must(exitError, "org", "edit", "acme", "--weight", "3", "--if-seq", seen, "--reason", "late"); !strings.Contains(late.stderr, "were changed by user:ada") ||
		!strings.Contains(late.stderr, "[version_conflict]") {
		t.Errorf("an edit of settings that are not in force any more: %+v", late)
	}
	w.must(exitOK, "org", "edit", "acme", "--weight", "3", "--reason", "r")
	history := w.must(exitOK, "org", "info", "acme", "--history").stdout
	if strings.Count(history, "\n") != 6 {
		t.Errorf("history: %s", history)
	}
	says(t, history, "plan business", "trial", `"max_running":0`)
	says(t, w.must(exitOK, "org", "suspend", "acme", "--reason", "unpaid").stdout, "State: suspended", "Reason: unpaid")
	says(t, w.must(exitOK, "org", "ls").stdout, "acme\tsuspended\t3\t100\t10")
	says(t, w.must(exitOK, "org", "resume", "acme", "--reason", "paid").stdout, "State: active")
	says(t, w.must(exitOK, "org", "suspend", "globex", "--reason", "never added before").stdout, "State: suspended")

	w.must(exitOK, "queue", "add", "bulk", "--max-running-per-org", "2", "--max-waiting-per-org", "1", "--rate", "50/m", "--weight", "acme=3", "--weight", "x=2", "--owner", "acme", "--reason", "imports")
	got = w.must(exitOK, "queue", "edit", "bulk", "--weight", "x=default", "--owner", "none", "--reason", "r").stdout
	says(t, got, "Max running: unlimited, 2 per org", "Max waiting: 1 per org", "Start rate: 50/1m0s", "Weights: acme=3\n")
	if strings.Contains(got, "Owner") {
		t.Errorf("the owner is still there: %s", got)
	}
	w.must(exitOK, "job", "submit", "echo", "1", "--queue", "bulk")
	w.seen()
	if full := w.must(exitError, "job", "submit", "echo", "2", "--queue", "bulk"); !strings.Contains(full.stderr, "[queue_full]") || !strings.Contains(full.stderr, "its limit is 1") {
		t.Errorf("over the waiting limit: %+v", full)
	}
	says(t, w.must(exitOK, "queue", "ls").stdout, "bulk\tno\t", "\t2\t1\n")
	q := decode[gateway.Queue](t, w.must(exitOK, "queue", "info", "bulk", "-j").stdout)
	if q.Limits.MaxWaitingPerOrg != 1 || q.Mine.Waiting+q.Mine.Queued != 1 || *q.Actor != "user:ada" {
		t.Errorf("queue info -j: %+v", q)
	}
	says(t, w.must(exitOK, "queue", "info", "bulk", "--history", "-j").stdout, `"reason":"imports"`, `"weights":{"acme":3}`)

	w.must(exitOK, "resource", "add", "carrier", "--max-running", "1", "--per-org", "--reason", "terms")
	says(t, w.must(exitOK, "resource", "edit", "carrier", "--rate", "10/1m", "--shared", "--reason", "r").stdout, "Max running: 1", "Start rate: 10/1m0s", "all orgs share")
	says(t, w.must(exitOK, "resource", "ls").stdout, "carrier\t1\t10/1m0s\tno")
	says(t, w.must(exitOK, "resource", "info", "carrier", "--history").stdout, "terms")
}

// pause and resume of any scope, with its jobs; what is paused is listed with who and why.
func TestPauseCommands(t *testing.T) {
	w := startWorld(t)
	h := decode[gateway.HoldReply](t, w.must(exitOK, "queue", "pause", "bulk", "--until", "2126-01-01", "--reason", "database moves", "-j").stdout)
	if h.ID == "" || !h.On || h.Until == nil || h.Scope != (schemas.HoldScope{Queue: "bulk"}) {
		t.Errorf("pause -j: %+v", h)
	}
	says(t, w.must(exitOK, "queue", "pause", "--type", "mail", "--org", "globex", "--reason", "bounces").stderr, "org globex, type mail: paused")
	says(t, w.must(exitOK, "queue", "pause", "--all", "--reason", "maintenance").stderr, "everything: paused")
	says(t, w.must(exitOK, "queue", "holds").stdout, "queue bulk", "org globex, type mail", "everything", "bounces", "user:ada")
	says(t, w.must(exitOK, "queue", "resume", "--all", "--reason", "done").stderr, "everything: resumed")
	w.must(exitOK, "queue", "resume", "bulk", "--reason", "moved")
	if left := w.must(exitOK, "queue", "holds").stdout; strings.Count(left, "\n") != 1 {
		t.Errorf("left: %s", left)
	}
	if none := w.must(exitError, "queue", "resume", "other", "--reason", "r"); !strings.Contains(none.stderr, "[not_found]") {
		t.Errorf("resume of what is not paused: %+v", none)
	}
}

// some of a type's policy is changed, a type is closed and opened, a file of types is applied with an answer for
// each; -f FILE is --file.
func TestTypeCommands(t *testing.T) {
	w := startWorld(t)
	w.must(exitOK, "type", "add", "mail", "--max-attempts", "3", "--submit-rate", "9/1m")
	says(t, w.must(exitOK, "type", "edit", "mail", "--max-running", "5", "--breaker", "20,5", "--dedup", "singleton", "--disable-org", "x", "--disable-org", "y", "--reason", "r").stdout,
		"Attempts: 3", "Max running: 5, unlimited per org", "Submit rate: 9/1m0s per org", "Breaker: opens at 20 % failed of 5", "Dedup: singleton", "Closed to: x, y")
	closed := w.must(exitOK, "type", "edit", "mail", "--close-breaker", "--reason", "the receiver is back", "--json")
	if !strings.Contains(closed.stdout, `"type":"mail"`) && !strings.Contains(closed.stdout, `"type": "mail"`) {
		t.Errorf("a closed breaker: %+v", closed)
	}
	w.must(exitUsage, "type", "edit", "mail", "--close-breaker", "--max-running", "1", "--reason", "r")
	says(t, w.must(exitOK, "type", "edit", "mail", "--enable-org", "x", "--breaker", "none", "--reason", "r").stdout, "Closed to: y")
	if refused := w.must(exitError, "type", "edit", "mail", "--close-breaker", "--reason", "r"); !strings.Contains(refused.stderr, "[invalid_state]") {
		t.Errorf("a type without a breaker: %+v", refused)
	}
	says(t, w.must(exitOK, "type", "disable", "mail", "--reason", "new format").stdout, "Enabled: no")
	if refused := w.must(exitError, "job", "submit", "mail"); !strings.Contains(refused.stderr, "[type_disabled]") {
		t.Errorf("a disabled type: %+v", refused)
	}
	says(t, w.must(exitOK, "type", "enable", "mail", "--reason", "done").stdout, "Enabled: yes")
	dir := t.TempDir()
	schema, file := filepath.Join(dir, "mail.json"), filepath.Join(dir, "types.ndjson")
	for path, text := range map[string]string{schema: `{"type":"object"}`, file: `{"name":"one","queue":"bulk"}` + "\n" + `{"name":"two","max_attempts":99}` + "\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.must(exitOK, "type", "schema", "mail", "--set", schema, "--reason", "r")
	if got := w.must(exitOK, "type", "schema", "mail").stdout; got != `{"type":"object"}`+"\n" {
		t.Errorf("schema: %q", got)
	}
	got := w.must(exitError, "type", "add", "-f", file, "--reason", "release 12")
	says(t, got.stderr, "one: set", "two: ", "[invalid_argument]")
	reply := decode[gateway.TypesReply](t, w.must(exitError, "type", "add", "--file", file, "-j").stdout)
	if len(reply.Items) != 2 || !reply.Items[0].OK || reply.Items[0].Changed || reply.Items[1].Error.Code != ledger.CodeInvalidArgument {
		t.Errorf("again: %+v", reply)
	}
	says(t, w.must(exitOK, "type", "info", "one", "--history").stdout, "release 12")
}

// Mistakes are exit 2 and reach no server: a missing reason, nothing to change, values that nothing can have.
func TestSettingMistakes(t *testing.T) {
	env := map[string]string{"NATS_URL": "nats://127.0.0.1:1", "JOBLEDGER_ORG": "acme"}
	for _, c := range []struct{ args, want string }{
		{"org edit acme --weight 2", "give --reason"},
		{"org edit acme --reason r", "nothing to change"},
		{"org edit a.b --weight 2 --reason r", `org "a.b" has the character '.'`},
		{"org edit acme --weight 0 --reason r", "--weight:"},
		{"org edit acme --max-running=-1 --reason r", "--max-running:"},
		{"org edit acme --rate 5 --reason r", "--rate:"},
		{"org edit acme --rate 0/1m --reason r", "--rate:"},
		{"org edit acme --rate 5/48h --reason r", "--rate:"},
		{"queue edit bulk --weight acme --reason r", "is not ORG=N"},
		{"queue edit bulk --owner a.b --reason r", "--owner:"},
		{"queue pause --reason r", "which jobs?"},
		{"queue pause bulk --all --reason r", "--all is everything"},
		{"queue pause bulk", "give --reason"},
		{"queue pause bulk --until never --reason r", "--until:"},
		{"queue resume bulk --until 1h --reason r", "unknown flag --until"},
		{"type edit mail --dedup sometimes --reason r", "--dedup:"},
		{"type edit mail --breaker 5,x --reason r", "--breaker:"},
		{"type edit mail --breaker 500 --reason r", "--breaker:"},
		{"type edit mail --exclusive --shared --reason r", "not both"},
		{"type add", "required argument 'type'"},
		{"type add --file /nonexistent", "no such file"},
		{"type add mail --file /nonexistent", "not both"},
		{"type schema mail --set /nonexistent --reason r", "--set:"},
		{"resource edit r --per-org --shared --reason r", "not both"},
	} {
		got := runMain(t, env, strings.Fields(c.args)...)
		if got.code != exitUsage || !strings.Contains(got.stderr, c.want) {
			t.Errorf("%s: exit %d, stderr %q, want %q", c.args, got.code, got.stderr, c.want)
		}
	}
	for _, args := range []string{"org edit acme --weight 2 --dry-run", "queue pause bulk --dry-run", "type edit mail --max-running 3 --dry-run"} {
		if got := runMain(t, env, strings.Fields(args)...); got.code != exitOK || !strings.HasPrefix(got.stderr, "would ") {
			t.Errorf("%s: %+v", args, got)
		}
	}
}
