package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/internal/demo"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// alone is a world in which nothing runs yet, with a home of its own for
// contexts.
func alone(t *testing.T) *world {
	return &world{t: t, env: map[string]string{"HOME": t.TempDir(), "USER": "ada"}}
}

// The demo runs twice on one store: every job of both runs ends as expected, and
// the second run finds the first one's events.
func TestDevDemoTwice(t *testing.T) {
	t.Parallel()
	w := alone(t)
	store := filepath.Join(t.TempDir(), "store")
	for n, replayed := range []bool{false, true} {
		got := w.must(exitOK, "dev", "--demo", "--exit-when-idle", "--port", "0", "--store", store)
		if lines := strings.Count(got.stdout, "\n"); lines != len(demo.Batch()) {
			t.Errorf("run %d: the table has %d rows:\n%s", n, lines, got.stdout)
		}
		for _, shown := range []string{"\tcompleted\t2, after failed\t", "\tcompleted\t2, after timed_out\t", "\tdead_lettered\t1\tretries_exhausted: the attempt passed its timeout",
			"\tdead_lettered\t1\tpermanent_error: ", "\tcanceled\t1\tcalled off, as asked (user:ada)\n", "\tcanceled\t0\tcalled off"} {
			if !strings.Contains(got.stdout, shown) {
				t.Errorf("run %d: the table does not show %q:\n%s", n, shown, got.stdout)
			}
		}
		if !strings.Contains(got.stderr, fmt.Sprintf("all %d jobs ended as expected", len(demo.Batch()))) ||
			strings.Contains(got.stderr, "  replayed ") != replayed {
			t.Errorf("run %d: stderr %s", n, got.stderr)
		}
	}
	if _, err := os.Stat(filepath.Join(store, demoOutput, "thumbnails", "acme", "cat-160.png")); err != nil {
		t.Error(err)
	}
}

// A user's edit of a type of the demo outlives the next start with --demo, and
// the demo's worker answers in the org of the saved context.
func TestDevDemoStays(t *testing.T) {
	t.Parallel()
	w := alone(t)
	store := t.TempDir()
	start := func() (url string, stop func() run) {
		out, stop := w.background("dev", "--demo", "--port", "0", "--store", store, "--json")
		line, err := out.next()
		if err != nil {
			t.Fatalf("%v: %+v", err, stop())
		}
		return decode[readyLine](t, line).NATSURL, stop
	}
	_, stop := start()
	if got := w.must(exitOK, "job", "submit", "echo", `{"name":"Ada"}`, "--wait", "--wait-timeout", "30s"); got.stdout != `{"name":"Ada"}`+"\n" {
		t.Errorf("the result is %q", got.stdout)
	}
	w.must(exitOK, "type", "add", "echo", "--description", "mine", "--max-attempts", "9", "--queue", "own")
	if got := stop(); got.code != exitOK {
		t.Fatalf("a drain is exit %d: %s", got.code, got.stderr)
	}
	_, stop = start()
	defer stop()
	if got := w.must(exitOK, "type", "info", "echo", "--json"); !strings.Contains(got.stdout, `"mine"`) {
		t.Errorf("the edit is lost: %s", got.stdout)
	}
	w.must(exitOK, "job", "submit", "echo", `{"name":"Bob"}`, "--wait", "--wait-timeout", "30s")
}

// The ready line, a port that is busy, a folder that is in use, what the saved
// context leads to, and --fresh (INTERFACE 2.3).
func TestDevReady(t *testing.T) {
	t.Parallel()
	w := alone(t)
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	_, port, _ := net.SplitHostPort(busy.Addr().String())
	store := t.TempDir()
	args := []string{"dev", "--store", store, "--port", port, "--json"}

	out, stop := w.background(args...)
	line, err := out.next()
	if err != nil {
		t.Fatalf("%v: %+v", err, stop())
	}
	ready := decode[readyLine](t, line)
	if !ready.Ready || ready.NATSURL == "" || strings.HasSuffix(ready.NATSURL, ":"+port) || ready.ReplayedEvents != 0 ||
		ready.Context == nil || *ready.Context != devContext || ready.Org == nil || *ready.Org != devOrg || *ready.Store != store ||
		ready.Version != version || !strings.Contains(line, `"http_url":"http://127.0.0.1:`) {
		t.Errorf("the ready line is %s", line)
	}
	id := strings.TrimSpace(w.must(exitOK, "job", "submit", "never-seen", "{}").stdout)
	if got := w.must(exitOK, "job", "history", id, "--json"); !strings.Contains(got.stdout, `"user:ada"`) {
		t.Errorf("who submitted is not told: %s", got.stdout)
	}
	if got := w.must(exitError, args...); !strings.Contains(got.stderr, "in use by process") {
		t.Errorf("a second dev on the folder: %s", got.stderr)
	}
	if got := w.must(exitError, append(args, "--fresh")...); !strings.Contains(got.stderr, "in use by process") {
		t.Errorf("--fresh beside a running dev: %s", got.stderr)
	}
	if got := stop(); got.code != exitOK || got.stdout != line+"\n" {
		t.Errorf("stopped: %+v", got)
	}

	for _, c := range []struct {
		fresh bool
		found exitCode
	}{{false, exitOK}, {true, exitError}} {
		again := args
		if c.fresh {
			again = append(again, "--fresh")
		}
		out, stop := w.background(again...)
		line, err := out.next()
		if err != nil {
			t.Fatalf("%v: %+v", err, stop())
		}
		if replayed := decode[readyLine](t, line).ReplayedEvents; (replayed == 0) != c.fresh {
			t.Errorf("fresh %v: %d events replayed", c.fresh, replayed)
		}
		w.must(c.found, "job", "info", id)
		stop()
	}
}

// A demo that is stopped before its jobs have ended says so: its exit code would
// else say that all is well.
func TestDevDemoStopped(t *testing.T) {
	t.Parallel()
	w := alone(t)
	out, stop := w.background("dev", "--demo", "--exit-when-idle", "--port", "0", "--store", t.TempDir(), "--json")
	if _, err := out.next(); err != nil {
		t.Fatal(err)
	}
	if got := stop(); got.code != exitSignal+2 || !strings.Contains(got.stderr, "stopped before") {
		t.Errorf("stopped: %+v", got)
	}
}

func TestDevUsage(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"dev --exit-when-idle", "dev --port 70000", "dev --server nats://x:1", "server run --replicas 3",
		"server run --listen 0.0.0.0:4222", "server --durability sometimes", "server run -c no-such-file"} {
		if got := runMain(t, nil, strings.Fields(args)...); got.code != exitUsage || got.stdout != "" {
			t.Errorf("%s: %+v", args, got)
		}
	}
}

// A server with its own NATS, then one on an outside NATS: ready line, no
// unknown types, a stop that is exit 0 (INTERFACE 2.3).
func TestServerRun(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t, ledgertest.WithPort())
	store := filepath.Join(t.TempDir(), "store")
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listen := port.Addr().String()
	if err := port.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, durability, store string
		args                    []string
	}{
		{"embedded", "strict", store, []string{"server", "--store", store, "--listen", listen, "--durability", "strict"}},
		{"outside", "standard", "", []string{"server", "run", "--server", env.URL()}},
	} {
		w := alone(t)
		out, stop := w.background(append(c.args, "--json")...)
		line, err := out.next()
		if err != nil {
			t.Fatalf("%s: %v: %+v", c.name, err, stop())
		}
		ready := decode[serverLine](t, line)
		if !ready.Ready || string(ready.Durability) != c.durability || ready.Replicas != 1 || (ready.Store == nil) != (c.store == "") {
			t.Errorf("%s: the ready line is %s", c.name, line)
		}
		if grouped(t, ready.NATSURL) != (c.durability == "strict") {
			t.Errorf("%s: appends go together: %v", c.name, c.durability != "strict")
		}
		w.env["NATS_URL"], w.env["JOBLEDGER_ORG"] = ready.NATSURL, "acme"
		if got := w.must(exitError, "job", "submit", "echo"); !strings.Contains(got.stderr, "unknown_type") {
			t.Errorf("%s: an unknown type: %s", c.name, got.stderr)
		}
		w.must(exitOK, "type", "add", "echo")
		id := strings.TrimSpace(w.must(exitOK, "job", "submit", "echo").stdout)
		if got := w.must(exitOK, "job", "info", id, "--json"); !strings.Contains(got.stdout, string(schemas.StateSubmitted)) &&
			!strings.Contains(got.stdout, string(schemas.StateQueued)) {
			t.Errorf("%s: %s", c.name, got.stdout)
		}
		if got := stop(); got.code != exitOK {
			t.Errorf("%s: stopped: %+v", c.name, got)
		}
	}
}

// grouped reports whether appends to a ledger go together.
func grouped(t *testing.T, url string) bool {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	l, err := ledger.New(ledger.Config{Conn: nc, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	return l.Groups(t.Context())
}

// A store of a server that synced each write is taken on by dev, which does not: appends go by themselves again.
func TestDevOnStrictStore(t *testing.T) {
	t.Parallel()
	w, store := alone(t), filepath.Join(t.TempDir(), "store")
	env := ledgertest.Start(t, ledgertest.WithStoreDir(store), ledgertest.WithGroups())
	env.SkipVerify() // the store is dev's by then
	env.Stop()
	out, stop := w.background("dev", "--no-ui", "--port", "0", "--http", "0", "--store", store, "--json")
	line, err := out.next()
	if err != nil {
		t.Fatalf("%v: %+v", err, stop())
	}
	if grouped(t, decode[readyLine](t, line).NATSURL) {
		t.Error("appends go together where the server does not sync each write")
	}
	if got := stop(); got.code != exitOK {
		t.Errorf("stopped: %+v", got)
	}
}
