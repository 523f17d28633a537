package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/dartwing/jobledger/internal/release"
)

const (
	repsDefault = 3
	document    = "docs/PERFORMANCE.md"
	// compared are the configurations of a whole run.
	compared = "ours,ours-dedup,ours-strict,asynq-everysec,asynq-retain,river-syncon,river-w1000,rawjs"
)

// What the adapter reads from its environment (join.go.txt).
const (
	programEnv  = "PEERS_PROGRAM"
	profilesEnv = "PEERS_PROFILES"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

// options are what a run is told.
type options struct {
	harness, configs, scenarios, extra string
	profiles                           string
	reps                               int
	quick, write                       bool
}

// whole: nothing of what is compared was left out.
func (o *options) whole() bool {
	return o.reps >= repsDefault && o.configs == compared && o.scenarios == "" && o.extra == "" && !o.quick && o.profiles == ""
}

// run is the program.
func run(ctx context.Context, args []string, out io.Writer) (err error) {
	var o options
	flags := flag.NewFlagSet("peers", flag.ContinueOnError)
	flags.StringVar(&o.harness, "harness", "", "folder of the harness")
	flags.StringVar(&o.configs, "configs", compared, "configurations, comma-separated")
	flags.StringVar(&o.scenarios, "scenarios", "", "scenarios, comma-separated; all when empty")
	flags.StringVar(&o.extra, "extra", "", "more flags for the harness, such as \"-drain 20000 -sustain 5s\"")
	flags.StringVar(&o.profiles, "profiles", "", "folder for CPU profiles of jobledger's server and client")
	flags.IntVar(&o.reps, "reps", repsDefault, "repetitions")
	flags.BoolVar(&o.quick, "quick", false, "do not wait for a quiet machine")
	flags.BoolVar(&o.write, "write", false, "write "+document+" also when the run was shortened")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := checkHarness(o.harness); err != nil {
		return err
	}
	if err := install(ctx, out, o.configs); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "jobledger-peers-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	if err := os.Chmod(work, 0o755); err != nil { // PostgreSQL runs as a user of its own
		return err
	}
	return o.measure(ctx, work, out)
}

// measure runs everything in a scratch folder.
func (o *options) measure(ctx context.Context, work string, out io.Writer) error {
	root, err := filepath.Abs(".")
	if err != nil {
		return err
	}
	program, copied, results := filepath.Join(work, "jobledger"), filepath.Join(work, "harness"), filepath.Join(work, "results.jsonl")
	if err := release.BuildCurrent(ctx, root, program); err != nil {
		return err
	}
	if err := join(ctx, o.harness, root, copied); err != nil {
		return err
	}
	env := append(environment(), programEnv+"="+program, "BENCH_WORK="+work)
	if o.profiles != "" {
		to, err := filepath.Abs(o.profiles)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
		env = append(env, profilesEnv+"="+to)
	}
	args := []string{runScript, "-r", strconv.Itoa(o.reps), "-o", results, "-c", o.configs}
	for _, f := range []struct{ flag, value string }{{"-s", o.scenarios}, {"-x", o.extra}} {
		if f.value != "" {
			args = append(args, f.flag, f.value)
		}
	}
	if o.quick {
		args = append(args, "-n")
	}
	before := load()
	cmd := exec.CommandContext(ctx, "bash", args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = copied, env, out, os.Stderr
	failed := cmd.Run() // some measurements may have failed: what the others say is shown all the same
	text, err := o.report(ctx, results, before)
	if err != nil {
		return errors.Join(failed, err)
	}
	fmt.Fprintf(out, "\n%s", text)
	if failed != nil {
		return fmt.Errorf("not everything was measured: %w", failed)
	}
	if !o.whole() && !o.write {
		return nil
	}
	return writeBetween(document, text)
}

// environment is this process's without what would point jobledger elsewhere.
func environment() []string {
	var kept []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "NATS_") && !strings.HasPrefix(kv, "JOBLEDGER_") {
			kept = append(kept, kv)
		}
	}
	return kept
}

// needs are the packages of the distribution that configurations need, and the file by which each is known to be there.
var needs = []struct{ prefix, file, name string }{
	{"asynq", "/usr/bin/redis-server", "redis-server"},
	{"river", "/usr/lib/postgresql/15/bin/postgres", "postgresql"}, // where the harness looks for it
}

// install installs the servers that are missing, which takes the rights to do so.
func install(ctx context.Context, out io.Writer, configs string) error {
	for _, n := range needs {
		if !strings.Contains(","+configs, ","+n.prefix) {
			continue
		}
		if _, err := os.Stat(n.file); err == nil {
			continue
		}
		fmt.Fprintf(out, "installing %s\n", n.name)
		env := append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if err := command(ctx, "", env, io.Discard, "apt-get", "install", "-y", n.name); err != nil {
			return fmt.Errorf("%s is missing; install it, or choose others with CONFIGS=ours,rawjs: %w", n.name, err)
		}
		if _, err := os.Stat(n.file); err != nil {
			return fmt.Errorf("%s was installed, and the harness needs %s: %w", n.name, n.file, err)
		}
	}
	return nil
}
