package release

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// clone is a repository with a few commits, of which some are tagged.
func clone(t *testing.T) (dir string, commit func(tags ...string) string) {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	dir = t.TempDir()
	run := func(args ...string) string {
		t.Helper()
		c := exec.Command("git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"}, args...)...)
		c.Dir = dir
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	run("init", "--quiet")
	return dir, func(tags ...string) string {
		run("commit", "--quiet", "--allow-empty", "-m", "one more")
		for _, tag := range tags {
			run("tag", tag)
		}
		return run("rev-parse", "HEAD")
	}
}

// The previous release is the latest version tag before the commit that is checked out, not a tag of that commit, and
// no tag of another kind.
func TestPrevious(t *testing.T) {
	dir, commit := clone(t)
	commit()
	first := commit("v0.1.0")
	commit("nightly")
	second := commit("v0.2.0")
	got, err := Previous(t.Context(), dir)
	if err != nil || got.Name != "v0.1.0" || got.Commit != first {
		t.Errorf("before v0.2.0 is %+v, %v", got, err)
	}
	commit()
	if got, err = Previous(t.Context(), dir); err != nil || got.Name != "v0.2.0" || got.Commit != second {
		t.Errorf("behind v0.2.0 is %+v, %v", got, err)
	}
}

// A clone without the release, and a folder that is none, are told from other errors.
func TestNoHistory(t *testing.T) {
	dir, commit := clone(t)
	commit()
	if _, err := Previous(t.Context(), dir); !errors.Is(err, ErrNoHistory) || !strings.Contains(err.Error(), "--unshallow") {
		t.Errorf("a clone without %s: %v", Baseline, err)
	}
	if _, err := Find(t.Context(), t.TempDir(), "HEAD"); !errors.Is(err, ErrNoHistory) {
		t.Errorf("a folder that is no clone: %v", err)
	}
}

// An archive cannot write outside of its folder.
func TestUnpackStaysInside(t *testing.T) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, name := range []string{"a/b.txt", "../c.txt"} {
		if err := errors.Join(w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: 2}), second(w.Write([]byte("hi")))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "in")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unpack(dir, &archive); err == nil {
		t.Error("a file was written outside")
	}
	if text, err := os.ReadFile(filepath.Join(dir, "a", "b.txt")); err != nil || string(text) != "hi" {
		t.Errorf("the file inside is %q, %v", text, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "..", "c.txt")); err == nil {
		t.Error("a file stands outside")
	}
}

func second(_ int, err error) error { return err }
