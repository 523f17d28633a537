package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dartwing/jobledger/internal/natsd"
)

// A start that nobody waits for any more keeps no folder where the process goes on, as in a test that runs a command in its
// own: the server is stopped once it has started (ENGINE 10).
func TestStartNATSGivenUp(t *testing.T) {
	t.Parallel()
	cfg := natsd.Config{StoreDir: t.TempDir(), DontListen: true}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := startNATS(ctx, cfg); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for taken := false; !taken; time.Sleep(time.Millisecond) { // the start goes on beside this
		_, err := os.Stat(filepath.Join(cfg.StoreDir, "LOCK"))
		if taken = err == nil; time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	for ; ; time.Sleep(20 * time.Millisecond) {
		server, err := startNATS(t.Context(), cfg)
		if err == nil {
			server.Shutdown()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
