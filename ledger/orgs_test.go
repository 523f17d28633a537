package ledger_test

import (
	"testing"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// R-51, DESIGN D11: an org is deleted by an event like any other setting, with actor and reason, once; its limits stay
// readable, and nothing changes it any more, whatever happens to the append.
func TestDeleteOrg(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	l, ctx := env.Ledger, env.Context()
	ada := ledger.Meta{Actor: schemas.Actor{Type: "user", ID: "ada"}}
	putSetting(t, l, &schemas.OrgSet{Settings: schemas.OrgSettings{Name: "acme", Weight: 3}})
	if _, err := l.DeleteOrg(ctx, "acme", ada, ""); ledger.AsError(err).Code != ledger.CodeInvalidArgument {
		t.Errorf("without a reason: %v", err)
	}
	for _, kind := range []ledgertest.Kind{ledgertest.Refuse, ledgertest.LoseRequest, ledgertest.LoseReply} {
		env.Faults.Inject(ledgertest.Fault{Event: schemas.EventOrgSet, Kind: kind})
		org := schemas.OrgID("org-" + string('a'+rune(kind)))
		if e, err := l.DeleteOrg(ctx, org, ada, "contract ended"); err != nil || e == nil {
			t.Errorf("fault %v: %v %v", kind, e, err)
		}
		if all, err := l.SettingHistory(ctx, ledger.KindOrg, string(org)); err != nil || len(all) != 1 {
			t.Errorf("fault %v: %d events, %v", kind, len(all), err)
		}
	}
	e, err := l.DeleteOrg(ctx, "acme", ada, "contract ended")
	if err != nil || e == nil {
		t.Fatalf("%v %v", e, err)
	}
	if again, err := l.DeleteOrg(ctx, "acme", ada, "once more"); err != nil || again != nil {
		t.Errorf("again: %v %v, want nothing written", again, err)
	}
	have, err := l.Setting(ctx, ledger.KindOrg, "acme")
	if err != nil || have.Seq != e.Seq || have.Actor != ada.Actor || have.Data.(*schemas.OrgSet).Reason != "contract ended" || have.Data.(*schemas.OrgSet).Settings.Weight != 3 {
		t.Errorf("in force: %+v %v", have, err)
	}
	back := &schemas.OrgSet{Settings: schemas.OrgSettings{Name: "acme"}, Reason: "a new tenant"}
	if _, err := l.Put(ctx, ada, back.Place(), func(schemas.Setting) (schemas.Setting, error) { return back, nil }); ledger.AsError(err).Code != ledger.CodeOrgNotFound {
		t.Errorf("added anew: %v", err)
	}
	if err := l.OrgStands(ctx, "acme"); ledger.AsError(err).Code != ledger.CodeOrgNotFound {
		t.Errorf("it stands: %v", err)
	}
	if err := l.OrgStands(ctx, "stranger"); err != nil {
		t.Errorf("an org that was never set: %v", err)
	}
}
