package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dartwing/jobledger/gateway/rights"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// callerKey is where a request's context holds who calls: a *rights.Principal.
type callerKey struct{}

func withCaller(ctx context.Context, p *rights.Principal) context.Context {
	return context.WithValue(ctx, callerKey{}, p)
}

// caller returns whom the door recognised; nil for who calls in the cell's own NATS account, which may do everything.
func caller(ctx context.Context) *rights.Principal {
	p, _ := ctx.Value(callerKey{}).(*rights.Principal)
	return p
}

// actor is the name under which the events of a request tell of its caller.
func (g *Gateway) actor(ctx context.Context) schemas.Actor {
	if p := caller(ctx); p != nil {
		return p.Actor
	}
	return g.cfg.Actor
}

// denied is the answer to a right that is missing, in an org in which the caller has some.
func denied(p *rights.Principal, a rights.Action, org schemas.OrgID) error {
	var err *ledger.Error
	if grant := p.In(org); grant != nil {
		err = ledger.Errorf(ledger.CodePermissionDenied, "%s has role %s in org %s, which has no right %s", p.Actor, grant.Role, org, a)
	} else {
		err = ledger.Errorf(ledger.CodePermissionDenied, "%s has no right %s there", p.Actor, a)
	}
	err.Details = map[string]any{"action": a}
	return err
}

// authorize refuses what the caller may not do. What is let through and reaches less than the org is narrowed by
// the handlers that read more than one thing: list and errors by narrow, schedules by mine.
func (g *Gateway) authorize(ctx context.Context, ep *endpoint, r *request) error {
	p := caller(ctx)
	if p == nil {
		return nil
	}
	if grant := p.In(r.org); grant != nil && grant.Role == schemas.RoleMember && !r.counted {
		left, err := g.paces.take(p, r.org, paceOf(ep))
		if r.left = left; err != nil {
			return err
		}
	}
	reach := rights.Decide(p, ep.action, r.org)
	if ep.cell && reach != rights.All {
		return denied(p, ep.action, r.org)
	}
	if ep.job {
		return g.authorizeJob(ctx, p, ep.action, reach, r)
	}
	if reach == rights.None || reach == rights.Held {
		return denied(p, ep.action, r.org)
	}
	if !reach.Whole() && ep.whole {
		return denied(p, ep.action, r.org)
	}
	if ep.schedule && !reach.Whole() {
		return g.authorizeSchedule(ctx, ep.action, r)
	}
	return nil
}

// authorizeSchedule judges one schedule by whom its jobs run as; one that is not there yet is nobody's.
func (g *Gateway) authorizeSchedule(ctx context.Context, a rights.Action, r *request) error {
	e, err := g.l.Schedule(ctx, r.org, r.name)
	switch {
	case err != nil && ledger.AsError(err).Code == ledger.CodeNotFound:
		return nil
	case err != nil:
		return err
	case !g.mine(ctx, r.org, a, e):
		return ledger.Errorf(ledger.CodeNotFound, "org %s has no schedule %s", r.org, r.name)
	}
	return nil
}

// authorizeJob judges one job by whose it is, which never changes. A job that the caller may not see is not there.
func (g *Gateway) authorizeJob(ctx context.Context, p *rights.Principal, a rights.Action, reach rights.Reach, r *request) error {
	sees := rights.Decide(p, rights.JobsRead, r.org)
	if sees == rights.None {
		return noJob(r.org, r.job(), ledger.ErrNotFound)
	}
	if sees.Whole() {
		if reach == rights.None {
			return denied(p, a, r.org)
		}
		if reach.Whole() {
			return nil
		}
	}
	h, err := g.read(ctx, r.org, r.job())
	if err != nil {
		return err
	}
	whose := whoseJob(h.Job)
	switch {
	case !sees.Covers(p, whose):
		return noJob(r.org, r.job(), ledger.ErrNotFound)
	case !reach.Covers(p, whose):
		return denied(p, a, r.org)
	}
	return nil
}

// covers reports whether the caller may see a job whose record was read on the way from another one.
func covers(ctx context.Context, j *ledger.Record) bool {
	p := caller(ctx)
	return p == nil || rights.Decide(p, rights.JobsRead, j.Org).Covers(p, whoseRecord(j))
}

// whoseJob and whoseRecord tell whose a job is.
func whoseJob(j *ledger.Job) rights.Job {
	return rights.Job{Owner: j.Principal(), SubmittedBy: j.SubmittedBy.String()}
}

func whoseRecord(j *ledger.Record) rights.Job {
	return rights.Job{Owner: deref(j.Owner), SubmittedBy: deref(j.SubmittedBy)}
}

// within says of records whether the principal's reach touches their jobs; nil: it touches all.
func within(p *rights.Principal, reach rights.Reach) func(*ledger.Record) bool {
	if reach.Whole() {
		return nil
	}
	return func(j *ledger.Record) bool { return reach.Covers(p, whoseRecord(j)) }
}

// onlyOf reports whether what an answer tells of other orgs than this one is not for the caller.
func onlyOf(ctx context.Context, a rights.Action, org schemas.OrgID) bool {
	p := caller(ctx)
	return p != nil && rights.Decide(p, a, org) != rights.All
}

// narrow has a filter choose none but the jobs that the caller may see.
func (g *Gateway) narrow(ctx context.Context, org schemas.OrgID, f *Filter) error {
	p := caller(ctx)
	if p == nil {
		return nil
	}
	switch reach := rights.Decide(p, rights.JobsRead, org); {
	case reach.Whole():
		return nil
	case reach == rights.Own:
		me := p.Actor.String()
		if len(f.Owner) > 0 && !slices.Contains(f.Owner, me) {
			f.Owner = []string{nobody} // what was asked for is others' alone
			return nil
		}
		f.Owner = []string{me}
		return nil
	}
	e := ledger.Errorf(ledger.CodePermissionDenied, "%s reads the jobs that it submitted by their ids, and lists none", p.Actor)
	e.Details = map[string]any{"action": rights.JobsRead}
	return e
}

// nobody owns no job: an actor has a colon.
const nobody = "-"

// authorizeSubmit refuses a submit in somebody else's name, and of a type that the caller has no permission for.
func (g *Gateway) authorizeSubmit(ctx context.Context, req *ledger.SubmitRequest) error {
	p := caller(ctx)
	if p == nil {
		return nil
	}
	if rights.Decide(p, rights.JobsSubmit, req.Org).Whole() {
		return nil
	}
	if err := mayActFor(p, req.Org, req.Principal); err != nil {
		return err
	}
	if err := errors.Join(g.authorizeParents(ctx, p, req), g.authorizeID(ctx, p, req)); err != nil {
		return err
	}
	types := []schemas.TypeName{req.Type}
	if req.Type == "" {
		if req.ArgsRef != nil {
			return ledger.Errorf(ledger.CodePermissionDenied, "a batch of this size is resubmitted by an operator: whose jobs it makes is not looked at")
		}
		spec, err := ledger.DecodeBatch(req.Args)
		if err != nil {
			return badField("batch", err)
		}
		types = types[:0]
		for i := range spec.Items {
			item := spec.Item(i)
			if err := mayActForItem(p, req.Org, item.Principal); err != nil {
				return fmt.Errorf("item %d: %w", i+1, err)
			}
			types = append(types, item.Type)
		}
		if spec.Then != nil {
			if err := mayActForItem(p, req.Org, spec.Then.Principal); err != nil {
				return err
			}
			types = append(types, spec.Then.Type)
		}
	}
	return g.authorizeTypes(ctx, p, req.Org, types)
}

// authorizeParents has a parent that the caller may not see not be there: a job is given its parents' results.
func (g *Gateway) authorizeParents(ctx context.Context, p *rights.Principal, req *ledger.SubmitRequest) error {
	sees := rights.Decide(p, rights.JobsRead, req.Org)
	if sees.Whole() {
		return nil
	}
	for _, parent := range req.Parents {
		h, err := g.read(ctx, req.Org, parent.ID)
		if err == nil && !coversJob(p, h.Job) {
			err = noJob(req.Org, parent.ID, ledger.ErrNotFound)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// authorizeID keeps the id of a job for its owner, also when it has ended: who may use it again sees its past.
func (g *Gateway) authorizeID(ctx context.Context, p *rights.Principal, req *ledger.SubmitRequest) error {
	if req.ID == "" || schemas.CheckToken("job id", string(req.ID)) != nil {
		return nil
	}
	h, err := g.read(ctx, req.Org, req.ID)
	switch {
	case err != nil && ledger.AsError(err).Code == ledger.CodeNotFound:
		return nil
	case err != nil:
		return err
	case !coversJob(p, h.Job):
		e := ledger.Errorf(ledger.CodeIDConflict, "the job id %s is taken: choose another one", req.ID)
		e.Field = "id"
		return e
	}
	return nil
}

// coversJob reports whether the principal may see a job.
func coversJob(p *rights.Principal, j *ledger.Job) bool {
	return rights.Decide(p, rights.JobsRead, j.Org).Covers(p, whoseJob(j))
}

// notOthers refuses a submit whose work somebody else has submitted already, whose job the caller may not see: work is
// unique in its org, and to name the job would tell of it.
func (g *Gateway) notOthers(ctx context.Context, receipt ledger.Receipt) error {
	p := caller(ctx)
	if p == nil || !receipt.Duplicate || rights.Decide(p, rights.JobsRead, receipt.Org).Whole() {
		return nil
	}
	h, err := g.read(ctx, receipt.Org, receipt.ID)
	if err != nil {
		return err
	}
	if !coversJob(p, h.Job) {
		return ledger.Errorf(ledger.CodeDuplicate, "somebody else has submitted the same work: nothing was stored. Give a key of your own, or submit without dedup")
	}
	return nil
}

// authorizeTypes asks for the permission of each type that has one. An unknown type is refused by who stores the job.
func (g *Gateway) authorizeTypes(ctx context.Context, p *rights.Principal, org schemas.OrgID, types []schemas.TypeName) error {
	asked := map[schemas.TypeName]bool{}
	for _, name := range types {
		if name == "" || asked[name] {
			continue
		}
		asked[name] = true
		t, err := g.l.Type(ctx, name)
		if err != nil {
			if c := ledger.AsError(err).Code; c == ledger.CodeUnknownType || c == ledger.CodeInvalidArgument {
				continue
			}
			return err
		}
		if !rights.MayUse(p, org, t.Permission) {
			e := ledger.Errorf(ledger.CodePermissionDenied, "type %s needs the permission %s, which %s has not in org %s", name, t.Permission, p.Actor, org)
			e.Details = map[string]any{"action": rights.JobsSubmit, "permission": t.Permission}
			return e
		}
	}
	return nil
}

// mayActFor judges in whose name a job is submitted: a member only in its own, a publisher never in its own.
func mayActFor(p *rights.Principal, org schemas.OrgID, principal string) error {
	role := schemas.Role("")
	if grant := p.In(org); grant != nil {
		role = grant.Role
	}
	switch {
	case role == schemas.RoleMember && principal != "" && principal != p.Actor.String():
		return ledger.Errorf(ledger.CodePermissionDenied, "a member submits in its own name, %s, not in that of %s", p.Actor, principal)
	case role == schemas.RolePublisher && principal == "":
		return ledger.Errorf(ledger.CodeInvalidArgument, "principal: a publisher submits for somebody: say for whom, such as user:ada")
	}
	return nil
}

// mayActForItem is mayActFor of a batch's item, which runs as its batch does unless it says.
func mayActForItem(p *rights.Principal, org schemas.OrgID, principal string) error {
	if principal == "" {
		return nil
	}
	return mayActFor(p, org, principal)
}

// mine judges a schedule by whom its jobs run as.
func (g *Gateway) mine(ctx context.Context, org schemas.OrgID, a rights.Action, e *ledger.Entry) bool {
	p := caller(ctx)
	if p == nil {
		return true
	}
	reach := rights.Decide(p, a, org)
	owner := e.Data.(*schemas.ScheduleSet).Settings.Job.Principal
	if owner == "" {
		owner = e.Actor.String()
	}
	return reach.Covers(p, rights.Job{Owner: owner, SubmittedBy: e.Actor.String()})
}
