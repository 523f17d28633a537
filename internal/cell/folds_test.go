package cell_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/dartwing/jobledger/dispatcher"
	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/internal/cell"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// foldBed is a cell whose server keeps its fold in a file.
type foldBed struct {
	t    *testing.T
	env  *ledgertest.Env
	file dispatcher.FoldFile
	c    *gateway.Client
	open []schemas.JobID // submitted, and not finished
}

// server starts a server and reports what its log says of the saved fold.
func (b *foldBed) server() (s *ledgertest.Server, says string) {
	b.t.Helper()
	core, logs := observer.New(zapcore.InfoLevel)
	s = b.env.RunServer(func(c *cell.Config) {
		c.Logger, c.Folds, c.Times.Save = zap.New(core), b.file, time.Hour
	})
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(time.Minute); time.Now().Before(limit); <-tick.C {
		for _, e := range logs.All() {
			if e.Message == foldNone || e.Message == foldLoaded || e.Message == foldRefused {
				b.submit(1)
				return s, e.Message
			}
		}
	}
	b.t.Fatal("the log says nothing of the saved fold")
	return nil, ""
}

func (b *foldBed) submit(n int) {
	b.t.Helper()
	for range n {
		b.open = append(b.open, submit(b.t, b.c, len(b.open)))
	}
}

// finish has a worker run all that is open.
func (b *foldBed) finish() {
	b.t.Helper()
	stop := work(b.t, b.env)
	for _, id := range b.open {
		finish(b.t, b.c, id, time.Minute)
	}
	b.open = nil
	stop()
}

func (b *foldBed) read() []byte {
	b.t.Helper()
	raw, err := os.ReadFile(string(b.file))
	if err != nil {
		b.t.Fatal(err)
	}
	return raw
}

func (b *foldBed) write(raw []byte) {
	b.t.Helper()
	if err := b.file.Replace(func(w io.Writer) error { _, err := w.Write(raw); return err }); err != nil {
		b.t.Fatal(err)
	}
}

// What the log says of a saved fold.
const (
	foldNone    = "no saved fold, the ledger is folded from its beginning"
	foldLoaded  = "saved fold loaded"
	foldRefused = "the saved fold is not used, the ledger is folded from its beginning"
)

// TestSavedFold starts servers on saved folds that are fresh, or as old as one that a crash leaves behind, or damaged,
// or another ledger's. Whatever it is, no job is lost or runs twice (DESIGN D6).
func TestSavedFold(t *testing.T) {
	t.Parallel()
	b := &foldBed{t: t, env: ledgertest.Start(t), file: dispatcher.FoldFile(filepath.Join(t.TempDir(), "folds", "dispatcher"))}
	b.c = b.env.Client("acme")
	s, says := b.server()
	if says != foldNone {
		t.Errorf("without a saved fold: %s", says)
	}
	b.submit(20)
	b.finish()
	b.submit(20)
	s.Stop()
	old := b.read()
	for _, tc := range []struct {
		name string
		fold func(now []byte) []byte
		want string
	}{
		{"fresh", func(now []byte) []byte { return now }, foldLoaded},
		{"of a crash", func([]byte) []byte { return old }, foldLoaded},
		{"cut off", func(now []byte) []byte { return now[:len(now)/2] }, foldRefused},
		{"empty", func([]byte) []byte { return nil }, foldRefused},
		{"another ledger's", func([]byte) []byte { return foreignFold(t, 30) }, foldRefused},
		{"of a longer ledger", func([]byte) []byte { return foreignFold(t, 100_000) }, foldRefused},
		{"fresh once more", func(now []byte) []byte { return now }, foldLoaded},
	} {
		b.write(tc.fold(b.read()))
		s, says := b.server()
		if says != tc.want {
			t.Errorf("a saved fold that is %s: %s", tc.name, says)
		}
		b.submit(5)
		b.finish()
		b.submit(5) // for the next server
		s.Stop()
	}
	b.server()
	b.finish()
}

// foreignFold is the saved fold of a ledger of other events.
func foreignFold(t *testing.T, events schemas.Seq) []byte {
	t.Helper()
	c := dispatcher.NewCore(dispatcher.DefaultTimes())
	for seq := range events {
		c.Skip(&schemas.Event{Seq: seq + 1, ID: schemas.NewEventID()}, false)
	}
	var out bytes.Buffer
	if err := c.Save(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestSavedFoldNewerThanTheLedger puts an older copy of the ledger's files back beneath a server's saved fold.
func TestSavedFoldNewerThanTheLedger(t *testing.T) {
	t.Parallel()
	store, copied := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	b := &foldBed{t: t, env: ledgertest.Start(t, ledgertest.WithStoreDir(store)), file: dispatcher.FoldFile(filepath.Join(t.TempDir(), "dispatcher"))}
	b.c = b.env.Client("acme")
	s, _ := b.server()
	b.submit(10)
	s.Stop()
	b.env.Stop()
	if err := os.CopyFS(copied, os.DirFS(store)); err != nil {
		t.Fatal(err)
	}
	b.env.StartServer()
	b.c = b.env.Client("acme")
	s, _ = b.server()
	kept := b.open[:11]
	b.submit(10)
	stop := work(t, b.env)
	finish(t, b.c, b.open[len(b.open)-1], time.Minute) // so that what this server saves is of events that the copy does not hold
	stop()
	s.Stop()
	b.env.Stop()
	if err := os.RemoveAll(store); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(store, os.DirFS(copied)); err != nil {
		t.Fatal(err)
	}
	b.env.StartServer()
	b.c, b.open = b.env.Client("acme"), kept
	if _, says := b.server(); says != foldRefused {
		t.Errorf("the saved fold is newer than the ledger: %s", says)
	}
	b.finish()
}
