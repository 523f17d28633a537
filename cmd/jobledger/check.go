package main

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/choria-io/fisk"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
)

// Verdicts of a check, with the exit codes of monitoring plugins (INTERFACE 2.2).
const (
	checkOK exitCode = iota
	checkWarning
	checkCritical
	checkUnknown
)

var verdicts = [...]string{"OK", "WARNING", "CRITICAL", "UNKNOWN"}

// graver orders verdicts: what is known to be broken comes before what is not known.
var graver = [...]int{0, 1, 3, 2}

// finding is what a check found.
type finding struct {
	Name     string   `json:"name"`
	Status   string   `json:"status"`
	Code     exitCode `json:"code"`
	Perf     []perf   `json:"perf"`
	Messages []string `json:"messages"`
}

// perf is one number that was looked at.
type perf struct {
	Item  string   `json:"item"`
	Value float64  `json:"value"`
	Unit  string   `json:"unit"` // s, %, or nothing for a count
	Warn  *float64 `json:"warn"` // null: not judged by it
	Crit  *float64 `json:"crit"`
}

// say notes what is wrong, and how much.
func (f *finding) say(code exitCode, format string, args ...any) {
	f.Messages = append(f.Messages, fmt.Sprintf(format, args...))
	f.worsen(code)
}

func (f *finding) worsen(code exitCode) {
	if graver[code] > graver[f.Code] {
		f.Code = code
	}
	f.Status = verdicts[f.Code]
}

// judge notes a number, and says so if it is at or above a threshold.
func (f *finding) judge(l limits, item, unit string, value float64, what string) {
	f.Perf = append(f.Perf, perf{item, value, unit, &l.warn, &l.crit})
	switch {
	case value >= l.crit:
		f.say(checkCritical, "%s: %s%s", what, number(value), unit)
	case value >= l.warn:
		f.say(checkWarning, "%s: %s%s", what, number(value), unit)
	}
}

// note notes a number that nothing is judged by.
func (f *finding) note(item, unit string, value float64) {
	f.Perf = append(f.Perf, perf{Item: item, Value: value, Unit: unit})
}

// limits are the thresholds of a check.
type limits struct{ warn, crit float64 }

// probe is one check.
type probe struct {
	name   string
	about  string
	limits limits
	run    func(ctx context.Context, p *program, c *gateway.Client, l limits, f *finding) error
}

func probes() []probe {
	return []probe{
		{"connection", "the command service answers; thresholds are seconds", limits{1, 3}, probeConnection},
		{"queue", "jobs that wait in each queue", queueLimits, probeQueues},
		{"dlq", "open dead letters of the org", limits{50, 500}, probeDeadLetters},
		{"lag", "how long the views take to show what is stored now; thresholds are seconds", limits{5, 10}, probeLag},
		{"ledger", "events that are quarantined or illegal, the store's space, a leader", limits{1, 100}, probeLedger},
		{"schedule", "ticks of the org's schedules that are overdue; thresholds are seconds", limits{60, 300}, probeSchedules},
		{"worker", "live workers; thresholds are numbers that are too few", limits{0, 0}, probeWorkers},
	}
}

// checkFlags are those of `check`.
type checkFlags struct {
	name, format string
	warn, crit   option[float64]
}

func (p *program) addCheck(app *fisk.Application) {
	var f checkFlags
	names, about := []string{}, &strings.Builder{}
	for _, x := range probes() {
		names = append(names, x.name)
		fmt.Fprintf(about, "\t%-11s %s\n", x.name, x.about)
	}
	cmd := p.command(app, "check", "A probe for monitoring: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN", func(ctx context.Context) error { return p.check(ctx, &f) })
	cmd.HelpLong("What can be checked, or all of it:\n\n" + about.String() + `
A number at or above a threshold is one too many; of workers, one at or below it. What
cannot be found out is UNKNOWN, but for a connection that cannot be made: CRITICAL.

Examples:

	jobledger check all
	jobledger check queue --warn 500 --critical 2000 --format prometheus
	jobledger check lag --warn 2s --json`)
	cmd.Arg("what", "What to check").Required().EnumVar(&f.name, append(names, "all")...)
	optionFlag(cmd, "warn", "From where on it is a warning", &f.warn, parseThreshold).PlaceHolder("N")
	optionFlag(cmd, "critical", "From where on it is critical", &f.crit, parseThreshold).PlaceHolder("N")
	cmd.Flag("format", "nagios, json, prometheus or text").Default("nagios").EnumVar(&f.format, "nagios", "json", "prometheus", "text")
}

// parseThreshold takes a number, or a duration as seconds.
func parseThreshold(s string) (float64, error) {
	if n, err := strconv.ParseFloat(s, 64); err == nil && n >= 0 && !math.IsInf(n, 1) {
		return n, nil
	}
	d, err := parseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%q is neither a number nor a duration", s)
	}
	return d.Seconds(), nil
}

func (p *program) check(ctx context.Context, f *checkFlags) error {
	if f.name == "all" && (f.warn.Set || f.crit.Set) {
		return usagef("check all: thresholds are those of one check: name it")
	}
	if p.flags.JSON {
		f.format = "json"
	}
	found := p.probe(ctx, f)
	if err := p.printFinding(found, f.format); err != nil {
		return err
	}
	return exitWith(found.Code)
}

// probe carries a check out; what keeps it from that is part of what it finds.
func (p *program) probe(ctx context.Context, f *checkFlags) *finding {
	all := &finding{Name: f.name, Status: verdicts[checkOK], Perf: []perf{}, Messages: []string{}}
	c, err := p.openClient("check " + f.name)
	if err != nil {
		code := checkUnknown
		if f.name == "connection" || f.name == "all" {
			code = checkCritical
		}
		all.say(code, "%s", asCLIError(err).Message)
		return all
	}
	defer c.Conn.Close()
	for _, x := range probes() {
		if f.name != x.name && f.name != "all" {
			continue
		}
		l := limits{f.warn.Or(x.limits.warn), f.crit.Or(x.limits.crit)}
		one := &finding{Name: x.name}
		if err := x.run(ctx, p, c, l, one); err != nil {
			code := checkUnknown
			if x.name == "connection" {
				code = checkCritical
			}
			one.say(code, "%s", asCLIError(err).Message)
		}
		for _, m := range one.Messages {
			if f.name == "all" {
				m = x.name + ": " + m
			}
			all.Messages = append(all.Messages, m)
		}
		all.Perf = append(all.Perf, one.Perf...)
		all.worsen(one.Code)
	}
	return all
}

func (p *program) printFinding(f *finding, format string) error {
	switch format {
	case "json":
		return p.document(f)
	case "prometheus":
		return p.printf("%s", f.prometheus())
	case "text":
		return p.printf("%s", f.text())
	}
	return p.printf("%s\n", f.nagios())
}

// nagios is the one line of monitoring plugins. A bar would begin the numbers.
func (f *finding) nagios() string {
	line := &strings.Builder{}
	fmt.Fprintf(line, "JOBLEDGER %s %s", strings.ToUpper(f.Name), f.Status)
	if len(f.Messages) > 0 {
		line.WriteString(": " + strings.NewReplacer("|", "/", "\n", " ").Replace(quiet(strings.Join(f.Messages, "; "))))
	}
	for i, p := range f.Perf {
		if i == 0 {
			line.WriteString(" |")
		}
		fmt.Fprintf(line, " %s=%s%s;%s;%s", p.Item, number(p.Value), p.Unit, threshold(p.Warn), threshold(p.Crit))
	}
	return line.String()
}

func (f *finding) prometheus() string {
	out := &strings.Builder{}
	fmt.Fprintf(out, "# HELP jobledger_check_status 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.\n# TYPE jobledger_check_status gauge\n")
	fmt.Fprintf(out, "jobledger_check_status{check=%q} %d\n", f.Name, f.Code)
	if len(f.Perf) > 0 {
		fmt.Fprintf(out, "# HELP jobledger_check_value What was looked at.\n# TYPE jobledger_check_value gauge\n")
	}
	for _, p := range f.Perf {
		fmt.Fprintf(out, "jobledger_check_value{check=%q,item=%q,unit=%q} %s\n", f.Name, p.Item, p.Unit, number(p.Value))
	}
	return out.String()
}

func (f *finding) text() string {
	out := &strings.Builder{}
	fmt.Fprintf(out, "%s: %s\n", f.Name, f.Status)
	for _, m := range f.Messages {
		fmt.Fprintf(out, "  %s\n", quiet(m))
	}
	for _, p := range f.Perf {
		fmt.Fprintf(out, "  %-24s %s%s\n", p.Item, number(p.Value), p.Unit)
	}
	return out.String()
}

func threshold(v *float64) string {
	if v == nil {
		return ""
	}
	return number(*v)
}

// number prints a value without a needless fraction.
func number(v float64) string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.3f", v), "0"), ".")
}

func isUnavailable(err error) bool {
	e := ledger.AsError(err)
	return e != nil && e.Code == ledger.CodeUnavailable
}
