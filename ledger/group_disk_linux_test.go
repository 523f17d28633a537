package ledger_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// wave is how many submits meet in these tests: most of them go in batches.
const wave = 40

// waves are submits that meet, to a disk that fills up beneath them.
type waves struct {
	t      *testing.T
	env    *ledgertest.Env
	args   json.RawMessage
	stored map[schemas.JobID]schemas.Seq
	failed []schemas.JobID
}

func newWaves(t *testing.T, dir string, args json.RawMessage) *waves {
	t.Helper()
	env := ledgertest.Start(t, ledgertest.WithStoreDir(filepath.Join(dir, "data")), ledgertest.WithGroups())
	if _, err := env.Ledger.PutType(env.Context(), schemas.TypeSettings{Name: "echo"}, ledger.Meta{}, ""); err != nil {
		t.Fatal(err)
	}
	return &waves{t: t, env: env, args: args, stored: make(map[schemas.JobID]schemas.Seq)}
}

// submit has one wave of jobs submitted, and reports how many were acknowledged. Each ends as stored or as a clear error.
func (w *waves) submit(n int, limit time.Duration) (acked int) {
	w.t.Helper()
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range wave {
		id := schemas.JobID(fmt.Sprintf("job-%d-%d", n, i))
		all.Go(func() {
			ctx, cancel := context.WithTimeout(w.t.Context(), limit)
			defer cancel()
			r, err := w.env.Ledger.Submit(ctx, ledger.SubmitRequest{Org: sceneOrg, Type: "echo", ID: id, Args: w.args})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				w.stored[id] = r.Seq
				acked++
				return
			}
			if e := ledger.AsError(err); e.Code != ledger.CodeUnavailable || errors.Is(err, ledger.ErrRefused) {
				w.t.Errorf("submit to a disk that fails: %v, want unavailable", err)
			}
			w.failed = append(w.failed, id)
		})
	}
	all.Wait()
	return acked
}

// judge holds a server that was started again to what was acknowledged, and submits the rest once more.
func (w *waves) judge() {
	w.t.Helper()
	for id, seq := range w.stored {
		if j, err := w.env.Ledger.Fold(w.t.Context(), sceneOrg, id); err != nil || j.SubmittedSeq != seq {
			w.t.Errorf("acknowledged job %s at %d is lost: %+v (%v)", id, seq, j, err)
		}
	}
	for _, id := range w.failed {
		r, err := w.env.Ledger.Submit(w.t.Context(), ledger.SubmitRequest{Org: sceneOrg, Type: "echo", ID: id, Args: w.args})
		if err != nil || r.ID != id {
			w.t.Errorf("submit %s again: %+v (%v)", id, r, err)
		}
	}
}

// "A really full disk", in the middle of batches: as TestFullDisk, where each write is synced and those that meet go together.
func TestGroupFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=12m"); err != nil {
		t.Skipf("a file system of its own needs the right to mount: %v", err)
	}
	t.Cleanup(func() {
		// The server keeps what it staged of a batch that it could not store: a file stays open as long as this process.
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	w := newWaves(t, dir, json.RawMessage(`"`+strings.Repeat("x", 16<<10)+`"`))
	// After the start, or the server would count with less room and stop at a limit of its own before the disk does.
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 6<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for n := 0; len(w.failed) < wave; n++ {
		if n > 100 {
			t.Fatal("the disk does not fill up")
		}
		w.submit(n, 3*time.Second)
	}
	t.Logf("%d were stored before the disk was full, %d are not acknowledged", len(w.stored), len(w.failed))
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	w.env.Restart()
	w.judge()
}
