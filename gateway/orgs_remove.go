package gateway

import (
	"context"
	"encoding/json"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// RemoveOrgRequest deletes the org of the subject, for good. Reason is required, but for a dry run.
type RemoveOrgRequest struct {
	Reason string `json:"reason,omitempty"`
	// DryRun counts and changes nothing: before, what a deletion would end; behind it, what the leader has still to end.
	DryRun bool `json:"dry_run,omitempty"`
	// MinSeq is what the counts must include, such as the deletion itself.
	MinSeq schemas.Seq `json:"min_seq,omitempty"`
}

// OrgRemoval is how the deletion of an org stands. The leader dead-letters its unfinished jobs one after the other,
// dispatcher.DissolveRate a second, and goes on whatever becomes of the caller.
type OrgRemoval struct {
	Org    schemas.OrgID    `json:"org"`
	State  schemas.OrgState `json:"state"`
	DryRun bool             `json:"dry_run"`
	// Unfinished jobs, those that run among them, by the view.
	Unfinished int64 `json:"unfinished"`
	Running    int64 `json:"running"`
	// Schedules that the org has; in a deleted one they fire no more.
	Schedules int `json:"schedules"`
	// DeadLettered is how many dead letters of any reason the org has.
	DeadLettered int64       `json:"dead_lettered"`
	AsOfSeq      schemas.Seq `json:"as_of_seq"` // of the counts
	// SettingAuthor says who deleted it, when and why; or set what is in force, if it is not deleted.
	SettingAuthor
}

// orgRemove counts what an org has, and deletes it. Doing it again is safe: a deleted org stays as it is.
func (g *Gateway) orgRemove(ctx context.Context, r *request) ([]byte, error) {
	var req RemoveOrgRequest
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	if err := checkReason("reason", req.Reason, !req.DryRun); err != nil {
		return nil, err
	}
	e, err := g.l.Setting(ctx, ledger.KindOrg, string(r.org))
	if err != nil {
		return nil, err
	}
	removal, jobs, err := g.removal(ctx, r.org, req.MinSeq)
	if err != nil {
		return nil, err
	}
	if e == nil && jobs == 0 && removal.Schedules == 0 {
		// An id that was mistyped would be used up for ever.
		return nil, ledger.Errorf(ledger.CodeNotFound, "org %s was never set and has no jobs: there is nothing to delete", r.org)
	}
	if !req.DryRun {
		set, err := g.l.DeleteOrg(ctx, r.org, ledger.Meta{Actor: g.actor(ctx), CausationID: r.id}, req.Reason)
		if err != nil {
			return nil, err
		}
		if set != nil {
			e = &ledger.Entry{Event: set}
			g.log.Info("operator action", zap.String("action", "delete org"), zap.String("org", string(r.org)), zap.Uint64("seq", uint64(set.Seq)),
				zap.String("actor", g.actor(ctx).String()), zap.String("reason", req.Reason), zap.String("request_id", r.id))
		}
	}
	removal.DryRun, removal.State = req.DryRun, schemas.OrgActive
	if e != nil {
		o := orgEntry(e)
		removal.State, removal.SettingAuthor = o.State, o.SettingAuthor
	}
	return json.Marshal(removal)
}

// removal counts what an org has.
func (g *Gateway) removal(ctx context.Context, org schemas.OrgID, minSeq schemas.Seq) (r *OrgRemoval, jobs int64, err error) {
	if err := g.views.waitFor(ctx, minSeq); err != nil {
		return nil, 0, err
	}
	counts, seq, err := g.views.counts(ctx, org)
	if err != nil {
		return nil, 0, err
	}
	var sum ledger.Count
	for _, c := range counts {
		sum.Add(c)
	}
	schedules, err := g.l.Schedules(ctx, org)
	if err != nil {
		return nil, 0, err
	}
	return &OrgRemoval{Org: org, Unfinished: sum.Unfinished(), Running: sum.Running, Schedules: len(schedules),
		DeadLettered: sum.DeadLettered, AsOfSeq: seq}, sum.Total(), nil
}

// RemoveOrg deletes an org for good, or counts what that would end.
func (c *Client) RemoveOrg(ctx context.Context, org schemas.OrgID, r RemoveOrgRequest) (*OrgRemoval, error) {
	return ask[OrgRemoval](ctx, c.of(org), "org.rm", r)
}
