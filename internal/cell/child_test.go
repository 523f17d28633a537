//go:build unix

package cell_test

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/internal/cell"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// envChild makes the test's executable a worker process: the URL of its server.
const envChild = "CELL_TEST_CHILD"

// What the child's handler does is its job's args.
const (
	argDie  = `"die"`  // it kills its own process
	argBurn = `"burn"` // it computes for burnFor, and lets nobody else at the processor
)

const burnFor = shortLease + 2*time.Second

// envServer makes the test's executable a server process of the cell on the NATS server at this URL.
const envServer = "CELL_TEST_SERVER"

func TestMain(m *testing.M) {
	if url := os.Getenv(envServer); url != "" {
		fmt.Fprintln(os.Stderr, childServer(url)) // it is killed
		os.Exit(1)
	}
	if text := os.Getenv(envArchiving); text != "" {
		fmt.Fprintln(os.Stderr, childArchiving(text)) // it is killed
		os.Exit(1)
	}
	if url := os.Getenv(envChild); url != "" {
		if err := childWorker(url); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	if !*full { // they wait, for leases mostly, and work little; full ones load the machine
		if err := flag.Set("test.parallel", "8"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// childServer serves the cell, with shortLease. A line on its stdout says that it takes requests.
func childServer(url string) error {
	cfg := cell.Config{Logger: zap.NewNop(), Version: "0.0.0", RegisterUnknown: true, Ready: func(cell.Info) { fmt.Println("ready") },
		Connect: func(string) (*nats.Conn, error) { return nats.Connect(url, nats.MaxReconnects(-1)) }}
	leaseOf(shortLease)(&cfg)
	return cell.Run(context.Background(), cfg)
}

// serverProcess starts a server process and waits until it takes requests. kill ends it as kill -9 does.
func (s *system) serverProcess() (kill func()) {
	s.t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), envServer+"="+s.env.URL())
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = c.Process.Kill() // fails only when it is gone
		_ = c.Wait()         // it was killed, and says so
	})
	s.t.Cleanup(kill)
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		s.t.Fatalf("the server process does not begin: %v", err)
	}
	return kill
}

// A batch survives the death of its server, whenever that comes: the next one goes on, no item is lost and none
// doubled.
func TestBatchSurvivesKills(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t, ledgertest.WithPort())
	s := newSystem(t, env)
	kill := s.serverProcess()
	const n, parallel = 400, 40
	s.worker("w", "fax", 8, lasting(0))
	giveBatch(t, env.Client(acme), "faxes", batchSpec("fax", n, parallel))
	for _, items := range []int{1, n / 4, n / 2} {
		s.await(fmt.Sprintf("%d ended items", items), func() bool { return s.finished >= items })
		kill()
		kill = s.serverProcess()
	}
	if got := s.batchEnd("faxes", schemas.StateCompleted); got.Completed != n || got.Items != n {
		t.Errorf("the batch: %+v", got)
	}
	if f := s.facts("faxes"); len(f.submitted) != n || f.open != 0 || f.most > parallel {
		t.Errorf("%d items were submitted, %d at once, %d left open", len(f.submitted), f.most, f.open)
	}
	if j := s.jobs["faxes"]; j.Attempt < 2 {
		t.Errorf("the batch took %d attempts: no kill has met it", j.Attempt)
	}
	kill()
}

// childWorker serves the type "child" until nothing has come for a while. Each start is a line on its stdout.
func childWorker(url string) error {
	nc, err := nats.Connect(url)
	if err != nil {
		return err
	}
	defer nc.Close()
	l, err := ledger.New(ledger.Config{Conn: nc, Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	handle := func(_ context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		fmt.Println(a.ID)
		switch string(a.Args) {
		case argDie:
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		case argBurn:
			for began, n := time.Now(), 0; time.Since(began) < burnFor; n++ { // deaf to its context
			}
		}
		return a.Args, nil
	}
	w, err := handlers.New(handlers.Config{Ledger: l, Slots: 1, Name: "child", ExitIdle: 2 * time.Second, Logger: zap.NewNop(),
		Serves: []handlers.Registration{{Type: "child", Handler: handlers.HandlerFunc(handle)}}})
	if err != nil {
		return err
	}
	return w.Run(context.Background())
}

// child runs the worker process to its end, however it ends, and returns what it started.
func (s *system) child(env ...string) []string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := exec.CommandContext(ctx, os.Args[0])
	c.Env = append(append(os.Environ(), envChild+"="+s.env.URL()), env...)
	c.Stderr = os.Stderr
	out, err := c.Output()
	if ctx.Err() != nil {
		s.t.Fatalf("the child does not end: %v", err)
	}
	return strings.Fields(string(out))
}

// A job that kills its worker's process is started exactly as often as the poison limit says, by default three
// times, and then lies among the dead letters as what it is, with its losses as evidence. One that is canceled
// after its first crash, while no worker runs, is never started again (R-23, R-307, R-35, C15, C16).
func TestCrashLoopEnds(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t, ledgertest.WithPort())
	const lease = 3 * time.Second // the child dies at its first beat, or ends
	env.RunServer(func(c *cell.Config) { c.Times.Core.Lease = lease })
	s := newSystem(t, env)
	give := func(id schemas.JobID) {
		s.submitOne(ledger.SubmitRequest{Org: acme, Type: "child", ID: id, Args: json.RawMessage(argDie), RegisterUnknown: true})
	}
	var started []string
	crash := func(id schemas.JobID, losses int) {
		t.Helper()
		for before := len(started); len(started) == before; { // as a supervisor starts it again
			started = append(started, s.child()...)
		}
		s.await(fmt.Sprintf("loss %d of %s", losses, id), func() bool {
			return s.jobs[id] != nil && s.jobs[id].Losses == losses && s.jobs[id].State != schemas.StateRunning
		})
	}
	give("canceled")
	crash("canceled", 1)
	c := env.Client(acme)
	if reply, err := c.Cancel(t.Context(), "canceled", "it kills the workers"); err != nil || reply.State != schemas.StateCanceled {
		t.Fatalf("cancel between two crashes: %+v, %v", reply, err)
	}
	give("poison")
	for n := range schemas.DefaultPolicy().PoisonLimit {
		crash("poison", n+1)
	}
	started = append(started, s.child()...) // finds nothing to do
	if got, want := strings.Join(started, " "), "canceled poison poison poison"; got != want {
		t.Errorf("started: %s, want %s", got, want)
	}
	if j := s.jobs["canceled"]; j.State != schemas.StateCanceled || j.Attempt != 1 {
		t.Errorf("the canceled job is %s after %d attempts", j.State, j.Attempt)
	}
	r, err := c.Get(t.Context(), "poison")
	if err != nil || r.State != schemas.StateDeadLettered || *r.Reason != string(schemas.DeadPoison) || len(r.Attempts) != 3 || r.Error == nil || r.Error.Class != schemas.ClassLost {
		t.Errorf("the job that kills: %+v, %v", r, err)
	}
	groups, err := c.Errors(t.Context(), gateway.ErrorsRequest{MinSeq: r.Seq})
	if err != nil || groups.Total != 1 || groups.Groups[0].Reason != string(schemas.DeadPoison) || groups.Groups[0].SampleID != "poison" {
		t.Errorf("dead letters by error: %+v, %v", groups, err)
	}
}

// A handler that computes for longer than a lease, on the only processor that its process may use, keeps its
// lease: beats do not wait for it (R-23, DESIGN D7, C9).
func TestBusyProcessKeepsItsLease(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t, ledgertest.WithPort())
	env.RunServer(leaseOf(shortLease))
	s := newSystem(t, env)
	s.submitOne(ledger.SubmitRequest{Org: acme, Type: "child", ID: "busy", Args: json.RawMessage(argBurn), RegisterUnknown: true})
	if started := s.child("GOMAXPROCS=1"); len(started) != 1 {
		t.Errorf("started: %v", started)
	}
	s.awaitFinished([]schemas.JobID{"busy"})
	j := s.jobs["busy"]
	if j.State != schemas.StateCompleted || j.Attempt != 1 || j.FinishedAt.Sub(j.StartedAt) < burnFor {
		t.Errorf("the job is %s after %d attempts and %s", j.State, j.Attempt, j.FinishedAt.Sub(j.StartedAt))
	}
}
