package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// The words that stand for "no value" in the flags of settings.
const (
	wordDefault = "default" // back to the engine's default
	wordNone    = "none"    // no rate, no owner
)

// changes are the fields that a command's flags name: what is not in it stays as it is; nil goes back to its
// default.
type changes map[string]any

// set takes a flag's value, if the flag was given.
func (c changes) set(field string, o option[any]) {
	if o.Set {
		c[field] = o.Value
	}
}

// request is what the server is asked for.
func (m *mutation) request(reason string) (gateway.SetRequest, error) {
	body, err := json.Marshal(m.changes)
	return gateway.SetRequest{Set: body, New: m.isNew, IfSeq: m.ifSeq.pointer(), Reason: reason}, err
}

// ifSeqFlag declares --if-seq of a command that changes settings.
func ifSeqFlag(cmd flagOwner, target *option[schemas.Seq]) {
	optionFlag(cmd, "if-seq", "Only if nobody has changed it since: the sequence that info --json shows", target, schemas.ParseSeq).PlaceHolder("N")
}

// parseLimit reads a number of jobs, 0 for unlimited, or "default".
func parseLimit(s string) (any, error) {
	if s == wordDefault {
		return nil, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return nil, fmt.Errorf("%q is not a number from 0 (unlimited) on, nor %q", s, wordDefault)
	}
	return n, nil
}

// parseRate reads N/D: so many in such a time. "none" is no rate.
func parseRate(s string) (any, error) {
	if s == wordNone || s == wordDefault || s == "0" {
		return nil, nil
	}
	count, per, ok := strings.Cut(s, "/")
	n, err := strconv.Atoi(count)
	if !ok || err != nil {
		return nil, fmt.Errorf("%q is not N/D, as in 50/1m, nor %q", s, wordNone)
	}
	if per != "" && !strings.ContainsAny(per[:1], "0123456789.") {
		per = "1" + per // 50/m
	}
	d, err := parseDuration(per)
	if err != nil {
		return nil, err
	}
	rate := schemas.Rate{Count: n, PerMS: schemas.MillisOf(d)}
	return rate, rate.Validate()
}

// parseText reads text as it is; "none" only where it names a thing.
func parseText(s string) (any, error) { return s, nil }

// parseName reads a token, or "none".
func parseName(s string) (any, error) {
	if s == wordNone || s == "" {
		return nil, nil
	}
	return s, schemas.CheckToken("name", s)
}

// rateText prints a rate as --rate reads it.
func rateText(r *schemas.Rate) string {
	if r == nil {
		return ""
	}
	return r.String()
}

// limitText prints a limit for people.
func limitText(n int) string {
	if n == 0 {
		return "unlimited"
	}
	return strconv.Itoa(n)
}

// authorFacts say who set what is in force.
func (p *program) authorFacts(a *gateway.SettingAuthor) []fact {
	return []fact{{"Updated", p.updated(a)}, {"Reason", deref(a.Reason)}}
}

// updated is when, by whom, and the sequence that --if-seq takes.
func (p *program) updated(a *gateway.SettingAuthor) string {
	s := p.since(a.At) + by(a.Actor)
	if a.Seq != nil {
		s += ", sequence " + a.Seq.String()
	}
	return s
}

// mutation is a command that changes the settings of one thing.
type mutation struct {
	kind, name string
	isNew      bool
	ifSeq      option[schemas.Seq]
	changes    changes
}

// mutate checks a change, asks for its reason, and has it carried out. With --dry-run it says what it would be.
func (p *program) mutate(ctx context.Context, m *mutation, do func(ctx context.Context, c *gateway.Client, r gateway.SetRequest) error) error {
	if err := schemas.CheckToken(m.kind, m.name); err != nil {
		return usagef("%w", err)
	}
	if !m.isNew && len(m.changes) == 0 {
		return usagef("nothing to change: give at least one flag")
	}
	verb := "edit"
	if m.isNew {
		verb = "add"
	}
	if p.flags.DryRun {
		r, err := m.request("")
		if err != nil {
			return failf(ledger.CodeInternal, "%w", err)
		}
		p.talkf("would %s %s %s: %s", verb, m.kind, m.name, r.Set)
		return nil
	}
	reason, err := p.reason()
	if err != nil {
		return err
	}
	r, err := m.request(reason)
	if err != nil {
		return failf(ledger.CodeInternal, "%w", err)
	}
	c, err := p.openClient(m.kind + " " + verb)
	if err != nil {
		return err
	}
	defer c.Conn.Close()
	return do(ctx, c, r)
}

// withClient runs a reading command.
func (p *program) withClient(ctx context.Context, name string, do func(ctx context.Context, c *gateway.Client) error) error {
	c, err := p.openClient(name)
	if err != nil {
		return err
	}
	defer c.Conn.Close()
	return do(ctx, c)
}

// anyOrg is the org on whose behalf the cell's own settings are asked for where none is in use: any would do.
const anyOrg = "any"

// withCell is withClient for what belongs to the cell, where no org need be known.
func (p *program) withCell(ctx context.Context, name string, do func(ctx context.Context, c *gateway.Client) error) error {
	t, err := p.resolveTarget()
	if err != nil {
		return err
	}
	org, err := p.org(t)
	if err != nil {
		org = anyOrg
	}
	nc, err := p.connect(t, name)
	if err != nil {
		return err
	}
	defer nc.Close()
	return do(ctx, &gateway.Client{Conn: nc, Org: org, Timeout: p.flags.Timeout})
}

// printSettingHistory prints the settings that a thing had, oldest first.
func (p *program) printSettingHistory(h *gateway.SettingHistory) error {
	if p.flags.JSON {
		for i := range h.Items {
			if err := p.line(&h.Items[i]); err != nil {
				return err
			}
		}
		return nil
	}
	g := &grid{Title: fmt.Sprintf("%d versions", len(h.Items)), Columns: []string{"sequence", "time", "by", "reason", "settings"}}
	for i := range h.Items {
		v := &h.Items[i]
		g.add(v.Seq.String(), p.recordTime(v.Time), deref(v.Actor), deref(v.Reason), string(v.Settings))
	}
	return p.list(g)
}

// printGrid prints a list as a table or as CSV.
func (p *program) printGrid(g *grid, format string) error {
	if format == "csv" {
		return outputError(g.writeCSV(p.Stdout))
	}
	return p.list(g)
}

// formatFlag declares --format of a list.
func formatFlag(cmd flagOwner, format *string) {
	cmd.Flag("format", "table or csv").EnumVar(format, "table", "csv")
}

// parseWeights reads ORG=N; N is a number, or "default".
func parseWeights(pairs []string) (map[string]any, error) {
	weights := map[string]any{}
	for _, pair := range pairs {
		org, n, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, errors.New(strconv.Quote(pair) + " is not ORG=N")
		}
		if err := schemas.CheckToken("org", org); err != nil {
			return nil, err
		}
		w, err := parseWeight(n)
		if err != nil {
			return nil, err
		}
		weights[org] = w
	}
	return weights, nil
}

// parseWeight reads a share, or "default".
func parseWeight(s string) (any, error) {
	if s == wordDefault {
		return nil, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > schemas.WeightMax {
		return nil, fmt.Errorf("weight %q is not a number from 1 to %d, nor %q", s, schemas.WeightMax, wordDefault)
	}
	return n, nil
}
