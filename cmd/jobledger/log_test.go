package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// INTERFACE 2.5: every event once, ascending, two runs byte-equal, bounds
// inclusive; filters and both formats.
func TestLogReplay(t *testing.T) {
	w := startWorld(t)
	echoWorker(w)
	id := strings.TrimSpace(w.must(exitOK, "job", "submit", "echo", "--wait").stderr)
	all := w.must(exitOK, "log", "replay", "-O", "acme").stdout
	if again := w.must(exitOK, "log", "replay", "-O", "acme").stdout; again != all {
		t.Error("two replays differ")
	}
	events := strings.Split(strings.TrimSpace(all), "\n")
	var seqs []schemas.Seq
	for _, text := range events {
		e := decode[struct {
			Seq  schemas.Seq
			Org  string
			ID   string
			Type string
		}](t, text)
		seqs = append(seqs, e.Seq)
		if e.Org != "acme" || e.ID != id || e.Type != "echo" {
			t.Errorf("event %s", text)
		}
	}
	if len(seqs) != 4 {
		t.Fatalf("replayed %v", seqs)
	}
	bounded := w.must(exitOK, "log", "replay", "-O", "acme", "--job", id, "--from", seqs[1].String(), "--to", seqs[2].String()).stdout
	if bounded != strings.Join(events[1:3], "\n")+"\n" {
		t.Errorf("bounds: %s", bounded)
	}
	if one := w.must(exitOK, "log", "replay", "--event", "running", "--from", "1h").stdout; one != events[2]+"\n" {
		t.Errorf("--event running: %s", one)
	}
	cloud := w.must(exitOK, "log", "replay", "-O", "acme", "--format", "cloudevents", "--to", seqs[0].String()).stdout
	if !strings.Contains(cloud, `"specversion":"1.0"`) || !strings.Contains(cloud, `"subject":"`+id+`"`) {
		t.Errorf("cloudevents: %s", cloud)
	}
}

// log tail prints what comes and where it ended; a signal is exit 130.
func TestLogTail(t *testing.T) {
	w := startWorld(t)
	out, stop := w.background("log", "tail", "-O", "acme", "--from", "1")
	w.must(exitOK, "job", "submit", "echo", "--key", "k")
	line, err := out.next()
	if err != nil {
		t.Fatal(err)
	}
	seq := decode[struct{ Seq schemas.Seq }](t, line).Seq
	if _, err := out.next(); err != nil { // queued
		t.Fatal(err)
	}
	got := stop()
	if got.code != 130 || got.stderr != "last seq "+(seq+1).String()+"\n" {
		t.Errorf("exit %d, stderr %q, want 130 and last seq %d", got.code, got.stderr, seq+1)
	}
}

// log verify is 0 for a sound ledger, 1 for a damaged one, JSON either way.
func TestLogVerify(t *testing.T) {
	w := startWorld(t)
	w.must(exitOK, "job", "submit", "echo")
	verdict := decode[ledger.Verdict](t, w.must(exitOK, "log", "verify", "--full").stdout)
	if !verdict.OK || verdict.Events == 0 || verdict.Problems.Illegal == nil {
		t.Errorf("%+v", verdict)
	}
	// That all of it was checked is noted: not of one org, which that was, nor of a dry run.
	whole := map[string]string{"NATS_URL": w.env["NATS_URL"], "USER": "ada"}
	verdict = decode[ledger.Verdict](t, runMain(t, whole, "log", "verify", "--full").stdout)
	runMain(t, whole, "log", "verify", "--dry-run")
	if info := decode[gateway.CellInfo](t, runMain(t, whole, "server", "info", "-j").stdout); info.Verified == nil || !info.Verified.OK || !info.Verified.Full ||
		info.Verified.Actor != "user:ada" || info.Verified.LastSeq != verdict.LastSeq {
		t.Errorf("noted is %+v", info.Verified)
	}
	env := ledgertest.Start(t, ledgertest.WithPort())
	env.SkipVerify()
	if _, err := env.Connect().Request("jobs.acme.x", []byte("no event"), requestTimeoutDefault); err != nil {
		t.Fatal(err)
	}
	got := runMain(t, map[string]string{"NATS_URL": env.URL()}, "log", "verify")
	if verdict := decode[ledger.Verdict](t, got.stdout); verdict.Quarantined != 1 {
		t.Errorf("a foreign message: exit %d, %s", got.code, got.stdout)
	}
}

// log rebuild throws views away; lists and counts are the same afterwards.
func TestLogRebuild(t *testing.T) {
	w := startWorld(t)
	echoWorker(w)
	w.must(exitOK, "job", "submit", "echo", "--wait")
	before := w.must(exitOK, "job", "ls", "--min-seq", "5", "--format", "csv").stdout
	done := decode[rebuilt](t, w.must(exitOK, "log", "rebuild", "--force", "-j").stdout)
	if done.View != "all" || done.Events == 0 {
		t.Errorf("%+v", done)
	}
	if after := w.must(exitOK, "job", "ls", "--format", "csv").stdout; after != before {
		t.Errorf("before\n%safter\n%s", before, after)
	}
	w.must(exitOK, "log", "rebuild", "--view", "counts", "--dry-run")
}

// A server without a ledger is refused with what to do, not with a stack.
func TestNoLedgerThere(t *testing.T) {
	env := ledgertest.Start(t, ledgertest.WithPort(), ledgertest.WithoutProvision())
	for _, args := range []string{"log replay", "log verify", "worker run echo --exec cat"} {
		got := runMain(t, map[string]string{"NATS_URL": env.URL()}, strings.Fields(args)...)
		if got.code != exitError || !strings.Contains(got.stderr, "[unavailable]") || !strings.Contains(got.stderr, "jobledger server") {
			t.Errorf("%s: exit %d, %q", args, got.code, got.stderr)
		}
	}
}

func TestSchemas(t *testing.T) {
	list := decode[struct{ Items []schemaItem }](t, runMain(t, nil, "schema", "ls", "-j").stdout)
	if len(list.Items) != len(schemas.JobEvents())+len(schemas.ControlEvents()) {
		t.Errorf("%d schemas", len(list.Items))
	}
	documents := decode[map[string]any](t, runMain(t, nil, "schema", "export", "jsonschema").stdout)
	dir := filepath.Join(t.TempDir(), "out")
	if got := runMain(t, nil, "schema", "export", "jsonschema", "-o", dir); got.code != exitOK || got.stdout != "" {
		t.Errorf("export: %+v", got)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != len(documents) || len(files) != len(list.Items) {
		t.Errorf("%d files, %d documents, %v", len(files), len(documents), err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "submitted.v1.json"))
	want, _ := schemas.JSONSchema(schemas.EventSubmitted)
	if err != nil || string(text) != string(want) {
		t.Errorf("the exported schema is not the one that holds: %v", err)
	}
	for kind, want := range map[string][]byte{"openapi": gateway.OpenAPI(), "asyncapi": gateway.AsyncAPI()} {
		if got := runMain(t, nil, "schema", "export", kind).stdout; got != string(want) {
			t.Errorf("the exported %s document is not the one that the server serves", kind)
		}
	}
	all := decode[map[string]any](t, runMain(t, nil, "schema", "export", "all").stdout)
	if len(all) != len(list.Items)+2 || all["openapi.json"] == nil || all["asyncapi.json"] == nil {
		t.Errorf("all are %d documents", len(all))
	}
}

func TestTypes(t *testing.T) {
	w := startWorld(t)
	set := decode[map[string]any](t, w.must(exitOK, "type", "add", "mail", "--queue", "bulk", "--max-attempts", "3",
		"--backoff", "1m,2,1h", "--run-timeout", "90s", "--dedup", "in-flight", "--dedup-window", "0", "--reason", "first", "-j").stdout)
	if set["queue"] != "bulk" || set["max_attempts"] != 3.0 || set["run_timeout_s"] != 90.0 {
		t.Errorf("type add: %v", set)
	}
	info := w.must(exitOK, "type", "info", "mail").stdout
	for _, want := range []string{"bulk", "1m0s, times 2, up to 1h0m0s"} {
		if !strings.Contains(info, want) {
			t.Errorf("type info does not show %q:\n%s", want, info)
		}
	}
	if list := w.must(exitOK, "type", "list").stdout; !strings.HasPrefix(list, "mail\tbulk\tyes\t3\t1m30s\t") {
		t.Errorf("type ls: %q", list)
	}
	if got := w.must(exitError, "type", "info", "nope"); !strings.Contains(got.stderr, "not_found") && !strings.Contains(got.stderr, "unknown_type") {
		t.Errorf("unknown type: %q", got.stderr)
	}
}
