//go:build browser

package console_test

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/heapprofiler"
	"github.com/chromedp/cdproto/performance"
	"github.com/chromedp/chromedp"
)

var (
	minutes = flag.Int("minutes", 60, "how long BenchmarkTabMemory looks")
	eachS   = flag.Int("jobs-per-second", 50, "jobs that BenchmarkTabMemory submits: four events each")
)

// warmUp is how much of a measurement is no part of the slope: caches fill, lists reach what they may hold.
const warmUp = 1.0 / 10

// memory is what a tab holds behind a collection of garbage.
type memory struct {
	MB               float64
	Nodes, Listeners int
}

func (b *tab) memory() (m memory) {
	b.t.Helper()
	ctx, stop := context.WithTimeout(b.ctx, patience)
	defer stop()
	if _, err := chromedp.Call(ctx, heapprofiler.CollectGarbage, cdp.Empty{}); err != nil {
		b.t.Fatal(err)
	}
	got, err := chromedp.Call(ctx, performance.GetMetrics, cdp.Empty{})
	if err != nil {
		b.t.Fatal(err)
	}
	for _, one := range got.Metrics {
		switch one.Name {
		case "JSHeapUsedSize":
			m.MB = float64(one.Value) / (1 << 20)
		case "Nodes":
			m.Nodes = int(one.Value)
		case "JSEventListeners":
			m.Listeners = int(one.Value)
		}
	}
	return m
}

// BenchmarkTabMemory is what pages hold while jobs come and go before them for an hour (INTERFACE 7): heap, nodes and
// listeners each minute on stderr, and in the end the slope of the heap behind the warm-up, in MB an hour:
//
//	go test -tags browser ./gateway/console -run xxx -bench TabMemory -benchtime 1x -timeout 0 -minutes 60
func BenchmarkTabMemory(b *testing.B) {
	s := dev(b)
	s.busy(b)
	watched := s.submit(`{"type":"watched","args":{}}`)
	pages := []string{"jobs", "", "jobs/" + watched, "activity?who=all"}
	names := []string{"jobs", "overview", "job", "activity"}
	var tabs []*tab
	for _, p := range pages {
		one := seen(b, s.URL+"/o/acme/"+p, "")
		one.shows(".live", "Live")
		if _, err := chromedp.Call(one.ctx, performance.Enable, performance.EnableParams{}); err != nil {
			b.Fatal(err)
		}
		tabs = append(tabs, one)
	}
	tabs[2].shows(".standing", "running")
	second := time.NewTicker(time.Second)
	defer second.Stop()
	held := make([][]memory, len(tabs))
	var times []float64 // in hours
	begin, events := time.Now(), s.position()
	for n := 0; ; n++ {
		if n%60 == 0 {
			times = append(times, time.Since(begin).Hours())
			line := fmt.Sprintf("%s minute %.1f", time.Now().UTC().Format(time.TimeOnly), time.Since(begin).Minutes())
			for i, one := range tabs {
				m := one.memory()
				held[i] = append(held[i], m)
				line += fmt.Sprintf("  %s %.2f MB %d nodes %d listeners", names[i], m.MB, m.Nodes, m.Listeners)
			}
			fmt.Fprintf(os.Stderr, "%s  %.0f events/s\n", line, float64(s.position()-events)/time.Since(begin).Seconds())
			if n >= *minutes*60 {
				break
			}
		}
		<-second.C
		s.call("POST", "orgs/acme/submits", `{"items":[`+strings.TrimSuffix(strings.Repeat(`{"type":"tick","args":{"n":1},"dedup":"off"},`, *eachS), ",")+`]}`, nil)
	}
	b.ReportMetric(float64(s.position()-events)/time.Since(begin).Seconds(), "events/s")
	for i, name := range names {
		from := int(warmUp * float64(len(times)))
		b.ReportMetric(held[i][from].MB, name+"-first-MB")
		b.ReportMetric(held[i][len(times)-1].MB, name+"-last-MB")
		b.ReportMetric(slope(times[from:], held[i][from:]), name+"-MB/h")
	}
}

// busy has a worker complete jobs of type tick at once, and one of type watched that tells its progress and never ends.
func (s *site) busy(b *testing.B) {
	b.Helper()
	at := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"ok":true}`)) }))
	b.Cleanup(at.Close)
	s.call("PUT", "types/watched", `{"name":"watched","reason":"test","run_timeout_s":86400}`, nil)
	const forever = `n=0; while :; do n=$((n+1)); echo "{\"percent\":$((n % 100)),\"message\":\"round $n\",\"steps\":[{\"name\":\"load\",\"state\":\"done\"},{\"name\":\"draw\",\"state\":\"in_progress\"}]}" >&3; sleep 1; done`
	for _, worker := range []*exec.Cmd{s.command("worker", "run", "tick", "--http", at.URL, "--allow-private", "--slots", "32"), s.command("worker", "run", "watched", "--exec", forever)} {
		if err := worker.Start(); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = worker.Process.Kill(); _ = worker.Wait() })
	}
}

// position is the last sequence of the ledger that the counts of acme stand for.
func (s *site) position() int {
	s.t.Helper()
	var counts struct {
		Seq int `json:"as_of_seq"`
	}
	s.call("GET", "orgs/acme/counts", "", &counts)
	return counts.Seq
}

// slope is that of the straight line through the heap over time, by least squares.
func slope(x []float64, y []memory) float64 {
	var mx, my, above, below float64
	for i := range x {
		mx += x[i] / float64(len(x))
		my += y[i].MB / float64(len(x))
	}
	for i := range x {
		above += (x[i] - mx) * (y[i].MB - my)
		below += (x[i] - mx) * (x[i] - mx)
	}
	if below == 0 {
		return 0
	}
	return above / below
}
