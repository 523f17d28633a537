package ledger_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// putToken adds a credential, or changes it.
func putToken(t *testing.T, l *ledger.Ledger, set schemas.TokenSettings) {
	t.Helper()
	set.Title, set.Hash = "test", strings.Repeat("ab", schemas.TokenHashBytes)
	event := &schemas.TokenSet{Settings: set, Reason: "test"}
	if _, err := l.Put(t.Context(), ledger.Meta{}, event.Place(), func(schemas.Setting) (schemas.Setting, error) { return event, nil }); err != nil {
		t.Fatal(err)
	}
}

// TestRightStands: what credentials say of a job's principal, by name, whatever else holds them.
func TestRightStands(t *testing.T) {
	env := ledgertest.Start(t)
	past := time.Now().Add(-time.Hour).UTC()
	user := func(name string) schemas.Actor { return schemas.Actor{Type: "user", ID: name} }
	for i, set := range []schemas.TokenSettings{
		{Actor: user("valid"), Role: schemas.RoleMember, Org: "acme"},
		{Actor: user("revoked"), Role: schemas.RoleMember, Org: "acme", Revoked: true},
		{Actor: user("expired"), Role: schemas.RoleMember, Org: "acme", ExpiresAt: &past},
		{Actor: user("renewed"), Role: schemas.RoleOperator, Org: "acme", Revoked: true},
		{Actor: user("renewed"), Role: schemas.RolePublisher, Org: "acme"},
		{Actor: user("demoted"), Role: schemas.RoleOperator, Org: "acme", Revoked: true},
		{Actor: user("demoted"), Role: schemas.RoleAuditor, Org: "acme"},
		{Actor: user("lowered"), Role: schemas.RoleOperator, Org: "acme", Revoked: true},
		{Actor: user("lowered"), Role: schemas.RoleMember, Org: "acme"},
		{Actor: user("moved"), Role: schemas.RoleOperator, Org: "acme", Revoked: true},
		{Actor: user("moved"), Role: schemas.RoleOperator, Org: "other"},
		{Actor: user("elsewhere"), Role: schemas.RoleOperator, Org: "other", Revoked: true},
		{Actor: user("root"), Role: schemas.RoleAdmin, Revoked: true},
		{Actor: user("reader"), Role: schemas.RoleAuditor, Org: "acme", Revoked: true},
		{Actor: user("faxer"), Role: schemas.RoleMember, Org: "acme", Permissions: []string{"fax.send"}},
	} {
		set.ID = fmt.Sprintf("t%d", i)
		putToken(t, env.Ledger, set)
	}
	if _, err := env.Ledger.PutType(t.Context(), schemas.TypeSettings{Name: "fax", Permission: "fax.send"}, ledger.Meta{}, "test"); err != nil {
		t.Fatal(err)
	}
	l := env.NewLedger() // which knows nothing yet
	for _, c := range []struct {
		who  string // principal, and who submitted where that is another
		typ  schemas.TypeName
		lost bool
	}{
		{"valid", "echo", false}, {"revoked", "echo", true}, {"expired", "echo", false}, {"renewed", "echo", false}, {"demoted", "echo", true}, {"moved", "echo", true},
		{"elsewhere", "echo", false}, {"root", "echo", true}, {"reader", "echo", false}, {"unknown", "echo", false}, {"unknown by revoked", "echo", false},
		{"faxer", "fax", false}, {"valid", "fax", true}, {"valid by renewed", "fax", false}, {"lowered", "echo", false}, {"lowered", ledger.BulkType, true}, {"valid", ledger.BulkType, false}, {"renewed", "fax", false}, {"revoked by valid", "echo", true},
	} {
		who, by, named := strings.Cut(c.who, " by ")
		j := &ledger.Job{Org: "acme", SubmittedBy: user(who), Spec: schemas.Submitted{Type: c.typ}}
		if named {
			j.SubmittedBy, j.Spec.Principal = user(by), "user:"+who
		}
		err := l.RightStands(t.Context(), j)
		if lost := errors.Is(err, ledger.ErrRightLost); lost != c.lost || err != nil && !lost {
			t.Errorf("%s, type %s: %v, want it lost: %v", c.who, c.typ, err, c.lost)
		}
	}
	// What changes is heard, and read on from what is known.
	j := &ledger.Job{Org: "acme", SubmittedBy: user("valid"), Spec: schemas.Submitted{Type: "echo"}}
	putToken(t, env.Ledger, schemas.TokenSettings{ID: "t0", Actor: user("valid"), Role: schemas.RoleMember, Org: "acme", Revoked: true})
	ctx := env.Context()
	for err := error(nil); !errors.Is(err, ledger.ErrRightLost); {
		if err = l.RightStands(ctx, j); ctx.Err() != nil {
			t.Fatalf("a revoked credential is not heard of: %v", err)
		}
	}
	if err := l.RightStands(ctx, &ledger.Job{Org: "acme", SubmittedBy: user("revoked"), Spec: schemas.Submitted{Type: "echo"}}); !errors.Is(err, ledger.ErrRightLost) {
		t.Errorf("what was known is forgotten: %v", err)
	}
}
