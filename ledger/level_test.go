package ledger

import (
	"strings"
	"testing"
)

// "A server too old" is refused with one sentence. No old server can be embedded: the judgement alone is tested.
func TestServerTooOld(t *testing.T) {
	t.Parallel()
	for level := range apiLevelMin {
		err := checkLevel(level, "2.11.4")
		if err == nil || !strings.Contains(err.Error(), "2.11.4") || !strings.Contains(err.Error(), "upgrade it to 2.12") {
			t.Errorf("level %d: %v", level, err)
		}
	}
	if err := checkLevel(apiLevelMin, "2.12.0"); err != nil {
		t.Error(err)
	}
}
