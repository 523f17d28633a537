package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/choria-io/fisk"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/schemas"
)

func (p *program) addType(app *fisk.Application) {
	typ := group(app, "type", "Kinds of jobs and their policy")
	p.addTypeLs(typ)
	p.addTypeInfo(typ)
	p.addTypeAdd(typ)
}

func (p *program) addTypeLs(typ *fisk.CmdClause) {
	var format string
	cmd := p.command(typ, "ls", "List the registered types", func(ctx context.Context) error { return p.listTypes(ctx, format) })
	cmd.Flag("format", "table or csv").EnumVar(&format, "table", "csv")
}

func (p *program) listTypes(ctx context.Context, format string) error {
	c, err := p.openClient("type ls")
	if err != nil {
		return err
	}
	defer c.Conn.Close()
	types, err := c.Types(ctx)
	if err != nil {
		return err
	}
	if p.flags.JSON {
		return p.document(types)
	}
	g := &grid{Title: fmt.Sprintf("%d types", len(types.Items)), Columns: []string{"type", "queue", "enabled", "attempts", "run timeout", "dedup", "description"}}
	for i := range types.Items {
		t := &types.Items[i]
		g.add(string(t.Name), string(t.Queue), yesNo(t.Enabled), whole(t.MaxAttempts), secondsFact(t.RunTimeoutS), dedupFact(t), t.Description)
	}
	if format == "csv" {
		return outputError(g.writeCSV(p.Stdout))
	}
	return p.list(g)
}

func (p *program) addTypeInfo(typ *fisk.CmdClause) {
	var name string
	cmd := p.command(typ, "info", "Show a type and the policy in force", func(ctx context.Context) error {
		return p.typeInfo(ctx, name)
	})
	cmd.Arg("type", "The type").Required().StringVar(&name)
}

func (p *program) typeInfo(ctx context.Context, name string) error {
	if err := schemas.CheckToken("type", name); err != nil {
		return usagef("%w", err)
	}
	c, err := p.openClient("type info")
	if err != nil {
		return err
	}
	defer c.Conn.Close()
	t, err := c.Type(ctx, schemas.TypeName(name))
	if err != nil {
		return err
	}
	return p.printType(t)
}

func (p *program) printType(t *gateway.Type) error {
	if p.flags.JSON {
		return p.document(t)
	}
	facts := []fact{
		{"Type", string(t.Name)},
		{"Description", t.Description},
		{"Enabled", yesNo(t.Enabled)},
		{"Queue", fmt.Sprintf("%s, priority %s", t.Queue, t.Priority)},
		{"Attempts", whole(t.MaxAttempts)},
		{"Run timeout", secondsFact(t.RunTimeoutS)},
		{"Grace", secondsFact(t.GraceS)},
		{"Backoff", backoffFact(t.Backoff)},
		{"Dedup", dedupFact(t)},
		{"Same id", "a new job when the old one is " + t.Reuse},
		{"Permission", t.Permission},
		{"Schema", string(t.Schema)},
		{"Updated", p.since(t.At) + by(t.Actor)},
		{"Reason", deref(t.Reason)},
	}
	for _, f := range facts {
		if f.value == "" || f.value == "null" {
			continue
		}
		if err := p.printf("%12s: %s\n", f.name, quiet(f.value)); err != nil {
			return err
		}
	}
	return nil
}

// typeFlags are those of `type add`.
type typeFlags struct {
	name, description, queue, priority string
	dedup, backoff, permission, schema string
	disabled, exclusive                bool
	runTimeout, grace, dedupWindow     option[time.Duration]
	maxAttempts                        option[int]
}

func (p *program) addTypeAdd(typ *fisk.CmdClause) {
	var f typeFlags
	cmd := p.command(typ, "add", "Register a type, or replace its policy", func(ctx context.Context) error {
		return p.typeAdd(ctx, &f)
	})
	cmd.HelpLong(`What is not given takes the engine's default; jobs that run keep the policy they
were queued with.

Examples:

	jobledger type add email-send --max-attempts 5 --backoff 1m,2,1h
	jobledger type add report --queue bulk --run-timeout 30m --schema report.schema.json`)
	cmd.Arg("type", "Name of the type").Required().StringVar(&f.name)
	cmd.Flag("description", "What it does").PlaceHolder("TEXT").StringVar(&f.description)
	cmd.Flag("queue", "Queue of its jobs").PlaceHolder("NAME").StringVar(&f.queue)
	cmd.Flag("priority", "low, normal, high or critical").PlaceHolder("P").StringVar(&f.priority)
	optionFlag(cmd, "run-timeout", "How long one attempt may take", &f.runTimeout, parseDuration).PlaceHolder("D")
	optionFlag(cmd, "grace", "How long a canceled handler may take to stop", &f.grace, parseDuration).PlaceHolder("D")
	optionFlag(cmd, "max-attempts", "Runs at most, the first included", &f.maxAttempts, parseInt).PlaceHolder("N")
	cmd.Flag("backoff", "Wait before a retry: base, factor and longest").PlaceHolder("BASE,FACTOR,MAX").StringVar(&f.backoff)
	cmd.Flag("dedup", "Which earlier job stands for the same work").EnumVar(&f.dedup, "strict", "in-flight", "off")
	optionFlag(cmd, "dedup-window", "How long it does, 0 for not at all", &f.dedupWindow, parseDuration).PlaceHolder("D")
	cmd.Flag("exclusive", "At most one attempt may run anywhere").UnNegatableBoolVar(&f.exclusive)
	cmd.Flag("disabled", "Refuse new jobs").UnNegatableBoolVar(&f.disabled)
	cmd.Flag("permission", "Permission that submitting needs").PlaceHolder("NAME").StringVar(&f.permission)
	cmd.Flag("schema", "File with the JSON Schema of the arguments").PlaceHolder("FILE").StringVar(&f.schema)
}

func (p *program) typeAdd(ctx context.Context, f *typeFlags) error {
	t, err := f.policy(p)
	if err != nil {
		return err
	}
	if p.flags.DryRun {
		p.talkf("would set type %s", t.Name)
		return nil
	}
	c, err := p.openClient("type add")
	if err != nil {
		return err
	}
	defer c.Conn.Close()
	set, err := c.TypeAdd(ctx, t)
	if err != nil {
		return err
	}
	return p.printType(set)
}

// policy reads the flags; every mistake that can be seen here is found before a
// request is made.
func (f *typeFlags) policy(p *program) (gateway.Type, error) {
	enabled := !f.disabled
	t := gateway.Type{
		Name: schemas.TypeName(f.name), Description: f.description, Enabled: &enabled,
		Queue: schemas.QueueName(f.queue), Priority: schemas.Priority(f.priority),
		RunTimeoutS: inSeconds(f.runTimeout), GraceS: inSeconds(f.grace), DedupWindowS: inSeconds(f.dedupWindow),
		Exclusive: f.exclusive, Permission: f.permission,
	}
	if err := schemas.CheckToken("type", f.name); err != nil {
		return t, usagef("%w", err)
	}
	if f.maxAttempts.Set {
		t.MaxAttempts = &f.maxAttempts.Value
	}
	if f.dedup != "" {
		policy := strings.ReplaceAll(f.dedup, "-", "_")
		t.Dedup = &policy
	}
	if reason := p.flags.Reason.Value; reason != "" {
		t.Reason = &reason
	}
	if f.backoff != "" {
		var err error
		if t.Backoff, err = parseBackoff(f.backoff); err != nil {
			return t, usagef("--backoff: %w", err)
		}
	}
	if f.schema != "" {
		text, err := os.ReadFile(f.schema)
		if err != nil {
			return t, usagef("--schema: %w", err)
		}
		if err := schemas.CheckJSON("the schema's bytes", text); err != nil {
			return t, usagef("--schema: %w", err)
		}
		t.Schema = json.RawMessage(text)
	}
	return t, nil
}

// parseBackoff reads base, factor and cap, as in 1m,2,1h.
func parseBackoff(s string) (*gateway.Backoff, error) {
	parts := strings.Split(s, ",")
	if len(parts) != 3 {
		return nil, fmt.Errorf("%q is not base,factor,max, as in 1m,2,1h", s)
	}
	base, err := parseDuration(parts[0])
	if err != nil {
		return nil, err
	}
	factor, err := strconv.ParseFloat(parts[1], 64)
	if err != nil || factor < 1 {
		return nil, fmt.Errorf("factor %q is not a number from 1 on", parts[1])
	}
	longest, err := parseDuration(parts[2])
	if err != nil {
		return nil, err
	}
	return &gateway.Backoff{BaseS: base.Seconds(), Factor: factor, CapS: longest.Seconds()}, nil
}

func inSeconds(d option[time.Duration]) *float64 {
	if !d.Set {
		return nil
	}
	s := d.Value.Seconds()
	return &s
}

func yesNo(b *bool) string {
	if b == nil || *b {
		return "yes"
	}
	return "no"
}

func whole(n *int) string {
	if n == nil {
		return ""
	}
	return strconv.Itoa(*n)
}

func secondsFact(s *float64) string {
	if s == nil {
		return ""
	}
	return time.Duration(*s * float64(time.Second)).String()
}

func dedupFact(t *gateway.Type) string {
	switch {
	case t.Dedup == nil:
		return ""
	case t.DedupWindowS == nil || *t.DedupWindowS == 0:
		return strings.ReplaceAll(*t.Dedup, "_", "-")
	default:
		return strings.ReplaceAll(*t.Dedup, "_", "-") + " for " + secondsFact(t.DedupWindowS)
	}
}

func backoffFact(b *gateway.Backoff) string {
	if b == nil {
		return ""
	}
	if len(b.ListS) > 0 {
		parts := make([]string, len(b.ListS))
		for i, s := range b.ListS {
			parts[i] = secondsFact(&s)
		}
		return joined(parts)
	}
	return fmt.Sprintf("%s, times %g, up to %s", secondsFact(&b.BaseS), b.Factor, secondsFact(&b.CapS))
}
