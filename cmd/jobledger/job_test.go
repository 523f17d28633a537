package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// echoWorker serves echo and fail with commands. It returns once both types are served.
func echoWorker(w *world) {
	w.t.Helper()
	w.background("worker", "run", "echo", "--exec", "cat", "--slots", "4")
	w.background("worker", "run", "fail", "--exec", "echo broken >&2; exit 65")
	for limit := time.Now().Add(time.Minute); ; { // they are shown with their first beats
		shown := w.must(exitOK, "worker", "ls", "-j").stdout
		if strings.Contains(shown, `["echo"]`) && strings.Contains(shown, `["fail"]`) {
			return
		}
		if time.Now().After(limit) {
			w.t.Fatalf("the workers did not come: %s", shown)
		}
	}
}

// INTERFACE 2.4: id and newline alone; with --json id, org, seq, duplicate; a
// duplicate is exit 0; keys, ids and conflicts.
func TestJobSubmit(t *testing.T) {
	w := startWorld(t)
	got := w.must(exitOK, "job", "submit", "echo", `{"n":1}`)
	id := strings.TrimSpace(got.stdout)
	if schemas.CheckToken("id", id) != nil || got.stdout != id+"\n" || !strings.Contains(got.stderr, "nobody serves") {
		t.Fatalf("stdout %q, stderr %q", got.stdout, got.stderr)
	}
	again := w.must(exitOK, "job", "submit", "echo", `{"n":1}`, "--json")
	receipt := decode[map[string]any](t, again.stdout)
	if receipt["id"] != id || receipt["org"] != "acme" || receipt["duplicate"] != true || receipt["seq"] == float64(0) || again.stderr == "" {
		t.Errorf("duplicate: %s, stderr %q", again.stdout, again.stderr)
	}
	if other := w.must(exitOK, "job", "submit", "echo", `{"n":1}`, "--no-dedup").stdout; other == got.stdout {
		t.Error("--no-dedup found the job that exists")
	}
	refused := w.must(exitError, "job", "submit", "echo", `{"n":1}`, "--on-duplicate", "error")
	if !strings.Contains(refused.stderr, "[duplicate]") {
		t.Errorf("--on-duplicate error: %q", refused.stderr)
	}
	w.must(exitOK, "job", "submit", "echo", `{"n":2}`, "--id", "mine")
	conflict := w.must(exitError, "job", "submit", "echo", `{"n":3}`, "--id", "mine", "-j")
	if !strings.Contains(conflict.stderr, `"code":"id_conflict"`) || conflict.stdout != "" {
		t.Errorf("another content under one id: %q %q", conflict.stdout, conflict.stderr)
	}
	if got := w.runWith("{\"big\": 9007199254740993}\n", "job", "submit", "echo", "-"); got.code != exitOK {
		t.Errorf("stdin: %+v", got)
	} else if args := decode[struct{ Args json.RawMessage }](t, w.must(exitOK, "job", "info", strings.TrimSpace(got.stdout), "-j").stdout).Args; string(args) != `{"big": 9007199254740993}` {
		t.Errorf("args came back as %s", args)
	}
	file := filepath.Join(t.TempDir(), "args.json")
	if err := os.WriteFile(file, []byte(`[1]`), 0o600); err != nil {
		t.Fatal(err)
	}
	w.must(exitOK, "job", "submit", "echo", "--file", file)
	if ids := strings.Fields(w.must(exitOK, "job", "submit", "echo", "--count", "50").stdout); len(slices.Compact(slices.Sorted(slices.Values(ids)))) != 50 {
		t.Errorf("--count 50 printed %d ids", len(ids))
	}
}

// A job that nobody serves is accepted with a warning on stderr, and its record says why it waits; of one that is
// served, or is not to start yet, there is nothing to say (INTERFACE 2.4, C54).
func TestJobUnserved(t *testing.T) {
	w := startWorld(t)
	const warning = "nobody serves type echo in queue default"
	for _, args := range [][]string{{"--count", "3"}, {"-j"}, {"--wait", "--wait-timeout", "50ms"}} {
		got := w.run(slices.Concat([]string{"job", "submit", "echo", "--no-dedup"}, args)...)
		if strings.Count(got.stderr, warning) != 1 || strings.Contains(got.stdout, warning) {
			t.Errorf("%v: stdout %q, stderr %q", args, got.stdout, got.stderr)
		}
	}
	id := strings.TrimSpace(w.must(exitOK, "job", "submit", "echo").stdout)
	if text := w.must(exitOK, "job", "info", id).stdout; !strings.Contains(text, "Waits: "+warning) {
		t.Errorf("job info: %s", text)
	}
	if r := decode[map[string]any](t, w.must(exitOK, "job", "info", id, "-j").stdout); r["reason"] != "unserved" {
		t.Errorf("the record's reason is %v", r["reason"])
	}
	if got := w.must(exitOK, "job", "submit", "echo", "--no-dedup", "--in", "1h"); got.stderr != "" {
		t.Errorf("a job of later: %q", got.stderr)
	}
	echoWorker(w)
	if got := w.must(exitOK, "job", "submit", "echo", "--no-dedup"); got.stderr != "" {
		t.Errorf("a served job: %q", got.stderr)
	}
	if got := w.must(exitOK, "job", "submit", "echo", "--no-dedup", "--queue", "other"); !strings.Contains(got.stderr, "nobody serves type echo in queue other") {
		t.Errorf("another queue: %q", got.stderr)
	}
}

// Mistakes are exit 2 and reach no server; refusals are exit 1 with their code.
func TestJobSubmitMistakes(t *testing.T) {
	env := map[string]string{"NATS_URL": "nats://127.0.0.1:1", "JOBLEDGER_ORG": "acme"}
	for _, c := range []struct{ args, want string }{
		{`job submit`, "required argument 'type'"},
		{`job submit echo {`, "not valid JSON"},
		{`job submit e.cho`, `type "e.cho" has the character '.'`},
		{`job submit echo --id _x`, "reserved"},
		{`job submit echo --queue a.b`, "queue"},
		{`job submit echo --priority urgent`, "--priority"},
		{`job submit echo --tag x`, "not k=v"},
		{`job submit echo --at soon`, "--at"},
		{`job submit echo --at 2026-11-26 --in 1h`, "give one"},
		{`job submit echo --deadline soon`, "--deadline"},
		{`job submit echo --count 0`, "--count"},
		{`job submit echo --count 3 --wait`, "--count"},
		{`job submit echo --key k --no-dedup`, "contradict"},
		{`job submit echo --wait-timeout 1s`, "needs --wait"},
		{`job submit echo {} --file x`, "not both"},
		{`job submit echo --file /nonexistent`, "/nonexistent"},
		{`job submit echo --run-timeout 5`, "--run-timeout"},
		{`job ls --state runing`, "did you mean running?"},
		{`job ls --limit 1000`, "--limit"},
		{`job ls --since yesterday`, "--since"},
		{`job ls --where stat:x`, "--where: at 1, in stat:x: unknown field \"stat\", did you mean state?"},
		{`job count --where type:`, "--where"},
		{`job cancel x --where type:y`, "not both"},
		{`dlq retry --where args.:1 --reason r`, "a name is missing"},
		{`job info a.b`, "job id"},
		{`job history x --at never`, "--at"},
		{`job wait a b.c`, "job id"},
		{`job cancel`, "give ids, or a filter"},
		{`job cancel x --type y`, "not both"},
		{`job cancel --type y --wait`, "--wait goes with ids"},
		{`job cancel --type y`, "give --reason"},
		{`job cancel --state runing --reason r`, "did you mean running?"},
		{`job retry x`, "give --reason"},
		{`job retry x --reason r --deadline soon`, "--deadline"},
		{`job resolve x`, "give --note"},
		{`job resolve x --as done --note n`, "resolved,ignored"},
		{`job resubmit x`, "give --reason"},
		{`job resubmit x --args {`, "not valid JSON"},
		{`job resubmit x --args {} --set a=1`, "give one of them"},
		{`job resubmit x --set a`, "not path=value"},
		{`dlq ls --state queued`, "unknown flag --state"},
		{`dlq report --by colour`, "error,type,org,queue"},
		{`job count --by colour`, "state, type, queue"},
		{`log replay --event failled`, "did you mean failed?"},
		{`log replay --from later`, "--from"},
		{`log rebuild`, "--force"},
		{`type add x --backoff 1m`, "base,factor,max"},
		{`type add x --schema /nonexistent`, "/nonexistent"},
	} {
		got := runMain(t, env, strings.Fields(c.args)...)
		if got.code != exitUsage || !strings.Contains(got.stderr, c.want) {
			t.Errorf("%s: exit %d, %q; want 2 and %q", c.args, got.code, got.stderr, c.want)
		}
	}
	delete(env, "JOBLEDGER_ORG")
	if got := runMain(t, env, "job", "ls"); got.code != exitUsage || !strings.Contains(got.stderr, "--org") {
		t.Errorf("no org: %+v", got)
	}
	w := startWorld(t)
	big := `"` + strings.Repeat("x", schemas.PayloadMax) + `"`
	if got := w.runWith(big, "job", "submit", "echo", "-"); got.code != exitError || !strings.Contains(got.stderr, "[payload_too_large]") {
		t.Errorf("args over the limit: exit %d, %q", got.code, got.stderr)
	}
	for _, args := range []string{"job info nope", "job history nope", "job result nope", "job cancel nope"} {
		if got := w.run(strings.Fields(args)...); got.code != exitError || !strings.Contains(got.stderr, "[not_found]") || got.stdout != "" {
			t.Errorf("%s: %+v", args, got)
		}
	}
}

// INTERFACE 2.2, 2.4: --wait prints the result alone; exit codes 0, 3, 4, 5.
func TestJobSubmitWait(t *testing.T) {
	w := startWorld(t)
	echoWorker(w)
	got := w.must(exitOK, "job", "submit", "echo", `{"name":"Ada"}`, "--wait")
	if got.stdout != "{\"name\":\"Ada\"}\n" || strings.Count(got.stderr, "\n") != 1 {
		t.Errorf("stdout %q, stderr %q", got.stdout, got.stderr)
	}
	id := strings.TrimSpace(got.stderr)
	done := decode[map[string]any](t, w.must(exitOK, "job", "submit", "echo", `{"a":1}`, "--wait", "-j").stdout)
	if done["state"] != "completed" || done["attempt"] != 1.0 || done["error"] != nil || done["duplicate"] != false {
		t.Errorf("--wait --json: %v", done)
	}
	if result := w.must(exitOK, "job", "result", id).stdout; result != `{"name":"Ada"}` {
		t.Errorf("job result: %q", result)
	}
	dead := w.must(exitDeadLettered, "job", "submit", "fail", "--wait")
	if dead.stdout != "" || !strings.Contains(dead.stderr, "permanent_error") || !strings.Contains(dead.stderr, "broken") {
		t.Errorf("a failing job: stdout %q, stderr %q", dead.stdout, dead.stderr)
	}
	deadID, _, _ := strings.Cut(dead.stderr, "\n")
	w.must(exitDeadLettered, "job", "result", deadID)
	waiting := w.must(exitUnfinished, "job", "submit", "nobody", "--wait", "--wait-timeout", "50ms")
	waitingID, _, _ := strings.Cut(waiting.stderr, "\n")
	if !strings.Contains(waiting.stderr, "time is up") {
		t.Errorf("time is up: %q", waiting.stderr)
	}
	w.must(exitError, "job", "result", waitingID)
	w.must(exitOK, "job", "cancel", waitingID)
	w.must(exitOK, "job", "cancel", waitingID) // again is no error
	w.must(exitCanceled, "job", "result", waitingID)
	w.must(exitError, "job", "cancel", id)
	w.must(exitOK, "job", "wait", id)
	several := w.must(exitDeadLettered, "job", "wait", id, deadID, waitingID, "-j")
	if n := strings.Count(several.stdout, "\n"); n != 3 {
		t.Errorf("job wait printed %d lines: %s", n, several.stdout)
	}
	w.must(exitCanceled, "job", "wait", id, waitingID, deadID)
}

// Lists, counts, records and histories of the same jobs agree (INTERFACE 2.5).
func TestJobViews(t *testing.T) {
	w := startWorld(t)
	echoWorker(w)
	var seq uint64
	ids := map[string]bool{}
	for _, typ := range []string{"echo", "echo", "fail"} {
		got := w.run("job", "submit", typ, "--no-dedup", "--wait", "-j", "--tag", "env=test")
		r := decode[struct {
			ID  string
			Seq uint64
		}](t, got.stdout)
		ids[r.ID], seq = true, r.Seq
	}
	minSeq := schemas.Seq(seq + 3).String()
	page := decode[struct {
		Items []map[string]any
		Next  *string
		AsOf  uint64 `json:"as_of_seq"`
	}](t, w.must(exitOK, "job", "ls", "-j", "--min-seq", minSeq, "--tag", "env=test").stdout)
	if len(page.Items) != 3 || page.Next != nil || page.AsOf < seq {
		t.Errorf("job ls: %d items, next %v, as of %d", len(page.Items), page.Next, page.AsOf)
	}
	for _, item := range page.Items {
		if !ids[item["id"].(string)] {
			t.Errorf("unknown job %v", item["id"])
		}
	}
	first := w.must(exitOK, "job", "ls", "-n", "--limit", "2")
	if strings.Count(first.stdout, "\n") != 2 || !strings.HasPrefix(first.stderr, "next: --cursor ") {
		t.Fatalf("first page: %+v", first)
	}
	rest := w.must(exitOK, append([]string{"job", "ls", "-n"}, strings.Fields(strings.TrimPrefix(first.stderr, "next: "))...)...)
	if all := strings.Fields(first.stdout + rest.stdout); len(all) != 3 {
		t.Errorf("pages hold %v", all)
	}
	if csv := w.must(exitOK, "job", "ls", "--format", "csv", "--state", "dead_lettered").stdout; strings.Count(csv, "\n") != 2 || !strings.HasPrefix(csv, "id,type,queue,") {
		t.Errorf("csv: %q", csv)
	}
	if ls := w.must(exitOK, "job", "ls", "-n", "--where", "tag.env:test -state:dead_lettered submitted:<1d").stdout; strings.Count(ls, "\n") != 2 {
		t.Errorf("job ls --where: %q", ls)
	}
	if count := w.must(exitOK, "job", "count", "--by", "type", "--where=-type:f*").stdout; count != "echo\t2\n" {
		t.Errorf("job count --where: %q", count)
	}
	if count := w.must(exitOK, "job", "count", "--by", "type").stdout; count != "echo\t2\nfail\t1\n" {
		t.Errorf("job count: %q", count)
	}
	for id := range ids {
		history := w.must(exitOK, "job", "history", id, "-j").stdout
		events := strings.Split(strings.TrimSpace(history), "\n")
		if len(events) != 4 {
			t.Errorf("history of %s: %s", id, history)
		}
		second := decode[struct{ Seq schemas.Seq }](t, events[1]).Seq
		then := w.must(exitOK, "job", "history", id, "--at", second.String())
		if strings.Count(then.stdout, "\n") != 2 || then.stderr != "state then: queued\n" {
			t.Errorf("history --at %d: %+v", second, then)
		}
		info := w.must(exitOK, "job", "info", id).stdout
		for _, want := range []string{id, "acme", "attempt 1", "env=test"} {
			if !strings.Contains(info, want) && want != "attempt 1" {
				t.Errorf("job info does not show %q: %s", want, info)
			}
		}
	}
}

// a job shows its children, to a person and to a program.
func TestJobChildren(t *testing.T) {
	w := startWorld(t)
	echoWorker(w)
	id := decode[struct{ ID string }](t, w.must(exitOK, "job", "submit", "echo", "--wait", "-j").stdout).ID
	child := decode[struct {
		ID  string
		Seq schemas.Seq
	}](t, w.must(exitOK, "job", "submit", "echo", `{"n":1}`, "--after", id, "--wait", "-j").stdout)
	if ls := w.must(exitOK, "job", "ls", "-n", "--where", "parent:"+id, "--min-seq", (child.Seq + 3).String()).stdout; ls != child.ID+"\n" {
		t.Errorf("job ls: %q", ls)
	}
	if info := w.must(exitOK, "job", "info", id, "--children").stdout; !strings.Contains(info, child.ID) {
		t.Errorf("job info: %s", info)
	}
	r := decode[struct{ Children []schemas.JobRef }](t, w.must(exitOK, "job", "info", id, "--children", "-j").stdout)
	if len(r.Children) != 1 || string(r.Children[0].ID) != child.ID || r.Children[0].Generation != 1 {
		t.Errorf("job info -j: %+v", r)
	}
	if r := decode[map[string]any](t, w.must(exitOK, "job", "info", child.ID, "-j").stdout); r["children"] != nil {
		t.Errorf("children that nobody asked for: %v", r)
	}
	w.must(exitUsage, "job", "info", id, "--children", "--at", "1")
}

// job watch shows what happens and ends with its jobs.
func TestJobWatch(t *testing.T) {
	w := startWorld(t)
	id := strings.TrimSpace(w.must(exitOK, "job", "submit", "echo").stdout)
	out, stop := w.background("job", "watch", id)
	if first, err := out.next(); err != nil || !strings.Contains(first, id) {
		t.Fatalf("%q, %v", first, err)
	}
	echoWorker(w)
	for _, err := out.next(); err == nil; _, err = out.next() { // until it ends by itself
	}
	if got := stop(); got.code != exitOK || !strings.Contains(got.stdout, "completed") {
		t.Errorf("watch: %+v", got)
	}
}

// A batch is read a line an item; what is wrong is a usage error that names the line, and nothing is submitted. The
// flags are its items', but for those that say when and as what it runs (INTERFACE 2.4, R-09).
func TestJobSubmitBatch(t *testing.T) {
	w := startWorld(t)
	for name, c := range map[string]struct {
		in, says string
		args     []string
	}{
		"bad line":      {"{\"n\":1}\n\n{n:2}\n", "line 3", nil},
		"nothing":       {"\n", "no item", nil},
		"too many":      {strings.Repeat("1\n", 10_001), "line 10001", nil},
		"args":          {"1\n", "not both", []string{`{"n":1}`}},
		"count":         {"1\n", "--count", []string{"--count", "2"}},
		"pace":          {"1\n", "--pace", []string{"--pace", "fast"}},
		"no window":     {"1\n", "--pace", []string{"--pace", "1/1ms"}},
		"parallel":      {"1\n", "--parallel", []string{"--parallel", "0"}},
		"reserved type": {"1\n", "", nil},
	} {
		args := append([]string{"job", "submit", "echo", "--batch", "-"}, c.args...)
		want := exitUsage
		if name == "reserved type" {
			args[2], want = "_batch", exitError
		}
		if got := w.runWith(c.in, args...); got.code != want || !strings.Contains(got.stderr, c.says) || got.stdout != "" {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := w.run("job", "submit", "echo", "--pace", "1/1s"); got.code != exitUsage {
		t.Errorf("a pace without a batch: %+v", got)
	}
	if n := strings.TrimSpace(w.must(exitOK, "job", "ls", "-n").stdout); n != "" {
		t.Errorf("something was submitted: %s", n)
	}
	got := w.runWith("{\"n\": 1}\n{\"n\": 2}\n", "job", "submit", "echo", "--batch", "-", "--pace", "50/m", "--parallel", "7", "--priority", "high",
		"--id", "mine", "--tag", "k=v", "--in", "1h")
	if got.code != exitOK || got.stdout != "mine\n" || strings.Contains(got.stderr, "nobody serves") {
		t.Fatalf("the batch: %+v", got)
	}
	r := decode[struct {
		Type, Queue, Priority string
		Tags                  map[string]string
		Args                  json.RawMessage
		NotBefore             *string `json:"not_before"`
	}](t, w.must(exitOK, "job", "info", "mine", "-j").stdout)
	want := `{"pace":{"count":50,"per_ms":60000},"parallel":7,"each":{"type":"echo","priority":"high","tags":{"k":"v"}},"items":[{"args":{"n": 1}},{"args":{"n": 2}}]}`
	if r.Type != "_batch" || r.Queue != "_system" || r.Priority != "normal" || len(r.Tags) != 0 || r.NotBefore == nil || string(r.Args) != want {
		t.Errorf("the batch is %+v, args %s", r, r.Args)
	}
}
