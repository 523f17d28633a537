package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/dartwing/jobledger/internal/release"
)

const (
	pairsDefault = 10
	jobsDefault  = 5000
	rulesOrgs    = 10 // with -rules: each org has rates of its own
)

// measures are what is compared. Not the latencies: without a rate the flow is a backlog, and they are its length.
var measures = []struct {
	name         string
	of           func(*flow) float64
	moreIsBetter bool
}{
	{"finished a second", func(f *flow) float64 { return f.DonePerS }, true},
	{"submitted a second", func(f *flow) float64 { return f.SubmitPerS }, true},
	{"CPU a job", func(f *flow) float64 { return f.CPUPerJob }, false},
}

// flow is what is read of what `bench flow --json` prints.
type flow struct {
	DonePerS   float64 `json:"done_per_s"`
	SubmitPerS float64 `json:"submit_per_s"`
	CPUPerJob  float64 `json:"cpu_us_per_job"` // 0 where the system does not tell
	Completed  int     `json:"completed"`
	CPU        string  `json:"cpu"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "pairs:", err)
		os.Exit(1)
	}
}

// run is the program.
func run(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("pairs", flag.ContinueOnError)
	old := flags.String("old", "HEAD^", "commit or tag to compare with what is checked out, changes included")
	n := flags.Int("n", pairsDefault, "pairs to run")
	jobs := flags.Int("jobs", jobsDefault, "jobs of each run")
	rules := flags.Bool("rules", false, "compare what is checked out with itself: new has every rule in force")
	index := flags.Bool("index", false, "compare what is checked out with itself: new keeps a query index")
	asJSON := flags.Bool("json", false, "print what the pairs tell as JSON, and nothing else")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *n < 1 || *jobs < 1 {
		return errors.New("-n and -jobs must be at least 1")
	}
	dir, err := os.MkdirTemp("", "jobledger-pairs-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	programs := [2]string{filepath.Join(dir, "old"), filepath.Join(dir, "new")}
	if err := release.BuildCurrent(ctx, ".", programs[1]); err != nil {
		return err
	}
	more := append([]string{"bench", "flow", "--embedded", "--json", "--jobs", strconv.Itoa(*jobs)}, flags.Args()...)
	lines := [2][]string{more, more}
	what := "new: what is checked out; old: "
	switch {
	case *index:
		programs[0] = programs[1]
		lines[1] = append(slices.Clip(more), "--index")
		what = "new: with a query index; old: without"
	case *rules:
		programs[0] = programs[1]
		lines[0] = append(slices.Clip(more), "--orgs", strconv.Itoa(rulesOrgs))
		lines[1] = append(slices.Clip(lines[0]), "--rules")
		what = "new: every rule in force; old: none"
	default:
		before, err := release.Find(ctx, ".", *old)
		if err != nil {
			return err
		}
		if err := before.Build(ctx, programs[0]); err != nil {
			return err
		}
		what += before.Name
	}
	talk := out
	if *asJSON {
		talk = io.Discard
	}
	fmt.Fprintf(talk, "%s; %d pairs of %d jobs\n", what, *n, *jobs)
	told, err := compare(talk, *n, *jobs, func(i int) (*flow, error) { return bench(ctx, programs[i], lines[i]) })
	if err != nil || !*asJSON {
		return err
	}
	return json.NewEncoder(out).Encode(told)
}

// comparison is what all pairs tell of one measure, as ratios new/old.
type comparison struct {
	Measure  string  `json:"measure"`
	Median   float64 `json:"median"`
	Low      float64 `json:"low"`
	High     float64 `json:"high"`
	Coverage float64 `json:"coverage"` // chance that low to high holds the true median
}

// compare runs n pairs and prints them and what they tell. measure runs the old program (0) or the new one (1).
func compare(out io.Writer, n, jobs int, measure func(i int) (*flow, error)) ([]comparison, error) {
	ratios := make([][]float64, len(measures))
	for pair := range n {
		var flows [2]*flow
		for _, i := range [2]int{pair % 2, 1 - pair%2} {
			f, err := measure(i)
			if err != nil {
				return nil, err
			}
			if f.Completed != jobs {
				return nil, fmt.Errorf("%d of %d jobs were completed: there is nothing to compare", f.Completed, jobs)
			}
			flows[i] = f
		}
		if pair == 0 {
			fmt.Fprintf(out, "on %s\n\n", flows[1].CPU)
		}
		fmt.Fprintf(out, "pair %2d", pair+1)
		for m, measure := range measures {
			before, after := measure.of(flows[0]), measure.of(flows[1])
			if before <= 0 || after <= 0 {
				continue
			}
			ratios[m] = append(ratios[m], after/before)
			fmt.Fprintf(out, "   %s %.0f -> %.0f (%.3f)", measure.name, before, after, after/before)
		}
		fmt.Fprintln(out)
	}
	fmt.Fprintln(out)
	var told []comparison
	for m, measure := range measures {
		if len(ratios[m]) == 0 {
			continue
		}
		i := medianInterval(ratios[m])
		fmt.Fprintf(out, "%-18s  new/old: median %.3f, %.1f %% interval %.3f to %.3f: %s\n",
			measure.name, i.median, 100*i.coverage, i.low, i.high, i.verdict(measure.moreIsBetter))
		told = append(told, comparison{measure.name, i.median, i.low, i.high, i.coverage})
	}
	return told, nil
}

// bench runs one measurement to its end.
func bench(ctx context.Context, program string, args []string) (*flow, error) {
	c := exec.CommandContext(ctx, program, args...)
	var out, talk bytes.Buffer
	c.Stdout, c.Stderr = &out, &talk
	if err := c.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s%s", filepath.Base(program), err, &out, &talk)
	}
	f := new(flow)
	if err := json.Unmarshal(out.Bytes(), f); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", filepath.Base(program), err, &out)
	}
	return f, nil
}
