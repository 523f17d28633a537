package ledger_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// "A really full disk": a file system of its own, filled by submits. Every submit ends in time, as stored or as
// a clear error; nothing acknowledged is lost, and once there is room the ledger goes on.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=12m"); err != nil {
		t.Skipf("a file system of its own needs the right to mount: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	env := ledgertest.Start(t, ledgertest.WithStoreDir(filepath.Join(dir, "data")))
	if _, err := env.Ledger.PutType(env.Context(), schemas.TypeSettings{Name: "echo"}, ledger.Meta{}, ""); err != nil {
		t.Fatal(err)
	}
	// After the start, or the server would count with less room and stop at a limit of its own before the disk does.
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	args := json.RawMessage(`"` + strings.Repeat("x", 256<<10) + `"`)
	stored, failed := map[schemas.JobID]schemas.Seq{}, []schemas.JobID{}
	for i := 0; len(failed) < 3; i++ {
		if i > 100 {
			t.Fatal("the disk does not fill up")
		}
		id := schemas.JobID(fmt.Sprintf("job-%d", i))
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		began := time.Now()
		r, err := env.Ledger.Submit(ctx, ledger.SubmitRequest{Org: sceneOrg, Type: "echo", ID: id, Args: args})
		cancel()
		if took := time.Since(began); took > time.Minute { // aim: the deadline
			t.Errorf("submit took %s with a deadline of 300 ms", took)
		}
		if err == nil {
			stored[id] = r.Seq
			continue
		}
		if e := ledger.AsError(err); e.Code != ledger.CodeUnavailable || errors.Is(err, ledger.ErrRefused) {
			t.Errorf("submit on a full disk: %v, want unavailable", err)
		}
		t.Logf("after %d jobs: %v", len(stored), err)
		failed = append(failed, id)
	}
	if len(stored) == 0 {
		t.Fatal("nothing was stored before the disk was full")
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	env.Restart()
	for id, seq := range stored {
		if j, err := env.Ledger.Fold(t.Context(), sceneOrg, id); err != nil || j.SubmittedSeq != seq {
			t.Errorf("acknowledged job %s at %d is lost: %+v (%v)", id, seq, j, err)
		}
	}
	for _, id := range failed {
		r, err := env.Ledger.Submit(t.Context(), ledger.SubmitRequest{Org: sceneOrg, Type: "echo", ID: id, Args: args})
		if err != nil || r.ID != id {
			t.Errorf("submit %s again with room: %+v (%v)", id, r, err)
		}
	}
}
