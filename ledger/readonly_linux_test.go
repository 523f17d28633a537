package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dartwing/jobledger/internal/natsd"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// ext4 mounts a file system of its own on a new folder. A test without the right, or the programs, is skipped.
func ext4(t *testing.T) (dir string, remount func()) {
	t.Helper()
	image, dir := filepath.Join(t.TempDir(), "image"), t.TempDir()
	for _, c := range [][]string{{"truncate", "-s", "64M", image}, {"mkfs.ext4", "-q", "-F", image}, {"mount", "-o", "loop", image, dir}} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			t.Skipf("a file system of its own needs mkfs.ext4, a loop device and the right to mount: %v: %v: %s", c, err, out)
		}
	}
	unmount := func() error { return syscall.Unmount(dir, 0) }
	t.Cleanup(func() {
		if err := unmount(); err != nil {
			t.Error(err)
		}
	})
	return dir, func() {
		t.Helper()
		if err := unmount(); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("mount", "-o", "loop", image, dir).CombinedOutput(); err != nil {
			t.Fatalf("mount: %v: %s", err, out)
		}
	}
}

// "A store that turns read-only": what a kernel does with a file system whose disk fails. (Permissions would not stop
// root, and one that is in use cannot be remounted read-only by hand.) Every submit ends in time with a clear error
// that says what to do; nothing acknowledged is lost; and once the file system is well again, so is the ledger.
func TestReadOnlyStore(t *testing.T) {
	dir, remount := ext4(t)
	// Synced before it is acknowledged: what a process wrote and did not sync dies with a file system.
	env := ledgertest.Start(t, ledgertest.WithStoreDir(filepath.Join(dir, "data")), ledgertest.WithDurability(natsd.Strict))
	if _, err := env.Ledger.PutType(env.Context(), schemas.TypeSettings{Name: "echo"}, ledger.Meta{}, ""); err != nil {
		t.Fatal(err)
	}
	submit := func(id schemas.JobID) (ledger.Receipt, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		return env.Ledger.Submit(ctx, ledger.SubmitRequest{Org: sceneOrg, Type: "echo", ID: id})
	}
	stored := map[schemas.JobID]schemas.Seq{}
	for i := range 20 {
		id := schemas.JobID(fmt.Sprintf("before-%d", i))
		r, err := submit(id)
		if err != nil {
			t.Fatal(err)
		}
		stored[id] = r.Seq
	}
	if out, err := exec.Command("mount", "-o", "remount,abort", dir).CombinedOutput(); err != nil {
		t.Skipf("the kernel does not give up a file system on demand: %v: %s", err, out)
	}
	var failed []schemas.JobID
	for i := range 3 {
		id := schemas.JobID(fmt.Sprintf("during-%d", i))
		r, err := submit(id)
		if err == nil {
			t.Errorf("%s was acknowledged at %d by a store that cannot be written", id, r.Seq)
			continue
		}
		if e := ledger.AsError(err); e.Code != ledger.CodeUnavailable || errors.Is(err, ledger.ErrRefused) {
			t.Errorf("submit to a read-only store: %v, want unavailable", err)
		} else if !strings.Contains(e.Message, "read-only") || !strings.Contains(e.Message, "repeat it") {
			t.Errorf("the error does not say what to do: %v", err)
		}
		t.Logf("%s: %v", id, err)
		failed = append(failed, id)
	}
	env.Stop()
	remount()
	env.Restart()
	for id, seq := range stored {
		if j, err := env.Ledger.Fold(t.Context(), sceneOrg, id); err != nil || j.SubmittedSeq != seq {
			t.Errorf("acknowledged job %s at %d is lost: %+v (%v)", id, seq, j, err)
		}
	}
	for _, id := range failed {
		if r, err := submit(id); err != nil || r.ID != id {
			t.Errorf("submit %s again: %+v (%v)", id, r, err)
		}
	}
}
