package gateway

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Cascades. A cancel with cascade is one event: the dispatcher, which holds an edge for each job that waits,
// cancels those that wait for the canceled one, and theirs, as it reads it. A retry with cascade has no such help, for
// of jobs that have ended nobody holds edges: who ended with a parent is read from the view, once a request, at the
// cost of a listing of the org's jobs; then they are retried like any others, parents before children.

// cascadeMax bounds the dead letters of an org that one retry with cascade looks at.
const cascadeMax = 10 * BulkMax

// life names one life of a job.
type life struct {
	id         schemas.JobID
	generation int
}

// deadChild is a job that ended with a parent.
type deadChild struct {
	life
	seq     schemas.Seq
	parents []ledger.RecordParent
}

// deadBelow returns the jobs among ids, and those that ended with one of them or with another one found, oldest
// first: a job's parents are older than the job. At most BulkMax; found is how many there are.
func (g *Gateway) deadBelow(ctx context.Context, org schemas.OrgID, ids []schemas.JobID, minSeq schemas.Seq) (all []schemas.JobID, found int, seq schemas.Seq, err error) {
	if minSeq == 0 { // what ended a moment ago counts
		end, err := g.l.End(ctx)
		if err != nil {
			return nil, 0, 0, err
		}
		minSeq = end.Seq
	}
	v, err := g.viewsAt(ctx, minSeq, false)
	if err != nil {
		return nil, 0, 0, err
	}
	roots := make(map[schemas.JobID]bool, len(ids))
	for _, id := range ids {
		roots[id] = true
	}
	taken := make(map[life]bool)
	var chosen, dead []deadChild
	seq, err = v.jobs(ctx, org, &Filter{}, time.Now(), 0, func(r ledger.Record) {
		c := deadChild{life: life{r.ID, r.Generation}, seq: r.SubmittedSeq, parents: r.Parents}
		switch {
		case roots[r.ID]:
			delete(roots, r.ID)
			chosen, taken[c.life] = append(chosen, c), true
		case r.State == schemas.StateDeadLettered && r.Reason != nil && *r.Reason == string(schemas.DeadDependencyFailed):
			dead = append(dead, c)
		}
	})
	switch {
	case err != nil:
		return nil, 0, 0, err
	case len(dead) > cascadeMax:
		return nil, 0, 0, ledger.Errorf(ledger.CodeInvalidArgument, "org %s has %d dead letters that ended with a parent: a cascade looks at %d at most; choose by a filter", org, len(dead), cascadeMax)
	}
	older := func(a, b deadChild) int { return cmp.Compare(a.seq, b.seq) }
	slices.SortFunc(dead, older)
	for _, c := range dead {
		if slices.ContainsFunc(c.parents, func(p ledger.RecordParent) bool { return taken[life{p.ID, p.Generation}] }) {
			chosen, taken[c.life] = append(chosen, c), true
		}
	}
	slices.SortFunc(chosen, older)
	for id := range roots { // in no view yet: its own request says what is wrong with it
		all = append(all, id)
	}
	slices.Sort(all)
	for _, c := range chosen {
		all = append(all, c.id)
	}
	found = len(all)
	return all[:min(found, BulkMax)], found, seq, nil
}

// spread adds to a bulk of retries those that ended with the chosen jobs.
func (g *Gateway) spread(ctx context.Context, org schemas.OrgID, req *BulkRequest, ids []schemas.JobID, reply *BulkReply) error {
	all, found, seq, err := g.deadBelow(ctx, org, ids, req.MinSeq)
	if err != nil {
		return err
	}
	more := found - len(ids)
	reply.Matched += more
	reply.Eligible += more
	reply.AsOfSeq, reply.IDs = &seq, all
	return nil
}

// checkCascade refuses a cascade of what has none, and one of retries that nobody has counted.
func (r *BulkRequest) checkCascade() error {
	switch {
	case !r.Cascade || r.Action == ActionCancel:
		return nil
	case r.Action != ActionRetry:
		return badField("cascade", fmt.Errorf("%s has no cascade", r.Action))
	case !r.DryRun && !r.Detach && len(r.IDs) == 0:
		return badField("cascade", fmt.Errorf("a dry run says which jobs a retry with cascade reaches: send their ids"))
	}
	return nil
}
