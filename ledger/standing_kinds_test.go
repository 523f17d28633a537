package ledger

import (
	"fmt"
	"testing"

	"github.com/dartwing/jobledger/schemas"
)

// TestStandingKinds: what a decision looks at does not grow with the credentials that somebody has had, and who judges
// by what was known is not disturbed by what becomes known.
func TestStandingKinds(t *testing.T) {
	tokens := func(from, to int, revoked bool) (all []*Entry) {
		for i := from; i < to; i++ {
			all = append(all, &Entry{Event: &schemas.Event{Data: &schemas.TokenSet{Settings: schemas.TokenSettings{ID: fmt.Sprint(i), Org: "acme", Role: schemas.RoleMember,
				Permissions: []string{"fax"}, Actor: schemas.Actor{Type: "user", ID: "ada"}, Revoked: revoked}}}})
		}
		return append(all, nil) // one that could not be read
	}
	j := &Job{Org: "acme", SubmittedBy: schemas.Actor{Type: "user", ID: "ada"}}
	s := &standings{by: map[string]*holder{}}
	s.add(tokens(0, 1000, true))
	was := s.by["user:ada"]
	if len(was.tokens) != 1000 || len(was.kinds) != 1 || !rightLost(was.kinds, j, "") {
		t.Errorf("%d kinds of %d tokens", len(was.kinds), len(was.tokens))
	}
	s.add(append(tokens(999, 1001, false), tokens(1000, 1001, true)...)) // the last of each holds
	now := s.by["user:ada"]
	if len(now.tokens) != 1001 || len(now.kinds) != 2 || rightLost(now.kinds, j, "fax") || !rightLost(now.kinds, j, "pay") {
		t.Errorf("%d kinds of %d tokens", len(now.kinds), len(now.tokens))
	}
	if len(was.tokens) != 1000 || len(was.kinds) != 1 || !rightLost(was.kinds, j, "") {
		t.Error("what was known was changed")
	}
}
