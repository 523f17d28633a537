package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// flowResult is what `bench flow --json` prints (INTERFACE 2.5).
type flowResult struct {
	Jobs    int `json:"jobs"` // asked for
	Orgs    int `json:"orgs"`
	Workers int `json:"workers"`
	Slots   int `json:"slots"`
	Payload int `json:"payload_bytes"`
	Batch   int `json:"batch"` // jobs a publish carries
	Rate    int `json:"rate"`  // 0: as fast as they go

	Submitted  int   `json:"submitted"` // acknowledged
	Completed  int   `json:"completed"`
	Failed     int   `json:"failed"`     // finished otherwise
	Lost       int   `json:"lost"`       // acknowledged, not finished
	Duplicates int64 `json:"duplicates"` // outcomes of one attempt beyond the first

	ElapsedS   float64 `json:"elapsed_s"` // first submitted to last finish, by the ledger's clock
	SubmitPerS float64 `json:"submit_per_s"`
	DonePerS   float64 `json:"done_per_s"`
	Submit     spread  `json:"submit_ms"` // the caller's wait for the acknowledgement
	Start      spread  `json:"start_ms"`  // submitted to running, by the ledger's clock
	Done       spread  `json:"done_ms"`   // submitted to finished, by the ledger's clock

	Events      int64    `json:"events"` // of these jobs
	EventsPerS  float64  `json:"events_per_s"`
	BytesPerJob float64  `json:"bytes_per_job"`  // LEDGER's growth, with what others wrote meanwhile
	RSSBytes    *int64   `json:"rss_bytes"`      // greatest so far, of this process; null where the system does not tell
	CPUPerJob   *float64 `json:"cpu_us_per_job"` // of this process
	Durability  *string  `json:"durability"`     // null: only the server knows
	Replicas    int      `json:"replicas"`
	Version     string   `json:"version"`
	CPU         string   `json:"cpu"`
}

// spread is a distribution in milliseconds; zero where nothing was measured.
type spread struct {
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// spreadOf sorts ms. The percentiles are the nearest ranks: values that were
// measured.
func spreadOf(ms []float64) spread {
	if len(ms) == 0 {
		return spread{}
	}
	slices.Sort(ms)
	at := func(q float64) float64 {
		i := int(math.Ceil(q*float64(len(ms)))) - 1
		return rounded(ms[max(i, 0)])
	}
	return spread{at(0.5), at(0.9), at(0.99), rounded(ms[len(ms)-1])}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// rounded keeps three digits: more is noise.
func rounded(x float64) float64 { return math.Round(x*1000) / 1000 }

// usage is what the process has used so far.
type usage struct {
	cpu time.Duration
	rss int64 // greatest
	ok  bool
}

// flowSnapshot is the ledger at one moment.
type flowSnapshot struct {
	end      schemas.Position
	bytes    uint64
	replicas int
	usage    usage
}

func (f *flow) snapshot(ctx context.Context) (*flowSnapshot, error) {
	end, err := f.look.End(ctx)
	if err != nil {
		return nil, err
	}
	stream, err := f.look.JetStream().Stream(ctx, ledger.StreamLedger)
	if err != nil {
		return nil, err
	}
	info := stream.CachedInfo()
	return &flowSnapshot{end: end, bytes: info.State.Bytes, replicas: info.Config.Replicas, usage: benchUsage()}, nil
}

// result is what was measured between two looks; what became of the jobs is known by now.
func (f *flow) result(before, after *flowSnapshot) *flowResult {
	t := f.track
	t.mu.Lock()
	defer t.mu.Unlock()
	r := &flowResult{Jobs: f.jobs, Orgs: len(f.orgs), Workers: 1, Slots: f.slots, Batch: f.batch, Rate: f.rate,
		Submitted: t.acked, Lost: t.acked - t.done, Duplicates: t.duplicates, Events: t.events,
		Replicas: after.replicas, Version: version, CPU: cpuText()}
	var start, done []float64
	for _, j := range t.jobs {
		switch {
		case j.state == schemas.StateCompleted:
			r.Completed++
		case j.state.Finished():
			r.Failed++
		}
		if !j.started.IsZero() {
			start = append(start, milliseconds(j.started.Sub(j.submitted)))
		}
		if !j.finished.IsZero() {
			done = append(done, milliseconds(j.finished.Sub(j.submitted)))
		}
	}
	r.Submit, r.Start, r.Done = spreadOf(t.submits), spreadOf(start), spreadOf(done)
	elapsed := max(t.last.Sub(t.first), t.submitting).Seconds()
	switch f.phase { // the parts come one after the other
	case phaseSubmit:
		elapsed = t.submitting.Seconds()
	case phaseWork:
		elapsed = max(t.last.Sub(t.began), 1).Seconds()
	}
	r.ElapsedS = rounded(elapsed)
	r.SubmitPerS = rounded(float64(t.acked) / t.submitting.Seconds())
	events := t.events
	switch f.phase {
	case phaseSubmit:
		events = int64(t.acked)
	case phaseWork:
		events -= int64(t.acked)
	}
	if f.phase != phaseSubmit {
		r.DonePerS = rounded(float64(len(done)) / elapsed)
	}
	r.EventsPerS = rounded(float64(events) / elapsed)
	r.BytesPerJob = rounded(float64(after.bytes-before.bytes) / float64(max(t.acked, 1)))
	if after.usage.ok {
		cpu := rounded(float64((after.usage.cpu - before.usage.cpu).Microseconds()) / float64(max(t.acked, 1)))
		r.RSSBytes, r.CPUPerJob = &after.usage.rss, &cpu
	}
	return r
}

func (p *program) printFlow(title string, r *flowResult) error {
	if p.flags.JSON {
		return p.document(r)
	}
	g := &grid{Title: title, Columns: []string{"Measure", "Value"}}
	whole := func(x float64) string { return strconv.FormatFloat(math.Round(x), 'f', 0, 64) }
	g.add("submitted", strconv.Itoa(r.Submitted))
	g.add("completed", strconv.Itoa(r.Completed))
	g.add("failed", strconv.Itoa(r.Failed))
	g.add("lost", strconv.Itoa(r.Lost))
	g.add("duplicates", strconv.FormatInt(r.Duplicates, 10))
	g.add("elapsed", fmt.Sprintf("%.2f s", r.ElapsedS))
	g.add("submitted a second", whole(r.SubmitPerS))
	g.add("finished a second", whole(r.DonePerS))
	g.add("events a second", whole(r.EventsPerS))
	for _, s := range []struct {
		name string
		spread
	}{{"submit", r.Submit}, {"until started", r.Start}, {"until finished", r.Done}} {
		g.add(s.name, fmt.Sprintf("p50 %.1f  p90 %.1f  p99 %.1f  max %.1f ms", s.P50, s.P90, s.P99, s.Max))
	}
	g.add("ledger bytes a job", whole(r.BytesPerJob))
	if r.CPUPerJob != nil {
		g.add("CPU a job", whole(*r.CPUPerJob)+" µs")
		g.add("memory, greatest", strconv.FormatInt(*r.RSSBytes>>20, 10)+" MiB")
	}
	if r.Durability != nil {
		g.add("durability", *r.Durability)
	}
	g.add("replicas", strconv.Itoa(r.Replicas))
	g.add("CPU", r.CPU)
	return p.list(g)
}

// cpuText names the machine's processors as far as the system does.
func cpuText() string {
	model := runtime.GOARCH
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%d x %s", runtime.NumCPU(), model)
}
