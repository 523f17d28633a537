//go:build unix

package handlers

import (
	"context"
	"encoding/json"
	"syscall"
	"testing"
	"time"
)

// TestExecFlood shows that a process which floods fd 3 with lines, checkpoints and garbage, from children that
// outlive it too, costs its worker little: its writes wait. Its result is kept all the same.
func TestExecFlood(t *testing.T) {
	e := newExec(t, `
yes '{"percent":5,"message":"flood","steps":["a","b"]}' >&3 &
yes '{"checkpoint":{"page":7}}' >&3 &
yes 'no JSON' >&3 &
cat /dev/zero >&3 &
sleep 2
echo '"done"'`)
	a := testAttempt()
	reports, saves := 0, 0
	a.host = host{progressed: func() { reports++ }, save: func(context.Context, json.RawMessage) error { saves++; return nil }}
	before, begun := cpu(t), time.Now()
	got, err := e.Run(context.Background(), a)
	took, used := time.Since(begun), cpu(t)-before
	if err != nil || string(got) != `"done"` {
		t.Errorf("got %s, %v", got, err)
	}
	t.Logf("%d reports, %d checkpoints; %s of CPU in %s", reports, saves, used, took)
	if most := int(took.Seconds()*LinesPerSecond) + LinesPerSecond; reports > most+lastBytesMax/50 {
		t.Errorf("%d reports, at most %d in %s", reports, most, took)
	}
	if saves > int(took/checkpointEvery)+2 {
		t.Errorf("%d checkpoints in %s", saves, took)
	}
}

// cpu is what this process, without its children, has used.
func cpu(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
