package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/gateway/rights"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// CancelRequest says why, and of which state of the job it speaks.
type CancelRequest struct {
	Reason string `json:"reason,omitempty"`
	// Cascade cancels the jobs that wait for this one, too, and those that wait for them.
	Cascade bool `json:"cascade,omitempty"`
	// IfSeq carries the command out only while this is the job's last sequence; else version_conflict. 0: always.
	IfSeq schemas.Seq `json:"if_seq,omitempty"`
}

// CancelReply: the job is canceled, or, while Requested, was told to stop.
type CancelReply struct {
	ID        schemas.JobID `json:"id"`
	State     schemas.State `json:"state"`
	Requested bool          `json:"requested"`
	Seq       schemas.Seq   `json:"seq"` // last event of the job
}

// RetryRequest gives a canceled or dead-lettered job a fresh budget, under its id and with its history;
// a job that waits for a retry runs now. Reason is required.
type RetryRequest struct {
	Reason string `json:"reason"`
	// Deadline is the new latest start; required once the old one has passed.
	Deadline *time.Time `json:"deadline,omitempty"`
	// WaiveParents runs the job whatever becomes of its parents, now and after later retries.
	WaiveParents bool        `json:"waive_parents,omitempty"`
	IfSeq        schemas.Seq `json:"if_seq,omitempty"`
}

// RetryReply is how the job stands now.
type RetryReply struct {
	ID           schemas.JobID `json:"id"`
	State        schemas.State `json:"state"`
	AttemptsUsed int           `json:"attempts_used"`
	MaxAttempts  *int          `json:"max_attempts"` // of the latest attempt; the next one takes the type's policy of its time
	Seq          schemas.Seq   `json:"seq"`
}

// ResolveRequest closes a dead letter. Note is required.
type ResolveRequest struct {
	Note string `json:"note"`
	// As is AsResolved, also if empty, or AsIgnored.
	As    string      `json:"as,omitempty"`
	IfSeq schemas.Seq `json:"if_seq,omitempty"`
}

// Ways to close a dead letter.
const (
	AsResolved = "resolved" // dealt with
	AsIgnored  = "ignored"  // not worth treating
)

// ResolveReply is how the dead letter stands now.
type ResolveReply struct {
	ID         schemas.JobID      `json:"id"`
	State      schemas.State      `json:"state"`
	Resolution schemas.Resolution `json:"resolution"`
	Seq        schemas.Seq        `json:"seq"`
}

// operation is a command on one job, carried out alone or in bulk. All of them go through ledger.Decide.
type operation struct {
	name string // for the log
	cmd  ledger.Command
	// judge is asked about each fold that is decided upon, for what lies outside the job; nil: nothing does.
	judge func(ctx context.Context, j *ledger.Job) error
	why   string // the reason or note, for the log
	cause string // id of the request, for the event's causation; empty names none
}

func (g *Gateway) cancelOperation(reason string, cascade bool) (*operation, error) {
	return &operation{name: ActionCancel, cmd: &ledger.Cancel{Reason: reason, Cascade: cascade}, why: reason}, checkReason("reason", reason, false)
}

// retryOperation reads the ledger's clock and epoch once, for one job or many. No job of a deleted org lives again
// one that would, because the deletion comes behind this look, is dead-lettered again by the leader.
func (g *Gateway) retryOperation(ctx context.Context, org schemas.OrgID, r *RetryRequest) (*operation, error) {
	if err := checkReason("reason", r.Reason, true); err != nil {
		return nil, err
	}
	if err := g.l.OrgStands(ctx, org); err != nil {
		return nil, err
	}
	now, err := g.l.StreamTime(ctx)
	if err != nil {
		return nil, err
	}
	epoch, err := g.l.Epoch(ctx)
	if err != nil {
		return nil, err
	}
	op := &operation{name: ActionRetry, why: r.Reason,
		cmd: &ledger.Retry{Reason: r.Reason, Deadline: r.Deadline, WaiveParents: r.WaiveParents, Epoch: epoch, Now: now}}
	if !r.WaiveParents {
		op.judge = g.parentsStand
	}
	return op, nil
}

func (g *Gateway) resolveOperation(note, as string) (*operation, error) {
	if err := checkReason("note", note, true); err != nil {
		return nil, err
	}
	switch as {
	case "", AsResolved, AsIgnored:
	default:
		return nil, badField("as", unknownValue(as, []string{AsResolved, AsIgnored}))
	}
	return &operation{name: ActionResolve, cmd: &ledger.Resolve{Note: note, Ignore: as == AsIgnored}, why: note}, nil
}

// parentsStand refuses the retry of a job whose parent has failed still: retry the parent, or waive it. One
// that has not ended is no reason to refuse: the job waits for it again.
func (g *Gateway) parentsStand(ctx context.Context, j *ledger.Job) error {
	if j.State == schemas.StateRetrying || j.ParentsWaived || len(j.Spec.Parents) == 0 {
		return nil // it ran once already
	}
	parents, err := g.l.Parents(ctx, j, 0)
	if err != nil {
		return err
	}
	for _, p := range parents {
		if p.Judge(p.OnFailure) != ledger.EdgeFailed {
			continue
		}
		how := "is " + string(p.State) + " still"
		if p.State == schemas.StateNone {
			how = "is not in the ledger"
		}
		e := ledger.Errorf(ledger.CodeInvalidState, "cannot retry job %s: its parent %s %s: retry that one first, or waive the parents", j.ID, p.ID, how)
		e.Details = map[string]any{"state": j.State, "parent": p.ID, "parent_state": p.State}
		return e
	}
	return nil
}

// carryOut does op on a job, if meant agrees. Who asked, and why, is logged; the event holds it for good.
func (g *Gateway) carryOut(ctx context.Context, org schemas.OrgID, id schemas.JobID, op *operation, meant func(*ledger.Job) error) (*ledger.Job, error) {
	judge := func(j *ledger.Job) error {
		if meant != nil {
			if err := meant(j); err != nil {
				return err
			}
		}
		if op.judge != nil {
			return op.judge(ctx, j)
		}
		return nil
	}
	j, e, err := g.l.DoIf(ctx, org, id, judge, op.cmd, ledger.Meta{Actor: g.actor(ctx), CausationID: op.cause})
	if errors.Is(err, ledger.ErrNotFound) {
		return j, noJob(org, id, err)
	}
	if err != nil {
		return j, err
	}
	if e != nil {
		g.log.Info("operator action", zap.String("action", op.name), zap.String("org", string(org)), zap.String("job", string(id)),
			zap.Uint64("seq", uint64(e.Seq)), zap.String("actor", g.actor(ctx).String()), zap.String("reason", op.why), zap.String("request_id", op.cause))
	}
	g.signalCancel(j)
	return j, nil
}

// signalCancel wakes the worker of a job that was asked to stop: a hint, should it be lost, the answer to the
// worker's next beat says the same.
func (g *Gateway) signalCancel(j *ledger.Job) {
	if !j.CancelRequested {
		return
	}
	signal, err := json.Marshal(ledger.CancelSignal{Org: j.Org, Job: j.ID, Fence: j.Fence})
	if err == nil {
		err = g.l.Conn().Publish(ledger.SubjectCancel(j.Session), signal)
	}
	if err != nil {
		g.log.Warn("a cancel signal could not be sent; the next beat tells the worker", zap.String("job", string(j.ID)), zap.Error(err))
	}
}

// unmoved is the precondition of if_seq.
func unmoved(seq schemas.Seq) func(*ledger.Job) error {
	if seq == 0 {
		return nil
	}
	return func(j *ledger.Job) error {
		if j.LastSeq == seq {
			return nil
		}
		e := ledger.Errorf(ledger.CodeVersionConflict, "job %s has moved on: it is %s, at sequence %s", j.ID, j.State, j.LastSeq)
		e.Details = map[string]any{"state": j.State, "seq": j.LastSeq}
		return e
	}
}

// cancel ends a waiting job at once and tells the worker of a running one.
func (g *Gateway) cancel(ctx context.Context, r *request) ([]byte, error) {
	var req CancelRequest
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	if p := caller(ctx); p != nil && req.Cascade && !rights.Decide(p, rights.JobsCancel, r.org).Whole() {
		return nil, ledger.Errorf(ledger.CodePermissionDenied, "cascade reaches the jobs of others: %s may cancel its own", p.Actor)
	}
	op, err := g.cancelOperation(req.Reason, req.Cascade)
	if err != nil {
		return nil, err
	}
	j, err := g.carryOut(ctx, r.org, r.job(), op, unmoved(req.IfSeq))
	if err != nil {
		return nil, err
	}
	return json.Marshal(CancelReply{ID: j.ID, State: j.State, Requested: j.CancelRequested, Seq: j.LastSeq})
}

func (g *Gateway) retry(ctx context.Context, r *request) ([]byte, error) {
	var req RetryRequest
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	op, err := g.retryOperation(ctx, r.org, &req)
	if err != nil {
		return nil, err
	}
	op.cause = r.id
	j, err := g.carryOut(ctx, r.org, r.job(), op, unmoved(req.IfSeq))
	if err != nil {
		return nil, err
	}
	record := ledger.RecordOf(j)
	return json.Marshal(RetryReply{ID: j.ID, State: j.State, AttemptsUsed: record.AttemptsUsed, MaxAttempts: record.MaxAttempts, Seq: j.LastSeq})
}

func (g *Gateway) resolve(ctx context.Context, r *request) ([]byte, error) {
	var req ResolveRequest
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	op, err := g.resolveOperation(req.Note, req.As)
	if err != nil {
		return nil, err
	}
	op.cause = r.id
	j, err := g.carryOut(ctx, r.org, r.job(), op, unmoved(req.IfSeq))
	if err != nil {
		return nil, err
	}
	return json.Marshal(ResolveReply{ID: j.ID, State: j.State, Resolution: j.Resolution, Seq: j.LastSeq})
}

// checkReason refuses a reason that is missing or that no event holds.
func checkReason(field, text string, required bool) error {
	switch {
	case required && strings.TrimSpace(text) == "":
		return badField(field, fmt.Errorf("a %s is required", field))
	case len(text) > schemas.ReasonMax:
		return badField(field, fmt.Errorf("%s is %d bytes: at most %d are allowed", field, len(text), schemas.ReasonMax))
	}
	return nil
}

func unknownValue[T ~string](value T, known []T) error {
	names := make([]string, len(known))
	for i, k := range known {
		names[i] = string(k)
	}
	return fmt.Errorf("%q is unknown: use %s", value, strings.Join(names, ", "))
}
