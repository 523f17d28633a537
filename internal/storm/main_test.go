//go:build unix

package storm_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

var (
	full     = flag.Bool("full", false, "full sizes, as `make storm` runs them: minutes")
	jobsFlag = flag.Int("jobs", 0, "jobs of each test; 0: thousands at full size, else hundreds")
	seedFlag = flag.Uint64("seed", 0, "seed of what is random; 0: a new one, which the test prints")
)

// patience is for what must happen; a test that waits so long for it has failed.
const patience = 2 * time.Minute

// binary is the program, built once.
var binary string

// envBinary names it for a process that runs a test once more.
const envBinary = "JOBLEDGER_STORM_BINARY"

// forker starts processes: the parent-death signal of a child comes when the thread that forked it ends, so
// one thread forks them all and never ends.
var forker = make(chan func())

func TestMain(m *testing.M) {
	if description := os.Getenv(envNode); description != "" {
		if err := runNode(description); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	if testing.Short() {
		os.Exit(m.Run())
	}
	go func() {
		runtime.LockOSThread()
		for f := range forker {
			f()
		}
	}()
	dir, err := os.MkdirTemp("", "jobledger-storm-")
	if err == nil && !*full {
		err = flag.Set("test.parallel", "6") // small tests wait more than they work
	}
	if err == nil {
		binary = filepath.Join(dir, "jobledger")
		if there := os.Getenv(envBinary); there != "" { // the test that started this process has built it
			binary = there
		} else {
			err = build()
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "build the program:", err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func build() error {
	args := append([]string{"build", "-o", binary}, buildFlags()...)
	c := exec.Command("go", append(args, "./cmd/jobledger")...)
	c.Dir = filepath.Join("..", "..")
	c.Stdout, c.Stderr = os.Stderr, os.Stderr
	return c.Run()
}

// size is the number of something at this run's size.
func size(small, large int) int {
	if *full {
		return large
	}
	return small
}

// jobCount is the number of jobs at this run's size.
func jobCount(small, large int) int {
	if *jobsFlag > 0 {
		return *jobsFlag
	}
	return size(small, large)
}

// begin skips a test where processes are not wanted. Small tests wait, for leases mostly, and so run together;
// full ones load the machine and take turns.
func begin(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts processes, and waits for leases")
	}
	if !*full {
		t.Parallel()
	}
}

// fullOnly skips at the small size a test that costs more than what it shows there is worth; CI runs the full size.
func fullOnly(t *testing.T) {
	t.Helper()
	if !*full {
		t.Skip("dozens of seconds of processor time: `make storm` runs it")
	}
}

// random is what a test chooses with; its seed is printed.
func random(t *testing.T) *rand.Rand {
	t.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}
