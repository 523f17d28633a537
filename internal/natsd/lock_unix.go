//go:build unix

package natsd

import (
	"errors"
	"os"
	"syscall"
)

// openLocked opens the file and takes an exclusive advisory lock on it, which
// unlock frees, or the end of the process.
func openLocked(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return f, nil
	}
	f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, errHeld
	}
	return nil, err
}

// unlock frees the lock and closes the file. Closing alone would not free it at
// once where a child that is being started has not closed its copy of the file yet.
func unlock(f *os.File) {
	_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN) // closing frees it, later
	_ = f.Close()
}
