package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/dartwing/jobledger/ledger"
)

// document prints one JSON document, for a command that ends.
func (p *program) document(v any) error { return p.line(v) }

// line prints one JSON object and a newline, for a command that follows. Raw
// JSON inside (args, results) keeps its bytes but for white space: no number is
// rounded, no letter escaped.
func (p *program) line(v any) error {
	body, err := marshalRaw(v)
	if err != nil {
		return failf(ledger.CodeInternal, "print JSON: %w", err)
	}
	_, err = p.Stdout.Write(body)
	return outputError(err)
}

// marshalRaw is json.Marshal without HTML escapes, ending in a newline.
func marshalRaw(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// printf writes data to stdout.
func (p *program) printf(format string, args ...any) error {
	_, err := fmt.Fprintf(p.Stdout, format, args...)
	return outputError(err)
}

// talkf says something to the person on stderr; scripts do not read it.
func (p *program) talkf(format string, args ...any) {
	fmt.Fprintf(p.Stderr, format+"\n", args...)
}

func outputError(err error) error {
	if err == nil {
		return nil
	}
	return failf(ledger.CodeInternal, "write output: %w", err)
}

// listTime prints a time in a list: how long ago, or absolute with --utc.
func (p *program) listTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	if p.flags.UTC {
		return p.recordTime(t)
	}
	return relative(p.Now(), t)
}

// recordTime prints a time in a record: absolute, with its zone.
func (p *program) recordTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	zone := p.flags.zone
	if p.flags.UTC {
		zone = time.UTC
	}
	return t.In(zone).Format("2006-01-02 15:04:05 MST")
}

// relative prints the distance of two times in its largest unit: "3m ago",
// "in 2h".
func relative(now, t time.Time) string {
	d := now.Sub(t)
	if d < 0 {
		return "in " + rough(-d)
	}
	return rough(d) + " ago"
}

func rough(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d/time.Second))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d/time.Minute))
	case d < 2*day:
		return fmt.Sprintf("%dh", int(d/time.Hour))
	default:
		return fmt.Sprintf("%dd", int(d/day))
	}
}

// quiet replaces what would move the cursor, ring or colour in text that comes
// from jobs, so that an error message cannot write on the operator's screen.
func quiet(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '\uFFFD'
		}
		return r
	}, s)
}
