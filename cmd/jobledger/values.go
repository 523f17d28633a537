package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // --tz works where the system has no zones, as in a container from scratch

	"github.com/choria-io/fisk"

	"github.com/dartwing/jobledger/schemas"
)

// option is the value of a flag that may be absent, which is not the same as
// zero (INTERFACE 2.4).
type option[T any] struct {
	Value T
	Set   bool
}

// Or returns the value, or the default when the flag is absent.
func (o option[T]) Or(value T) T {
	if o.Set {
		return o.Value
	}
	return value
}

// pointer returns the value, or nil when the flag is absent.
func (o option[T]) pointer() *T {
	if o.Set {
		return &o.Value
	}
	return nil
}

// optionValue fills an option from the command line. fisk's errors do not name
// the flag; these do.
type optionValue[T any] struct {
	name   string
	target *option[T]
	parse  func(string) (T, error)
}

func (v *optionValue[T]) Set(s string) error {
	parsed, err := v.parse(s)
	if err != nil {
		return fmt.Errorf("--%s: %w", v.name, err)
	}
	*v.target = option[T]{Value: parsed, Set: true}
	return nil
}

func (v *optionValue[T]) String() string { return "" }

// flagOwner is what flags can be added to.
type flagOwner interface {
	Flag(name, help string) *fisk.FlagClause
}

// optionFlag declares a flag that is read by parse.
func optionFlag[T any](owner flagOwner, name, help string, target *option[T], parse func(string) (T, error)) *fisk.FlagClause {
	f := owner.Flag(name, help)
	f.SetValue(&optionValue[T]{name: name, target: target, parse: parse})
	return f
}

func parseInt(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a whole number", s)
	}
	return n, nil
}

// parsePort reads a TCP port; 0 is any that is free.
func parsePort(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("%q is not a port from 1 to 65535, or 0 for a free one", s)
	}
	return int(n), nil
}

// parseSeq reads a sequence of the ledger.
func parseSeq(s string) (schemas.Seq, error) {
	n, err := schemas.ParseSeq(s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a sequence, as 4711", s)
	}
	return n, nil
}

// durationUnits are the units of a duration, each in terms of time.Duration. A
// day has 24 hours: who means the calendar gives a time.
var durationUnits = []struct {
	name string
	unit time.Duration
}{
	{"ms", time.Millisecond}, // before m and s: the longest name wins
	{"s", time.Second},
	{"m", time.Minute},
	{"h", time.Hour},
	{"d", 24 * time.Hour},
	{"w", 7 * 24 * time.Hour},
}

// parseDuration reads 90s, 1h30m, 2d, 1.5h, 250ms, 1w, or 0.
func parseDuration(s string) (time.Duration, error) {
	if s == "0" {
		return 0, nil
	}
	var total float64
	for rest := s; ; {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789."))
		n, err := strconv.ParseFloat(rest[:digits], 64)
		if err != nil {
			break
		}
		rest = rest[digits:]
		unit := time.Duration(0)
		for _, u := range durationUnits {
			if after, ok := strings.CutPrefix(rest, u.name); ok {
				unit, rest = u.unit, after
				break
			}
		}
		total += n * float64(unit)
		if unit == 0 || total > math.MaxInt64 {
			break
		}
		if rest == "" {
			return time.Duration(total), nil
		}
	}
	return 0, fmt.Errorf("%q is not a duration: use numbers with ms, s, m, h, d or w, as in 1h30m", s)
}

// timeForms are the times people write, read in the zone of --tz.
var timeForms = []string{"2006-01-02 15:04", "2006-01-02 15:04:05", "2006-01-02"}

// parseTime reads RFC 3339, "2006-01-02 15:04" in the zone, or a duration.
// sign is -1 where a duration means ago and +1 where it means from now.
func parseTime(s string, now time.Time, zone *time.Location, sign int) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t, nil
	}
	for _, form := range timeForms {
		if t, err := time.ParseInLocation(form, s, zone); err == nil {
			return t, nil
		}
	}
	if d, err := parseDuration(s); err == nil {
		return now.Add(time.Duration(sign) * d), nil
	}
	return time.Time{}, fmt.Errorf(`%q is not a time: use RFC 3339, "2006-01-02 15:04" with --tz, or a duration such as 2h`, s)
}

// parseZone reads a zone name of the IANA database; empty is the local one.
func parseZone(name string) (*time.Location, error) {
	if name == "" {
		return time.Local, nil
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, errors.New(strconv.Quote(name) + " is not a time zone: use a name such as Europe/Berlin or UTC")
	}
	return zone, nil
}

// thousands prints a number for people: 12,402.
func thousands(n uint64) string {
	if n < 1000 {
		return strconv.FormatUint(n, 10)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
