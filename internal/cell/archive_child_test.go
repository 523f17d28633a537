//go:build unix

package cell_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/internal/cell"
	"github.com/dartwing/jobledger/internal/natsd"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// envArchiving makes the test's executable a server process with a NATS server of its own, which archives what is a few
// seconds old and removes it by a calendar that runs fast: an archiving as JSON.
const envArchiving = "CELL_TEST_ARCHIVING"

const (
	// archivingWindow is how long events stay in LEDGER there. It is longer than anybody needs to repeat, behind a start,
	// what was not acknowledged before the kill.
	archivingWindow = time.Second
	// archivingStep is how many events leave in one step, so that there are many.
	archivingStep = 150
	// archivingAhead and archivingDay make the remover's calendar: so far ahead, and so long is a day. A job that is kept
	// for 30 days is over at once, and what was removed is deleted a day later.
	archivingAhead = 100 * schemas.Day
	archivingDay   = time.Second
)

// archiving is what such a process is told.
type archiving struct {
	Dir   string
	Port  int
	Began time.Time // where the calendar begins
}

// today is what the remover takes for the time.
func (a *archiving) today() time.Time {
	return a.Began.Add(archivingAhead + time.Since(a.Began)*(schemas.Day/archivingDay))
}

// childArchiving serves NATS and says so with a line; the first line of its stdin starts the cell on it, the end of its
// stdin is the end of its test.
func childArchiving(text string) error {
	var a archiving
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		return err
	}
	s, err := natsd.Start(natsd.Config{StoreDir: a.Dir, Port: a.Port, Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	fmt.Println(s.URL())
	told := bufio.NewReader(os.Stdin)
	if _, err := told.ReadString('\n'); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, told)
		os.Exit(1)
	}()
	return cell.Run(context.Background(), cell.Config{
		Logger: zap.NewNop(), Version: "0.0.0", RegisterUnknown: true, Retention: ledger.RetentionForever,
		Ready: func(cell.Info) { fmt.Println("ready") },
		Connect: func(name string) (*nats.Conn, error) {
			if cell.ReadsLong(name) {
				return s.ConnectReader()
			}
			return s.ConnectInProcess()
		},
		Archive: func(c *ledger.ArchiverConfig) {
			c.Window, c.Every, c.Settle, c.Durable, c.SegmentEvents = archivingWindow, 20*time.Millisecond, time.Millisecond, 20*time.Millisecond, archivingStep
		},
		Remove: func(c *ledger.RemoverConfig) {
			c.Now, c.Every, c.Settle, c.Wait = a.today, 100*time.Millisecond, time.Millisecond, -1
			c.OpenBudget = 10 * time.Millisecond // by this calendar it would look into all of acme's each second
		},
	})
}

// archivingServer is such a process.
type archivingServer struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *bufio.Reader
}

// startArchiving returns when its NATS server takes connections.
func startArchiving(t *testing.T, a archiving) *archivingServer {
	t.Helper()
	text, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	s := &archivingServer{t: t, cmd: exec.Command(os.Args[0])}
	s.cmd.Env = append(os.Environ(), envArchiving+"="+string(text))
	s.cmd.Stderr = os.Stderr
	out, err := s.cmd.StdoutPipe()
	if err == nil {
		s.stdin, err = s.cmd.StdinPipe()
	}
	if err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	s.out = bufio.NewReader(out)
	s.hear("that NATS serves")
	return s
}

// hear waits for the next line that it says.
func (s *archivingServer) hear(what string) {
	s.t.Helper()
	if _, err := s.out.ReadString('\n'); err != nil {
		s.t.Fatalf("the server process ended before it said %s: %v", what, err)
	}
}

// serve has it run the cell.
func (s *archivingServer) serve() {
	s.t.Helper()
	if _, err := fmt.Fprintln(s.stdin); err != nil {
		s.t.Fatal(err)
	}
}

// kill ends it as kill -9 does, and returns when it is gone.
func (s *archivingServer) kill() {
	_ = s.cmd.Process.Kill() // fails only when it is gone
	_ = s.cmd.Wait()         // it was killed, and says so; or it was waited for already
}

// steadyPort is a loopback port that nobody uses, below those that systems give out by themselves: whoever is killed and
// comes back finds it free.
func steadyPort(t *testing.T) int {
	t.Helper()
	const least, most = 12_000, 32_000
	for range 1000 {
		port := least + rand.IntN(most-least)
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}
