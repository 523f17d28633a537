package ledger

import (
	"context"
	"fmt"

	"github.com/dartwing/jobledger/schemas"
)

// A deleted org stays deleted: its id stands in the history of its jobs, and given to somebody else it would show
// them that history. So Put refuses every change of its settings, to be added anew as well.

// OrgDeleted is the error of what a deleted org may not have any more: new jobs, retries, settings.
func OrgDeleted(org schemas.OrgID) *Error {
	return Errorf(CodeOrgNotFound, "org %s was deleted: it takes no jobs, and its id is never given out again; use another org", org)
}

// OrgStands reports org_not_found for an org that was deleted, by settings that are a second old at most. One that was
// never set stands, with the defaults.
func (l *Ledger) OrgStands(ctx context.Context, org schemas.OrgID) error {
	o, err := l.Org(ctx, org)
	if err != nil {
		return err
	}
	if o != nil && o.State == schemas.OrgDeleted {
		return OrgDeleted(org)
	}
	return nil
}

// DeleteOrg deletes an org for good: from here its submits are refused, its schedules fire no more, and the leader
// dead-letters its unfinished jobs, at its own pace. Of a deleted org it writes nothing: the event is then nil. reason is
// required.
//
// If the caller dies behind the append, the org is deleted all the same: nothing else is to be done by anybody but the
// leader.
func (l *Ledger) DeleteOrg(ctx context.Context, org schemas.OrgID, m Meta, reason string) (*schemas.Event, error) {
	if err := schemas.CheckToken("org", string(org)); err != nil {
		return nil, badField("org", err)
	}
	if reason == "" {
		return nil, badField("reason", fmt.Errorf("a reason is required"))
	}
	set := &schemas.OrgSet{Settings: schemas.OrgSettings{Name: org}, Reason: reason}
	return l.Put(ctx, m, set.Place(), func(have schemas.Setting) (schemas.Setting, error) {
		if was, ok := have.(*schemas.OrgSet); ok {
			set.Settings = was.Settings // its limits stay readable
		}
		set.Settings.State = schemas.OrgDeleted
		return set, nil
	})
}

// final reports whether settings are of a thing that does not change any more, and the error of who tries.
func final(have schemas.Setting) error {
	if o, ok := have.(*schemas.OrgSet); ok && o.Settings.State == schemas.OrgDeleted {
		return OrgDeleted(o.Settings.Name)
	}
	return nil
}
