package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/gateway/rights"
	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// A detached bulk is a job that the servers run (handlers.Bulks): the set is fixed here, at the start, by who may ask
// for it, and each of its jobs is acted upon by ActBulk, through the same operations as one alone.

// detached reports whether the bulk is to be a job of its own.
func (r *BulkRequest) detached() bool {
	return !r.DryRun && (r.Detach || r.Rate > 0 || len(r.IDs) > BulkChunk)
}

// newBulkID is by time, as those of all jobs.
func newBulkID() string {
	id, err := uuid.NewV7()
	if err != nil {
		id = uuid.New()
	}
	return id.String()
}

// detach fixes the set and stores the bulk. Nothing is stored where there is nothing to do.
func (g *Gateway) detach(ctx context.Context, org schemas.OrgID, req *BulkRequest, reply *BulkReply) error {
	if begun, err := g.begunBefore(ctx, org, req, reply); begun || err != nil {
		return err
	}
	ids, err := g.set(ctx, org, req, reply)
	if err != nil || len(ids) == 0 {
		return err
	}
	reply.IDs, reply.Left = nil, reply.Eligible-len(ids)
	spec, err := req.spec()
	if err != nil {
		return err
	}
	spec.IDs, spec.Matched, spec.Eligible = ids, reply.Matched, reply.Eligible
	receipt, err := g.l.SubmitBulk(ctx, org, schemas.JobID(req.BulkID), spec, ledger.Meta{Actor: g.actor(ctx)})
	if err != nil {
		return err
	}
	reply.Detached = true
	g.log.Info("bulk begun", zap.String("action", req.Action), zap.String("org", string(org)), zap.String("actor", g.actor(ctx).String()),
		zap.String("job", string(receipt.ID)), zap.String("reason", cmp.Or(req.Reason, req.Note)), zap.Int("jobs", len(ids)))
	return nil
}

// spec is what the bulk is to do, but for the jobs.
func (r *BulkRequest) spec() (*ledger.BulkSpec, error) {
	spec := &ledger.BulkSpec{Action: r.Action, Reason: r.Reason, Note: r.Note, As: r.As, Deadline: r.Deadline, WaiveParents: r.WaiveParents,
		Cascade: r.Cascade, Rate: r.Rate}
	if r.Filter != nil {
		filter, err := json.Marshal(r.Filter)
		if err != nil {
			return nil, err
		}
		spec.Filter = filter
	}
	return spec, nil
}

// begunBefore answers who asks again for a bulk by a filter, as no answer came: by now other jobs match it, or none. The same
// ids are the same job, and Submit finds it. What is begun for something else is left to Submit, which refuses the id.
func (g *Gateway) begunBefore(ctx context.Context, org schemas.OrgID, req *BulkRequest, reply *BulkReply) (bool, error) {
	if len(req.IDs) > 0 || !req.named {
		return false, nil
	}
	j, err := g.l.Fold(ctx, org, schemas.JobID(req.BulkID))
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	case j.Spec.Type != ledger.BulkType:
		return false, idTaken(req.BulkID)
	}
	args, err := g.l.Args(ctx, j)
	if err != nil {
		return false, err
	}
	var was ledger.BulkSpec
	if err := json.Unmarshal(args, &was); err != nil {
		return false, err
	}
	reply.Detached, reply.Matched, reply.Eligible, reply.Left = true, was.Matched, was.Eligible, was.Eligible-len(was.IDs)
	asked, err := req.spec()
	if err != nil {
		return false, err
	}
	if was.IDs, was.Matched, was.Eligible = nil, 0, 0; len(was.Filter) == 0 {
		asked.Filter = nil // of a cascade it is not kept
	}
	same, err := sameJSON(&was, asked)
	if err == nil && !same {
		err = idTaken(req.BulkID)
	}
	return err == nil, err
}

func idTaken(id string) error {
	return ledger.Errorf(ledger.CodeIDConflict, "bulk_id: %s is the id of another job, or of a bulk that does something else", id)
}

// sameJSON compares two values as what they are stored as.
func sameJSON(a, b any) (bool, error) {
	var plain [2]any
	for i, v := range []any{a, b} {
		text, err := json.Marshal(v)
		if err == nil {
			err = json.Unmarshal(text, &plain[i])
		}
		if err != nil {
			return false, err
		}
	}
	return reflect.DeepEqual(plain[0], plain[1]), nil
}

// set are the jobs of a detached bulk, at most BulkMax, none of them twice; the reply says how many there are.
func (g *Gateway) set(ctx context.Context, org schemas.OrgID, req *BulkRequest, reply *BulkReply) ([]schemas.JobID, error) {
	if len(req.IDs) > 0 {
		ids := make([]schemas.JobID, 0, len(req.IDs))
		seen := make(map[schemas.JobID]bool, len(req.IDs))
		for _, id := range req.IDs {
			if !seen[id] {
				seen[id] = true
				ids = append(ids, id)
			}
		}
		reply.Matched, reply.Eligible = len(ids), len(ids) // what their states allow is found out one by one
		return ids, nil
	}
	ids, err := g.choose(ctx, org, req, reply)
	if err != nil || !req.Cascade || req.Action != ActionRetry || len(ids) == 0 {
		return ids, err
	}
	if err := g.spread(ctx, org, req, ids, reply); err != nil {
		return nil, err
	}
	req.Filter = nil // it chose the first of them only
	return reply.IDs, nil
}

// ActBulk does what a bulk asks for to some of its jobs, for the server that runs it (handlers.BulksConfig). Events name who
// asked for the bulk, and the bulk as their cause. Who has lost the right to bulks since goes on with none.
func (g *Gateway) ActBulk(ctx context.Context, o *handlers.BulkOrder) ([]handlers.BulkOutcome, error) {
	err := g.l.RightStands(ctx, &ledger.Job{Org: o.Org, ID: o.Bulk, SubmittedBy: o.Actor, Spec: schemas.Submitted{Type: ledger.BulkType}})
	if errors.Is(err, ledger.ErrRightLost) {
		return nil, ledger.Errorf(ledger.CodePermissionDenied, "%s may ask for no bulks in org %s any more", o.Actor, o.Org)
	}
	if err != nil {
		return nil, err
	}
	ctx = withCaller(ctx, &rights.Principal{Actor: o.Actor}) // for actor
	req := BulkRequest{Action: o.Spec.Action, IDs: o.IDs, BulkID: string(o.Bulk), Reason: o.Spec.Reason, Note: o.Spec.Note, As: o.Spec.As,
		Deadline: o.Spec.Deadline, WaiveParents: o.Spec.WaiveParents, Cascade: o.Spec.Cascade, again: o.Again}
	if len(o.Spec.Filter) > 0 {
		req.Filter = new(Filter)
		if err := decodeStrictly(o.Spec.Filter, req.Filter); err != nil {
			return nil, err
		}
	}
	if err := req.check(); err != nil {
		return nil, err
	}
	op, err := req.operation(ctx, g, o.Org)
	if err != nil {
		return nil, err
	}
	items := g.each(ctx, o.Org, o.IDs, &req, op)
	out := make([]handlers.BulkOutcome, len(items))
	for i, item := range items {
		out[i].Skipped = item.Skipped
		if e := item.Error; e != nil {
			out[i].Err = &ledger.Error{Code: e.Code, Message: e.Message, Details: e.Details}
		}
	}
	return out, nil
}

// doneBy returns a job upon which a bulk has acted already; nil: it has not.
func (g *Gateway) doneBy(ctx context.Context, org schemas.OrgID, id schemas.JobID, bulk string) (*ledger.Job, error) {
	h, err := g.l.History(ctx, org, id)
	if errors.Is(err, ledger.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range h.Entries {
		if e.Err == nil && e.CausationID == bulk {
			return h.Job, nil
		}
	}
	return nil, nil
}

// BulkStatus is how far a detached bulk is. While it runs the counts are those of its last checkpoint, at most a second or a
// part of 1/64 of its time old; Progress is as of now. A bulk that was stopped keeps what it came to.
type BulkStatus struct {
	BulkID schemas.JobID `json:"bulk_id"`
	Org    schemas.OrgID `json:"org"`
	State  schemas.State `json:"state"` // of its job
	// Stopping: it was told to stop, and does so between two jobs.
	Stopping bool `json:"stopping"`
	ledger.BulkCounts
	Left        int                    `json:"left"` // of Jobs, those it has not come to
	Progress    *ledger.RecordProgress `json:"progress"`
	Actor       *string                `json:"actor"` // who asked for it
	Reason      *string                `json:"reason"`
	SubmittedAt time.Time              `json:"submitted_at"`
	FinishedAt  *time.Time             `json:"finished_at"`
	Seq         schemas.Seq            `json:"seq"` // last event of its job
}

func (g *Gateway) bulkInfo(ctx context.Context, r *request) ([]byte, error) {
	j, err := g.bulkJob(ctx, r)
	if err != nil {
		return nil, err
	}
	status, err := g.bulkStatus(ctx, j)
	if err != nil {
		return nil, err
	}
	return json.Marshal(status)
}

// bulkStop is a cancel of the bulk's job, which nobody needs another right for.
func (g *Gateway) bulkStop(ctx context.Context, r *request) ([]byte, error) {
	var req ReasonRequest
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	if _, err := g.bulkJob(ctx, r); err != nil {
		return nil, err
	}
	op, err := g.cancelOperation(req.Reason, false)
	if err != nil {
		return nil, err
	}
	j, err := g.carryOut(ctx, r.org, r.job(), op, nil)
	if err != nil {
		return nil, err
	}
	status, err := g.bulkStatus(ctx, j)
	if err != nil {
		return nil, err
	}
	return json.Marshal(status)
}

// bulkJob is the job of the bulk that a request names.
func (g *Gateway) bulkJob(ctx context.Context, r *request) (*ledger.Job, error) {
	j, err := g.l.Fold(ctx, r.org, r.job())
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return nil, ledger.Errorf(ledger.CodeNotFound, "org %s has no bulk %s", r.org, r.job())
	case err != nil:
		return nil, err
	case j.Spec.Type != ledger.BulkType:
		return nil, ledger.Errorf(ledger.CodeNotFound, "job %s is no bulk", r.job())
	}
	return j, nil
}

func (g *Gateway) bulkStatus(ctx context.Context, j *ledger.Job) (*BulkStatus, error) {
	record := ledger.RecordOf(j)
	s := &BulkStatus{BulkID: j.ID, Org: j.Org, State: j.State, Stopping: j.CancelRequested && !j.State.Finished(), Progress: record.Progress,
		Actor: record.SubmittedBy, SubmittedAt: record.SubmittedAt, FinishedAt: record.FinishedAt, Seq: j.LastSeq}
	if why := j.Spec.Reason; why != "" {
		s.Reason = &why
	}
	state, ok := ledger.BulkStateOf(j)
	if !ok {
		args, err := g.l.Args(ctx, j)
		if err != nil {
			return nil, err
		}
		var spec ledger.BulkSpec
		if err := json.Unmarshal(args, &spec); err != nil {
			return nil, err
		}
		state.BulkCounts = spec.Begin()
	}
	s.BulkCounts, s.Left = state.BulkCounts, state.Jobs-state.Next+len(state.Open)
	if j.State == schemas.StateRunning {
		if p, err := g.l.Progress(ctx, j.Org, j.ID); err == nil && p.Fence == j.Fence {
			s.Progress = p.Record()
		}
	}
	return s, nil
}
