package where

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

func same(a, b *Where) bool {
	return len(a.Terms) == len(b.Terms) && (len(a.Terms) == 0 || reflect.DeepEqual(a.Terms, b.Terms))
}

// words are few, so that jobs and filters meet, and among them are those that need quotes.
var words = []string{"a", "ab", "abc", "b", "a b", `say "no"`, `c:\x`, "a*", "*", "<x", ">", "a,b", "ünï", "..", "-x", "a:b", "\t"}

func genTerm(rt *rapid.T) Term {
	form := rapid.SampledFrom(forms).Draw(rt, "field")
	t := Term{Field: form.field, Not: rapid.Bool().Draw(rt, "not")}
	if t.Field == FieldTag {
		t.Key = rapid.SampledFrom([]string{"env", "n"}).Draw(rt, "tag")
	}
	if anywhere[t.Field] != nil {
		t.Key = rapid.SampledFrom([]string{"", "a", "b.c"}).Draw(rt, "path")
		form = *t.form()
	}
	for range rapid.IntRange(1, 3).Draw(rt, "values") {
		if v := genValue(rt, &form); !slices.Contains(t.Values, v) {
			t.Values = append(t.Values, v)
		}
	}
	return t
}

func genValue(rt *rapid.T, form *fieldForm) Value {
	switch {
	case form.kind == kindName && form.known != nil:
		v := Value{Text: rapid.SampledFrom(form.known).Draw(rt, "known")}
		if rapid.Bool().Draw(rt, "begins") {
			v.Op, v.Text = OpBegins, v.Text[:rapid.IntRange(0, len(v.Text)).Draw(rt, "letters")]
		}
		return v
	case form.kind == kindName || form.kind == kindText:
		if rapid.Bool().Draw(rt, "begins") {
			return Value{Op: OpBegins, Text: rapid.SampledFrom(append(words, "")).Draw(rt, "beginning")}
		}
		return Value{Text: rapid.SampledFrom(words).Draw(rt, "word")}
	}
	if rapid.IntRange(0, 5).Draw(rt, "any") == 0 {
		return Value{Op: OpBegins}
	}
	a, b := rapid.Int64Range(0, 5).Draw(rt, "low"), rapid.Int64Range(0, 5).Draw(rt, "high")
	bound := func(n int64) Bound { return Bound{Set: true, N: n} }
	if form.kind == kindTime {
		age := rapid.Bool().Draw(rt, "age")
		bound = func(n int64) Bound {
			if age {
				return Bound{Set: true, Age: true, N: n * int64(time.Hour)}
			}
			return Bound{Set: true, N: now.Add(time.Duration(n-5) * time.Hour).UnixNano()}
		}
	}
	low, high := bound(min(a, b)), bound(max(a, b))
	low.Open, high.Open = rapid.Bool().Draw(rt, "over"), rapid.Bool().Draw(rt, "under")
	switch rapid.IntRange(0, 2).Draw(rt, "ends") {
	case 0:
		return Value{Op: OpRange, Low: low}
	case 1:
		return Value{Op: OpRange, High: high}
	}
	low.Open, high.Open = false, false
	return Value{Op: OpRange, Low: low, High: high}
}

func genRecord(rt *rapid.T) *ledger.Record {
	word := func(what string) string { return rapid.SampledFrom(words).Draw(rt, what) }
	maybe := func(what string) *string {
		if rapid.Bool().Draw(rt, "no "+what) {
			return nil
		}
		return ptr(word(what))
	}
	r := &ledger.Record{ID: schemas.JobID(word("id")), Org: schemas.OrgID(word("org")), Type: schemas.TypeName(word("type")), Queue: schemas.QueueName(word("queue")),
		State: rapid.SampledFrom(schemas.States()).Draw(rt, "state"), Priority: schemas.PriorityLow, Owner: maybe("owner"), Batch: maybe("batch"),
		Attempt: rapid.IntRange(0, 5).Draw(rt, "attempt"), SubmittedAt: now.Add(-time.Duration(rapid.IntRange(0, 5).Draw(rt, "age")) * time.Hour)}
	if rapid.Bool().Draw(rt, "tagged") {
		r.Tags = map[string]string{"env": word("env"), "n": ""}
	}
	if rapid.Bool().Draw(rt, "failed") {
		r.Error = &ledger.RecordError{Class: schemas.ClassLost, Message: strings.ToUpper(word("message"))}
	}
	if rapid.Bool().Draw(rt, "args") {
		r.Args, _ = json.Marshal(map[string]any{"a": []string{word("a"), word("item")}, "b": map[string]string{"c": word("c")}})
	}
	for range rapid.IntRange(0, 2).Draw(rt, "parents") {
		r.Parents = append(r.Parents, ledger.RecordParent{ParentRef: schemas.ParentRef{ID: schemas.JobID(word("parent")), Generation: 1}})
	}
	if r.State.Finished() {
		r.FinishedAt = ptr(now.Add(-time.Hour))
	}
	if r.State == schemas.StateDeadLettered {
		r.Reason, r.Resolution = ptr("poison"), &ledger.RecordResolution{State: schemas.ResolutionIgnored}
	}
	return r
}

// naive is what a reader of docs/SEARCH.md would say: each field of the job as text, or as a number.
func naive(w *Where, r *ledger.Record) bool {
	for _, t := range w.Terms {
		hit := false
		for _, v := range t.Values {
			hit = hit || naiveValue(&t, v, r)
		}
		if hit == t.Not {
			return false
		}
	}
	return true
}

func naiveArgs(t *Term, v Value, r *ledger.Record) bool {
	var args struct {
		A []string
		B struct{ C string }
	}
	if t.Field == FieldResult || json.Unmarshal(r.Args, &args) != nil {
		return false
	}
	all := map[string][]string{"": append(args.A, args.B.C), "a": args.A, "b.c": {args.B.C}}
	return slices.ContainsFunc(all[t.Key], func(have string) bool {
		switch {
		case t.Key != "":
			return v.Op == OpBegins && strings.HasPrefix(have, v.Text) || have == v.Text
		case v.Op == OpBegins:
			return strings.HasPrefix(strings.ToLower(have), v.Text)
		}
		return strings.Contains(strings.ToLower(have), v.Text)
	})
}

// naiveParent asks each parent, and the batch, like an id of its own.
func naiveParent(v Value, r *ledger.Record) bool {
	all := []string{}
	if r.Batch != nil {
		all = append(all, *r.Batch)
	}
	for _, p := range r.Parents {
		all = append(all, string(p.ID))
	}
	return slices.ContainsFunc(all, func(id string) bool {
		return id == v.Text || v.Op == OpBegins && strings.HasPrefix(id, v.Text)
	})
}

func naiveValue(t *Term, v Value, r *ledger.Record) bool {
	if t.Field == FieldParent {
		return naiveParent(v, r)
	}
	if anywhere[t.Field] != nil {
		return naiveArgs(t, v, r)
	}
	have := map[Field]*string{FieldState: ptr(string(r.State)), FieldType: ptr(string(r.Type)), FieldQueue: ptr(string(r.Queue)),
		FieldPriority: ptr(string(r.Priority)), FieldOwner: r.Owner, FieldBatch: r.Batch, FieldID: ptr(string(r.ID)), FieldOrg: ptr(string(r.Org)), FieldReason: r.Reason}
	if r.State == schemas.StateSubmitted {
		have[FieldReason] = ptr("ready")
		if len(r.Parents) > 0 {
			have[FieldReason] = ptr("waiting_on_parent")
		}
	}
	if tag, ok := r.Tags[t.Key]; ok {
		have[FieldTag] = &tag
	}
	if r.Error != nil {
		have[FieldError], have[FieldClass] = ptr(strings.ToLower(r.Error.Message)), ptr(string(r.Error.Class))
	}
	if r.Resolution != nil {
		have[FieldResolution] = ptr(string(r.Resolution.State))
		have[FieldGroup] = ptr(GroupOf(r).Key())
	}
	numbers := map[Field]*time.Time{FieldSubmitted: &r.SubmittedAt, FieldFinished: r.FinishedAt}
	switch {
	case t.Field == FieldAttempt:
		return v.Op == OpBegins || inside(v, int64(r.Attempt))
	case t.Field == FieldSubmitted || t.Field == FieldFinished:
		at := numbers[t.Field]
		if at == nil || v.Op == OpBegins {
			return at != nil
		}
		if v.Low.Age || v.High.Age {
			return inside(v, int64(now.Sub(*at)))
		}
		return inside(v, at.UnixNano())
	case have[t.Field] == nil:
		return false
	case v.Op == OpBegins:
		return strings.HasPrefix(*have[t.Field], v.Text)
	case t.Field == FieldError:
		return strings.Contains(*have[t.Field], v.Text)
	}
	return *have[t.Field] == v.Text
}

func inside(v Value, n int64) bool {
	if v.Low.Set && (n < v.Low.N || v.Low.Open && n == v.Low.N) {
		return false
	}
	return !v.High.Set || n < v.High.N || !v.High.Open && n == v.High.N
}

// Every filter that can be written is read back as the same, and chooses what a naive reader would choose.
func TestFormAndMatchAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var w Where
		for range rapid.IntRange(0, 3).Draw(rt, "terms") {
			w.Terms = append(w.Terms, genTerm(rt))
		}
		text := w.String()
		again, err := Parse(text)
		if err != nil || !same(&w, &again) {
			rt.Fatalf("%q is read as %q, %v", text, again.String(), err)
		}
		for range 4 {
			r := genRecord(rt)
			if have, want := again.Match(r, now), naive(&w, r); have != want {
				rt.Fatalf("%q chooses %+v: %v; want %v", text, r, have, want)
			}
		}
	})
}
