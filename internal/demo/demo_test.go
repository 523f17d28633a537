package demo_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/internal/demo"
	"github.com/dartwing/jobledger/schemas"
	demodata "github.com/dartwing/jobledger/testdata/demo"
)

// tasks returns the tasks over input, and the folder they write to.
func tasks(t *testing.T, input fs.FS) (*demo.Tasks, *os.Root) {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return demo.New(demo.Config{Input: input, Output: root}), root
}

func call() *handlers.Attempt {
	return &handlers.Attempt{Org: "acme", ID: "job-1", Number: 1, Token: "token-1"}
}

// permanent reports whether a worker would dead-letter the job at once.
func permanent(err error) bool {
	return handlers.Classify(err, nil).Error.Class == schemas.ClassPermanent
}

// wantPermanent fails unless err is a permanent error whose text holds every part.
func wantPermanent(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil || !permanent(err) {
		t.Fatalf("error %v: want a permanent one", err)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
}

// badPaths leave the input, or are no path in it at all.
var badPaths = []string{"", "../README.md", "photos/../../x", "/etc/passwd", "photos//cat.png", "./photos/cat.png", "photos", ".", "no/such.file", "photos/cat.png\x00"}

func TestBadPathsArePermanent(t *testing.T) {
	for _, p := range badPaths {
		t.Run(p, func(t *testing.T) {
			ts, _ := tasks(t, demodata.Files)
			_, err := ts.Thumbnail(t.Context(), call(), demo.ThumbnailArgs{Path: p})
			wantPermanent(t, err)
			_, err = ts.SummariseCSV(t.Context(), call(), demo.SummariseArgs{Path: p})
			wantPermanent(t, err)
			_, err = ts.CountText(t.Context(), call(), demo.CountArgs{Path: p})
			wantPermanent(t, err)
		})
	}
}

// A link inside the folder must not be a way out of it: that is why Config.Input asks for an os.Root's FS.
func TestLinkOutOfInputIsRefused(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	if err := os.WriteFile(outside+"/secret.txt", []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside+"/secret.txt", dir+"/link.txt"); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	ts, _ := tasks(t, root.FS())
	if got, err := ts.CountText(t.Context(), call(), demo.CountArgs{Path: "link.txt"}); err == nil {
		t.Fatalf("a link out of the folder was read: %+v", got)
	}
}

func TestInputOverLimitIsPermanent(t *testing.T) {
	huge := fstest.MapFS{"huge.txt": {Data: bytes.Repeat([]byte("a "), 16<<20+1)}}
	ts, _ := tasks(t, huge)
	_, err := ts.CountText(t.Context(), call(), demo.CountArgs{Path: "huge.txt"})
	wantPermanent(t, err, "over 32 MiB")
}

// Every file task gives up when its attempt is over and leaves no output.
func TestCanceledBeforeStart(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ts, root := tasks(t, demodata.Files)
	_, err := ts.Thumbnail(ctx, call(), demo.ThumbnailArgs{Path: "photos/cat.png"})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Thumbnail: %v", err)
	}
	if _, err := root.Stat("thumbnails"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a canceled attempt wrote: %v", err)
	}
	if _, err = ts.SummariseCSV(ctx, call(), demo.SummariseArgs{Path: "tables/penguins.csv"}); !errors.Is(err, context.Canceled) {
		t.Errorf("SummariseCSV: %v", err)
	}
	if _, err = ts.CountText(ctx, call(), demo.CountArgs{Path: "texts/iso3166.tab"}); !errors.Is(err, context.Canceled) {
		t.Errorf("CountText: %v", err)
	}
}

// The README beside the data lists every file with origin, licence and checksum; this test keeps it true.
func TestDataIsWhatItsReadmeSays(t *testing.T) {
	readme, err := demodata.Files.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]string{}
	line := regexp.MustCompile(`^([0-9a-f]{64})  (\S+)$`)
	for s := bufio.NewScanner(bytes.NewReader(readme)); s.Scan(); {
		if m := line.FindStringSubmatch(s.Text()); m != nil {
			sums[m[2]] = m[1]
		}
	}
	files := 0
	err = fs.WalkDir(demodata.Files, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || p == "README.md" {
			return err
		}
		files++
		data, err := demodata.Files.ReadFile(p)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(data)
		if got := hex.EncodeToString(sum[:]); got != sums[p] {
			t.Errorf("%s: sha256 %s, README.md says %q", p, got, sums[p])
		}
		if !bytes.Contains(readme, []byte("| "+p+" |")) {
			t.Errorf("%s: README.md names no origin and licence", p)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files != len(sums) {
		t.Errorf("%d files, README.md lists %d", files, len(sums))
	}
}
