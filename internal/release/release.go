package release

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Baseline is the commit that new versions must get along with until there is a tag: the first at which servers,
// workers and the command line were whole.
const Baseline = "198678813b7179eb0d38c2e224a8c8e071bc8f98"

// ErrNoHistory: the clone does not hold the commit, as a shallow one does not, or is no clone. The text says what to
// do.
var ErrNoHistory = errors.New("this clone has no such history")

// Release is a version of the program that can be built.
type Release struct {
	// Name is its tag, else the beginning of its commit's id.
	Name string
	// Commit is the commit's full id.
	Commit string

	repository string // top folder of the clone
}

// Previous returns the release that the commit checked out in the clone around dir must get along with. The error
// wraps ErrNoHistory if the clone does not hold it.
func Previous(ctx context.Context, dir string) (Release, error) {
	// Of HEAD^, for HEAD itself may be the release that is being made.
	tag, err := git(ctx, dir, "describe", "--tags", "--abbrev=0", "--match", "v[0-9]*", "HEAD^")
	if err != nil { // no tag, or no commit before this one
		return Find(ctx, dir, Baseline)
	}
	return Find(ctx, dir, strings.TrimSpace(string(tag)))
}

// Find returns what a revision names: a tag, a commit, HEAD^. The error wraps ErrNoHistory if the clone around dir does
// not hold it.
func Find(ctx context.Context, dir, revision string) (Release, error) {
	top, err := git(ctx, dir, "rev-parse", "--show-toplevel")
	if err != nil {
		return Release{}, fmt.Errorf("%w: an earlier version can be built inside a git clone only: %w", ErrNoHistory, err)
	}
	commit, err := git(ctx, dir, "rev-parse", "--verify", "--end-of-options", revision+"^{commit}")
	if err != nil {
		return Release{}, fmt.Errorf("%w: it does not hold %s; fetch it (git fetch --unshallow --tags): %w", ErrNoHistory, revision, err)
	}
	r := Release{Commit: strings.TrimSpace(string(commit)), repository: strings.TrimSpace(string(top))}
	name, err := git(ctx, dir, "describe", "--tags", "--always", "--match", "v[0-9]*", r.Commit)
	if err != nil {
		return Release{}, err
	}
	r.Name = strings.TrimSpace(string(name))
	return r, nil
}

// Build writes the release's program to the file out. flags are those of go build, such as -race. Sources and
// whatever else it makes are gone when it returns.
func (r Release) Build(ctx context.Context, out string, flags ...string) (err error) {
	out, err = filepath.Abs(out)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "jobledger-release-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	sources, err := git(ctx, r.repository, "archive", "--format=tar", r.Commit)
	if err != nil {
		return err
	}
	if err := unpack(dir, bytes.NewReader(sources)); err != nil {
		return fmt.Errorf("sources of %s: %w", r.Name, err)
	}
	if err := build(ctx, dir, out, flags); err != nil {
		return fmt.Errorf("build %s: %w", r.Name, err)
	}
	return nil
}

// BuildCurrent builds the program in the same way from the clone's files around dir as they are.
func BuildCurrent(ctx context.Context, dir, out string, flags ...string) error {
	top, err := git(ctx, dir, "rev-parse", "--show-toplevel")
	if err != nil {
		return err
	}
	if out, err = filepath.Abs(out); err != nil {
		return err
	}
	return build(ctx, strings.TrimSpace(string(top)), out, flags)
}

func build(ctx context.Context, dir, out string, flags []string) error {
	args := append([]string{"build", "-buildvcs=false", "-o", out}, flags...)
	_, err := command(ctx, dir, "go", append(args, "./cmd/jobledger")...)
	return err
}

// unpack writes the files of a tar archive below dir.
func unpack(dir string, archive io.Reader) error {
	root, err := os.OpenRoot(dir) // nothing is written outside of it, whatever the names say
	if err != nil {
		return err
	}
	defer root.Close()
	for files := tar.NewReader(archive); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := filepath.FromSlash(h.Name)
		switch h.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(filepath.Clean(name), 0o755)
		case tar.TypeReg:
			err = write(root, name, h.FileInfo().Mode().Perm(), files)
		}
		if err != nil {
			return err
		}
	}
}

func write(root *os.Root, name string, mode os.FileMode, content io.Reader) error {
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Close())
}

// git runs git in dir and returns its stdout.
func git(ctx context.Context, dir string, args ...string) ([]byte, error) {
	return command(ctx, dir, "git", args...)
}

// command runs a program in dir and returns its stdout. The error tells what it said.
func command(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	c := exec.CommandContext(ctx, name, args...)
	var out, talk bytes.Buffer
	c.Dir, c.Stdout, c.Stderr = dir, &out, &talk
	if err := c.Run(); err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", name, args[0], err, strings.TrimSpace(talk.String()))
	}
	return out.Bytes(), nil
}
