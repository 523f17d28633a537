package index_test

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/projector/index"
)

// pageSize is that of SQLite's file.
const pageSize = 4096

// DESIGN D2: damage that only readers meet is noticed by them, and the index is folded anew.
func TestReaderMeetsDamage(t *testing.T) {
	env := ledgertest.Start(t)
	f, dir := feed(t, env), t.TempDir()
	walk := ledgertest.NewWalk(env, t, 1)
	for range 10 {
		walk.Step()
	}
	x, stop := start(t, env, f, dir)
	check(t, env, x)
	page, err := x.RootPage(t.Context(), "jobs")
	if err != nil {
		t.Fatal(err)
	}
	stop()
	file, err := os.OpenFile(filepath.Join(dir, "index.sqlite"), os.O_RDWR, 0)
	if err == nil {
		_, err = file.WriteAt(bytes.Repeat([]byte{0xff}, pageSize), (page-1)*pageSize)
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	x, _ = start(t, env, f, dir)
	caughtUp(t, env, x)
	if _, err := x.Find(t.Context(), &index.Query{Org: "org0", Limit: 9, Now: time.Now()}); !errors.Is(err, index.ErrFolding) {
		t.Errorf("of a damaged file Find says %v", err)
	}
	check(t, env, x)
}

// full is SQLite's error of a full disk.
func full(t testing.TB) error {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "full")+"?_pragma=max_page_count(4)")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }() // a scratch file
	if _, err := db.ExecContext(t.Context(), `CREATE TABLE t(b)`); err != nil {
		t.Fatal(err)
	}
	_, err = db.ExecContext(t.Context(), `INSERT INTO t VALUES(zeroblob(1000000))`)
	return err
}

// DESIGN D2: a ledger that does not answer and a full disk cost a fold from zero as little as they gain by one; a file that
// fails by itself is thrown away.
func TestOnlyTheFilesOwnFailuresThrowItAway(t *testing.T) {
	env := ledgertest.Start(t)
	l := env.NewLedger()
	x, err := index.New(index.Config{Ledger: l, Feed: feed(t, env), Dir: t.TempDir(), Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	l.Conn().Close()
	for name, err := range map[string]error{"the ledger": x.Once(t.Context()), "a full disk": full(t)} {
		if err == nil {
			t.Fatalf("%s does not fail", name)
		}
		failed, last := index.Failures(), time.Duration(0)
		for range 10 {
			anew, pause := failed(fmt.Errorf("index: %w", err), false)
			if anew || pause < last || pause == 0 || pause > time.Minute {
				t.Errorf("%s: %v: thrown away %t, pause %s behind %s", name, err, anew, pause, last)
			}
			last = pause
		}
		if last != time.Minute {
			t.Errorf("%s: the pause does not grow: %s", name, last)
		}
	}
	failed := index.Failures()
	for i := range 3 {
		if anew, _ := failed(errors.New("row"), false); anew != (i == 2) {
			t.Errorf("failure %d of the file: thrown away %t", i, anew)
		}
	}
}
