package main

import (
	"strings"
	"testing"

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
	info := decode[serverInfo](t, got.stdout)
	if got.code != exitOK || info.Cell != server.Info.Cell.ID || info.Replicas != 1 || info.Ledger.LastSeq < 3 || info.Storage == nil ||
		info.Storage.State != ledger.SpaceOK || info.Archive == nil {
		t.Errorf("exit %d: %s %s", got.code, got.stdout, got.stderr)
	}
	if got := runMain(t, at, "server", "info"); got.code != exitOK || !strings.Contains(got.stdout, "no limit is known") {
		t.Errorf("exit %d: %s %s", got.code, got.stdout, got.stderr)
	}
	server.Stop()
	if info := decode[serverInfo](t, runMain(t, at, "server", "info", "--json").stdout); info.Storage != nil || info.Leader != nil {
		t.Errorf("with no server: %+v", info)
	}
}
