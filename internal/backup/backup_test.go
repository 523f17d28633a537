package backup_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/internal/backup"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

const org = schemas.OrgID("acme")

// source is a ledger with jobs, one of them with args in the object store.
type source struct {
	*ledgertest.Env
	t *testing.T
}

func newSource(t *testing.T, env *ledgertest.Env) *source {
	t.Helper()
	s := &source{env, t}
	if _, err := env.Ledger.PutType(env.Context(), schemas.TypeSettings{Name: "echo"}, ledger.Meta{}, ""); err != nil {
		t.Fatal(err)
	}
	s.submit("large", large(3<<20))
	for i := range 20 {
		s.submit(schemas.JobID(fmt.Sprintf("job-%d", i)), large(1000))
	}
	return s
}

// large are args that no compression makes smaller.
func large(n int) json.RawMessage {
	b := make([]byte, n/2)
	_, _ = rand.Read(b)
	return json.RawMessage(`"` + hex.EncodeToString(b) + `"`)
}

func (s *source) submit(id schemas.JobID, args json.RawMessage) {
	s.t.Helper()
	if _, err := s.Ledger.Submit(s.Context(), ledger.SubmitRequest{Org: org, Type: "echo", ID: id, Args: args}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *source) config(dir string) backup.Config {
	return backup.Config{Ledger: s.NewLedger(), Logger: zap.NewNop(), Dir: dir, Version: "test"}
}

func (s *source) backup(dir string) *backup.Summary {
	s.t.Helper()
	done, err := backup.Run(s.Context(), s.config(dir))
	if err != nil {
		s.t.Fatal(err)
	}
	return done
}

// target is an empty store.
func target(t *testing.T) *ledgertest.Env {
	t.Helper()
	return ledgertest.Start(t, ledgertest.WithoutProvision())
}

func restoreTo(t *testing.T, nc *nats.Conn, dir string, change ...func(*backup.RestoreConfig)) (*backup.Summary, error) {
	t.Helper()
	cfg := backup.RestoreConfig{Conn: nc, Logger: zap.NewNop(), Dir: dir, Replicas: 1}
	for _, c := range change {
		c(&cfg)
	}
	return backup.Restore(t.Context(), cfg)
}

// verify provisions what a backup leaves out, and runs the checker.
func verify(t *testing.T, env *ledgertest.Env) {
	t.Helper()
	env.Provision()
	v, err := ledger.Verify(env.Context(), ledger.VerifyConfig{Ledger: env.NewLedger(), Full: true})
	if err != nil {
		t.Fatal(err)
	}
	if !v.OK {
		text, _ := json.Marshal(v)
		t.Errorf("the checker finds damage in the copy: %s", text)
	}
}

// history is a job's events as the ledger has them, byte for byte.
func history(t *testing.T, l *ledger.Ledger, id schemas.JobID) string {
	t.Helper()
	var text strings.Builder
	err := l.Replay(t.Context(), ledger.ReplayQuery{Org: org, Job: id}, func(e *ledger.Entry) error {
		line, err := ledger.CloudEvent(e)
		text.Write(line)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// A copy that is taken while jobs are submitted and canceled is a ledger: the checker finds nothing in it, every job
// that was acknowledged before the backup began is in it with the same events and payload, and it goes on (R-42,
// R-112, DESIGN D2). The source notices nothing.
func TestBackupUnderLoad(t *testing.T) {
	t.Parallel()
	s := newSource(t, ledgertest.Start(t))
	ctx, cancel := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for w := range 4 {
		l := s.NewLedger()
		writers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				id, args := schemas.JobID(fmt.Sprintf("w%d-%d", w, i)), large(2000)
				if i%64 == 0 {
					args = large(1200 << 10) // by reference
				}
				_, err := l.Submit(context.WithoutCancel(ctx), ledger.SubmitRequest{Org: org, Type: "echo", ID: id, Args: args})
				if err == nil && i%2 == 0 {
					_, _, err = l.Do(context.WithoutCancel(ctx), org, id, &ledger.Cancel{Reason: "load"}, ledger.Meta{})
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for seq := schemas.Seq(0); seq < 500 && ctx.Err() == nil; { // so that there is something to read slowly
		end, err := s.Ledger.End(s.Context())
		if err != nil {
			t.Fatal(err)
		}
		seq = end.Seq
	}
	dir := t.TempDir()
	cfg := s.config(dir)
	cfg.Rate = 32 << 20
	done, err := backup.Run(s.Context(), cfg)
	cancel()
	if err != nil {
		t.Fatal(err)
	}
	writers.Wait()
	end, err := s.Ledger.End(s.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d events up to %d, %d bytes; the source was at %d when the load ended", done.Events, done.LastSeq, done.Bytes, end.Seq)
	to := target(t)
	again, err := restoreTo(t, to.Connect(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if again.SHA256 != done.SHA256 || again.LastSeq != done.LastSeq {
		t.Errorf("restored %+v of %+v", again, done)
	}
	verify(t, to)
	restored := to.NewLedger()
	for _, id := range []schemas.JobID{"large", "job-0", "job-19"} {
		if a, b := history(t, s.Ledger, id), history(t, restored, id); a != b || a == "" {
			t.Errorf("job %s has the events\n%s\nin the copy, in the source\n%s", id, b, a)
		}
	}
	j, err := restored.Fold(t.Context(), org, "large")
	if err != nil {
		t.Fatal(err)
	}
	args, err := restored.Args(t.Context(), j)
	if want, wantErr := s.Ledger.Args(t.Context(), j); err != nil || wantErr != nil || !bytes.Equal(args, want) {
		t.Errorf("the payload of the copy has %d bytes, %d in the source (%v, %v)", len(args), len(want), err, wantErr)
	}
	r, err := restored.Submit(t.Context(), ledger.SubmitRequest{Org: org, Type: "echo", ID: "after", Args: json.RawMessage(`1`)})
	if err != nil || r.Seq <= schemas.Seq(done.LastSeq) {
		t.Errorf("a submit to the copy: %+v (%v), its last event was %d", r, err, done.LastSeq)
	}
}

// A backup of which nothing may be believed is refused before anything is created, and what is wrong is named.
func TestDamageIsFound(t *testing.T) {
	t.Parallel()
	s := newSource(t, ledgertest.Start(t))
	whole := t.TempDir()
	done := s.backup(whole)
	to := target(t)
	part, err := filepath.Glob(filepath.Join(whole, "OBJ_ARGS-*", "00000"))
	if err != nil || len(part) != 1 {
		t.Fatalf("%v %v", part, err)
	}
	name, _ := filepath.Rel(whole, part[0])
	flip := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
	cut := func(b []byte) []byte { return b[:len(b)/2] }
	for _, c := range []struct {
		what, file string
		change     func([]byte) []byte
		want       string
	}{
		{"one bit of a part", name, flip, filepath.ToSlash(name)},
		{"half a part", name, cut, filepath.ToSlash(name)},
		{"half a manifest", "manifest.json", cut, "manifest.json is damaged"},
		{"one bit of the manifest", "manifest.json", flip, "manifest.json is damaged"},
		{"another digest", "manifest.json.sha256", flip, "manifest.json is damaged"},
		{"no manifest", "manifest.json", nil, "interrupted"},
		{"no part", name, nil, "is missing"},
	} {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
			t.Fatal(err)
		}
		at := filepath.Join(dir, filepath.FromSlash(c.file))
		body, err := os.ReadFile(at)
		if err == nil && c.change == nil {
			err = os.Remove(at)
		} else if err == nil {
			err = os.WriteFile(at, c.change(body), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		_, err = restoreTo(t, to.Connect(), dir)
		if !errors.Is(err, backup.ErrDamaged) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want it named: %s", c.what, err, c.want)
		}
	}
	_, err = restoreTo(t, to.Connect(), whole, func(c *backup.RestoreConfig) { c.SHA256 = strings.Repeat("0", 64) })
	if !errors.Is(err, backup.ErrDamaged) {
		t.Errorf("another backup than the one that was asked for: %v", err)
	}
	for name := range to.Ledger.JetStream().StreamNames(t.Context()).Name() {
		t.Errorf("stream %s was created of a damaged backup", name)
	}
	if _, err := restoreTo(t, to.Connect(), whole, func(c *backup.RestoreConfig) { c.SHA256 = done.SHA256 }); err != nil {
		t.Fatal(err)
	}
	verify(t, to)
	_, err = restoreTo(t, to.Connect(), whole)
	if e := ledger.AsError(err); err == nil || e.Code != ledger.CodeInUse || !strings.Contains(e.Message, "LEDGER") {
		t.Errorf("a restore over a ledger that goes on: %v", err)
	}
}

// A folder that is not empty and not ours, or holds another backup, is not written to.
func TestBackupFolder(t *testing.T) {
	t.Parallel()
	s := newSource(t, ledgertest.Start(t))
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "thesis.doc"), []byte("years"), 0o600); err != nil {
		t.Fatal(err)
	}
	ours := filepath.Join(t.TempDir(), "made", "for", "it")
	s.backup(ours)
	for _, dir := range []string{foreign, ours} {
		_, err := backup.Run(t.Context(), s.config(dir))
		if e := ledger.AsError(err); err == nil || e.Code != ledger.CodeInUse {
			t.Errorf("backup into %s: %v, want in_use", dir, err)
		}
	}
	if there, err := os.ReadDir(foreign); err != nil || len(there) != 1 {
		t.Errorf("a foreign folder holds %v (%v)", there, err)
	}
}

// interrupted ends a run by its progress: after it has said so much about a stream.
func interrupted(t *testing.T, what string, run func(ctx context.Context, said func(stream string)) error, at string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := run(ctx, func(stream string) {
		if stream == at {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("%s ended in the middle: %v, want it canceled", what, err)
	}
}

// An interrupted backup and an interrupted restore go on where they stopped: what is whole is kept, the rest is
// done again, and between the two no server takes the half-filled store for a ledger.
func TestGoOn(t *testing.T) {
	t.Parallel()
	s := newSource(t, ledgertest.Start(t))
	for i := range 8 {
		s.submit(schemas.JobID(fmt.Sprintf("large-%d", i)), large(3<<20))
	}
	dir := t.TempDir()
	interrupted(t, "the backup", func(ctx context.Context, said func(string)) error {
		cfg := s.config(dir)
		cfg.Progress = func(p backup.Progress) { said(p.Stream) }
		_, err := backup.Run(ctx, cfg)
		return err
	}, "OBJ_ARGS")
	done := s.backup(dir)
	keeps(t, done, "LEDGER", true)
	keeps(t, done, "OBJ_ARGS", false)
	to := target(t)
	interrupted(t, "the restore", func(ctx context.Context, said func(string)) error {
		_, err := backup.Restore(ctx, backup.RestoreConfig{Conn: to.Connect(), Logger: zap.NewNop(), Dir: dir, Replicas: 1,
			Progress: func(p backup.RestoreProgress) {
				if !p.Checking && p.Done > 1<<20 {
					said(p.Stream)
				}
			}})
		return err
	}, "OBJ_ARGS")
	if _, err := ledger.Provision(to.Context(), to.Ledger, ledger.ProvisionConfig{Version: "test"}); err == nil || !strings.Contains(err.Error(), "restore") {
		t.Errorf("a server starts on half a copy: %v", err)
	}
	if err := to.Ledger.Check(to.Context()); err == nil || !strings.Contains(err.Error(), "restore") {
		t.Errorf("a publisher starts on half a copy: %v", err)
	}
	again, err := restoreTo(t, to.Connect(), dir)
	if err != nil {
		t.Fatal(err)
	}
	keeps(t, again, "LEDGER", true)
	keeps(t, again, "OBJ_ARGS", false)
	if _, err := restoreTo(t, to.Connect(), dir); err != nil {
		t.Errorf("the report of a complete restore is asked for again: %v", err)
	}
	verify(t, to)
}

func keeps(t *testing.T, done *backup.Summary, stream string, want bool) {
	t.Helper()
	for _, s := range done.Streams {
		if s.Name == stream {
			if s.Kept != want {
				t.Errorf("stream %s kept: %t, want %t", stream, s.Kept, want)
			}
			return
		}
	}
	t.Errorf("no stream %s in %+v", stream, done)
}

// A copy of three replicas is put back as one, and the other way round.
func TestReplicasChange(t *testing.T) {
	t.Parallel()
	cluster := newSource(t, ledgertest.StartCluster(t))
	dir, back := t.TempDir(), t.TempDir()
	cluster.backup(dir)
	one := target(t)
	if _, err := restoreTo(t, one.Connect(), dir); err != nil {
		t.Fatal(err)
	}
	verify(t, one)
	small := &source{one, t}
	small.backup(back)
	three := ledgertest.StartCluster(t, ledgertest.WithoutProvision())
	if _, err := restoreTo(t, three.Connect(), back, func(c *backup.RestoreConfig) { c.Replicas = 3 }); err != nil {
		t.Fatal(err)
	}
	verify(t, three)
	if a, b := history(t, cluster.Ledger, "job-7"), history(t, three.NewLedger(), "job-7"); a != b || a == "" {
		t.Errorf("events\n%s\nbecame\n%s", a, b)
	}
}
