package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/choria-io/fisk"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// typeFlags are the policy in `type add` and `type edit`.
type typeFlags struct {
	ifSeq                                                option[schemas.Seq]
	name, file                                           string
	description, queue, priority, permission, schema     option[any]
	dedup, dedupWindow, backoff, runTimeout, grace       option[any]
	maxAttempts, running, perOrg, rate, submits, breaker option[any]
	retention                                            option[any]
	closeTo, openTo                                      []string
	disabled, exclusive, shared, closeBreaker            bool
}

func (p *program) addTypeAdd(typ *fisk.CmdClause) {
	var f typeFlags
	cmd := p.command(typ, "add", "Register a type, or replace its policy", func(ctx context.Context) error {
		return p.typeAdd(ctx, &f)
	})
	cmd.HelpLong(`What is not given takes the engine's default; jobs that run keep the policy they
were queued with. To change some of it, use edit.

A file holds many types, as a JSON array or one object a line, in the form that
type info --json prints; each is stored as a whole or not at all, and answered.

Examples:

	jobledger type add email-send --max-attempts 5 --backoff 1m,2,1h
	jobledger type add report --queue bulk --run-timeout 30m --schema report.schema.json
	jobledger type add -f types.json --reason "release 12"`)
	cmd.Arg("type", "Name of the type").StringVar(&f.name)
	cmd.Flag("file", "Apply a file of types; -f FILE for short").PlaceHolder("FILE").StringVar(&f.file)
	f.declare(cmd)
	cmd.Flag("exclusive", "At most one attempt may run anywhere").UnNegatableBoolVar(&f.exclusive)
	cmd.Flag("disabled", "Refuse new jobs").UnNegatableBoolVar(&f.disabled)
}

func (p *program) addTypeEdit(typ *fisk.CmdClause) {
	var f typeFlags
	cmd := p.command(typ, "edit", "Change some of a type's policy", func(ctx context.Context) error { return p.typeEdit(ctx, &f) })
	cmd.HelpLong(`Only what is given changes; "default" takes a value back to the engine's. A change acts
within a second on every server; jobs that run keep the policy they were queued with.

Examples:

	jobledger type edit email-send --max-running 20 --rate 100/1m --reason "provider's terms"
	jobledger type edit webhook --breaker 50,10,30m --reason "park it while a receiver is down"
	jobledger type edit webhook --close-breaker --org acme --reason "the receiver is back"
	jobledger type edit report --disable-org acme --reason "abuse"`)
	cmd.Arg("type", "The type").Required().StringVar(&f.name)
	ifSeqFlag(cmd, &f.ifSeq)
	f.declare(cmd)
	cmd.Flag("exclusive", "At most one attempt may run anywhere").UnNegatableBoolVar(&f.exclusive)
	cmd.Flag("shared", "Attempts of several jobs may run beside each other, as at first").UnNegatableBoolVar(&f.shared)
	cmd.Flag("disable-org", "Refuse new jobs of this org").PlaceHolder("ORG").StringsVar(&f.closeTo)
	cmd.Flag("enable-org", "Take new jobs of this org again").PlaceHolder("ORG").StringsVar(&f.openTo)
	cmd.Flag("close-breaker", "Let its jobs of the org (--org) start again, whatever failed before").UnNegatableBoolVar(&f.closeBreaker)
}

// declare declares what add and edit have in common.
func (f *typeFlags) declare(cmd flagOwner) {
	optionFlag(cmd, "description", "What it does", &f.description, parseText).PlaceHolder("TEXT")
	optionFlag(cmd, "queue", "Queue of its jobs", &f.queue, parseText).PlaceHolder("NAME")
	optionFlag(cmd, "priority", "low, normal, high or critical", &f.priority, parseText).PlaceHolder("P")
	optionFlag(cmd, "run-timeout", "How long one attempt may take", &f.runTimeout, parseSeconds).PlaceHolder("D")
	optionFlag(cmd, "grace", "How long a canceled handler may take to stop", &f.grace, parseSeconds).PlaceHolder("D")
	optionFlag(cmd, "max-attempts", "Runs at most, the first included", &f.maxAttempts, parseWhole).PlaceHolder("N")
	optionFlag(cmd, "backoff", "Wait before a retry: base, factor and longest", &f.backoff, parseBackoffValue).PlaceHolder("BASE,FACTOR,MAX")
	optionFlag(cmd, "dedup", "Which earlier job stands for the same work: strict, in-flight, singleton or off", &f.dedup, parseDedup).PlaceHolder("POLICY")
	optionFlag(cmd, "dedup-window", "How long it does, 0 for not at all", &f.dedupWindow, parseSeconds).PlaceHolder("D")
	optionFlag(cmd, "permission", "Permission that submitting needs", &f.permission, parseText).PlaceHolder("NAME")
	optionFlag(cmd, "schema", "File with the JSON Schema of the arguments", &f.schema, readSchema).PlaceHolder("FILE")
	optionFlag(cmd, "max-running", "Jobs of it that may run at once, 0 for unlimited", &f.running, parseLimit).PlaceHolder("N")
	optionFlag(cmd, "max-running-per-org", "The same for each org", &f.perOrg, parseLimit).PlaceHolder("N")
	optionFlag(cmd, "rate", "Jobs of one org that may start in a time, as in 50/1m, or none", &f.rate, parseRate).PlaceHolder("N/D")
	optionFlag(cmd, "submit-rate", "Jobs that one org may submit in a time, or none", &f.submits, parseRate).PlaceHolder("N/D")
	optionFlag(cmd, "breaker", "Park the type for an org when so many percent of so many attempts fail in a time: on, none, or PERCENT,ATTEMPTS,WINDOW,COOLDOWN,REOPEN",
		&f.breaker, parseBreaker).PlaceHolder("B")
	optionFlag(cmd, "retention", "How long history is kept behind the end of its job, as in 365d; the org's if that is longer", &f.retention, parseRetention).PlaceHolder("D")
}

// changes are the fields that the flags name.
func (f *typeFlags) changes() changes {
	c := changes{}
	for field, o := range map[string]option[any]{
		"description": f.description, "queue": f.queue, "priority": f.priority, "run_timeout_s": f.runTimeout, "grace_s": f.grace,
		"max_attempts": f.maxAttempts, "backoff": f.backoff, "dedup": f.dedup, "dedup_window_s": f.dedupWindow, "permission": f.permission,
		"schema": f.schema, "max_running": f.running, "max_running_per_org": f.perOrg, "start_rate": f.rate, "submit_rate": f.submits, "breaker": f.breaker,
		"retention_days": f.retention,
	} {
		c.set(field, o)
	}
	if f.exclusive || f.shared {
		c["exclusive"] = f.exclusive
	}
	return c
}

func (p *program) typeAdd(ctx context.Context, f *typeFlags) error {
	if f.file == "" && p.flags.Force && schemas.CheckToken("type", f.name) != nil {
		f.file, f.name = f.name, "" // -f FILE: the letter is --force everywhere else, which add does not need
	}
	switch {
	case f.file != "" && f.name != "":
		return usagef("give a type or a file, not both")
	case f.file != "":
		return p.applyTypes(ctx, f)
	case f.name == "":
		return usagef("required argument 'type' not provided")
	}
	t, err := f.policy(p)
	if err != nil {
		return err
	}
	if p.flags.DryRun {
		p.talkf("would set type %s", t.Name)
		return nil
	}
	return p.withCell(ctx, "type add", func(ctx context.Context, c *gateway.Client) error {
		set, err := c.TypeAdd(ctx, t)
		if err != nil {
			return err
		}
		return p.printType(set)
	})
}

// policy is the type that the flags describe; every mistake that can be seen here is found before a request is made.
func (f *typeFlags) policy(p *program) (gateway.Type, error) {
	t := gateway.Type{Name: schemas.TypeName(f.name)}
	if err := schemas.CheckToken("type", f.name); err != nil {
		return t, usagef("%w", err)
	}
	set := f.changes()
	set["enabled"] = !f.disabled
	if reason := p.flags.Reason.Value; reason != "" {
		set["reason"] = reason
	}
	body, err := json.Marshal(set)
	if err == nil {
		err = json.Unmarshal(body, &t)
	}
	if err != nil {
		return t, usagef("%w", err)
	}
	return t, nil
}

func (p *program) typeEdit(ctx context.Context, f *typeFlags) error {
	if f.exclusive && f.shared {
		return usagef("give --exclusive or --shared, not both")
	}
	m := &mutation{kind: "type", name: f.name, ifSeq: f.ifSeq, changes: f.changes()}
	if f.closeBreaker {
		if len(m.changes)+len(f.closeTo)+len(f.openTo) > 0 || f.ifSeq.Set {
			return usagef("--close-breaker changes no settings: give it alone")
		}
		return p.closeBreaker(ctx, schemas.TypeName(f.name))
	}
	if err := p.addDisabledOrgs(ctx, f, m); err != nil {
		return err
	}
	return p.mutateType(ctx, m)
}

// closeBreaker lets a type's jobs of the org start again.
func (p *program) closeBreaker(ctx context.Context, name schemas.TypeName) error {
	if err := schemas.CheckToken("type", string(name)); err != nil {
		return usagef("%w", err)
	}
	if p.flags.DryRun {
		p.talkf("would close the breaker of type %s for org %s", name, p.flags.Org.Value)
		return nil
	}
	reason, err := p.reason()
	if err != nil {
		return err
	}
	return p.withCell(ctx, "type edit", func(ctx context.Context, c *gateway.Client) error {
		closed, err := c.CloseBreaker(ctx, name, gateway.CloseBreakerRequest{Reason: reason})
		if err != nil {
			return err
		}
		if p.flags.JSON {
			return p.document(closed)
		}
		p.talkf("the breaker of type %s is closed for org %s", closed.Type, closed.Org)
		return nil
	})
}

// addDisabledOrgs makes the whole list of what a type is closed to, which is how it is set; only if nobody changes the
// type meanwhile, else what he did to the list would be lost.
func (p *program) addDisabledOrgs(ctx context.Context, f *typeFlags, m *mutation) error {
	if len(f.closeTo)+len(f.openTo) == 0 {
		return nil
	}
	for _, org := range slices.Concat(f.closeTo, f.openTo) {
		if err := schemas.CheckToken("org", org); err != nil {
			return usagef("%w", err)
		}
	}
	return p.withCell(ctx, "type edit", func(ctx context.Context, client *gateway.Client) error {
		t, err := client.Type(ctx, schemas.TypeName(f.name))
		if err != nil {
			return err
		}
		closed := slices.DeleteFunc(t.DisabledOrgs, func(org schemas.OrgID) bool { return slices.Contains(f.openTo, string(org)) })
		for _, org := range f.closeTo {
			if !slices.Contains(closed, schemas.OrgID(org)) {
				closed = append(closed, schemas.OrgID(org))
			}
		}
		m.changes["disabled_orgs"] = closed
		if !m.ifSeq.Set && t.Seq != nil {
			m.ifSeq = option[schemas.Seq]{Value: *t.Seq, Set: true}
		}
		return nil
	})
}

func (p *program) mutateType(ctx context.Context, m *mutation) error {
	return p.mutate(ctx, m, func(ctx context.Context, c *gateway.Client, r gateway.SetRequest) error {
		t, err := c.EditType(ctx, schemas.TypeName(m.name), r)
		if err != nil {
			return err
		}
		return p.printType(t)
	})
}

func (p *program) addTypeEnabled(typ *fisk.CmdClause, verb, help string, enabled bool) {
	var name string
	var ifSeq option[schemas.Seq]
	cmd := p.command(typ, verb, help, func(ctx context.Context) error {
		return p.mutateType(ctx, &mutation{kind: "type", name: name, ifSeq: ifSeq, changes: changes{"enabled": enabled}})
	})
	cmd.HelpLong(fmt.Sprintf("Example:\n\n\tjobledger type %s report --reason \"new format on Monday\"", verb))
	cmd.Arg("type", "The type").Required().StringVar(&name)
	ifSeqFlag(cmd, &ifSeq)
}

func (p *program) addTypeSchema(typ *fisk.CmdClause) {
	var name string
	var set option[any]
	var ifSeq option[schemas.Seq]
	cmd := p.command(typ, "schema", "Show or set the JSON Schema of a type's arguments", func(ctx context.Context) error {
		if set.Set {
			return p.mutateType(ctx, &mutation{kind: "type", name: name, ifSeq: ifSeq, changes: changes{"schema": set.Value}})
		}
		if err := schemas.CheckToken("type", name); err != nil {
			return usagef("%w", err)
		}
		return p.withCell(ctx, "type schema", func(ctx context.Context, c *gateway.Client) error {
			t, err := c.Type(ctx, schemas.TypeName(name))
			if err != nil {
				return err
			}
			if len(t.Schema) == 0 {
				t.Schema = json.RawMessage("null")
			}
			return p.printf("%s\n", t.Schema)
		})
	})
	cmd.HelpLong(`Examples:

	jobledger type schema report > report.schema.json
	jobledger type schema report --set report.schema.json --reason "a column more"
	jobledger type schema report --set none --reason "anything goes"`)
	cmd.Arg("type", "The type").Required().StringVar(&name)
	ifSeqFlag(cmd, &ifSeq)
	optionFlag(cmd, "set", "File with the new schema, or none", &set, readSchema).PlaceHolder("FILE")
}

// readSchema reads a schema's file, or none.
func readSchema(path string) (any, error) {
	if path == wordNone || path == wordDefault {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if err := schemas.CheckJSON("the schema's bytes", text); err != nil {
		return nil, err
	}
	return json.RawMessage(text), nil
}

// parseSeconds reads a duration, or "default".
func parseSeconds(s string) (any, error) {
	if s == wordDefault {
		return nil, nil
	}
	d, err := parseDuration(s)
	return d.Seconds(), err
}

func parseWhole(s string) (any, error) {
	if s == wordDefault {
		return nil, nil
	}
	return parseInt(s)
}

func parseBackoffValue(s string) (any, error) {
	if s == wordDefault {
		return nil, nil
	}
	return parseBackoff(s)
}

func parseDedup(s string) (any, error) {
	switch s {
	case "strict", "in-flight", "singleton", "off":
		return strings.ReplaceAll(s, "-", "_"), nil
	case wordDefault:
		return nil, nil
	}
	return nil, fmt.Errorf("%q is not strict, in-flight, singleton or off", s)
}

// parseBreaker reads on, none, or PERCENT,ATTEMPTS,WINDOW,COOLDOWN,REOPEN, of which the last may be left out.
func parseBreaker(s string) (any, error) {
	b := schemas.Breaker{}
	switch s {
	case wordNone, wordDefault, "off":
		return nil, nil
	case "on":
		return b, nil
	}
	parts := strings.Split(s, ",")
	if len(parts) > 5 {
		return nil, fmt.Errorf("%q has more than percent, attempts, window, cooldown and reopen", s)
	}
	for i, part := range parts {
		var err error
		switch i {
		case 0:
			b.Percent, err = strconv.Atoi(strings.TrimSuffix(part, "%"))
		case 1:
			b.MinAttempts, err = strconv.Atoi(part)
		default:
			d, bad := parseDuration(part)
			*[]*schemas.Millis{&b.WindowMS, &b.CooldownMS, &b.ReopenMS}[i-2], err = schemas.MillisOf(d), bad
		}
		if err != nil {
			return nil, fmt.Errorf("%q is not on, none, or PERCENT,ATTEMPTS,WINDOW,COOLDOWN,REOPEN, as in 50,10,30m,15m,10m", s)
		}
	}
	return b, b.Validate()
}

func typeLimitsFact(t *gateway.Type) string {
	if t.MaxRunning == 0 && t.MaxRunningPerOrg == 0 {
		return ""
	}
	return fmt.Sprintf("%s, %s per org", limitText(t.MaxRunning), limitText(t.MaxRunningPerOrg))
}

func perOrg(rate string) string {
	if rate == "" {
		return ""
	}
	return rate + " per org"
}

func breakerFact(b *schemas.Breaker) string {
	if b == nil {
		return ""
	}
	return fmt.Sprintf("opens at %d %% failed of %d attempts or more in %s; probes after %s, then every %s", b.Percent, b.MinAttempts,
		b.WindowMS.Duration(), b.CooldownMS.Duration(), b.ReopenMS.Duration())
}

// applyTypes sends a file of types and tells what became of each.
func (p *program) applyTypes(ctx context.Context, f *typeFlags) error {
	if len(f.changes()) > 0 || f.disabled {
		return usagef("a file holds the whole policy: give no other flags with it")
	}
	types, err := readTypes(f.file)
	if err != nil {
		return usagef("%s: %w", f.file, err)
	}
	r := gateway.TypesRequest{Types: types, Reason: p.flags.Reason.Value, DryRun: p.flags.DryRun}
	return p.withCell(ctx, "type add", func(ctx context.Context, c *gateway.Client) error {
		reply, err := c.ApplyTypes(ctx, r)
		if err != nil {
			return err
		}
		return p.printApplied(reply)
	})
}

func (p *program) printApplied(reply *gateway.TypesReply) error {
	failed := 0
	for i := range reply.Items {
		item := &reply.Items[i]
		switch {
		case item.Error != nil:
			failed++
			p.talkf("%s: %s [%s]", item.Name, item.Error.Message, item.Error.Code)
		case p.flags.JSON:
		case p.flags.DryRun:
			p.talkf("%s: could be set", item.Name)
		case item.Changed:
			p.talkf("%s: set", item.Name)
		default:
			p.talkf("%s: is so already", item.Name)
		}
	}
	if p.flags.JSON {
		if err := p.document(reply); err != nil {
			return err
		}
	}
	if failed > 0 {
		return exitRequest{exitError}
	}
	return nil
}

// readTypes reads a JSON array of types, or one object after another.
func readTypes(path string) ([]gateway.Type, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var all []gateway.Type
	if trimmed := strings.TrimSpace(string(text)); strings.HasPrefix(trimmed, "[") {
		if err := strictJSON(strings.NewReader(trimmed), func(d *json.Decoder) error { return d.Decode(&all) }); err != nil {
			return nil, err
		}
	} else if err := strictJSON(strings.NewReader(trimmed), func(d *json.Decoder) error {
		for d.More() {
			var t gateway.Type
			if err := d.Decode(&t); err != nil {
				return fmt.Errorf("type %d: %w", len(all)+1, err)
			}
			all = append(all, t)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, ledger.Errorf(ledger.CodeInvalidArgument, "it holds no type")
	}
	return all, nil
}

// strictJSON reads with a decoder that knows a misspelt field from one that is left out.
func strictJSON(r *strings.Reader, read func(*json.Decoder) error) error {
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	return read(d)
}
