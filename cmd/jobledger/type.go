package main

import (
	"context"
	"fmt"
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
	p.addTypeEdit(typ)
	p.addTypeEnabled(typ, "enable", "Let a type take new jobs again", true)
	p.addTypeEnabled(typ, "disable", "Refuse new jobs of a type; accepted ones run to their end", false)
	p.addTypeSchema(typ)
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
	var history bool
	cmd := p.command(typ, "info", "Show a type and the policy in force", func(ctx context.Context) error {
		return p.typeInfo(ctx, name, history)
	})
	cmd.Arg("type", "The type").Required().StringVar(&name)
	cmd.Flag("history", "All policies it ever had: who, when, why").UnNegatableBoolVar(&history)
}

func (p *program) typeInfo(ctx context.Context, name string, history bool) error {
	if err := schemas.CheckToken("type", name); err != nil {
		return usagef("%w", err)
	}
	c, err := p.openClient("type info")
	if err != nil {
		return err
	}
	defer c.Conn.Close()
	if history {
		h, err := c.TypeHistory(ctx, schemas.TypeName(name))
		if err != nil {
			return err
		}
		return p.printSettingHistory(h)
	}
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
		{"Max running", typeLimitsFact(t)},
		{"Start rate", perOrg(rateText(t.StartRate))},
		{"Submit rate", perOrg(rateText(t.SubmitRate))},
		{"Breaker", breakerFact(t.Breaker)},
		{"Closed to", joined(t.DisabledOrgs)},
		{"Retention", retentionText(t.RetentionDays)},
		{"Permission", t.Permission},
		{"Schema", string(t.Schema)},
		{"Updated", p.updated(&gateway.SettingAuthor{Seq: t.Seq, Actor: t.Actor, At: t.At})},
		{"Reason", deref(t.Reason)},
	}
	facts = append(facts, typeStatsFacts(t.Stats)...)
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
