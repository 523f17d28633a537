package ticks_test

import (
	"testing"
	"time"

	"github.com/dartwing/jobledger/internal/ticks"
	"github.com/dartwing/jobledger/schemas"
)

// FuzzCron: an expression is refused, or its ticks rise, each behind the time that it was asked for.
func FuzzCron(f *testing.F) {
	for _, s := range []string{"* * * * *", "0 0 29 2 *", "*/5 0 9-17 * * 1-5", "@daily", "0 0 31 4,6 *", "60 * * * *", "", "@every 1s", "TZ=UTC * * * * *", "L * * * *", "0 2 * * 0#2", "1-0 * * * *", "*/0 * * * *", "0 0 1 1 * 9999999999999"} {
		f.Add(s, "Europe/Berlin")
		f.Add(s, "")
	}
	f.Add("* * * * *", "../../etc/passwd")
	f.Fuzz(func(t *testing.T, expression, zone string) {
		p, err := ticks.For(&schemas.ScheduleSettings{Cron: expression, Zone: zone})
		if err != nil {
			return
		}
		at := time.Date(2026, 3, 29, 0, 59, 59, 0, time.UTC) // where summer time begins
		for range 5 {
			next := p.Next(at)
			if next.IsZero() {
				return
			}
			if !next.After(at) {
				t.Fatalf("behind %s comes %s", at, next)
			}
			at = next
		}
	})
}
