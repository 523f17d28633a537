package natsd_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/dartwing/jobledger/internal/natsd"
)

// start starts a server in dir that stops with the test.
func start(t *testing.T, cfg natsd.Config) *natsd.Server {
	t.Helper()
	s, err := natsd.Start(cfg)
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

func js(t *testing.T, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	t.Cleanup(nc.Close)
	j, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func inProcess(t *testing.T, s *natsd.Server) jetstream.JetStream {
	t.Helper()
	nc, err := s.ConnectInProcess()
	if err != nil {
		t.Fatal(err)
	}
	return js(t, nc)
}

func testCtx(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// A stopped server's folder is free at once, and what it acknowledged is there
// after the restart, in both modes of durability.
func TestRestartKeepsData(t *testing.T) {
	for _, mode := range []natsd.Durability{natsd.Standard, natsd.Strict} {
		t.Run(string(mode), func(t *testing.T) {
			ctx, dir := testCtx(t), t.TempDir()
			cfg := natsd.Config{StoreDir: dir, Durability: mode, DontListen: true}

			s := start(t, cfg)
			if s.URL() != "" {
				t.Errorf("a server that does not listen has the address %q", s.URL())
			}
			j := inProcess(t, s)
			if _, err := j.CreateStream(ctx, jetstream.StreamConfig{Name: "EV", Subjects: []string{"ev.>"}}); err != nil {
				t.Fatal(err)
			}
			for i := range 100 {
				if _, err := j.Publish(ctx, fmt.Sprintf("ev.%d", i), []byte("x")); err != nil {
					t.Fatal(err)
				}
			}
			s.Shutdown()
			s.Shutdown() // a second time does nothing

			j = inProcess(t, start(t, cfg))
			stream, err := j.Stream(ctx, "EV")
			if err != nil {
				t.Fatalf("after restart: %v", err)
			}
			if got := stream.CachedInfo().State.Msgs; got != 100 {
				t.Errorf("after restart the stream holds %d messages, want 100", got)
			}
		})
	}
}

// "A busy port": moved when allowed, a clear refusal otherwise.
func TestBusyPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	busy := l.Addr().(*net.TCPAddr).Port

	_, err = natsd.Start(natsd.Config{StoreDir: t.TempDir(), Port: busy})
	var portBusy *natsd.PortBusyError
	if !errors.As(err, &portBusy) || !strings.Contains(err.Error(), strconv.Itoa(busy)) {
		t.Errorf("start on a busy port: %v, want a PortBusyError naming %d", err, busy)
	}

	s := start(t, natsd.Config{StoreDir: t.TempDir(), Port: busy, PortFallback: true})
	if strings.HasSuffix(s.URL(), fmt.Sprintf(":%d", busy)) {
		t.Fatalf("the server says it listens on the busy port: %s", s.URL())
	}
	nc, err := nats.Connect(s.URL())
	if err != nil {
		t.Fatalf("connect to %s: %v", s.URL(), err)
	}
	js(t, nc)
}

// "A data folder in use by another process": the second opener is refused with
// the folder, the holder and what to do; the first one is not disturbed.
func TestSecondOpenerIsRefused(t *testing.T) {
	dir := t.TempDir()
	first := start(t, natsd.Config{StoreDir: dir})

	_, err := natsd.Start(natsd.Config{StoreDir: dir})
	var busy *natsd.FolderBusyError
	if !errors.As(err, &busy) {
		t.Fatalf("second opener: %v, want a FolderBusyError", err)
	}
	for _, want := range []string{dir, strconv.Itoa(os.Getpid()), "--store"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not name %s", err, want)
		}
	}
	if _, err := inProcess(t, first).AccountInfo(testCtx(t)); err != nil {
		t.Errorf("the first server stopped answering: %v", err)
	}
}

// A folder that cannot be used is an error of Start, not an exit of the process.
func TestUnusableFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := natsd.Start(natsd.Config{StoreDir: file}); err == nil {
		t.Error("a file was accepted as data folder")
	}

	// The engine itself gives up here: its folder's place is taken by a file.
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "jetstream"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := natsd.Start(natsd.Config{StoreDir: dir, DontListen: true})
	if err == nil || !strings.Contains(err.Error(), "JetStream") {
		t.Errorf("an unusable engine folder: %v, want the server's own message", err)
	}
	// The failed start has given the folder back.
	if err := os.Remove(filepath.Join(dir, "jetstream")); err != nil {
		t.Fatal(err)
	}
	start(t, natsd.Config{StoreDir: dir, DontListen: true})
}

// args of 1 MiB and their envelope fit into one message.
func TestPayloadOfArgsAndEnvelopeFits(t *testing.T) {
	j := inProcess(t, start(t, natsd.Config{StoreDir: t.TempDir(), DontListen: true}))
	ctx := testCtx(t)
	if _, err := j.CreateStream(ctx, jetstream.StreamConfig{Name: "EV", Subjects: []string{"ev"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Publish(ctx, "ev", make([]byte, 1<<20+64<<10)); err != nil {
		t.Errorf("publish of 1 MiB and an envelope: %v", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	dir := t.TempDir()
	for name, cfg := range map[string]natsd.Config{
		"no folder":          {},
		"port too high":      {StoreDir: dir, Port: 70000},
		"unknown durability": {StoreDir: dir, Durability: "async"},
		"negative interval":  {StoreDir: dir, SyncInterval: -1},
		"cluster of nobody":  {StoreDir: dir, Cluster: &natsd.ClusterConfig{Name: "c", Port: 1}},
	} {
		if _, err := natsd.Start(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestPromiseNamesTheLoss(t *testing.T) {
	for _, c := range []struct {
		mode     natsd.Durability
		replicas int
		want     string
	}{
		{natsd.Standard, 1, "up to 1 s"},
		{natsd.Strict, 1, "fsynced"},
		{natsd.Standard, 3, "any one node"},
		{natsd.Strict, 3, "majority"},
	} {
		if got := c.mode.Promise(c.replicas); !strings.Contains(got, c.want) {
			t.Errorf("promise of %s, R%d: %q does not say %q", c.mode, c.replicas, got, c.want)
		}
	}
}

// However long a start takes it goes on, and says so: behind a crash all files are read, and a start that were given up would
// only begin again.
func TestSlowStartGoesOn(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	s := start(t, natsd.Noticed(natsd.Config{StoreDir: t.TempDir(), Logger: zap.New(core)}, time.Microsecond))
	if _, err := inProcess(t, s).AccountInfo(testCtx(t)); err != nil {
		t.Error(err)
	}
	if logs.FilterMessageSnippet("opening its files").Len() == 0 {
		t.Error("a start says nothing, though it takes far longer than a microsecond")
	}
}
