package main

import (
	"context"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
)

// Retention is set and shown, a legal hold keeps what it stands on, and the leader removes the rest when it is asked to;
// who asks for what is gone is told why.
func TestRetainCommands(t *testing.T) {
	w := startWorld(t)
	archiver, err := ledger.NewArchiver(ledger.ArchiverConfig{Ledger: w.NewLedger(), Logger: zap.NewNop(), Window: time.Nanosecond, Durable: -1})
	if err != nil {
		t.Fatal(err)
	}
	remover, err := ledger.NewRemover(ledger.RemoverConfig{Ledger: w.NewLedger(), Logger: zap.NewNop(), Now: func() time.Time { return time.Now().Add(100 * 24 * time.Hour) }})
	if err != nil {
		t.Fatal(err)
	}
	w.must(exitUsage, "log", "retain")
	w.must(exitUsage, "log", "retain", "--now", "--dry-run")
	says(t, w.must(exitUsage, "org", "add", "acme", "--retention", "29d", "--reason", "r").stderr, "outside 30 to 36500")
	says(t, w.must(exitOK, "org", "add", "acme", "--retention", "60d", "--reason", "contract").stdout, "Retention: 60 days")
	says(t, w.must(exitOK, "type", "add", "fax", "--retention", "45d", "--reason", "r").stdout, "Retention: 45 days")
	says(t, w.must(exitOK, "type", "edit", "fax", "--retention", "default", "--reason", "r").stdout, "Type: fax")

	const gone, kept = "fax-1", "fax-2"
	later := time.Now().Add(24 * time.Hour).UTC().Format(time.RFC3339)
	w.must(exitOK, "job", "submit", "fax", "1", "--id", gone, "--at", later)
	w.must(exitOK, "job", "submit", "fax", "2", "--id", kept, "--at", later, "-O", "globex")
	w.must(exitOK, "job", "cancel", gone, "--reason", "r")
	w.must(exitOK, "job", "cancel", kept, "--reason", "r", "-O", "globex")
	if _, err := archiver.Look(t.Context()); err != nil {
		t.Fatal(err)
	}
	says(t, w.must(exitError, "log", "retain", "--dry-run").stderr, "run it again when a server leads")
	w.component(func(ctx context.Context) error { return remover.Run(ctx, 1) })
	for limit := time.Now().Add(time.Minute); time.Now().Before(limit); {
		if w.run("log", "retain", "--dry-run").code == exitOK {
			break
		}
	}

	says(t, w.must(exitOK, "log", "hold", "add", "globex", "--type", "fax", "--reason", "case 4711").stderr, "its history is kept")
	w.must(exitOK, "log", "hold", "add", "globex", "--type", "fax", "--reason", "case 4711")
	w.must(exitUsage, "log", "hold", "add", "globex", "--type", "fax", "--job", kept, "--reason", "r")
	says(t, w.must(exitOK, "log", "hold", "ls").stdout, "org globex, type fax", "user:ada", "case 4711")
	if all := decode[gateway.LegalHolds](t, w.must(exitOK, "log", "hold", "ls", "-j").stdout); len(all.Items) != 1 || !all.Items[0].On || *all.Items[0].Reason != "case 4711" {
		t.Errorf("%+v", all)
	}
	plan := decode[ledger.RetainPlan](t, w.must(exitOK, "log", "retain", "--dry-run", "-j").stdout)
	if plan.Segments != 1 || plan.Held != 1 || plan.Classes[0].Class != "org:acme" || plan.Jobs != 1 {
		t.Errorf("%+v", plan)
	}
	got := w.must(exitOK, "log", "retain", "--now", "--reason", "space")
	says(t, got.stderr, "2 events of 1 jobs, in 1 segments, removed", "1 segments are past their retention, and a legal hold keeps them")
	says(t, got.stdout, "org:acme")
	says(t, w.must(exitError, "job", "info", gone).stderr, "has no job")
	w.must(exitOK, "job", "info", kept, "-O", "globex")
	info := decode[gateway.CellInfo](t, w.must(exitOK, "server", "info", "-j").stdout)
	if info.Retention == nil || info.Retention.Held != 1 || info.Retention.Leaving != 1 {
		t.Errorf("%+v", info.Retention)
	}
	says(t, w.must(exitOK, "log", "hold", "release", "globex", "--type", "fax", "--reason", "closed").stderr, "released")
	w.must(exitError, "log", "hold", "release", "globex", "--type", "fax", "--reason", "closed")
	w.must(exitOK, "log", "retain", "--now", "--reason", "space")
	w.must(exitError, "job", "info", kept, "-O", "globex")
	says(t, w.must(exitOK, "log", "retain", "--dry-run").stderr, "nothing would be removed")
}
