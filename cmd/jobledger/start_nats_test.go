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
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	limit, taken := time.After(time.Minute), false
	for {
		select {
		case <-look.C:
		case <-limit:
			t.Fatal("the folder is held by a server that nobody waits for")
		}
		if !taken { // the start goes on beside this
			_, err := os.Stat(filepath.Join(cfg.StoreDir, "LOCK"))
			taken = err == nil
			continue
		}
		if server, err := startNATS(t.Context(), cfg); err == nil {
			server.Shutdown()
			return
		}
	}
}
