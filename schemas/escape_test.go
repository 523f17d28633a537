package schemas

import "testing"

// FuzzHeaderEscape shows that every string survives a header, and that a header never holds what INTERFACE 5
// excludes: a line feed in a value would begin a header of the caller's choice.
func FuzzHeaderEscape(f *testing.F) {
	for _, s := range []string{"", "ada", "a b", "100%", `"q"`, "ü漢🚀", "a\r\nNats-Rollup: all", "%41", "\x00\x7f\xff", "%", "%zz"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e := escape(s)
		if got := unescape(e); got != s {
			t.Errorf("%q became %q by way of %q", s, got, e)
		}
		for i := 0; i < len(e); i++ {
			if c := e[i]; c < '!' || c > '~' || c == '"' {
				t.Errorf("%q holds the byte %q", e, c)
			}
		}
		unescape(s) // whatever a foreign client wrote
	})
}

func TestUnescapeIsTolerant(t *testing.T) {
	for in, want := range map[string]string{"%c3%BC": "ü", "%": "%", "%4": "%4", "%zz%41": "%zzA", "a b": "a b"} {
		if got := unescape(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}
