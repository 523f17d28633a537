package index

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/dartwing/jobledger/internal/where"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// payloadMax is how much of args, and of a result, is kept to be searched, in bytes.
	payloadMax = 2048
	// rulesDepth bounds how deep a schema is looked into.
	rulesDepth = 16
	// postedMax is how many values of x-index fields one job has among the terms.
	postedMax = 16
)

// rules are the fields of a type's args that its schema marks. A path is property names with dots between; the items of
// an array have that of the array.
type rules struct {
	Redact []string `json:"redact,omitempty"`
	Index  []string `json:"index,omitempty"`
}

type ruled struct {
	kind  schemas.TypeName
	rules *rules
}

func readRules(body []byte) (*rules, error) {
	r := new(rules)
	return r, json.Unmarshal(body, r)
}

// rulesOf are those of a schema of args; nil if it marks nothing.
func rulesOf(schema json.RawMessage) *rules {
	if !bytes.Contains(schema, []byte("x-redact")) && !bytes.Contains(schema, []byte("x-index")) {
		return nil
	}
	r := new(rules)
	r.read(schema, "", 0)
	slices.Sort(r.Redact)
	slices.Sort(r.Index)
	r.Index = slices.DeleteFunc(r.Index, r.redacted)
	if len(r.Redact)+len(r.Index) == 0 {
		return nil
	}
	return r
}

func (r *rules) read(schema json.RawMessage, path string, depth int) {
	var s struct {
		Redact     any                        `json:"x-redact"`
		Index      any                        `json:"x-index"`
		Properties map[string]json.RawMessage `json:"properties"`
		Items      json.RawMessage            `json:"items"`
		AllOf      []json.RawMessage          `json:"allOf"`
		AnyOf      []json.RawMessage          `json:"anyOf"`
		OneOf      []json.RawMessage          `json:"oneOf"`
	}
	if depth > rulesDepth || json.Unmarshal(schema, &s) != nil {
		return // a boolean schema marks nothing
	}
	if s.Redact == true {
		r.Redact = append(r.Redact, path)
	}
	if s.Index == true && path != "" {
		r.Index = append(r.Index, path)
	}
	for name, sub := range s.Properties {
		r.read(sub, join(path, name), depth+1)
	}
	for _, sub := range slices.Concat([]json.RawMessage{s.Items}, s.AllOf, s.AnyOf, s.OneOf) {
		if len(sub) > 0 {
			r.read(sub, path, depth+1)
		}
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// redacted reports whether a path is marked, or lies within one that is.
func (r *rules) redacted(path string) bool {
	return r != nil && slices.ContainsFunc(r.Redact, func(p string) bool {
		return p == "" || p == path || strings.HasPrefix(path, p+".")
	})
}

// kept is what of args is kept in the file: without what is redacted.
func (r *rules) kept(args []byte) []byte {
	if r == nil || len(r.Redact) == 0 {
		return args
	}
	d := json.NewDecoder(bytes.NewReader(args))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return nil
	}
	out, err := json.Marshal(r.without(v, ""))
	if err != nil {
		return nil
	}
	return out
}

func (r *rules) without(v any, path string) any {
	if r.redacted(path) {
		return nil
	}
	switch v := v.(type) {
	case map[string]any:
		for name, sub := range v {
			if p := join(path, name); r.redacted(p) {
				delete(v, name)
			} else {
				v[name] = r.without(sub, p)
			}
		}
	case []any:
		for i, sub := range v {
			v[i] = r.without(sub, path)
		}
	}
	return v
}

// terms are the postings of the x-index fields in what is kept of args.
func (r *rules) terms(args []byte) []int64 {
	if r == nil || len(r.Index) == 0 || len(args) == 0 {
		return nil
	}
	var out []int64
	where.Values(args, func(path, value string) bool {
		if slices.Contains(r.Index, path) {
			out = append(out, hash(string(where.FieldArgs), path, value))
		}
		return len(out) < postedMax
	})
	return out
}

// payload is what is kept of args, or of a result; never nil, so that it replaces what stood there.
func (f *fold) payload(j *ledger.Job, body json.RawMessage, of where.Field) []byte {
	kept := []byte(body)
	if of == where.FieldArgs {
		kept = f.rules[j.Spec.Type].kept(kept)
	}
	switch string(kept) {
	case "null", "{}", "":
		return nil
	}
	return bytes.Clone(kept[:min(len(kept), payloadMax)])
}

// applyType notes a type's rules where they change.
func (f *fold) applyType(set *schemas.TypeSet) {
	kind, r := set.Settings.Name, rulesOf(set.Settings.Schema)
	if reflect.DeepEqual(r, f.rules[kind]) {
		return
	}
	if r == nil {
		r = new(rules)
	}
	f.rules[kind] = r
	f.ruled = append(f.ruled, kind)
	// Rows of earlier batches are seen to when the rules are written, before the rows of this one.
	for _, ent := range f.dirty {
		if ent.job.Spec.Type == kind && ent.args != nil {
			ent.args = r.kept(ent.args)
		}
	}
}

// rules writes the rules that changed, and applies them to what was kept under the former ones: what was redacted once
// stays away.
func (w *writer) rules(ctx context.Context, tx *sql.Tx, c *changes) error {
	for _, changed := range c.rules {
		body, err := json.Marshal(changed.rules)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT OR REPLACE INTO rules VALUES(?, ?)`, string(changed.kind), body); err != nil {
			return fmt.Errorf("index: rules of type %s: %w", changed.kind, err)
		}
		if err := w.rule(ctx, tx, changed); err != nil {
			return fmt.Errorf("index: rules of type %s: %w", changed.kind, err)
		}
	}
	return nil
}

func (w *writer) rule(ctx context.Context, tx *sql.Tx, changed ruled) error {
	type kept struct {
		seq, org int64
		args     []byte
	}
	for from := int64(0); ; {
		var rows []kept
		// CROSS JOIN: one org of the type after the other, by jobs_type.
		err := each(ctx, tx, `SELECT j.seq, j.org, j.args FROM (SELECT DISTINCT c.org, c.type FROM names t CROSS JOIN counts c ON c.type = t.id WHERE t.name = ?) k
			CROSS JOIN jobs j INDEXED BY jobs_type ON j.org = k.org AND j.type = k.type WHERE j.args IS NOT NULL AND j.seq > ? ORDER BY j.seq LIMIT ?`,
			func(rs *sql.Rows) error {
				var k kept
				err := rs.Scan(&k.seq, &k.org, &k.args)
				rows = append(rows, k)
				return err
			}, string(changed.kind), from, batchMessages)
		if err != nil || len(rows) == 0 {
			return err
		}
		for _, k := range rows {
			from = k.seq
			args := changed.rules.kept(k.args)
			if !bytes.Equal(args, k.args) {
				if _, err := tx.ExecContext(ctx, `UPDATE jobs SET args = ? WHERE seq = ?`, blob(args), k.seq); err != nil {
					return err
				}
			}
			for _, h := range changed.rules.terms(args) {
				if _, err := tx.StmtContext(ctx, w.term).ExecContext(ctx, k.org, h, k.seq); err != nil {
					return err
				}
			}
		}
	}
}
