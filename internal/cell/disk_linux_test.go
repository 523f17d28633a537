package cell_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/internal/cell"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// smallDisk is a file system of its own.
func smallDisk(t *testing.T, bytes int) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		t.Skipf("a file system of its own needs the right to mount: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// gauge measures a server's room, and lets a test wait until that is known everywhere.
type gauge struct {
	env  *ledgertest.Env
	seen chan ledger.Room // capacity 1: the latest
}

func (g *gauge) measure(context.Context) (ledger.Room, error) {
	free, total, err := g.env.NATS.Room()
	r := ledger.Room{Free: free, Total: total}
	select {
	case <-g.seen:
	default:
	}
	g.seen <- r
	return r, err
}

// await returns when the room has been measured so for as long as any door goes by what it heard before.
func (g *gauge) await(t *testing.T, is func(free int64) bool) {
	t.Helper()
	limit := time.After(time.Minute)
	for times := 0; times < 3; {
		select {
		case r := <-g.seen:
			if is(r.Free) {
				times++
			} else {
				times = 0
			}
		case <-limit:
			t.Fatal("the room does not change")
		}
	}
}

// What is refused first when the disk fills up, on a disk that really does: at the reserve submits, by
// the service and by the library, large args too, with a reason of their own; a thousand jobs that run meanwhile complete,
// a waiting one is canceled, one that fails is retried, and all of it is recorded. With room again submits are taken.
func TestReserve(t *testing.T) {
	t.Parallel()
	const jobs, disk, reserve = 1000, 96 << 20, 12 << 20
	dir := smallDisk(t, disk)
	env := ledgertest.Start(t, ledgertest.WithStoreDir(filepath.Join(dir, "data")))
	g := &gauge{env: env, seen: make(chan ledger.Room, 1)}
	env.RunServer(func(c *cell.Config) { c.Room, c.Reserve = g.measure, func(int64) int64 { return reserve } })
	s := newSystem(t, env)
	retries := schemas.Backoff{BaseMS: 1000, Factor: 1}
	if _, err := env.Ledger.PutType(t.Context(), schemas.TypeSettings{Name: "echo", Backoff: retries}, ledger.Meta{}, ""); err != nil {
		t.Fatal(err)
	}
	var running atomic.Int64
	all, room := make(chan struct{}), make(chan struct{})
	s.worker("w", "echo", jobs, func(ctx context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		if running.Add(1) == jobs {
			close(all)
		}
		select {
		case <-room:
		case <-ctx.Done():
		}
		if a.ID == "job-7" && a.Number == 1 {
			return nil, handlers.Transient(errors.New("once more"))
		}
		return a.Args, nil
	})
	give := func(l *ledger.Ledger, id schemas.JobID, typ schemas.TypeName, args json.RawMessage) error {
		_, err := l.Submit(t.Context(), ledger.SubmitRequest{Org: acme, Type: typ, ID: id, Args: args, RegisterUnknown: true})
		return err
	}
	var ids []schemas.JobID
	for i := range jobs {
		ids = append(ids, schemas.JobID(fmt.Sprintf("job-%d", i)))
		if err := give(env.Ledger, ids[i], "echo", json.RawMessage(`{"n":1}`)); err != nil {
			t.Fatal(err)
		}
	}
	if err := give(env.Ledger, "waits", "unserved", nil); err != nil {
		t.Fatal(err)
	}
	select {
	case <-all:
	case <-time.After(time.Minute):
		t.Fatalf("%d of %d jobs run", running.Load(), jobs)
	}
	free, _, err := env.NATS.Room()
	if err != nil {
		t.Fatal(err)
	}
	var stat syscall.Statfs_t
	if err := syscall.Statfs(dir, &stat); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, int64(stat.Bavail)*stat.Bsize-reserve+1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	g.await(t, func(free int64) bool { return free < reserve })

	c := env.Client(acme)
	_, byService := c.Submit(t.Context(), ledger.SubmitRequest{Type: "echo", ID: "refused"})
	_, large := c.Submit(t.Context(), ledger.SubmitRequest{Type: "echo", ID: "refused", Args: json.RawMessage(`"` + strings.Repeat("x", 2<<20) + `"`)})
	for what, err := range map[string]error{"the service": byService, "the service, of large args": large,
		"the library": give(env.NewLedger(), "refused", "echo", nil), "a ledger that has submitted before": give(env.Ledger, "refused", "echo", nil)} {
		if e := ledger.AsError(err); err == nil || e.Code != ledger.CodeUnavailable || e.Details[ledger.DetailReason] != ledger.ReasonStorageFull {
			t.Errorf("%s answers a submit at the reserve: %v", what, err)
		}
	}
	if err := give(env.Ledger, "job-3", "echo", json.RawMessage(`{"n":1}`)); err != nil {
		t.Errorf("a submit that was stored already is asked for again: %v", err)
	}
	if _, err := c.Cancel(t.Context(), "waits", "no room"); err != nil {
		t.Errorf("a cancel at the reserve: %v", err)
	}
	close(room)
	s.awaitFinished(append(ids, "waits"))
	for _, id := range ids {
		if j, err := env.Ledger.Fold(t.Context(), acme, id); err != nil || j.State != schemas.StateCompleted || string(j.Result) != `{"n":1}` {
			t.Errorf("job %s is %+v (%v)", id, j, err)
		}
	}
	if _, err := env.Ledger.Fold(t.Context(), acme, "refused"); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("a refused job is known: %v", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	g.await(t, func(free int64) bool { return free > 2*reserve })
	if err := give(env.Ledger, "refused", "echo", nil); err != nil {
		t.Errorf("a submit with room again: %v", err)
	}
	s.awaitFinished([]schemas.JobID{"refused"})
	t.Logf("%d MiB were free at the start", free>>20)
}
