package gateway

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/gateway/rights"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// unmaskedFor is how long the event of an unmasking opens the pages of args that do not fit into its answer.
const unmaskedFor = 10 * time.Minute

// UnmaskRequest asks for the args of a job with what its type's schema redacts. Reason is required.
type UnmaskRequest struct {
	Reason string      `json:"reason"`
	IfSeq  schemas.Seq `json:"if_seq,omitempty"`
}

// UnmaskReply holds the args as they were submitted. When it is given, the event is stored that says to whom, and why.
type UnmaskReply struct {
	ID   schemas.JobID    `json:"id"`
	Org  schemas.OrgID    `json:"org"`
	Type schemas.TypeName `json:"type"`
	// Fields are the paths that the type's schema marks; an empty one is all of the args. None: nothing is redacted, and no
	// event was stored.
	Fields  []string           `json:"fields"`
	Seq     *schemas.Seq       `json:"seq"` // of the event
	EventID *schemas.EventID   `json:"event_id"`
	ArgsRef *schemas.ObjectRef `json:"args_ref"`
	// Args are byte for byte those that were submitted; null where they are kept by reference: then EventID, as
	// PayloadRequest.Unmasked, opens their pages for ten minutes.
	Args json.RawMessage `json:"args"`
}

// Encode returns the reply as JSON with the args byte for byte.
func (r *UnmaskReply) Encode() ([]byte, error) {
	c := *r
	c.Args = nil
	head, err := json.Marshal(&c)
	if err != nil || len(r.Args) == 0 {
		return head, err
	}
	return append(append(bytes.TrimSuffix(head, []byte("null}")), r.Args...), '}'), nil
}

// unmask stores who is shown what and why, and then shows it. If this process dies between the two, the event says more
// than was seen, never less.
func (g *Gateway) unmask(ctx context.Context, r *request) ([]byte, error) {
	var req UnmaskRequest
	if err := r.decodeStrictly(&req); err != nil {
		return nil, err
	}
	if err := checkReason("reason", req.Reason, true); err != nil {
		return nil, err
	}
	h, err := g.read(ctx, r.org, r.job())
	if err != nil {
		return nil, err
	}
	j := h.Job
	if moved := unmoved(req.IfSeq); moved != nil {
		if err := moved(j); err != nil {
			return nil, err
		}
	}
	reply := UnmaskReply{ID: j.ID, Org: j.Org, Type: j.Spec.Type, ArgsRef: j.Spec.ArgsRef, Args: j.Spec.Args}
	k, err := g.maskingOf(ctx, j)
	if err != nil {
		return nil, err
	}
	if reply.Fields = k.fields(); !k.masks() {
		return reply.Encode()
	}
	e, err := g.l.Unmask(ctx, &schemas.Unmasked{Org: j.Org, Job: j.ID, Type: j.Spec.Type, Fields: named(reply.Fields), Reason: req.Reason},
		ledger.Meta{Actor: g.actor(ctx), CausationID: r.id})
	if err != nil {
		return nil, err
	}
	g.log.Info("operator action", zap.String("action", "unmask"), zap.String("org", string(j.Org)), zap.String("job", string(j.ID)),
		zap.Uint64("seq", uint64(e.Seq)), zap.String("actor", g.actor(ctx).String()), zap.String("reason", req.Reason), zap.String("request_id", r.id))
	reply.Seq, reply.EventID = &e.Seq, &e.ID
	return reply.Encode()
}

// maskingOf is what is marked in a job's args, wherever they are kept.
func (g *Gateway) maskingOf(ctx context.Context, j *ledger.Job) (masking, error) {
	args := j.Spec.Args
	if j.Spec.ArgsRef != nil && j.Spec.Type == ledger.BatchType { // whose jobs' args they hold stands in them
		leave, err := g.enterLarge(ctx)
		if err != nil {
			return masking{}, err
		}
		defer leave()
		if args, err = g.l.Args(ctx, j); err != nil {
			return masking{}, err
		}
	}
	return g.masks().job(ctx, j.Spec.Type, args)
}

// named are the fields as the event names them.
func named(fields []string) []string {
	fields = slices.Clone(fields[:min(len(fields), schemas.UnmaskFieldsMax)])
	for i := range fields {
		fields[i] = cut(fields[i], schemas.UnmaskFieldBytes)
	}
	return fields
}

// openedBy reports whether an unmasking of the caller, of late, shows him a job's args. The right that let him unmask is asked
// for again: it may have been taken away, and another credential of the same name never had it.
func (g *Gateway) openedBy(ctx context.Context, j *ledger.Job, id schemas.EventID) error {
	if p := caller(ctx); p != nil && !rights.Decide(p, rights.PayloadsUnmask, j.Org).Covers(p, whoseJob(j)) {
		return denied(p, rights.PayloadsUnmask, j.Org)
	}
	all, err := g.l.Unmaskings(ctx, j.Org, j.ID)
	if err != nil {
		return err
	}
	for _, e := range all {
		if e.ID == id && e.Actor == g.actor(ctx) && time.Since(e.Time) < unmaskedFor {
			return nil
		}
	}
	return ledger.Errorf(ledger.CodePermissionDenied, "no unmasking by %s within the last %s has the id %s: unmask the job again", g.actor(ctx), unmaskedFor, id)
}

// maskedArgs are a job's args as they are shown, where they are not shown as they are kept. leave is to be called when they
// have been used.
func (g *Gateway) maskedArgs(ctx context.Context, j *ledger.Job) (args json.RawMessage, masked bool, leave func(), err error) {
	leave = func() {}
	if ref := j.Spec.ArgsRef; ref != nil {
		if j.Spec.Type != ledger.BatchType {
			rules, err := g.masks().of(ctx, j.Spec.Type)
			if err != nil || rules == nil {
				return nil, false, leave, err
			}
		}
		if leave, err = g.enterLarge(ctx); err != nil {
			return nil, false, func() {}, err
		}
	}
	if args, err = g.l.Args(ctx, j); err != nil {
		return nil, false, leave, err
	}
	k, err := g.masks().job(ctx, j.Spec.Type, args)
	if err != nil || !k.masks() {
		return nil, false, leave, err
	}
	return k.of(args), true, leave, nil
}

// withUnmaskings puts who was shown what was redacted then into a job's history, whatever its type redacts by now: who takes
// the mark away takes no name out of it.
func (g *Gateway) withUnmaskings(ctx context.Context, h *ledger.JobHistory) ([]ledger.HistoryLine, error) {
	lines := h.Lines()
	shown, err := g.l.Unmaskings(ctx, h.Job.Org, h.Job.ID)
	if err != nil {
		return nil, err
	}
	for _, e := range shown {
		lines = append(lines, ledger.LineOf(e))
	}
	slices.SortStableFunc(lines, func(a, b ledger.HistoryLine) int { return cmp.Compare(a.Seq, b.Seq) })
	return lines, nil
}

// Unmask returns a job's args, wherever they are kept, with what its type redacts. The event that says so is stored before
// they are told.
func (c *Client) Unmask(ctx context.Context, id schemas.JobID, r UnmaskRequest) (*UnmaskReply, error) {
	reply, err := ask[UnmaskReply](ctx, c, "unmask."+string(id), r)
	if err != nil || reply.ArgsRef == nil {
		return reply, err
	}
	req := PayloadRequest{Of: PayloadArgs}
	if reply.EventID != nil {
		req.Unmasked = *reply.EventID
	}
	reply.Args, err = c.payload(ctx, id, req)
	return reply, err
}
