package where

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// readRange reads <B, <=B, >B, >=B, A..B, A.., ..B, and of numbers N.
func (p *parser) readRange(form *fieldForm, r raw) (Value, error) {
	v := Value{Op: OpRange}
	s := r.text
	switch {
	case r.quoted:
		return v, p.errorf("write numbers and times without quotes")
	case r.star:
		return v, p.errorf("%s has no beginning: write a range, such as %s", form.field, form.example())
	case s == "":
		return v, p.errorf("a value is empty: write %s, or -%s:* for jobs that have none", form.example(), form.field)
	}
	var low, high string
	if op := s[:len(s)-len(strings.TrimLeft(s, "<>="))]; op != "" {
		switch op {
		case "<", "<=":
			high, v.High.Open = s[len(op):], op == "<"
		case ">", ">=":
			low, v.Low.Open = s[len(op):], op == ">"
		default:
			return v, p.errorf("%s is unknown: use <, <=, > or >=, as in %s", op, form.example())
		}
		if low+high == "" {
			return v, p.errorf("behind %s nothing follows: write %s", op, form.example())
		}
	} else if from, to, ranged := strings.Cut(s, ".."); ranged {
		if low, high = from, to; low+high == "" {
			return v, p.errorf("a range needs an end: write %s", form.example())
		}
	} else if form.kind == kindNumber {
		low, high = s, s
	} else {
		if _, err := form.bound(s); err != nil {
			return v, p.errorf("%v", err)
		}
		return v, p.errorf("no job is so exact: write %s:<%s or %s:>%s, where %s", form.field, s, form.field, s, agesRead)
	}
	for _, end := range []struct {
		text string
		to   *Bound
	}{{low, &v.Low}, {high, &v.High}} {
		if end.text == "" {
			continue
		}
		b, err := form.bound(end.text)
		if err != nil {
			return v, p.errorf("%v", err)
		}
		b.Open = end.to.Open
		*end.to = b
	}
	switch {
	case !v.Low.Set || !v.High.Set:
	case v.Low.Age != v.High.Age:
		return v, p.errorf("write both ends of a range as times, or both as ages")
	case v.Low.N > v.High.N:
		return v, p.errorf("the range is empty: write %s..%s", high, low)
	}
	return v, nil
}

// agesRead is how ages compare.
const agesRead = "of ages <1h is the last hour and >1h what is longer ago"

func (f *fieldForm) example() string {
	if f.kind == kindNumber {
		return string(f.field) + ":>2 or " + string(f.field) + ":2..5"
	}
	return string(f.field) + ":<1h (the last hour), " + string(f.field) + ":1d..7d or " + string(f.field) + ":>2026-11-01T00:00:00Z"
}

// bound reads a number, a time or an age.
func (f *fieldForm) bound(s string) (Bound, error) {
	if f.kind == kindNumber {
		n, err := strconv.ParseInt(s, 10, 32)
		if err != nil || n < 0 {
			return Bound{}, fmt.Errorf("%q is not a whole number from 0 on", s)
		}
		return Bound{Set: true, N: n}, nil
	}
	if t, err := time.Parse(time.RFC3339Nano, strings.ToUpper(s)); err == nil {
		if t.Year() < 1970 || t.Year() > 2200 {
			return Bound{}, fmt.Errorf("%s is not in the years 1970 to 2200", s)
		}
		return Bound{Set: true, N: t.UnixNano()}, nil
	}
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return Bound{}, fmt.Errorf("a day has no zone: write %s", t.Format(time.RFC3339))
	}
	n, err := parseAge(s)
	if err != nil {
		return Bound{}, fmt.Errorf("%q is neither an age, such as 90s, 1h30m or 7d, nor a time, such as 2026-11-01T14:00:00Z", s)
	}
	return Bound{Set: true, Age: true, N: n}, nil
}

// ageUnits are those of an age, the longest name of two that begin alike first.
var ageUnits = []struct {
	name string
	unit time.Duration
}{
	{"ms", time.Millisecond}, {"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second},
}

var errAge = errors.New("not an age")

func parseAge(s string) (int64, error) {
	var total int64
	for rest := s; ; {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		n, err := strconv.ParseInt(rest[:digits], 10, 64)
		if err != nil {
			return 0, errAge
		}
		rest = rest[digits:]
		unit := int64(0)
		for _, u := range ageUnits {
			if after, ok := strings.CutPrefix(rest, u.name); ok {
				unit, rest = int64(u.unit), after
				break
			}
		}
		if unit == 0 || n > (math.MaxInt64-total)/unit {
			return 0, errAge
		}
		if total += n * unit; rest == "" {
			return total, nil
		}
	}
}

// ageText writes an age in the fewest units, without weeks.
func ageText(n int64) string {
	var b strings.Builder
	for _, u := range []struct {
		name string
		unit time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}} {
		if count := n / int64(u.unit); count > 0 {
			b.WriteString(strconv.FormatInt(count, 10) + u.name)
			n -= count * int64(u.unit)
		}
	}
	if b.Len() == 0 {
		return "0s"
	}
	return b.String()
}
