//go:build unix

package storm_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/dartwing/jobledger/internal/release"
)

// released is the program of the release that this version must get along with, once buildReleased has returned.
// It stands beside binary, and goes with it.
var released string

var buildReleased = sync.OnceValues(func() (release.Release, error) {
	ctx := context.Background()
	r, err := release.Previous(ctx, ".")
	if err != nil {
		return r, err
	}
	released = filepath.Join(filepath.Dir(binary), "released")
	return r, r.Build(ctx, released, buildFlags()...)
})

// needRelease builds the previous release, once for all tests. Where the clone does not hold it the test is skipped,
// which the closing lines of a full run show: sources without history are no fault of the program.
func needRelease(t *testing.T) {
	t.Helper()
	r, err := buildReleased()
	switch {
	case errors.Is(err, release.ErrNoHistory):
		t.Skipf("the previous release cannot be built: %v", err)
	case err != nil:
		t.Fatalf("the previous release cannot be built: %v", err)
	}
	if _, err := os.Stat(released); err != nil {
		t.Fatal(err)
	}
	t.Logf("old: %s, new: what is checked out", r.Name)
}

// buildFlags are those of every build of the program.
func buildFlags() []string {
	if raceDetector {
		return []string{"-race"}
	}
	return nil
}
