package where

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/dartwing/jobledger/internal/near"
	"github.com/dartwing/jobledger/schemas"
)

// Bounds of a text.
const (
	TextMax   = 4096 // bytes
	TermsMax  = 32
	ValuesMax = 100 // of one term
)

// Error says what is wrong with a text and what to write instead.
type Error struct {
	At   int    // the byte at which it begins, from 0
	Term string // the term it is in, shortened; empty where it is the whole text
	What string
}

func (e *Error) Error() string {
	if e.Term == "" {
		return e.What
	}
	return fmt.Sprintf("at %d, in %s: %s", e.At+1, e.Term, e.What)
}

// Parse reads a text; an empty one chooses every job. The error is an *Error.
func Parse(text string) (Where, error) {
	switch {
	case len(text) > TextMax:
		return Where{}, &Error{What: fmt.Sprintf("it has %d bytes: at most %d are read", len(text), TextMax)}
	case !utf8.ValidString(text):
		return Where{}, &Error{What: "it is not UTF-8"}
	}
	var w Where
	p := parser{text: text}
	for p.blanks(); p.at < len(text); p.blanks() {
		p.term = p.at
		if len(w.Terms) == TermsMax {
			return Where{}, p.errorf("more than %d terms: alternatives may stand in one, as in type:a,b", TermsMax)
		}
		t, err := p.readTerm()
		if err != nil {
			return Where{}, err
		}
		w.Terms = append(w.Terms, t)
	}
	return w, nil
}

type parser struct {
	text string
	at   int
	term int // where the present term begins
}

// termShown is how much of a term an error repeats, in bytes.
const termShown = 60

func (p *parser) errorf(format string, args ...any) error {
	term := p.text[p.term:]
	if i := strings.IndexFunc(term, isBlank); i > 0 {
		term = term[:i]
	}
	if len(term) > termShown {
		term = strings.ToValidUTF8(term[:termShown], "") + "…"
	}
	return &Error{At: p.term, Term: term, What: fmt.Sprintf(format, args...)}
}

func (p *parser) blanks() {
	for p.at < len(p.text) && isBlank(rune(p.text[p.at])) {
		p.at++
	}
}

// take reads the bytes up to one that ends them.
func (p *parser) take(end string) string {
	from := p.at
	for p.at < len(p.text) && !strings.ContainsRune(end, rune(p.text[p.at])) && !isBlank(rune(p.text[p.at])) {
		p.at++
	}
	return p.text[from:p.at]
}

func (p *parser) next(c byte) bool {
	if p.at == len(p.text) || p.text[p.at] != c {
		return false
	}
	p.at++
	return true
}

func (p *parser) readTerm() (Term, error) {
	t := Term{Not: p.next('-')}
	name := p.take(`:,"`)
	if !p.next(':') {
		return t, p.errorf("it names no field: write FIELD:VALUE, such as type:%s or error:%s", orWord(name), orWord(name))
	}
	if err := p.setField(&t, name); err != nil {
		return t, err
	}
	for {
		if len(t.Values) == ValuesMax {
			return t, p.errorf("more than %d values", ValuesMax)
		}
		v, err := p.readValue(&t)
		if err != nil {
			return t, err
		}
		if !slices.Contains(t.Values, v) {
			t.Values = append(t.Values, v)
		}
		if !p.next(',') {
			break
		}
	}
	if p.at < len(p.text) && !isBlank(rune(p.text[p.at])) {
		return t, p.errorf(`a value goes on behind its quote: leave a blank between terms, and write " in quotes as \"`)
	}
	return t, nil
}

func orWord(s string) string {
	if s == "" {
		return "x"
	}
	return quoted(s, false)
}

// setField finds the field of a name.
func (p *parser) setField(t *Term, name string) error {
	first, rest, dotted := strings.Cut(name, ".")
	switch {
	case anywhere[Field(first)] != nil:
		if dotted && slices.Contains(strings.Split(rest, "."), "") {
			return p.errorf("a name is missing: write the path with dots between names, as in %s.user.id:4711", first)
		}
		t.Field, t.Key = Field(first), rest
		return nil
	case first == string(FieldTag) && dotted:
		if err := schemas.CheckToken("tag", rest); err != nil {
			return p.errorf("%v", err)
		}
		t.Field, t.Key = FieldTag, rest
		return nil
	case name == string(FieldTag):
		return p.errorf("which tag? Write its name behind a dot, such as tag.env:test")
	case formOf(Field(name)) != nil:
		t.Field = Field(name)
		return nil
	}
	hint := otherNames[strings.ToLower(name)]
	if hint == "" {
		hint = near.Of(strings.ToLower(name), fieldNames())
	}
	if hint != "" {
		return p.errorf("unknown field %q, did you mean %s?", name, hint)
	}
	return p.errorf("unknown field %q: use %s", name, strings.Join(fieldNames(), ", "))
}

func fieldNames() []string {
	names := make([]string, 0, len(forms))
	for _, f := range forms {
		switch f.field {
		case FieldTag:
			names = append(names, "tag.NAME")
		case FieldArgs, FieldResult:
			names = append(names, string(f.field)+".PATH")
		default:
			names = append(names, string(f.field))
		}
	}
	return names
}

// raw is a value as it stands in the text.
type raw struct {
	text   string
	quoted bool
	star   bool
}

func (p *parser) readValue(t *Term) (Value, error) {
	r, err := p.readRaw()
	if err != nil {
		return Value{}, err
	}
	form := t.form()
	switch {
	case r.star && (form.kind == kindName || form.kind == kindText || r.text == ""):
		return p.begins(form, r)
	case form.kind == kindTime || form.kind == kindNumber:
		return p.readRange(form, r)
	case r.text == "" && !(r.quoted && t.Key != ""):
		return Value{}, p.errorf("a value is empty: -%s:* chooses jobs that have none", t.name())
	case !r.quoted && strings.HasPrefix(r.text, "<"), !r.quoted && strings.HasPrefix(r.text, ">"):
		return Value{}, p.errorf(`%s has no order: write %q in quotes if you mean it literally`, t.name(), r.text)
	case form.known != nil && !slices.Contains(form.known, r.text):
		if meant := near.Of(r.text, form.known); meant != "" {
			return Value{}, p.errorf("unknown %s %q, did you mean %s?", form.field, r.text, meant)
		}
		return Value{}, p.errorf("unknown %s %q: use %s", form.field, r.text, strings.Join(form.known, ", "))
	}
	if form.kind == kindText {
		r.text = strings.ToLower(r.text)
	}
	return Value{Op: OpIs, Text: r.text}, nil
}

func (p *parser) begins(form *fieldForm, r raw) (Value, error) {
	if form.known != nil && !slices.ContainsFunc(form.known, func(s string) bool { return strings.HasPrefix(s, r.text) }) {
		return Value{}, p.errorf("no %s begins with %q: use %s", form.field, r.text, strings.Join(form.known, ", "))
	}
	if form.kind == kindText {
		r.text = strings.ToLower(r.text)
	}
	return Value{Op: OpBegins, Text: r.text}, nil
}

func (p *parser) readRaw() (raw, error) {
	var r raw
	if p.next('"') {
		r.quoted = true
		var b strings.Builder
		for {
			if p.at == len(p.text) {
				return r, p.errorf(`a quote is not closed: add " behind the value`)
			}
			c := p.text[p.at]
			p.at++
			if c == '"' {
				break
			}
			if c == '\\' && p.at < len(p.text) {
				c = p.text[p.at]
				p.at++
				if c != '"' && c != '\\' {
					return r, p.errorf(`\%c means nothing: in quotes write \" and \\ for " and \`, c)
				}
			}
			b.WriteByte(c)
		}
		r.text, r.star = b.String(), p.next('*')
		return r, nil
	}
	r.text = p.take(`,"`)
	if p.at < len(p.text) && p.text[p.at] == '"' {
		return r, p.errorf(`a quote within a value: put the whole value in quotes, and write " there as \"`)
	}
	r.text, r.star = strings.CutSuffix(r.text, "*")
	switch {
	case strings.Contains(r.text, "*"):
		return r, p.errorf(`* may stand at the end of a value only; in quotes it is a letter like any other`)
	case strings.Contains(r.text, `\`):
		return r, p.errorf(`put a value with \ in quotes, and write it there as \\`)
	}
	return r, nil
}

// name is the field as it is written.
func (t *Term) name() string {
	if t.Key != "" {
		return string(t.Field) + "." + t.Key
	}
	return string(t.Field)
}
