package main

import (
	"strings"
	"testing"
	"time"

	"github.com/choria-io/fisk"
)

// INTERFACE 2.1: durations accept ms s m h d w.
func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0":      0,
		"250ms":  250 * time.Millisecond,
		"90s":    90 * time.Second,
		"5m":     5 * time.Minute,
		"1h30m":  90 * time.Minute,
		"1.5h":   90 * time.Minute,
		"2d":     48 * time.Hour,
		"1w2d3s": 9*24*time.Hour + 3*time.Second,
	} {
		if got, err := parseDuration(text); err != nil || got != want {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "5", "s", "5x", "-5s", "5s ", "1..5h", "5 s", "1h-3m", "99999999w", "1y", "5sm"} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("%q was read as %v", text, got)
		}
	}
}

// INTERFACE 2.1: times accept RFC 3339, a local form with --tz, a duration ago.
func TestTimes(t *testing.T) {
	berlin, err := parseZone("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		text string
		sign int
		want time.Time
	}{
		{"2026-11-23T14:00:00Z", -1, time.Date(2026, 11, 23, 14, 0, 0, 0, time.UTC)},
		{"2026-11-23T14:00:00.5+02:00", -1, time.Date(2026, 11, 23, 12, 0, 0, 5e8, time.UTC)},
		{"2026-11-23 14:00", -1, time.Date(2026, 11, 23, 13, 0, 0, 0, time.UTC)},
		{"2026-07-23 14:00:05", -1, time.Date(2026, 7, 23, 12, 0, 5, 0, time.UTC)},
		{"2026-11-23", -1, time.Date(2026, 11, 22, 23, 0, 0, 0, time.UTC)},
		{"2h", -1, testNow.Add(-2 * time.Hour)},
		{"2h", +1, testNow.Add(2 * time.Hour)},
	} {
		if got, err := parseTime(c.text, testNow, berlin, c.sign); err != nil || !got.Equal(c.want) {
			t.Errorf("%q is %v, %v; want %v", c.text, got, err, c.want)
		}
	}
	for _, text := range []string{"", "yesterday", "14:00", "2026-13-01"} {
		if got, err := parseTime(text, testNow, berlin, -1); err == nil {
			t.Errorf("%q was read as %v", text, got)
		}
	}
}

func TestDidYouMean(t *testing.T) {
	names := []string{"submit", "ls", "info", "history", "resubmit"}
	for word, want := range map[string]string{
		"sumbit":  ", did you mean submit?",
		"histroy": ", did you mean history?",
		"l":       ", did you mean ls?",
		"delete":  "",
		"":        "",
	} {
		if got := didYouMean("", word, names); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}

// INTERFACE 2.4: absent and zero differ; an error names its flag.
func TestOptionFlag(t *testing.T) {
	for _, c := range []struct {
		args []string
		want option[time.Duration]
		err  string
	}{
		{nil, option[time.Duration]{}, ""},
		{[]string{"--run-timeout", "0"}, option[time.Duration]{Set: true}, ""},
		{[]string{"--run-timeout=2m"}, option[time.Duration]{Value: 2 * time.Minute, Set: true}, ""},
		{[]string{"--run-timeout", "soon"}, option[time.Duration]{}, "--run-timeout: "},
	} {
		var got option[time.Duration]
		app := fisk.New("test", "")
		optionFlag(app, "run-timeout", "", &got, parseDuration)
		_, err := app.Parse(c.args)
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.HasPrefix(err.Error(), c.err) {
			t.Errorf("%q: %+v, %v; want %+v, %q", c.args, got, err, c.want, c.err)
		}
	}
	for text, ok := range map[string]bool{"0": true, "8422": true, "65535": true, "65536": false, "-1": false, "127.0.0.1:8422": false, "": false} {
		if n, err := parsePort(text); (err == nil) != ok {
			t.Errorf("port %q: %d, %v", text, n, err)
		}
	}
	if (option[int]{}).Or(7) != 7 || (option[int]{Set: true}).Or(7) != 0 {
		t.Error("Or does not tell absent from zero")
	}
}
