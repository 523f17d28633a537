package rights

import "github.com/dartwing/jobledger/schemas"

// cells are the roles' reach in one row.
type cells map[schemas.Role]Reach

// table is REQUIREMENTS 8. "view" there is a row of its own here: SchedulesRead, SettingsRead.
var table = map[Action]cells{
	JobsSubmit:     row(Own, Org, None, All, Submitted, None),
	JobsRead:       row(Own, Org, Org, All, Submitted, Held),
	PayloadsRead:   row(Own, Org, Org, All, Submitted, Held),
	PayloadsUnmask: row(None, None, None, All, None, None),    // R-606; granted to others token by token
	JobsWatch:      row(Own, Org, Org, All, Submitted, None),  // R-624; a worker hears of its own attempts by other ways
	JobsCancel:     row(Own, Org, None, All, Submitted, None),
	JobsRetry:      row(None, Org, None, All, None, None),
	JobsResolve:    row(None, Org, None, All, None, None),
	JobsBulk:       row(None, Org, None, All, None, None),
	HoldsOrg:       row(None, Org, None, All, None, None),
	HoldsPlatform:  row(None, None, None, All, None, None),
	WorkersDrain:   row(None, None, None, All, None, None),
	SchedulesEdit:  row(Own, Org, None, All, Submitted, None),
	SchedulesRead:  row(Own, Org, Org, All, Submitted, None),
	MetricsRead:    row(Own, Org, Org, All, Submitted, Held),
	LogRead:        row(None, None, Org, All, None, None),
	LogVerify:      row(None, None, Org, All, None, None),
	SettingsRead:   row(None, Org, Org, All, None, None),
	WorkersRead:    row(None, Org, Org, All, None, None),      // R-632, who serves is part of it
	TypesEdit:      row(None, None, None, All, None, None),
	LimitsEdit:     row(None, None, None, All, None, None),
	OrgsEdit:       row(None, None, None, All, None, None),
	TokensEdit:     row(None, None, None, All, None, None),
	WorkersServe:   row(None, None, None, None, None, Held),
}

func row(member, operator, auditor, admin, publisher, worker Reach) cells {
	return cells{schemas.RoleMember: member, schemas.RoleOperator: operator, schemas.RoleAuditor: auditor,
		schemas.RoleAdmin: admin, schemas.RolePublisher: publisher, schemas.RoleWorker: worker}
}

// Actions lists all, in no order.
func Actions() []Action {
	all := make([]Action, 0, len(table))
	for a := range table {
		all = append(all, a)
	}
	return all
}
