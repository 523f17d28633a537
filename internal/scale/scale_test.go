package main

import (
	"context"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// inProcess is a server in the test's own process.
type inProcess struct {
	env *ledgertest.Env
	srv *ledgertest.Server
}

func (s *inProcess) url() string                  { return s.env.URL() }
func (s *inProcess) memory() (now, most int64)    { return 1 << 20, 2 << 20 }
func (s *inProcess) fold() (int64, time.Duration) { return 1, time.Second }
func (s *inProcess) cpu() time.Duration           { return 0 }
func (s *inProcess) crash()                       { s.srv.Stop(); s.env.Stop() }
func (s *inProcess) stop() error                  { s.crash(); return nil }

// TestParts: every part runs to its end at a tiny size, its ledger is sound, and what does not depend on how fast the
// machine is holds (R-15, R-16, R-32, R-115, C20).
func TestParts(t *testing.T) {
	t.Parallel()
	results := &report{Jobs: 300}
	for _, p := range parts {
		b := &bed{jobs: results.Jobs, store: filepath.Join(t.TempDir(), "store"), part: p.name, rate: 100_000, bulk: 7, noIndex: true, results: results, talk: io.Discard, log: zap.NewNop(),
			start: func(_ context.Context, store string) (server, error) {
				env := ledgertest.Start(t, ledgertest.WithPort(), ledgertest.WithStoreDir(store))
				env.SkipVerify() // the part itself has the checker look, and removes the folder
				return &inProcess{env, env.RunServer()}, nil
			}}
		if err := b.measure(t.Context(), p.run); err != nil {
			t.Fatalf("%s: %v", p.name, err)
		}
	}
	if err := search(t.Context(), results.Jobs, t.TempDir(), results, io.Discard); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := results.print(&text, false); err != nil {
		t.Fatal(err)
	}
	for _, f := range results.Figures {
		if f.Aim == "0" && f.Value != 0 {
			t.Errorf("%s: %s: %v", f.Part, f.What, f.Value)
		}
	}
	for _, want := range []string{"behind the flood", "critical jobs", "beside the flood to alone", "weights 1:2:4", "in bands / one org", "lost", "serves after", "last / first", "behind the first window", "counts: p50", "index file, a job"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("nothing about %q in\n%s", want, &text)
		}
	}
}

// TestUnfair: the deviation of shares is that of the worst org in the worst span.
func TestUnfair(t *testing.T) {
	begin := time.Unix(0, 0)
	s := &story{}
	for i := range 1200 { // 12 s: a and b take turns, but for the last two seconds, in which b gets two of three
		org := schemas.OrgID("ab"[i%2 : i%2+1])
		if i >= 1000 {
			org = schemas.OrgID("abb"[i%3 : i%3+1])
		}
		s.order = append(s.order, &told{org: org, started: begin.Add(time.Duration(i) * 10 * time.Millisecond)})
	}
	worst, spans := s.unfair(map[schemas.OrgID]int{"a": 1, "b": 1}, begin, begin.Add(12*time.Second))
	if spans != 3 || worst < 0.06 || worst > 0.08 {
		t.Errorf("%d spans, at worst %.3f", spans, worst)
	}
	if worst, spans = s.unfair(map[schemas.OrgID]int{"a": 1, "b": 1}, begin, begin.Add(10*time.Second)); spans != 1 || worst != 0 {
		t.Errorf("%d spans, at worst %.3f, of equal shares", spans, worst)
	}
}

// TestYearsPace: jobs pass at the rate that was asked for, and what was late is made up for within bounds.
func TestYearsPace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin, p := time.Now(), newPace(1000)
		pass := func(n int, at time.Duration) {
			t.Helper()
			if err := p.wait(t.Context(), n); err != nil {
				t.Fatal(err)
			}
			if got := time.Since(begin); got != at {
				t.Errorf("%d jobs after %s, want %s", n, got, at)
			}
		}
		pass(500, 0)
		pass(1, 500*time.Millisecond)
		pass(1, 501*time.Millisecond)
		if err := rest(t.Context(), time.Minute); err != nil {
			t.Fatal(err)
		}
		pass(1000, time.Minute+501*time.Millisecond) // a second's, not a minute's
		pass(1, time.Minute+501*time.Millisecond)
		pass(1, time.Minute+502*time.Millisecond)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if p.wait(ctx, 1) == nil {
			t.Error("a canceled wait ended without an error")
		}
	})
}

// TestYearsBehindWindow: the stretch that the last one is compared with began when the first hot window was over.
func TestYearsBehindWindow(t *testing.T) {
	t.Parallel()
	spans := []span{{ended: time.Second, rate: 1}, {ended: 2 * time.Second, rate: 2}, {ended: 3 * time.Second, rate: 3}, {ended: 4 * time.Second, rate: 4}}
	for window, want := range map[time.Duration]float64{0: 2, time.Second: 2, 1500 * time.Millisecond: 3, 3 * time.Second: 0, time.Minute: 0} {
		if got, ok := behindWindow(spans, window); got.rate != want || ok != (want > 0) {
			t.Errorf("%s: rate %v, %v; want %v", window, got.rate, ok, want)
		}
	}
}

// TestLevel: the mean and the most of what was looked at.
func TestLevel(t *testing.T) {
	t.Parallel()
	var l level
	if l.mean() != 0 {
		t.Errorf("mean of nothing: %d", l.mean())
	}
	for _, now := range []int64{4, 9, 2} {
		l.look(now)
	}
	if l.mean() != 5 || l.most != 9 {
		t.Errorf("mean %d, most %d; want 5 and 9", l.mean(), l.most)
	}
}

// TestOptions: what makes no sense is refused.
func TestOptions(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-rate", "-1"}, {"-bulk", "-1"}, {"-bulk", "0"}, {"-bulk", "1001"}, {"-rate", "2000000"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%q was taken", args)
		}
	}
	if o, err := parse([]string{"-rate", "4000", "-bulk", "10"}); err != nil || o.rate != 4000 || o.bulk != 10 {
		t.Errorf("%+v, %v", o, err)
	}
}
