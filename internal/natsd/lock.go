package natsd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// lockFile is taken for as long as a process uses the data folder. Its content,
// the pid, is for people; the lock itself is the operating system's.
const lockFile = "LOCK"

// errHeld is what the platform's lock call answers when another opener has it.
var errHeld = errors.New("held by another process")

// FolderBusyError says that another process uses the data folder.
type FolderBusyError struct {
	Folder string
	Holder string // pid of the holder, empty when it cannot be read
}

func (e *FolderBusyError) Error() string {
	who := "another process"
	if e.Holder != "" {
		who = "process " + e.Holder
	}
	return fmt.Sprintf("data folder %s is in use by %s: stop that one, or choose another folder with --store", e.Folder, who)
}

// lockFolder creates the folder if needed and takes its lock. The lock is not
// inherited by children, so exec handlers that outlive us do not hold it; if we
// die here or later the system frees it and a restart finds only a stale pid.
func lockFolder(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("natsd: create data folder: %w", err)
	}
	path := filepath.Join(dir, lockFile)
	f, err := openLocked(path)
	if errors.Is(err, errHeld) {
		holder, _ := os.ReadFile(path)
		return nil, &FolderBusyError{Folder: dir, Holder: strings.TrimSpace(string(holder))}
	}
	if err != nil {
		return nil, fmt.Errorf("natsd: lock data folder %s: %w", dir, err)
	}
	if err := writePid(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("natsd: write %s: %w", path, err)
	}
	return f, nil
}

func writePid(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	return err
}

// engineFolder is where the engine keeps its files, in the data folder.
const engineFolder = "jetstream"

// Wipe removes the data of a server that does not run: the engine's files, and
// nothing else that the folder may hold. It refuses with a *FolderBusyError.
// A crash in between leaves a part, which a second Wipe removes.
func Wipe(dir string) error {
	lock, err := lockFolder(dir)
	if err != nil {
		return err
	}
	defer unlock(lock)
	if err := os.RemoveAll(filepath.Join(dir, engineFolder)); err != nil {
		return fmt.Errorf("natsd: wipe data folder: %w", err)
	}
	return nil
}
