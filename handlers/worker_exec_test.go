//go:build unix

package handlers_test

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// TestWorkerExec shows that a script is a worker (INTERFACE 2.6), and that a drain which gives up on a command
// kills it before its job is handed back.
func TestWorkerExec(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	file := t.TempDir() + "/pid"
	cfg := handlers.Config{Slots: 4, Grace: time.Hour, Serves: []handlers.Registration{
		{Type: "count", Handler: &handlers.Exec{Command: `wc -c`}},
		{Type: "deaf", Handler: &handlers.Exec{Command: `trap '' TERM; echo $$ >` + file + `; while :; do sleep 1; done`}},
	}}
	w, reports, stop := ld.worker(cfg)
	j := ld.give(spec{typ: "count", args: `{"n":1}`})
	if r := next(t, reports); r.Outcome != schemas.EventCompleted {
		t.Errorf("report %+v", r)
	}
	if got := ld.fold(j.ID); string(got.Result) != "7" {
		t.Errorf("result %s", got.Result)
	}

	ld.give(spec{typ: "deaf", args: `{}`})
	pid := 0
	ld.await("the command runs", func(*ledger.Beat) bool {
		b, err := os.ReadFile(file)
		if err != nil || !strings.HasSuffix(string(b), "\n") {
			return false
		}
		pid, err = strconv.Atoi(strings.TrimSpace(string(b)))
		return err == nil
	})
	stopped := make(chan error)
	go func() { stopped <- stop() }()
	ld.await("draining", func(b *ledger.Beat) bool { return b.Draining })
	w.Abort()
	if r := next(t, reports); r.Outcome != schemas.EventReleased {
		t.Errorf("report %+v", r)
	}
	if err := syscall.Kill(pid, 0); err == nil {
		t.Error("the command lives on after its job was handed back")
	}
	if err := <-stopped; err != nil {
		t.Errorf("Run: %v", err)
	}
}
