package where

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dartwing/jobledger/ledger"
)

// Where chooses jobs. The zero value chooses every job.
type Where struct {
	Terms []Term // all must hold
}

// Term asks one thing about a job.
type Term struct {
	Field  Field
	Key    string // of FieldTag the tag's name; of FieldArgs and FieldResult a path, or nothing for anywhere
	Not    bool
	Values []Value // one must hold
}

// Value is one of the values that a term takes.
type Value struct {
	Op   Op
	Text string // of OpIs and OpBegins; of FieldError in small letters
	// Low and High, of OpRange, limit a number or a time; at least one is set.
	Low, High Bound
}

// Op is how a value is compared.
type Op int

// The comparisons.
const (
	OpIs     Op = iota // the same; of FieldError: contains
	OpBegins           // begins with Text; an empty one: the job has a value at all
	OpRange            // between Low and High
)

// Bound is an end of a range.
type Bound struct {
	Set  bool
	Open bool // the bound itself lies outside
	Age  bool // N is an age in nanoseconds; else, of a time, nanoseconds since 1970, or a number
	N    int64
}

// Uses reports whether a term asks about one of the fields.
func (w *Where) Uses(fields ...Field) bool {
	return slices.ContainsFunc(w.Terms, func(t Term) bool { return slices.Contains(fields, t.Field) })
}

// Match reports whether the terms hold for a job as it is at now. It costs most where only FieldError or FieldGroup decide.
func (w *Where) Match(r *ledger.Record, now time.Time) bool {
	for _, costly := range [2]bool{false, true} {
		for i := range w.Terms {
			if t := &w.Terms[i]; t.form().costly == costly && t.holds(r, now) == t.Not {
				return false
			}
		}
	}
	return true
}

// holds is Match for a term without its Not.
func (t *Term) holds(r *ledger.Record, now time.Time) bool {
	form := t.form()
	switch t.Field {
	case FieldArgs:
		return t.holdsPayload(r.Args)
	case FieldResult:
		return t.holdsPayload(r.Result)
	case FieldParent:
		return t.holdsParent(r)
	}
	switch form.kind {
	case kindTime:
		at := t.instant(r)
		return at != nil && slices.ContainsFunc(t.Values, func(v Value) bool {
			return v.within(at.UnixNano(), now.Sub(*at).Nanoseconds())
		})
	case kindNumber:
		n := int64(r.Attempt)
		return slices.ContainsFunc(t.Values, func(v Value) bool { return v.within(n, n) })
	}
	have, ok := t.text(r, now)
	return ok && t.takes(have)
}

// takes reports whether one of the values is a text, or begins or lies within it.
func (t *Term) takes(have string) bool {
	within := t.form().kind == kindText
	return slices.ContainsFunc(t.Values, func(v Value) bool {
		switch {
		case v.Op == OpBegins:
			return strings.HasPrefix(have, v.Text)
		case within:
			return strings.Contains(have, v.Text)
		}
		return have == v.Text
	})
}

// holdsParent is holds for FieldParent, of which a job has any number.
func (t *Term) holdsParent(r *ledger.Record) bool {
	return r.Batch != nil && t.takes(*r.Batch) ||
		slices.ContainsFunc(r.Parents, func(p ledger.RecordParent) bool { return t.takes(string(p.ID)) })
}

// within compares what a job has, as it is and as an age.
func (v Value) within(n, age int64) bool {
	if v.Op == OpBegins {
		return true
	}
	low, high := n, n
	if v.Low.Age {
		low = age
	}
	if v.High.Age {
		high = age
	}
	return (!v.Low.Set || low > v.Low.N || low == v.Low.N && !v.Low.Open) &&
		(!v.High.Set || high < v.High.N || high == v.High.N && !v.High.Open)
}

// Span is between which times, in nanoseconds since 1970, a term about times holds at now: nothing outside does.
func (t *Term) Span(now time.Time) (low, high int64) {
	low, high = math.MaxInt64, math.MinInt64
	for _, v := range t.Values {
		from, to := int64(math.MinInt64), int64(math.MaxInt64)
		at := now.UnixNano()
		// An age turns a range around: the older it is, the earlier.
		if b := v.Low; b.Set && b.Age {
			to = at - min(b.N, at)
		} else if b.Set {
			from = b.N
		}
		if b := v.High; b.Set && b.Age {
			from = at - min(b.N, at)
		} else if b.Set {
			to = b.N
		}
		low, high = min(low, from), max(high, to)
	}
	return low, high
}

// String is the canonical text.
func (w *Where) String() string {
	var b strings.Builder
	for i := range w.Terms {
		if i > 0 {
			b.WriteByte(' ')
		}
		w.Terms[i].write(&b)
	}
	return b.String()
}

func (t *Term) write(b *strings.Builder) {
	if t.Not {
		b.WriteByte('-')
	}
	b.WriteString(string(t.Field))
	if t.Key != "" {
		b.WriteString("." + t.Key)
	}
	for i, v := range t.Values {
		b.WriteByte(":,"[min(i, 1)])
		if v.Op == OpRange {
			v.writeRange(b, t.form().kind)
			continue
		}
		b.WriteString(quoted(v.Text, v.Op == OpBegins))
		if v.Op == OpBegins {
			b.WriteByte('*')
		}
	}
}

func (v Value) writeRange(b *strings.Builder, k kind) {
	low, high := v.Low, v.High
	switch {
	case !low.Set:
		b.WriteString("<" + closed(high) + high.text(k))
	case !high.Set:
		b.WriteString(">" + closed(low) + low.text(k))
	case k == kindNumber && low.N == high.N:
		b.WriteString(low.text(k))
	default:
		b.WriteString(low.text(k) + ".." + high.text(k))
	}
}

func closed(bound Bound) string {
	if bound.Open {
		return ""
	}
	return "="
}

func (bound Bound) text(k kind) string {
	switch {
	case k == kindNumber:
		return strconv.FormatInt(bound.N, 10)
	case bound.Age:
		return ageText(bound.N)
	}
	return time.Unix(0, bound.N).UTC().Format(time.RFC3339Nano)
}

// quoted is a text as Parse reads it. With a star behind it it may be empty.
func quoted(s string, star bool) string {
	if plain(s) && (s != "" || star) {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// plain reports whether a text means itself without quotes.
func plain(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return isBlank(c) || strings.ContainsRune(`,"*\`, c) }) &&
		!strings.HasPrefix(s, "<") && !strings.HasPrefix(s, ">")
}

func isBlank(c rune) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }
