package ledger_test

import (
	"testing"

	"github.com/dartwing/jobledger/ledger"
)

// A removal that was decided before a longer retention was set, of an org, of a type or of the cell, is refused.
func TestRetentionRaised(t *testing.T) {
	t.Parallel()
	r := newRetained(t, 400)
	r.setOrg("d", 30)
	kept := []*keptJob{r.make("a", "t", "done"), r.make("b", "u", "done"), r.make("c", "t", "done")}
	goes := r.make("d", "t", "done")
	r.leave()
	r.ahead = 100 * day
	step := 0
	r.rem.At(func(at string) error {
		if at != "remove" {
			return nil
		}
		switch step++; step {
		case 1:
			r.setOrg("a", 200)
		case 2:
			r.setType("u", 200)
		case 3:
			if _, err := ledger.Provision(t.Context(), r.NewLedger(), ledger.ProvisionConfig{Retention: 200 * day}); err != nil {
				t.Fatal(err)
			}
			r.cell = 200
		case 4: // a shorter one is heard the next time
			r.setOrg("d", 31)
			r.setOrg("d", 30)
		}
		return nil
	})
	r.look()
	for _, j := range kept {
		if h, err := r.NewLedger().History(t.Context(), j.org, j.id); err != nil || storyOf(h) != j.story {
			t.Errorf("%s.%s: %v", j.org, j.id, err)
		}
	}
	r.gone(goes)
}
