package ledger_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// TestStatesDocument holds docs/STATES.md against the code's table: its diagram has every legal transition but
// late_result, carried and checkpointed, which change no state; its table has all 44.
func TestStatesDocument(t *testing.T) {
	b, err := os.ReadFile("../docs/STATES.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(b)
	want := map[cell]string{}
	for _, situation := range situations {
		state, canceling := strings.CutSuffix(situation, "!")
		if state == "none" {
			state = ""
		}
		for _, event := range schemas.JobEvents() {
			if to, ok := ledger.Next(schemas.State(state), canceling, event); ok {
				want[cell{situation, event}] = string(to)
			}
		}
	}
	equal(t, "table", tableOf(doc), want)
	for c := range want {
		if slices.Contains([]schemas.EventName{schemas.EventLateResult, schemas.EventCarried, schemas.EventCheckpointed}, c.event) {
			delete(want, c)
		}
	}
	equal(t, "diagram", diagramOf(doc), want)
	for _, reason := range []schemas.DeadReason{schemas.DeadPermanentError, schemas.DeadRetriesExhausted, schemas.DeadDependencyFailed,
		schemas.DeadExpired, schemas.DeadRejected, schemas.DeadOrgDeleted, schemas.DeadPoison} {
		if !strings.Contains(doc, "| `"+string(reason)+"` |") {
			t.Errorf("reason %s is not explained", reason)
		}
	}
}

var (
	edge     = regexp.MustCompile(`(?m)^\s+(\S+) --> (\S+) : (.+)$`)
	tableRow = regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([a-z_!, ]+) \\| ([a-z_!]+) \\|")
	inWords  = map[string]string{"[*]": "none", "stopping": "running!"}
)

func diagramOf(doc string) map[cell]string {
	legal := map[cell]string{}
	for _, m := range edge.FindAllStringSubmatch(doc, -1) {
		from := m[1]
		if w := inWords[from]; w != "" {
			from = w
		}
		for event := range strings.SplitSeq(m[3], ", ") {
			legal[cell{from, schemas.EventName(event)}] = stateOf(from, m[2])
		}
	}
	return legal
}

func tableOf(doc string) map[cell]string {
	legal := map[cell]string{}
	for _, m := range tableRow.FindAllStringSubmatch(doc, -1) {
		for from := range strings.SplitSeq(m[2], ", ") {
			legal[cell{from, schemas.EventName(m[1])}] = stateOf(from, m[3])
		}
	}
	return legal
}

// stateOf is the state that a word of the document leads to; running! is no state of its own.
func stateOf(from, to string) string {
	if to == "same" {
		to = from
	}
	if w := inWords[to]; w != "" {
		to = w
	}
	return strings.TrimSuffix(to, "!")
}

func equal(t *testing.T, what string, got, want map[cell]string) {
	t.Helper()
	for c, to := range want {
		if got[c] != to {
			t.Errorf("%s: %v leads to %q, the code says %q", what, c, got[c], to)
		}
	}
	for c, to := range got {
		if want[c] == "" {
			t.Errorf("%s: %v leads to %q, which is illegal", what, c, to)
		}
	}
}
