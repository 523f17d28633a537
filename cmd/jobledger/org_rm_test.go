package main

import (
	"strings"
	"testing"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// an org is deleted by a person, who sees first what that ends and is asked; the command follows the leader, may be
// interrupted, and does no harm when it is given again. The leader here is the test.
func TestOrgRm(t *testing.T) {
	w := startWorld(t)
	l := w.NewLedger()
	w.must(exitOK, "job", "submit", "echo", "1", "--id", "waits", "--in", "1h")
	w.must(exitOK, "org", "add", "acme", "--reason", "plan business")
	w.must(exitOK, "org", "add", "empty", "--reason", "a mistake")
	w.seen()
	if none := w.must(exitError, "org", "rm", "nobody", "--reason", "r", "--force"); !strings.Contains(none.stderr, "[not_found]") {
		t.Errorf("an org that never was: %+v", none)
	}
	if dry := w.must(exitOK, "org", "rm", "acme", "--dry-run"); !strings.Contains(dry.stderr, "org acme has 1 job unfinished, 0 of them running, and 0 schedules") {
		t.Errorf("dry run: %+v", dry)
	}
	w.must(exitUsage, "org", "rm", "acme", "--force")                    // why?
	w.must(exitUsage, "org", "rm", "acme", "--reason", "contract ended") // nobody to ask
	if o := decode[gateway.Org](t, w.must(exitOK, "org", "info", "acme", "-j").stdout); o.State != schemas.OrgActive {
		t.Fatalf("it is %s already", o.State)
	}
	says(t, w.must(exitOK, "org", "rm", "empty", "--reason", "a mistake", "--force").stderr, "org empty is deleted, none of its jobs is left")

	says(t, w.must(exitOK, "org", "rm", "acme", "--reason", "contract ended", "--force", "--no-wait").stderr, "the servers go on with 1 job")
	_, stop := w.background("org", "rm", "acme")
	if left := stop(); left.code == exitOK {
		t.Errorf("interrupted: %+v", left)
	}
	out, _ := w.background("org", "rm", "acme", "-j")
	if _, _, err := l.Do(t.Context(), "acme", "waits", &ledger.DeadLetter{Reason: schemas.DeadOrgDeleted}, ledger.Meta{}); err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for line, err := out.next(); err == nil; line, err = out.next() {
		all.WriteString(line + "\n")
	}
	if r := decode[gateway.OrgRemoval](t, all.String()); r.State != schemas.OrgDeleted || r.Unfinished != 0 || r.DeadLettered != 1 || r.DryRun || *r.Reason != "contract ended" {
		t.Errorf("followed: %+v", r)
	}
	for _, args := range [][]string{
		{"job", "submit", "echo", "2"}, {"job", "retry", "waits", "--reason", "r"}, {"org", "add", "acme", "--reason", "r"},
		{"org", "resume", "acme", "--reason", "r"}, {"org", "edit", "acme", "--weight", "2", "--reason", "r"},
	} {
		if got := w.must(exitError, args...); !strings.Contains(got.stderr, "[org_not_found]") || !strings.Contains(got.stderr, "use another org") {
			t.Errorf("%v: %s", args, got.stderr)
		}
	}
	says(t, w.must(exitOK, "org", "info", "acme", "--history").stdout, "contract ended", `"state":"deleted"`)
}
