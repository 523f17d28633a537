package index_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

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
