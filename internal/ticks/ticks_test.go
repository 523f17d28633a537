package ticks_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	cron "github.com/netresearch/go-cron"
	"pgregory.net/rapid"

	"github.com/dartwing/jobledger/internal/ticks"
	"github.com/dartwing/jobledger/schemas"
)

func plan(t testing.TB, expression, zone string) *ticks.Plan {
	t.Helper()
	p, err := ticks.For(&schemas.ScheduleSettings{Cron: expression, Zone: zone})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// what happens when clocks change, in zones that change by an hour at night, and by half an hour.
func TestClockChanges(t *testing.T) {
	for _, tc := range []struct{ about, cron, zone, from, want string }{
		// The clock goes from 02:00 CET (+1) to 03:00 CEST (+2) on 2026-03-29 at 01:00Z.
		{"a skipped time fires at the end of the gap", "30 2 * * *", "Europe/Berlin", "2026-03-28T00:00Z",
			"03-28T01:30 03-29T01:00 03-30T00:30"},
		{"several skipped times fire once", "*/10 2 * * *", "Europe/Berlin", "2026-03-28T02:00Z",
			"03-29T01:00 03-30T00:00 03-30T00:10"},
		{"also together with one at the end of the gap", "0,30 2-3 * * *", "Europe/Berlin", "2026-03-29T00:00Z",
			"03-29T01:00 03-29T01:30 03-30T00:00"},
		{"every hour follows the clock in spring", "30 * * * *", "Europe/Berlin", "2026-03-28T23:00Z",
			"03-28T23:30 03-29T00:30 03-29T01:30"},
		{"the last minute before the gap", "59 1 * * *", "Europe/Berlin", "2026-03-29T00:00Z", "03-29T00:59 03-29T23:59"},
		// The clock goes from 03:00 CEST back to 02:00 CET on 2026-10-25 at 01:00Z.
		{"a doubled time fires the first time", "30 2 * * *", "Europe/Berlin", "2026-10-24T12:00Z", "10-25T00:30 10-26T01:30"},
		{"and not again when asked in the second hour", "30 2 * * *", "Europe/Berlin", "2026-10-25T01:10Z", "10-26T01:30"},
		{"a time after the doubled hour", "0 3 * * *", "Europe/Berlin", "2026-10-24T12:00Z", "10-25T02:00 10-26T02:00"},
		{"the first moment of the doubled hour", "0 2 * * *", "Europe/Berlin", "2026-10-24T12:00Z", "10-25T00:00 10-26T01:00"},
		{"every hour follows the clock in autumn", "30 * * * *", "Europe/Berlin", "2026-10-24T23:45Z",
			"10-25T00:30 10-25T01:30 10-25T02:30"},
		// EST (-5) to EDT (-4) on 2026-03-08 at 07:00Z, back on 2026-11-01 at 06:00Z.
		{"New York in spring", "15 2 * * *", "America/New_York", "2026-03-07T12:00Z", "03-08T07:00 03-09T06:15"},
		{"New York in autumn", "15 1 * * *", "America/New_York", "2026-10-31T12:00Z", "11-01T05:15 11-02T06:15"},
		{"New York, every quarter of every hour", "*/15 * * * *", "America/New_York", "2026-11-01T05:40Z",
			"11-01T05:45 11-01T06:00 11-01T06:15"},
		// Lord Howe moves by half an hour: +10:30 to +11 on 2026-10-03 at 15:30Z, back on 2026-04-04 at 15:00Z.
		{"Lord Howe in spring", "15 2 * * *", "Australia/Lord_Howe", "2026-10-02T12:00Z", "10-02T15:45 10-03T15:30 10-04T15:15"},
		{"Lord Howe in spring, after the gap of half an hour", "45 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00Z", "10-03T15:45 10-04T15:45"},
		{"Lord Howe in autumn", "45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00Z", "04-04T14:45 04-05T15:15"},
		{"Lord Howe in autumn, every half hour", "15,45 * * * *", "Australia/Lord_Howe", "2026-04-04T14:40Z",
			"04-04T14:45 04-04T15:15 04-04T15:45"},
		// Chatham has a clock change at 02:45; Sao Paulo had one at midnight until 2019.
		{"midnight that does not exist", "@daily", "America/Sao_Paulo", "2018-11-03T12:00Z", "11-04T03:00 11-05T02:00"},
		{"Chatham", "50 2 * * *", "Pacific/Chatham", "2026-09-25T00:00Z", "09-25T14:05 09-26T14:00 09-27T13:05"},
	} {
		t.Run(tc.about, func(t *testing.T) {
			from, err := time.Parse("2006-01-02T15:04Z", tc.from)
			if err != nil {
				t.Fatal(err)
			}
			want := strings.Fields(tc.want)
			var got []string
			for _, at := range plan(t, tc.cron, tc.zone).First(from, from.AddDate(1, 0, 0), len(want)) {
				got = append(got, at.Format("01-02T15:04"))
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s in %s: %v, want %v", tc.cron, tc.zone, got, want)
			}
		})
	}
}

// naive walks the time line second by second with the wall clock of a zone beside it, and asks the library of each
// wall time whether it is meant.
func naive(t testing.TB, expression string, zone *time.Location, from, until time.Time) (out []time.Time) {
	t.Helper()
	parsed, err := cron.MustNewParser(cron.SecondOptional | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.DowOrDom).Parse(expression)
	if err != nil {
		t.Fatal(err)
	}
	spec := parsed.(*cron.SpecSchedule)
	spec.Location = time.UTC
	meant := func(after, upTo time.Time) bool { // any wall time in (after, upTo]
		w := spec.Next(after)
		return !w.IsZero() && !w.After(upTo)
	}
	wall := func(t time.Time) time.Time {
		_, offset := t.In(zone).Zone()
		return t.UTC().Add(time.Duration(offset) * time.Second)
	}
	hourly := spec.Hour&(1<<24-1) == 1<<24-1
	before := from.Add(-2 * time.Hour)
	shown := wall(before)
	for at := before.Add(time.Second); !at.After(until); at = at.Add(time.Second) {
		if s := at.Second(); s != 0 && s != 7 && s != 30 { // no other is ever meant
			continue
		}
		w := wall(at)
		tick := meant(w.Add(-time.Second), w)
		if !hourly {
			tick = w.After(shown) && meant(shown, w)
			if w.After(shown) {
				shown = w
			}
		}
		if tick && at.After(from) {
			out = append(out, at.UTC())
		}
	}
	return out
}

// around clock changes the plan has the ticks that a naive walk finds, for any expression; and Latest is the
// end of First.
func TestTicksAreNaive(t *testing.T) {
	changes := map[string][]string{
		"Europe/Berlin":       {"2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z"},
		"America/New_York":    {"2026-03-08T07:00:00Z", "2026-11-01T06:00:00Z"},
		"Australia/Lord_Howe": {"2026-04-04T15:00:00Z", "2026-10-03T15:30:00Z"},
	}
	zones := slices.Sorted(func(yield func(string) bool) {
		for z := range changes {
			if !yield(z) {
				return
			}
		}
	})
	field := func(t *rapid.T, name string, low, high int) string {
		switch rapid.IntRange(0, 3).Draw(t, name+" kind") {
		case 0:
			return "*"
		case 1:
			return fmt.Sprintf("*/%d", rapid.IntRange(2, high).Draw(t, name+" step"))
		case 2:
			a := rapid.IntRange(low, high).Draw(t, name+" from")
			return fmt.Sprintf("%d-%d", a, rapid.IntRange(a, high).Draw(t, name+" to"))
		}
		return fmt.Sprintf("%d,%d", rapid.IntRange(low, high).Draw(t, name), rapid.IntRange(low, high).Draw(t, name+" too"))
	}
	rapid.Check(t, func(rt *rapid.T) {
		name := rapid.SampledFrom(zones).Draw(rt, "zone")
		change, err := time.Parse(time.RFC3339, rapid.SampledFrom(changes[name]).Draw(rt, "change"))
		if err != nil {
			rt.Fatal(err)
		}
		zone, err := time.LoadLocation(name)
		if err != nil {
			rt.Fatal(err)
		}
		expression := strings.Join([]string{rapid.SampledFrom([]string{"0", "7,30"}).Draw(rt, "second"),
			field(rt, "minute", 0, 59), field(rt, "hour", 0, 4), "*", "*", rapid.SampledFrom([]string{"*", "SUN", "0,6"}).Draw(rt, "day")}, " ")
		from := change.Add(-time.Duration(rapid.IntRange(0, 9000).Draw(rt, "before")) * time.Second)
		until := from.Add(4 * time.Hour)
		want := naive(t, expression, zone, from, until)
		p := plan(t, expression, name)
		if got := p.First(from, until, 1<<20); !slices.EqualFunc(got, want, time.Time.Equal) {
			rt.Fatalf("%s in %s from %s:\n got %v\nwant %v", expression, name, from, got, want)
		}
		n := rapid.IntRange(1, 9).Draw(rt, "n")
		if got := p.Latest(from, until, n); !slices.EqualFunc(got, want[max(0, len(want)-n):], time.Time.Equal) {
			rt.Fatalf("latest %d of %s: %v of %v", n, expression, got, want)
		}
	})
}

// expressions of crontabs, and what is refused with a reason.
func TestExpressions(t *testing.T) {
	from := time.Date(2026, 11, 25, 20, 59, 59, 0, time.UTC) // a Wednesday
	for _, tc := range []struct{ cron, want string }{
		{"* * * * *", "2026-11-25T21:00:00Z"},
		{"*/5 * * * * *", "2026-11-25T21:00:00Z"},
		{"1-59/20 30 2 * * MON-FRI", "2026-11-26T02:30:01Z"},
		{"0 9 1 JAN *", "2027-01-01T09:00:00Z"},
		{"0 0 13 * FRI", "2026-11-27T00:00:00Z"}, // either day, as in every crontab
		{"0 0 * * 7", "2026-11-29T00:00:00Z"},
		{"0 0 L * *", "2026-11-30T00:00:00Z"},
		{"0 0 29 2 *", "2028-02-29T00:00:00Z"},
		{"@hourly", "2026-11-25T21:00:00Z"},
		{"@daily", "2026-11-26T00:00:00Z"},
		{"@weekly", "2026-11-29T00:00:00Z"},
		{"@monthly", "2026-12-01T00:00:00Z"},
		{"@yearly", "2027-01-01T00:00:00Z"},
	} {
		if got := plan(t, tc.cron, "").Next(from).Format(time.RFC3339); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.cron, got, tc.want)
		}
	}
	for _, tc := range []struct{ cron, zone, want string }{
		{"* * * *", "", "fields"}, {"61 * * * *", "", "61"}, {"* * * FOO *", "", "FOO"}, {"@reboot", "", "@reboot"}, {"@every 5m", "", "interval"},
		{"TZ=Europe/Berlin @daily", "", "beside it"}, {"CRON_TZ=UTC 0 0 * * *", "", "beside it"}, {"0 0 30 2 *", "", "no day that exists"},
		{"@daily", "Mars/Olympus", "unknown"}, {"@daily", "Local", "each machine"}, {"@daily", "../etc/passwd", "unknown"},
		{"* * * * * * *", "", "fields"}, {"*/0 * * * *", "", "0"},
	} {
		_, err := ticks.For(&schemas.ScheduleSettings{Cron: tc.cron, Zone: tc.zone})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s in %q: %v, want %q", tc.cron, tc.zone, err, tc.want)
		}
	}
}

// intervals are counted from 1970, whatever was set when; a schedule of one time has one tick.
func TestIntervals(t *testing.T) {
	for _, tc := range []struct {
		every, offset schemas.Millis
		from, want    int64
	}{{600_000, 0, 0, 600}, {600_000, 0, 599, 600}, {600_000, 60_000, 600, 660}, {600_000, 60_000, 59, 60}, {7000, 0, -1, 0}, {7000, 3000, -5, -4}} {
		p, err := ticks.For(&schemas.ScheduleSettings{EveryMS: tc.every, OffsetMS: tc.offset})
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Next(time.Unix(tc.from, 0)).Unix(); got != tc.want {
			t.Errorf("every %d, offset %d, after %d: %d, want %d", tc.every, tc.offset, tc.from, got, tc.want)
		}
	}
	at := time.Date(2026, 12, 1, 9, 0, 0, 0, time.UTC)
	p, err := ticks.For(&schemas.ScheduleSettings{At: &at})
	if err != nil || !p.Next(at.Add(-time.Hour)).Equal(at) || !p.Next(at).IsZero() || len(p.Latest(at.Add(-time.Hour), at, 3)) != 1 {
		t.Errorf("a single time: %v %v", p, err)
	}
	if _, err := ticks.For(&schemas.ScheduleSettings{}); err == nil {
		t.Error("a schedule without times has a plan")
	}
}

// The latest tick is found at once, however long ago the one before was.
func BenchmarkLatest(b *testing.B) {
	p := plan(b, "* * * * * *", "Europe/Berlin")
	until := time.Date(2026, 11, 25, 21, 0, 0, 0, time.UTC)
	for range b.N {
		p.Latest(until.AddDate(-1, 0, 0), until, 1)
	}
}

func BenchmarkNext(b *testing.B) {
	p := plan(b, "30 2 * * MON-FRI", "Europe/Berlin")
	at := time.Date(2026, 11, 25, 21, 0, 0, 0, time.UTC)
	for range b.N {
		p.Next(at)
	}
}
