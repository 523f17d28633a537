package main

import (
	"strings"
	"testing"
	"time"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
)

// INTERFACE 2: what a cell is, and what is left of its storage, is told without a look into any server.
func TestServerInfo(t *testing.T) {
	t.Parallel()
	env, server := ledgertest.Cell(t, ledgertest.WithPort())
	if _, err := env.Ledger.Submit(t.Context(), ledger.SubmitRequest{Org: "acme", Type: "echo", RegisterUnknown: true}); err != nil {
		t.Fatal(err)
	}
	at := map[string]string{"NATS_URL": env.URL()}
	got := runMain(t, at, "server", "info", "--json")
	info := decode[gateway.CellInfo](t, got.stdout)
	if got.code != exitOK || info.Cell != server.Info.Cell.ID || info.Replicas != 1 || info.Ledger.LastSeq < 3 || info.Storage == nil ||
		info.Storage.State != ledger.SpaceOK || info.Archive == nil {
		t.Errorf("exit %d: %s %s", got.code, got.stdout, got.stderr)
	}
	for limit := time.Now().Add(time.Minute); info.Archiver == nil && time.Now().Before(limit); { // it comes with the leadership
		info = decode[gateway.CellInfo](t, runMain(t, at, "server", "info", "--json").stdout)
	}
	if a := info.Archiver; a == nil || a.HotWindowS != 0 || a.BehindS != 0 || a.Held != nil || a.Error != "" {
		t.Errorf("the archiver: %+v", a)
	}
	if got := runMain(t, at, "server", "info"); got.code != exitOK || !strings.Contains(got.stdout, "no limit is known") {
		t.Errorf("exit %d: %s %s", got.code, got.stdout, got.stderr)
	}
	server.Stop()
	if info := decode[gateway.CellInfo](t, runMain(t, at, "server", "info", "--json").stdout); info.Storage != nil || info.Leader != nil || info.Archiver != nil {
		t.Errorf("with no server: %+v", info)
	}
}

// What the archive waits for is told with its reason, and how long that is beyond what it should be.
func TestArchiverText(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	held := &ledger.ArchiverHeld{Subject: "jobs.acme.long", Seq: 7, Why: "it is running"}
	for _, c := range []struct {
		since time.Duration
		want  string
	}{
		{90 * time.Minute, "hot window 1h0m0s, 30s behind; held by jobs.acme.long at 7: it is running"},
		{5 * time.Hour, "hot window 1h0m0s, 30s behind; held by jobs.acme.long at 7: it is running, for 4h0m0s longer than it should"},
	} {
		held.Since = now.Add(-c.since)
		a := &gateway.ArchiverInfo{HotWindowS: 3600, BehindS: 30, ArchiverStatus: ledger.ArchiverStatus{Held: held}}
		if got := archiverText(a, now); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
	a := &gateway.ArchiverInfo{HotWindowS: 600, ArchiverStatus: ledger.ArchiverStatus{Error: "no", ErrorAt: now}}
	if got, want := archiverText(a, now), "hot window 10m0s, in time; last error at 2026-03-01T12:00:00Z: no"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
