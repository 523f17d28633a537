package index

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/dartwing/jobledger/internal/where"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

type ruled struct {
	kind  schemas.TypeName
	rules *where.Rules
}

func readRules(body []byte) (*where.Rules, error) {
	r := new(where.Rules)
	return r, json.Unmarshal(body, r)
}

// posted are the postings of the x-index fields in what is kept of args: all of them, since a look for a value walks over
// nothing else. where.PayloadMax bounds them.
func posted(r *where.Rules, args []byte) []int64 {
	if r == nil || len(r.Index) == 0 || len(args) == 0 {
		return nil
	}
	var out []int64
	where.Values(args, func(path, value string) bool {
		if slices.Contains(r.Index, path) {
			out = append(out, hash(string(where.FieldArgs), path, value))
		}
		return true
	})
	slices.Sort(out)
	return slices.Compact(out)
}

// payload is what is kept of args, or of a result; never nil, so that it replaces what stood there.
func (f *fold) payload(j *ledger.Job, body json.RawMessage, of where.Field) []byte {
	kept := []byte(body)
	if of == where.FieldArgs {
		kept = f.rules[j.Spec.Type].Kept(kept)
	}
	switch string(kept) {
	case "null", "{}", "":
		return nil
	}
	return bytes.Clone(kept[:min(len(kept), where.PayloadMax)])
}

// sameRules compares rules; nil are those that mark nothing.
func sameRules(a, b *where.Rules) bool {
	var none where.Rules
	a, b = cmp.Or(a, &none), cmp.Or(b, &none)
	return slices.Equal(a.Redact, b.Redact) && slices.Equal(a.Index, b.Index)
}

// applyType notes a type's rules where they change.
func (f *fold) applyType(set *schemas.TypeSet) {
	kind, r := set.Settings.Name, where.RulesOf(set.Settings.Schema)
	if sameRules(r, f.rules[kind]) { // every row of the type would be looked at for nothing
		return
	}
	if r == nil {
		r = new(where.Rules)
	}
	f.rules[kind] = r
	f.ruled = append(f.ruled, kind)
	// Rows of earlier batches are seen to when the rules are written, before the rows of this one.
	for _, ent := range f.dirty {
		if ent.job.Spec.Type == kind && ent.args != nil {
			ent.args = r.Kept(ent.args)
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
		w.kinds[changed.kind] = changed.rules // a transaction that fails ends the session, and the writer with it
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
			args := changed.rules.Kept(k.args)
			if !bytes.Equal(args, k.args) {
				if _, err := tx.ExecContext(ctx, `UPDATE jobs SET args = ? WHERE seq = ?`, blob(args), k.seq); err != nil {
					return err
				}
			}
			for _, h := range posted(changed.rules, args) {
				w.pending = append(w.pending, posting{k.org, h, k.seq})
			}
		}
		if err := w.post(ctx, tx); err != nil {
			return err
		}
	}
}
