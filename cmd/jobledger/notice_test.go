package main

import (
	"strings"
	"testing"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/projector"
)

// What ended is told to the owner until it was read.
func TestNotice(t *testing.T) {
	w := startWorld(t)
	echoWorker(w)
	id := strings.TrimSpace(w.must(exitOK, "job", "submit", "echo", "--for", "user:ada", "--in", "1h").stdout)
	w.must(exitOK, "job", "cancel", id, "--reason", "a slip", "--force")
	end, err := w.Ledger.End(t.Context())
	if err == nil {
		err = projector.WaitFor(t.Context(), w.Ledger, end.Seq)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := w.must(exitOK, "notice", "ls", "--owner", "user:ada").stdout; !strings.Contains(got, id) {
		t.Errorf("notices:\n%s", got)
	}
	w.must(exitError, "notice", "ls")
	w.must(exitUsage, "notice", "ls", "--owner", "ada")
	w.must(exitUsage, "notice", "read", "--owner", "user:ada", "--through", "never")
	w.must(exitOK, "notice", "read", "--owner", "user:ada")
	if all := decode[gateway.Notices](t, w.must(exitOK, "notice", "ls", "--owner", "user:ada", "-j").stdout); len(all.Items) != 0 || all.Unread != 0 || all.ReadThrough == nil {
		t.Errorf("behind reading: %+v", all)
	}
	if got := w.must(exitOK, "notice", "ls", "--owner", "user:ada", "--all", "--format", "csv").stdout; !strings.Contains(got, id) {
		t.Errorf("all:\n%s", got)
	}
}
