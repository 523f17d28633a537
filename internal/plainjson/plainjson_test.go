package plainjson

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
)

// Whatever ASCII accepts, encoding/json accepts, and the values that stand in most events it does accept.
func TestASCIIIsValid(t *testing.T) {
	plainly := []string{`""`, `"text \" \\ \/ \b\f\n\r\t"`, `0`, `-1`, `12.50`, `1e9`, `-0.5E-10`, `true`, `false`, `null`, `{}`, `[]`,
		` { "a" : [ 1 , 2 , { "b" : "}" } ] , "c" : { } } `, strings.Repeat("[", depthMax) + strings.Repeat("]", depthMax)}
	for _, s := range plainly {
		if !ASCII([]byte(s)) || !Valid([]byte(s)) {
			t.Errorf("%s is not accepted", s)
		}
	}
	for _, s := range []string{``, ` `, `{`, `]`, `1 2`, `01`, `-`, `1.`, `.5`, `1e`, `+1`, `tru`, `truex`, `"`, `"\x"`, "\"\x01\"", `{"a"}`, `{"a":}`,
		`{"a":1,}`, `{1:2}`, `[1,]`, `[1 2]`, `{"a":1}}`, "\"\\u00e9"} {
		if ASCII([]byte(s)) || Valid([]byte(s)) {
			t.Errorf("%s is accepted", s)
		}
	}
	for _, s := range []string{`"ü"`, `"\u00e9"`, strings.Repeat("[", 100) + strings.Repeat("]", 100)} {
		if ASCII([]byte(s)) || !Valid([]byte(s)) {
			t.Errorf("%s is not left to the judge, or refused by it", s)
		}
	}
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	for range 200_000 {
		b := []byte(plainly[r.IntN(len(plainly))])
		for range 1 + r.IntN(3) {
			i := r.IntN(len(b))
			switch r.IntN(3) {
			case 0:
				b[i] = ` 0123456789-+.eE"\,:{}[]ntfalse/`[r.IntN(32)]
			case 1:
				b = append(b[:i:i], append([]byte{'0' + byte(r.IntN(10))}, b[i:]...)...)
			default:
				if len(b) > 1 {
					b = append(b[:i:i], b[i+1:]...)
				}
			}
		}
		if ASCII(b) && !json.Valid(b) {
			t.Fatalf("seed %d: %s is accepted", seed, b)
		}
	}
}

// Texts are written as encoding/json writes them.
func TestAppendText(t *testing.T) {
	for _, s := range []string{"", "plain", "<&>", "ü", "\"", "\\", "\n", "\x00", "\x7f", "\xff", "\u2028", "a\xffb"} {
		var want bytes.Buffer
		enc := json.NewEncoder(&want)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(s); err != nil {
			t.Fatal(err)
		}
		if got := string(AppendText([]byte("x"), s)) + "\n"; got != "x"+want.String() {
			t.Errorf("%q: %s, want %s", s, got, want.String())
		}
	}
}

func FuzzASCII(f *testing.F) {
	f.Add([]byte(`{"a":[1,2.5e-3,"\n"],"b":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if ASCII(b) && !json.Valid(b) {
			t.Errorf("%s is accepted", b)
		}
	})
}

func BenchmarkValid(b *testing.B) {
	for name, value := range map[string][]byte{
		"text":   []byte(`"` + strings.Repeat("x", 254) + `"`),
		"object": []byte(`{"to":"ada@example.org","subject":"hello","n":12345,"lines":[{"sku":"a-1","count":2},{"sku":"b-2","count":1}],"paid":true}`),
	} {
		b.Run(name+"/plain", func(b *testing.B) {
			for b.Loop() {
				Valid(value)
			}
		})
		b.Run(name+"/json", func(b *testing.B) {
			for b.Loop() {
				json.Valid(value)
			}
		})
	}
}
