package ledger

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

// The form of views is another one as soon as a field is added, named or typed otherwise, at any depth, and the same
// in every process.
func TestShape(t *testing.T) {
	shape := func(v any) string {
		var b strings.Builder
		writeShape(&b, reflect.TypeOf(v))
		return b.String()
	}
	type inner struct {
		A int `json:"a"`
	}
	type one struct {
		At   time.Time         `json:"at"`
		List []*inner          `json:"list"`
		Map  map[string]string `json:"map"`
	}
	base := shape(one{})
	for name, other := range map[string]any{
		"renamed": struct {
			At   time.Time         `json:"when"`
			List []*inner          `json:"list"`
			Map  map[string]string `json:"map"`
		}{},
		"typed otherwise": struct {
			At   time.Time       `json:"at"`
			List []*inner        `json:"list"`
			Map  map[string]bool `json:"map"`
		}{},
		"with one more inside": struct {
			At   time.Time `json:"at"`
			List []*struct {
				A int `json:"a"`
				B int `json:"b"`
			} `json:"list"`
			Map map[string]string `json:"map"`
		}{},
	} {
		if got := shape(other); got == base {
			t.Errorf("%s: the same shape, %s", name, got)
		}
	}
	if again := shape(one{}); again != base || base == "" {
		t.Errorf("%q, and again %q", base, again)
	}
	if form := ViewsForm(); strings.Count(form, "-") != 2 {
		t.Errorf("form %q", form)
	}
}
