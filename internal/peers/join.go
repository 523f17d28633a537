package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// modulePath is the module that the harness is given.
const modulePath = "github.com/dartwing/jobledger"

// client is the half of the adapter that knows jobledger, joint the half that knows the harness.
var (
	//go:embed ours/*.go
	client embed.FS
	//go:embed join.go.txt
	joint []byte
)

// place of the adapter, and the two files by which a harness is known.
const (
	adapterFolder = "systems/ours"
	runScript     = "run.sh"
	harnessModule = "go.mod"
)

// configurations are what run.sh is told of jobledger, in its own form: label, adapter, options, scenarios, more flags.
const configurations = `ours            | ours  |                                                | s1,s2,s3,s4,s5,s6,s7 |
ours-dedup      | ours  | dedup=on                                       | s1,s2,s3,s4          |
ours-strict     | ours  | durability=strict                              | s1,s2,s3,s4          |
`

// listBegins is the line of run.sh behind which its list of configurations begins.
var listBegins = regexp.MustCompile(`(?m)^CONFIGS='\n`)

// checkHarness refuses a folder that is not the harness.
func checkHarness(dir string) error {
	if dir == "" {
		return errors.New("where is the harness? Give its folder: make bench-peers HARNESS=/path/to/it (it holds run.sh, main.go and systems/)")
	}
	for _, name := range []string{runScript, harnessModule, "main.go", adapterFolder} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("%s is not the harness: %w", dir, err)
		}
	}
	return nil
}

// join makes a copy of the harness in an empty or missing folder in which jobledger, whose sources are at root, takes
// part.
func join(ctx context.Context, harness, root, into string) error {
	if err := checkHarness(harness); err != nil {
		return err
	}
	if err := os.CopyFS(into, plainFiles{os.DirFS(harness)}); err != nil {
		return fmt.Errorf("copy the harness: %w", err)
	}
	if err := adapt(filepath.Join(into, adapterFolder)); err != nil {
		return err
	}
	if err := configure(filepath.Join(into, runScript)); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"mod", "edit", "-require=" + modulePath + "@v0.0.0", "-replace=" + modulePath + "=" + root},
		{"build", "-mod=mod", "-o", os.DevNull, "."}, // completes go.mod and go.sum
	} {
		if err := command(ctx, into, nil, io.Discard, "go", args...); err != nil {
			return err
		}
	}
	return nil
}

// plainFiles is a folder without its hidden ones.
type plainFiles struct{ fs.FS }

func (f plainFiles) ReadDir(name string) ([]fs.DirEntry, error) {
	all, err := fs.ReadDir(f.FS, name)
	kept := all[:0]
	for _, e := range all {
		if !strings.HasPrefix(e.Name(), ".") {
			kept = append(kept, e)
		}
	}
	return kept, err
}

// adapt puts the adapter in place of the harness's empty one.
func adapt(folder string) error {
	if err := os.RemoveAll(folder); err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	names, err := fs.Glob(client, "ours/*.go")
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		source, err := client.ReadFile(name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, path.Base(name)), source, 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(folder, "join.go"), joint, 0o644)
}

// configure adds jobledger's configurations to run.sh, before the others.
func configure(script string) error {
	text, err := os.ReadFile(script)
	if err != nil {
		return err
	}
	at := listBegins.FindIndex(text)
	if at == nil {
		return fmt.Errorf("%s has no list of configurations that begins with CONFIGS='", script)
	}
	joined := append(append(bytes.Clone(text[:at[1]]), configurations...), text[at[1]:]...)
	return os.WriteFile(script, joined, 0o755)
}

// command runs a program; what it says on its error output is in the error.
func command(ctx context.Context, dir string, env []string, out io.Writer, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	var said bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, env, out, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(said.Bytes()))
	}
	return nil
}
