package backup_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/internal/backup"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// An export holds every event of its org once, in order, byte for byte as a replay tells it, with the payloads that
// they name, and nobody else's; interrupted it goes on behind its last part, up to the sequence where the first run
// began, whatever came since.
func TestExport(t *testing.T) {
	t.Parallel()
	s := newSource(t, ledgertest.Start(t))
	if _, err := s.Ledger.Submit(s.Context(), ledger.SubmitRequest{Org: "other", Type: "echo", ID: "theirs"}); err != nil {
		t.Fatal(err)
	}
	s.submit("last", large(2<<20))
	var want bytes.Buffer
	err := s.Ledger.Replay(s.Context(), ledger.ReplayQuery{Org: org}, func(e *ledger.Entry) error {
		line, err := ledger.CloudEvent(e)
		want.Write(append(line, '\n'))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "acme")
	cfg := backup.ExportConfig{Ledger: s.NewLedger(), Logger: zap.NewNop(), Org: org, Dir: dir, Version: "test", PartBytes: 6000}
	ctx, cancel := context.WithCancel(t.Context())
	told := 0
	cfg.Progress = func(schemas.Seq, schemas.Seq) {
		if told++; told == 12 { // in the middle of a part
			cancel()
		}
	}
	if _, err := backup.Export(ctx, cfg); !errors.Is(err, context.Canceled) {
		t.Fatalf("ended in the middle: %v", err)
	}
	s.submit("later", nil)
	cfg.Progress = nil
	done, err := backup.Export(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if done.Events != 22 || done.Payloads != 2 || done.Missing != 0 {
		t.Errorf("exported %+v, want 22 events and 2 payloads", done)
	}
	var got bytes.Buffer
	files, err := filepath.Glob(filepath.Join(dir, "events-*.ndjson"))
	if err != nil || len(files) < 3 {
		t.Fatalf("parts %v (%v)", files, err)
	}
	for _, name := range files {
		got.Write(read(t, name))
	}
	if !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Errorf("exported\n%s\nthe ledger tells\n%s", &got, &want)
	}
	lists, err := filepath.Glob(filepath.Join(dir, "payloads-*.sha256"))
	if err != nil || len(lists) != len(files) {
		t.Fatalf("lists %v (%v)", lists, err)
	}
	payloads := 0
	for _, list := range lists {
		for line := range strings.Lines(string(read(t, list))) {
			sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
			digest := sha256.Sum256(read(t, filepath.Join(dir, name)))
			if hex.EncodeToString(digest[:]) != sum {
				t.Errorf("payload %s has not the digest that is listed", name)
			}
			payloads++
		}
	}
	if payloads != 2 {
		t.Errorf("%d payloads are listed", payloads)
	}
	manifest := sha256.Sum256(read(t, filepath.Join(dir, "manifest.json")))
	if hex.EncodeToString(manifest[:]) != done.SHA256 {
		t.Error("the digest of the manifest is not the one that was told")
	}
	for what, c := range map[string]backup.ExportConfig{"again": cfg, "of another org": {Ledger: cfg.Ledger, Logger: cfg.Logger, Org: "other", Dir: dir}} {
		if _, err := backup.Export(t.Context(), c); ledger.AsError(err) == nil || ledger.AsError(err).Code != ledger.CodeInUse {
			t.Errorf("an export %s into the same folder: %v", what, err)
		}
	}
}

// A payload that is gone does not keep the rest from being exported, and is named.
func TestExportOfWhatIsMissing(t *testing.T) {
	t.Parallel()
	s := newSource(t, ledgertest.Start(t))
	s.SkipVerify()
	if err := s.Ledger.JetStream().DeleteStream(s.Context(), "OBJ_ARGS"); err != nil {
		t.Fatal(err)
	}
	s.Provision()
	dir := t.TempDir()
	done, err := backup.Export(t.Context(), backup.ExportConfig{Ledger: s.NewLedger(), Logger: zap.NewNop(), Org: org, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	var m struct {
		Parts []struct{ Missing []string }
	}
	if err := json.Unmarshal(read(t, filepath.Join(dir, "manifest.json")), &m); err != nil {
		t.Fatal(err)
	}
	if done.Events != 21 || done.Missing != 1 || len(m.Parts) != 1 || !strings.Contains(fmt.Sprint(m.Parts[0].Missing), "acme/large/") {
		t.Errorf("exported %+v, missing %v", done, m.Parts)
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
