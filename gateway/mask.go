package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/dartwing/jobledger/gateway/rights"
	"github.com/dartwing/jobledger/internal/where"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// What a type's schema marks x-redact is masked in every answer that holds args, whoever asks, by what the schema
// marks when it is asked. Workers have their args from the ledger, and results are what handlers make of them: no schema
// says what is in one. A type that marks nothing costs a look at its settings, which are in memory.

// masks are what schemas mark, of the types of one answer: each is looked up once.
type masks struct {
	g     *Gateway
	rules map[schemas.TypeName]*where.Rules
}

func (g *Gateway) masks() *masks { return &masks{g: g} }

// of are the rules of a type; nil for one that marks nothing, or that there is not.
func (m *masks) of(ctx context.Context, typ schemas.TypeName) (*where.Rules, error) {
	if rules, known := m.rules[typ]; known {
		return rules, nil
	}
	var rules *where.Rules
	t, err := m.g.l.Type(ctx, typ)
	switch {
	case err == nil:
		rules = where.RulesOf(t.Schema)
	case ledger.AsError(err).Code != ledger.CodeUnknownType && ledger.AsError(err).Code != ledger.CodeInvalidArgument:
		return nil, err // what is to be hidden is not known: nothing is shown
	}
	if !rules.Masks() {
		rules = nil
	}
	if m.rules == nil {
		m.rules = make(map[schemas.TypeName]*where.Rules)
	}
	m.rules[typ] = rules
	return rules, nil
}

// masking is what is marked in the args of one job.
type masking struct {
	rules *where.Rules // nil: nothing
	batch bool         // the args are a batch's, and the rules those of the args of its items, together
}

// job returns what is marked in args of a type. Those of a batch hold the args of jobs of other types.
func (m *masks) job(ctx context.Context, typ schemas.TypeName, args []byte) (masking, error) {
	if typ != ledger.BatchType {
		rules, err := m.of(ctx, typ)
		return masking{rules: rules}, err
	}
	k := masking{batch: true}
	for _, typ := range batchTypes(args) {
		rules, err := m.of(ctx, typ)
		if err != nil {
			return k, err
		}
		if rules != nil {
			k.rules = k.rules.With(rules)
		}
	}
	return k, nil
}

// batchTypes are the types that the args of a batch name.
func batchTypes(args []byte) (types []schemas.TypeName) {
	type item struct{ Type schemas.TypeName }
	var spec struct {
		Each  item
		Items []item
		Then  *item
	}
	if json.Unmarshal(args, &spec) != nil {
		return nil
	}
	add := func(i *item) {
		if i.Type != "" && !slices.Contains(types, i.Type) {
			types = append(types, i.Type)
		}
	}
	add(&spec.Each)
	for i := range spec.Items {
		add(&spec.Items[i])
	}
	if spec.Then != nil {
		add(spec.Then)
	}
	return types
}

// masks reports whether anything is marked.
func (k masking) masks() bool { return k.rules != nil }

// fields are the marked paths; "" is all of the args.
func (k masking) fields() []string {
	if !k.masks() {
		return []string{}
	}
	return slices.Compact(slices.Clone(k.rules.Redact))
}

// of returns args as they are shown.
func (k masking) of(args json.RawMessage) json.RawMessage {
	if !k.masks() || !k.batch {
		return k.rules.Masked(args)
	}
	return maskAt(args, argsOfBatch, k.rules)
}

// shown returns the path of a marked value that is the mask itself.
func (k masking) shown(args json.RawMessage) (path string, found bool) {
	if !k.masks() || !k.batch {
		return k.rules.HoldsMask(args)
	}
	_ = where.Walk(args, argsOfBatch, func(_ []string, from, to int) { // args that are none are refused by who stores them
		if !found {
			path, found = k.rules.HoldsMask(args[from:to])
		}
	})
	return path, found
}

// argsOfBatch chooses the args in those of a batch, as the decoder reads it: names of fields in any case.
func argsOfBatch(path []string) bool {
	if len(path) != 2 || !strings.EqualFold(path[1], "args") {
		return false
	}
	return slices.ContainsFunc([]string{"each", "items", "then"}, func(name string) bool { return strings.EqualFold(path[0], name) })
}

// maskAt masks the args that stand in a text at a path; a text that cannot be read is masked whole.
func maskAt(text []byte, at func([]string) bool, rules *where.Rules) []byte {
	var spans []where.Span
	err := where.Walk(text, at, func(_ []string, from, to int) {
		spans = append(spans, where.Span{From: from, To: to, With: rules.Masked(text[from:to])})
	})
	if err != nil {
		return []byte(`"` + where.Mask + `"`)
	}
	return where.Splice(text, spans)
}

// args returns the args of a job as they are shown.
func (m *masks) args(ctx context.Context, typ schemas.TypeName, args json.RawMessage) (json.RawMessage, error) {
	if len(args) == 0 {
		return args, nil
	}
	k, err := m.job(ctx, typ, args)
	if err != nil {
		return nil, err
	}
	return k.of(args), nil
}

// record masks the args of a record.
func (m *masks) record(ctx context.Context, r *ledger.Record) (err error) {
	r.Args, err = m.args(ctx, r.Type, r.Args)
	return err
}

// line masks the args in an event: those of a submit, a carried job or a schedule. What this version cannot read is not
// known to hold any of a type, and its args are masked whole.
func (m *masks) line(ctx context.Context, line *ledger.HistoryLine) error {
	at := []string{"args"}
	var typ schemas.TypeName
	switch {
	case line.Quarantined != "":
		line.Data = maskAt(line.Data, pathIs(at), where.All)
		return nil
	case line.Event == schemas.EventScheduleSet:
		var set schemas.ScheduleSet
		if err := json.Unmarshal(line.Data, &set); err != nil {
			return fmt.Errorf("event %d: %w", line.Seq, err)
		}
		typ, at = set.Settings.Job.Type, []string{"settings", "job", "args"}
	case line.Event == schemas.EventSubmitted, line.Event == schemas.EventCarried:
		if line.Type != nil {
			typ = *line.Type
		}
	default:
		return nil
	}
	if typ == ledger.BatchType {
		return m.batchLine(ctx, line, at)
	}
	rules, err := m.of(ctx, typ)
	if err != nil || rules == nil {
		return err
	}
	line.Data = maskAt(line.Data, pathIs(at), rules)
	return nil
}

// batchLine is line for an event that holds the args of a batch.
func (m *masks) batchLine(ctx context.Context, line *ledger.HistoryLine, at []string) (err error) {
	var spans []where.Span
	bad := where.Walk(line.Data, pathIs(at), func(_ []string, from, to int) {
		masked, failed := m.args(ctx, ledger.BatchType, line.Data[from:to])
		if failed != nil && err == nil {
			err = failed
		}
		spans = append(spans, where.Span{From: from, To: to, With: masked})
	})
	if bad != nil {
		return fmt.Errorf("event %d: %w", line.Seq, bad)
	}
	line.Data = where.Splice(line.Data, spans)
	return err
}

func pathIs(want []string) func([]string) bool {
	return func(path []string) bool { return slices.Equal(path, want) }
}

// refuseMask refuses args in which a marked value is the mask: somebody was shown it, and would store it in place of the
// value.
func (g *Gateway) refuseMask(ctx context.Context, typ schemas.TypeName, args json.RawMessage) error {
	if !bytes.Contains(args, []byte(where.Mask)) {
		return nil
	}
	if typ == "" {
		typ = ledger.BatchType
	}
	k, err := g.masks().job(ctx, typ, args)
	if err != nil {
		return err
	}
	path, found := k.shown(args)
	if !found {
		return nil
	}
	e := ledger.Errorf(ledger.CodeInvalidArgument, "%q is what is shown in place of a value, and none: give the value. To run a job again as it was, resubmit it without args; "+
		"who has the right %s sees its own with `jobledger job unmask ID --reason ...`", where.Mask, rights.PayloadsUnmask)
	e.Field = strings.TrimSuffix("args/"+strings.ReplaceAll(path, ".", "/"), "/")
	return e
}
