package ticks

import (
	"errors"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // zones are known also where the system has none; the system's own come first

	cron "github.com/netresearch/go-cron"

	"github.com/dartwing/jobledger/schemas"
)

const (
	// searchYears is how far ahead a cron expression is followed: a 29 February is eight years off at most.
	searchYears = 9
	// changesMax bounds the clock changes that one search passes; no zone has had more than four a year lately.
	changesMax = 8 * searchYears
	// allHours are the bits of an hour field that names every hour.
	allHours = 1<<24 - 1
)

// Plan is when a schedule ticks. It is never changed, and may be used by many at once.
type Plan struct {
	spec   *cron.SpecSchedule // of wall times, in UTC; nil if there is no cron expression
	zone   *time.Location
	hourly bool // spec names every hour

	every, offset int64 // seconds; 0: no interval
	at            time.Time
}

// parser takes five fields, six with seconds first, and descriptors such as @daily. Where both days are
// restricted either will do, as in every crontab.
var parser = cron.MustNewParser(cron.SecondOptional | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow |
	cron.Descriptor | cron.Extended | cron.DowOrDom).WithMaxSearchYears(searchYears)

// For returns the plan of a schedule. The error tells what about its expression or zone cannot be read.
func For(s *schemas.ScheduleSettings) (*Plan, error) {
	switch {
	case s.Cron != "":
		return forCron(s.Cron, s.Zone)
	case s.EveryMS > 0:
		return &Plan{every: int64(s.EveryMS.Duration() / time.Second), offset: int64(s.OffsetMS.Duration() / time.Second)}, nil
	case s.At != nil:
		return &Plan{at: s.At.UTC()}, nil
	}
	return nil, errors.New("a schedule has a cron expression, an interval or a time")
}

func forCron(expression, zone string) (*Plan, error) {
	if strings.HasPrefix(expression, "@every") {
		return nil, fmt.Errorf("cron expression %q: give an interval as such", expression)
	}
	if strings.Contains(expression, "TZ=") {
		return nil, fmt.Errorf("cron expression %q: give the time zone beside it, not in it", expression)
	}
	parsed, err := parser.Parse(strings.TrimSpace(expression))
	if err != nil {
		return nil, fmt.Errorf("cron expression %q: %w", expression, err)
	}
	spec, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return nil, fmt.Errorf("cron expression %q is no list of times", expression)
	}
	spec.Location = time.UTC
	p := &Plan{spec: spec, zone: time.UTC, hourly: spec.Hour&allHours == allHours}
	if zone != "" {
		if zone == "Local" {
			return nil, errors.New(`time zone "Local" is another one on each machine: use a name such as Europe/Berlin`)
		}
		if p.zone, err = time.LoadLocation(zone); err != nil {
			return nil, fmt.Errorf("time zone %q is unknown: use a name such as Europe/Berlin", zone)
		}
	}
	if spec.Next(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, fmt.Errorf("cron expression %q names no day that exists", expression)
	}
	return p, nil
}

// Next returns the first tick after t, in UTC; zero if there is none.
func (p *Plan) Next(t time.Time) time.Time {
	switch {
	case p.spec != nil:
		return p.nextCron(t)
	case p.every > 0:
		from := t.Unix() - p.offset
		n := from / p.every
		if from%p.every < 0 {
			n--
		}
		return time.Unix((n+1)*p.every+p.offset, 0).UTC()
	case p.at.After(t):
		return p.at
	}
	return time.Time{}
}

// nextCron goes from one stretch of time without a clock change to the next, for in each the wall clock and the
// time line are the same but for an offset.
func (p *Plan) nextCron(t time.Time) time.Time {
	in := t.In(p.zone) // a time of the stretch
	_, offset := in.Zone()
	after := wall(t, offset).Truncate(time.Second) // wall times up to here are passed
	for range changesMax {
		begin, end := in.ZoneBounds()
		if !p.hourly && !begin.IsZero() {
			if _, before := begin.Add(-time.Second).In(p.zone).Zone(); before > offset {
				// The clock went back: it showed what comes before this already.
				if shown := wall(begin, before).Add(-time.Second); after.Before(shown) {
					after = shown
				}
			}
		}
		w := p.spec.Next(after)
		if w.IsZero() {
			return w
		}
		at := w.Add(-time.Duration(offset) * time.Second)
		if end.IsZero() || at.Before(end) {
			return at
		}
		in = end.In(p.zone)
		_, offset = in.Zone()
		resumed := wall(end, offset) // what the clock shows at the change
		if !p.hourly && w.Before(resumed) {
			return end.UTC() // the clock skips w
		}
		after = resumed.Add(-time.Second)
	}
	return time.Time{}
}

// wall is what a clock with this offset in seconds shows at t, as a time in UTC.
func wall(t time.Time, offset int) time.Time {
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

// First returns the first ticks after one time and up to another, at most n.
func (p *Plan) First(after, until time.Time, n int) (out []time.Time) {
	for t := p.Next(after); !t.IsZero() && !t.After(until) && len(out) < n; t = p.Next(t) {
		out = append(out, t)
	}
	return out
}

// Latest returns the latest ticks after one time and up to another, at most n, oldest first. It looks from the end
// back, in ever longer steps, so that its cost does not grow with the distance of the two.
func (p *Plan) Latest(after, until time.Time, n int) []time.Time {
	if t := p.Next(after); t.IsZero() || t.After(until) {
		return nil
	}
	for back := time.Second; ; back *= 2 {
		from := until.Add(-back)
		all := !from.After(after) || back > schemas.NotBeforeMax*searchYears
		if all {
			from = after
		}
		found := make([]time.Time, 0, n)
		for t := p.Next(from); !t.IsZero() && !t.After(until); t = p.Next(t) {
			if len(found) == n {
				found = append(found[:0], found[1:]...)
			}
			found = append(found, t)
		}
		if all || len(found) == n {
			return found
		}
	}
}
