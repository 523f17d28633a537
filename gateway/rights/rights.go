package rights

import (
	"slices"

	"github.com/dartwing/jobledger/schemas"
)

// Action is what somebody wants to do (INTERFACE 3). The names stand in audits and never change.
type Action string

// The actions.
const (
	JobsSubmit   Action = "jobs.submit"
	JobsRead     Action = "jobs.read" // state, progress, history, args, explain; lists and counts
	JobsWatch    Action = "jobs.watch"
	JobsCancel   Action = "jobs.cancel"
	JobsRetry    Action = "jobs.retry" // and run now, and resubmit
	JobsResolve  Action = "jobs.resolve"
	JobsBulk     Action = "jobs.bulk"
	PayloadsRead Action = "payloads.read" // results
	// PayloadsUnmask shows what a schema redacts, which no role but the admin's does by itself: it is granted to one
	// token by a permission of this name, for the jobs that its holder may read.
	PayloadsUnmask Action = "payloads.unmask"
	HoldsOrg       Action = "holds.org" // pause, resume, close a breaker inside an org
	HoldsPlatform  Action = "holds.platform"
	WorkersRead    Action = "workers.read"
	WorkersDrain   Action = "workers.drain"
	WorkersServe   Action = "workers.serve"
	SchedulesRead  Action = "schedules.read"
	SchedulesEdit  Action = "schedules.edit"
	MetricsRead    Action = "metrics.read"
	LogRead        Action = "log.read"
	LogVerify      Action = "log.verify"
	SettingsRead   Action = "settings.read" // types, limits, retention, org state
	TypesEdit      Action = "types.edit"
	LimitsEdit     Action = "limits.edit"
	OrgsEdit       Action = "orgs.edit"
	TokensEdit     Action = "tokens.edit"
)

// Reach is whose jobs an action may touch.
type Reach string

// From nobody's to everybody's.
const (
	None      Reach = ""
	Held      Reach = "held"      // those of which the principal holds the attempt
	Submitted Reach = "submitted" // those that the principal submitted, for whomever
	Own       Reach = "own"       // those that run as the principal
	Org       Reach = "org"       // all of an org in which the principal has a role
	All       Reach = "all"       // all of every org, and what is the cell's
)

// Grant is a role in one org; with an empty Org, of the whole cell, which only RoleAdmin may be.
type Grant struct {
	Org  schemas.OrgID
	Role schemas.Role
	// Permissions open the types that ask for one by name, to a member, and PayloadsUnmask to every role.
	Permissions []string
}

// Principal is somebody whom a door has recognised.
type Principal struct {
	// Actor is the name under which events tell of the principal.
	Actor schemas.Actor
	// Grants hold at most one for each org.
	Grants []Grant
}

// In returns the principal's grant in an org: that of the whole cell, else that of the org. nil: there is none.
func (p *Principal) In(org schemas.OrgID) *Grant {
	for i := range p.Grants {
		if g := &p.Grants[i]; g.Role == schemas.RoleAdmin && g.Org == "" || g.Role != schemas.RoleAdmin && g.Org != "" && g.Org == org {
			return g
		}
	}
	return nil
}

// Decide says how far an action of the principal in an org reaches. It is the one place where that is decided.
func Decide(p *Principal, a Action, org schemas.OrgID) Reach {
	g := p.In(org)
	if g == nil {
		return None
	}
	if a == PayloadsUnmask && slices.Contains(g.Permissions, string(PayloadsUnmask)) {
		a = JobsRead
	}
	return table[a][g.Role]
}

// MayUse reports whether a type that asks for a permission is open to the principal in an org. Only a member needs it.
func MayUse(p *Principal, org schemas.OrgID, permission string) bool {
	g := p.In(org)
	return g != nil && (permission == "" || g.Role != schemas.RoleMember || slices.Contains(g.Permissions, permission))
}

// Job is what of a job tells whose it is.
type Job struct {
	Owner       string // whom it runs as: schemas.Job.Principal
	SubmittedBy string // the actor of its submitted
}

// Covers reports whether an action that reaches so far touches a job of the org that was asked about.
func (r Reach) Covers(p *Principal, j Job) bool {
	me := p.Actor.String()
	switch r {
	case Org, All:
		return true
	case Own:
		return me != "" && j.Owner == me
	case Submitted:
		return me != "" && (j.SubmittedBy == me || j.Owner == me)
	}
	return false // Held is judged by the attempt's token, where one is given
}

// Whole reports whether the reach is all jobs of the org that was asked about.
func (r Reach) Whole() bool { return r == Org || r == All }
