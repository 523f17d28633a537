package ledger

import (
	"bytes"
	"encoding/json"
	"math/big"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/dartwing/jobledger/schemas"
)

// one canonical encoding, by golden vectors.
func TestCanonicalVectors(t *testing.T) {
	t.Parallel()
	file, err := os.ReadFile("testdata/canonical.txt")
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(strings.TrimSuffix(string(file), "\n"), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		switch f := strings.Split(line, "\t"); len(f) {
		case 2:
			got, err := canonical([]byte(f[0]))
			if err != nil {
				got = []byte("error")
			}
			if string(got) != f[1] {
				t.Errorf("line %d: canonical(%s) = %s (%v), want %s", i+1, f[0], got, err, f[1])
			}
		case 3:
			if got, err := ContentHash(schemas.TypeName(f[0]), []byte(f[1])); err != nil || got != f[2] {
				t.Errorf("line %d: ContentHash(%s, %s) = %s (%v), want %s", i+1, f[0], f[1], got, err, f[2])
			}
		default:
			t.Errorf("line %d has %d fields", i+1, len(f))
		}
	}
}

// What is taken for canonical without the hash being made gives no error when it is made.
func TestSurelyCanonical(t *testing.T) {
	t.Parallel()
	file, err := os.ReadFile("testdata/canonical.txt")
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("1", exponentDigitsMax+1)
	texts := []string{"1e" + long, "[1,2.5E+" + long + "]", `{"a":-0.1e-` + long + "}", "{", "", `"\xff"`, `"1e` + long + `"`}
	for _, line := range strings.Split(string(file), "\n") {
		texts = append(texts, strings.Split(line, "\t")...)
	}
	surely := 0
	for _, text := range texts {
		if !surelyCanonical([]byte(text)) {
			continue
		}
		surely++
		if _, err := ContentHash("t", []byte(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	if surely < 10 {
		t.Errorf("only %d of %d texts are seen to have a form", surely, len(texts))
	}
	for _, text := range []string{`"plain"`, `{"a":[1,2.5e3,true,null]}`} {
		if !surelyCanonical([]byte(text)) {
			t.Errorf("%s is not seen to have a form", text)
		}
	}
}

func TestCanonicalBounds(t *testing.T) {
	t.Parallel()
	nest := func(n int) []byte { return []byte(strings.Repeat("[", n) + strings.Repeat("]", n)) }
	if _, err := canonical(nest(canonicalDepthMax)); err != nil {
		t.Errorf("depth %d: %v", canonicalDepthMax, err)
	}
	for _, n := range []int{canonicalDepthMax + 2, 100_000} {
		if _, err := canonical(nest(n)); err == nil {
			t.Errorf("depth %d was accepted", n)
		}
	}
	if _, err := canonical([]byte("\"\xff\"")); err == nil {
		t.Error("bytes that are not UTF-8 were accepted")
	}
	// The form of 1 MiB of args is found in a time that a submit can wait for: it is linear.
	var big bytes.Buffer
	big.WriteByte('[')
	for big.Len() < schemas.ArgsMax {
		big.WriteString(`{"zeta":1.50,"alpha":[true,"x"]},`)
	}
	big.WriteString("0]")
	if _, err := canonical(big.Bytes()); err != nil {
		t.Error(err)
	}
}

// FuzzCanonical: what is JSON has a form; the form is a fixed point, is JSON again, and means the same.
func FuzzCanonical(f *testing.F) {
	file, err := os.ReadFile("testdata/canonical.txt")
	if err != nil {
		f.Fatal(err)
	}
	for line := range strings.Lines(string(file)) {
		in, _, _ := strings.Cut(line, "\t")
		f.Add([]byte(in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		form, err := canonical(in)
		if err != nil {
			return
		}
		if !json.Valid(in) || !json.Valid(form) {
			t.Fatalf("%q became %q: both must be JSON", in, form)
		}
		if again, err := canonical(form); err != nil || !bytes.Equal(again, form) {
			t.Fatalf("canonical(%q) = %q (%v): the form of a form is itself", form, again, err)
		}
		var a, b any
		if decode(in, &a) != nil || decode(form, &b) != nil {
			t.Fatalf("%q or %q does not decode", in, form)
		}
		if !equal(a, b) {
			t.Fatalf("%q and its form %q differ in meaning", in, form)
		}
	})
}

func decode(in []byte, v *any) error {
	d := json.NewDecoder(bytes.NewReader(in))
	d.UseNumber()
	return d.Decode(v)
}

// equal compares decoded JSON, numbers by value where that can be computed.
func equal(a, b any) bool {
	switch a := a.(type) {
	case json.Number:
		b, ok := b.(json.Number)
		x, okX := value(a)
		y, okY := value(b)
		return ok && (!okX || !okY || x.Cmp(y) == 0)
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !equal(a[i], b[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for k := range a {
			if !utf8.ValidString(k) || strings.ContainsRune(k, utf8.RuneError) {
				return true // lone surrogates: the decoder maps them all to one name
			}
			if !equal(a[k], b[k]) {
				return false
			}
		}
		return true
	}
	return a == b
}

func value(n json.Number) (*big.Rat, bool) {
	if _, exp, ok := strings.Cut(strings.ToLower(string(n)), "e"); ok && len(exp) > 4 {
		return nil, false
	}
	return new(big.Rat).SetString(string(n))
}

func BenchmarkContentHash(b *testing.B) {
	args := []byte(`{"to":"someone@example.org","subject":"hello","attempts":3,"vars":{"name":"Ada","score":12.50,"tags":["a","b","c"]},"body":"` + strings.Repeat("x", 100) + `"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ContentHash("mail", args); err != nil {
			b.Fatal(err)
		}
	}
}
