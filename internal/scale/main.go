package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/internal/release"
	"github.com/dartwing/jobledger/ledger"
)

const (
	jobsDefault = 10_000
	jobsMin     = 1_000
	jobsMax     = 20_000_000
	rateMax     = 1_000_000 // jobs a second, beyond what any machine takes
)

// parts in the order in which they run.
var parts = []struct {
	name string
	run  func(ctx context.Context, b *bed) error
}{{"flood", flood}, {"quiet", quiet}, {"bands", bands}, {"timers", timers}, {"restart", restart}, {"lag", lag}, {partStreams, streams}, {"years", years}}

// partStreams needs HTTP.
const partStreams = "streams"

// partRules compares runs of the program, and partSearch fills a query index: neither needs a server of ours.
const (
	partRules  = "rules"
	partSearch = "search"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

// options are what a run is asked for.
type options struct {
	jobs, pairs int
	window      time.Duration // the hot window of the part years
	rate, bulk  int           // of the part years: jobs offered a second, 0 for as fast as they are worked off, and at a time
	parts       []string
	asJSON      bool
	dir         string // where servers keep their files
	profile     string // folder for the servers' CPU profiles, empty for none
}

func parse(args []string) (*options, error) {
	flags := flag.NewFlagSet("scale", flag.ContinueOnError)
	o := &options{}
	only := flags.String("part", "", "parts to run, with commas between; all when empty")
	flags.IntVar(&o.jobs, "jobs", jobsDefault, "jobs of each part: 1000000 is the full form")
	flags.DurationVar(&o.window, "window", ledger.HotWindowMin(0), "hot window of the part years")
	flags.IntVar(&o.rate, "rate", 0, "jobs that the part years, and no other, offers a second; 0: as fast as they are worked off")
	flags.IntVar(&o.bulk, "bulk", 1, "jobs that the part years, and no other, submits at a time, with SubmitMany if more than 1")
	flags.IntVar(&o.pairs, "pairs", 5, "pairs of runs of the part rules")
	flags.BoolVar(&o.asJSON, "json", false, "print JSON")
	flags.StringVar(&o.dir, "dir", "", "folder for the servers' files; a temporary one when empty")
	flags.StringVar(&o.profile, "profile", "", "folder for CPU profiles of the servers")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if o.jobs < jobsMin || o.jobs > jobsMax || o.pairs < 1 {
		return nil, fmt.Errorf("-jobs must be from %d to %d, and -pairs at least 1", jobsMin, jobsMax)
	}
	if o.rate < 0 || o.rate > rateMax || o.bulk < 1 || o.bulk > ledger.SubmitManyMax {
		return nil, fmt.Errorf("-rate must be from 0 to %d, and -bulk from 1 to %d", rateMax, ledger.SubmitManyMax)
	}
	all := []string{}
	for _, p := range parts {
		all = append(all, p.name)
	}
	all = append(all, partRules, partSearch)
	if *only == "" {
		o.parts = all
		return o, nil
	}
	o.parts = strings.Split(*only, ",")
	for _, name := range o.parts {
		if !slices.Contains(all, name) {
			return nil, fmt.Errorf("there is no part %q: it is one of %s", name, strings.Join(all, ", "))
		}
	}
	return o, nil
}

// run is the program.
func run(ctx context.Context, args []string, out, talk io.Writer) (err error) {
	o, err := parse(args)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.dir, "jobledger-scale-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	program := filepath.Join(dir, "jobledger")
	if err := release.BuildCurrent(ctx, ".", program); err != nil {
		return err
	}
	results := &report{Jobs: o.jobs}
	for _, p := range parts {
		if !slices.Contains(o.parts, p.name) {
			continue
		}
		fmt.Fprintf(talk, "%s, %d jobs\n", p.name, o.jobs)
		web, err := freeAddress()
		if err != nil {
			return err
		}
		start := func(ctx context.Context, store string) (server, error) {
			if p.name == partStreams {
				return startProcess(ctx, program, store, o.profile, "--http", web)
			}
			if p.name == "years" {
				return startProcess(ctx, program, store, o.profile, "--hot-window", o.window.String())
			}
			return startProcess(ctx, program, store, o.profile)
		}
		b := &bed{jobs: o.jobs, http: web, window: o.window, rate: o.rate, bulk: o.bulk, store: filepath.Join(dir, p.name), start: start, part: p.name, results: results, talk: talk, log: zap.NewNop()}
		if err := b.measure(ctx, p.run); err != nil {
			return errors.Join(fmt.Errorf("%s: %w", p.name, err), results.print(out, o.asJSON))
		}
	}
	if slices.Contains(o.parts, partSearch) {
		fmt.Fprintf(talk, "%s, %d jobs\n", partSearch, o.jobs)
		if err := search(ctx, o.jobs, dir, results, talk); err != nil {
			return errors.Join(fmt.Errorf("%s: %w", partSearch, err), results.print(out, o.asJSON))
		}
	}
	if slices.Contains(o.parts, partRules) {
		fmt.Fprintf(talk, "%s, %d pairs of %d jobs\n", partRules, o.pairs, rulesJobs(o.jobs))
		if err := rules(ctx, o, results); err != nil {
			return errors.Join(fmt.Errorf("%s: %w", partRules, err), results.print(out, o.asJSON))
		}
	}
	return results.print(out, o.asJSON)
}

// figure is one measured number beside what is asked of it.
type figure struct {
	Part  string  `json:"part"`
	What  string  `json:"what"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	Aim   string  `json:"aim,omitempty"`
	Met   *bool   `json:"met,omitempty"` // absent where nothing is asked
}

// report is what all parts measured.
type report struct {
	Jobs    int      `json:"jobs"`
	Figures []figure `json:"figures"`
}

func (r *report) add(part, what string, value float64, unit string) {
	r.Figures = append(r.Figures, figure{Part: part, What: what, Value: value, Unit: unit})
}

// aim adds a figure that something is asked of.
func (r *report) aim(part, what string, value float64, unit, aim string, met bool) {
	r.Figures = append(r.Figures, figure{Part: part, What: what, Value: value, Unit: unit, Aim: aim, Met: &met})
}

func (r *report) print(out io.Writer, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	fmt.Fprintf(out, "%-8s  %-66s %14s %-8s  %s\n", "part", fmt.Sprintf("measure (%d jobs)", r.Jobs), "value", "", "aim")
	for _, f := range r.Figures {
		aim := f.Aim
		if f.Met != nil {
			aim += map[bool]string{true: "   met", false: "   MISSED"}[*f.Met]
		}
		fmt.Fprintf(out, "%-8s  %-66s %14s %-8s  %s\n", f.Part, f.What, number(f.Value), f.Unit, aim)
	}
	return nil
}

// number writes three significant digits after the point at most.
func number(v float64) string {
	if v == float64(int64(v)) || v >= 1000 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3f", v)
}
