package ledger_test

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
)

var statsNoon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func ended(run time.Duration, failed bool) *ledger.Sample {
	return &ledger.Sample{Ended: true, Failed: failed, Completed: !failed, Run: run, HasRun: !failed, Total: 2 * run, HasTotal: true, RanMS: run.Milliseconds()}
}

// A quantile is off by 9 % at most, whatever the durations.
func TestStatsQuantiles(t *testing.T) {
	for ms := int64(1); ms < 40_000_000; ms = ms*5/4 + 1 {
		var s ledger.Stats
		s.Add(statsNoon, ended(time.Duration(ms)*time.Millisecond, false), 0, 0)
		got := *s.Tens[0].Run.Quantile(0.5)
		if off := math.Abs(got-float64(ms)) / float64(ms); off > 0.1 && math.Abs(got-float64(ms)) > 1 {
			t.Errorf("%d ms is told as %.1f", ms, got)
		}
	}
	var s ledger.Stats
	for ms := range 1000 {
		s.Add(statsNoon, ended(time.Duration(ms+1)*time.Millisecond, false), 0, 0)
	}
	for part, want := range map[float64]float64{0.5: 500, 0.95: 950, 0.99: 990, 1: 1000} {
		if got := *s.Tens[0].Run.Quantile(part); math.Abs(got-want)/want > 0.1 {
			t.Errorf("of 1 to 1000 ms the quantile %v is %v", part, got)
		}
	}
	if (&ledger.Histogram{}).Quantile(0.5) != nil {
		t.Error("a histogram of nothing has a quantile")
	}
}

// However long it goes on, no more than the windows is kept; what is stored is read again as it was, and goes on the same
// . A clock that was set back adds to the newest slot.
func TestStatsAreBounded(t *testing.T) {
	var s ledger.Stats
	at := statsNoon
	for i := range 60 * 24 * 40 {
		at = at.Add(time.Minute)
		s.Add(at, ended(time.Duration(i%977)*time.Millisecond, i%10 == 0), int64(i%7), int64(i%5))
		if i%5000 != 0 {
			continue
		}
		body, err := json.Marshal(&s)
		var again ledger.Stats
		if err == nil {
			err = json.Unmarshal(body, &again)
		}
		if err != nil || !again.Equal(&s) {
			t.Fatalf("%v: %s is read as something else", err, body)
		}
		s = again
	}
	if len(s.Minutes) != ledger.StatMinutes || len(s.Hours) != ledger.StatHours || len(s.Days) != ledger.StatDays || len(s.Tens) != 6 {
		t.Errorf("kept are %d minutes, %d hours, %d days, %d tens", len(s.Minutes), len(s.Hours), len(s.Days), len(s.Tens))
	}
	newest := s.Minutes[len(s.Minutes)-1]
	s.Add(at.Add(-time.Hour), ended(time.Second, true), 3, 9)
	if got := s.Minutes[len(s.Minutes)-1]; len(s.Minutes) != ledger.StatMinutes || got.Failed != newest.Failed+1 || got.WaitingLast != 9 {
		t.Errorf("then the newest minute is %+v, was %+v", got, newest)
	}
}

// What an event costs; it allocates nothing where its slots are there (aim: 0.3 us).
func BenchmarkStatsAdd(b *testing.B) {
	var s ledger.Stats
	samples := make([]*ledger.Sample, 64)
	for i := range samples {
		samples[i] = ended(time.Duration(i*i)*time.Millisecond, i%10 == 0)
		s.Add(statsNoon, samples[i], 0, 1)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		s.Add(statsNoon, samples[i%64], 1, 1)
	}
}
