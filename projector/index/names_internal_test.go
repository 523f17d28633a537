package index

import (
	"fmt"
	"hash/fnv"
	"strings"
	"testing"
)

// A hash stands in files: it is what it was when hash/fnv made it.
func TestHash(t *testing.T) {
	t.Parallel()
	for _, texts := range [][3]string{{"", "", ""}, {"tag", "", "x"}, {"tag", "x", ""}, {"id", "acme", "0193abcd-0000-7abc-8def-0123456789ab"}, {"tag", "\xff\x00ü", "line\n"}} {
		h := fnv.New64a()
		fmt.Fprint(h, strings.Join(texts[:], "\x00"))
		if have, want := hash(texts[0], texts[1], texts[2]), int64(h.Sum64()); have != want {
			t.Errorf("%q: %d, want %d", texts, have, want)
		}
	}
}
