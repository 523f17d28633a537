package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// historyBytes is about how large a page of a history becomes; one event may exceed it.
	historyBytes = 512 << 10
	// hopsMax bounds how many duplicates a wait follows to the job that stands for them.
	hopsMax = 100
)

// submit stores a job. Nothing but the validated fields of the request goes into the ledger.
func (g *Gateway) submit(ctx context.Context, r *request) ([]byte, error) {
	if r.reply == "" {
		return nil, g.submitRaw(ctx, r)
	}
	return g.submitWith(ctx, r, schemas.TypeName(r.name), g.l.Submit)
}

// batch stores a batch: the body is what it is to do.
func (g *Gateway) batch(ctx context.Context, r *request) ([]byte, error) {
	return g.submitWith(ctx, r, "", g.batchOf(r))
}

// batchOf stores the batch of a request, of which each item counts as a submit of a member.
func (g *Gateway) batchOf(r *request) func(context.Context, ledger.SubmitRequest) (ledger.Receipt, error) {
	return func(ctx context.Context, req ledger.SubmitRequest) (ledger.Receipt, error) {
		if err := g.countBatch(ctx, r, &req); err != nil {
			return ledger.Receipt{}, err
		}
		return g.l.SubmitBatch(ctx, req)
	}
}

func (g *Gateway) submitWith(ctx context.Context, r *request, typ schemas.TypeName, submit func(context.Context, ledger.SubmitRequest) (ledger.Receipt, error)) ([]byte, error) {
	req, leave, err := g.submitRequest(ctx, r, typ)
	defer leave()
	if err != nil {
		return nil, err
	}
	if err := g.authorizeSubmit(ctx, &req); err != nil {
		return nil, err
	}
	if err := g.refuseMask(ctx, req.Type, req.Args); err != nil {
		return nil, err
	}
	receipt, err := submit(ctx, req)
	if err == nil {
		err = g.notOthers(ctx, receipt)
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(SubmitReply{ID: receipt.ID, Org: receipt.Org, Seq: receipt.Seq, Duplicate: receipt.Duplicate, State: receipt.State})
}

// submitRequest is what a request asks for; with an error as far as it could be taken apart. leave is to be called when it
// has been served.
func (g *Gateway) submitRequest(ctx context.Context, r *request, typ schemas.TypeName) (req ledger.SubmitRequest, leave func(), err error) {
	req = ledger.SubmitRequest{Org: r.org, Type: typ, RegisterUnknown: g.cfg.RegisterUnknown}
	err = parseHeaders(r.headers, &req)
	req.Meta.Actor, req.Args = g.actor(ctx), r.body
	if id, bad := uuid.Parse(options(r.headers).one(HeaderRequestID)); bad == nil {
		req.RequestID = id // only what the caller can repeat is an identity
	}
	if err != nil {
		return req, func() {}, err
	}
	req.Args, leave, err = g.args(ctx, r, r.body)
	return req, leave, err
}

// submitRaw stores a job for a sender who waits for no answer; what is refused is recorded as a dead letter (INTERFACE 4).
func (g *Gateway) submitRaw(ctx context.Context, r *request) error {
	req, leave, err := g.submitRequest(ctx, r, schemas.TypeName(r.name))
	defer leave()
	// What its sender may not do leaves nothing behind, not even that.
	if refused := g.authorizeSubmit(ctx, &req); refused != nil {
		return refused
	}
	if err == nil {
		err = g.refuseMask(ctx, req.Type, req.Args)
	}
	_, err = g.l.SubmitRaw(ctx, req, err)
	return err
}

func (g *Gateway) get(ctx context.Context, r *request) ([]byte, error) {
	var req GetRequest
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	if req.At != "" {
		return g.getAt(ctx, r, req.At)
	}
	record, err := g.record(ctx, r.org, r.job())
	if err != nil {
		return nil, err
	}
	switch record.State {
	case schemas.StateRunning:
		g.addProgress(ctx, record)
	case schemas.StateSubmitted, schemas.StateQueued:
		g.addUnserved(ctx, record)
	}
	return record.Encode()
}

// addUnserved says of a job that only waits for a worker whether there is none. What LIVE cannot
// tell at once is left out.
func (g *Gateway) addUnserved(ctx context.Context, r *ledger.Record) {
	if r.Reason != nil && *r.Reason != ledger.ReasonReady || r.Queue == ledger.SystemQueue { // servers begin to serve that with the first job
		return
	}
	served, err := g.served(ctx, ledger.Serves{Queue: r.Queue, Type: r.Type})
	if err != nil {
		g.log.Debug("the workers cannot be read", zap.String("job", string(r.ID)), zap.Error(err))
		return
	}
	if !served {
		reason := ledger.ReasonUnserved
		r.Reason = &reason
	}
}

// addProgress adds what the running attempt reported last. What LIVE cannot tell at once is left out.
func (g *Gateway) addProgress(ctx context.Context, r *ledger.Record) {
	p, err := g.l.Progress(ctx, r.Org, r.ID)
	if err != nil {
		if !errors.Is(err, ledger.ErrNotFound) {
			g.log.Debug("progress cannot be read", zap.String("job", string(r.ID)), zap.Error(err))
		}
		return
	}
	if n := len(r.Attempts); n > 0 && p.Fence == r.Attempts[n-1].Fence {
		r.Progress = p.Record()
	}
}

// record reads one job as the stream's leader knows it, with its attempts.
func (g *Gateway) record(ctx context.Context, org schemas.OrgID, id schemas.JobID) (*ledger.Record, error) {
	h, err := g.read(ctx, org, id)
	if err != nil {
		return nil, err
	}
	return g.recordOf(ctx, h)
}

// recordOf is the record of a job whose history was read.
func (g *Gateway) recordOf(ctx context.Context, h *ledger.JobHistory) (*ledger.Record, error) {
	org := h.Job.Org
	record := ledger.RecordOf(h.Job)
	record.Attempts = h.Attempts
	if id := (ledger.Trace{Parent: h.Job.Traceparent}).ID(); id != "" {
		record.TraceID = &id
	}
	if err := g.masks().record(ctx, &record); err != nil {
		return nil, err
	}
	switch err := g.withheld(ctx, org); {
	case err == nil:
		if result := g.follow(ctx, h.Job); result != nil {
			record.Result = result
		}
	case ledger.AsError(err).Code != ledger.CodeOrgSuspended:
		return nil, err
	default:
		record.Result = json.RawMessage("null")
	}
	satisfied, err := g.addParents(ctx, h.Job, &record)
	if err != nil {
		return nil, err
	}
	if h.Job.State == schemas.StateSubmitted {
		reason := record.ReasonAt(time.Now(), satisfied)
		record.Reason = &reason
	}
	return &record, nil
}

// noJob is the error of a job that is not there, or not any more.
func noJob(org schemas.OrgID, id schemas.JobID, err error) error {
	if errors.Is(err, ledger.ErrRemoved) {
		return ledger.Errorf(ledger.CodeNotFound, "org %s has no job %s any more: its history is past its retention and removed", org, id)
	}
	return ledger.Errorf(ledger.CodeNotFound, "org %s has no job %s", org, id)
}

func (g *Gateway) read(ctx context.Context, org schemas.OrgID, id schemas.JobID) (*ledger.JobHistory, error) {
	h, err := g.l.History(ctx, org, id)
	if errors.Is(err, ledger.ErrNotFound) {
		return nil, noJob(org, id, err)
	}
	return h, err
}

// addParents says how the job's parents stand, and whether they let it run: all of them satisfied, or waived.
func (g *Gateway) addParents(ctx context.Context, j *ledger.Job, r *ledger.Record) (satisfied bool, err error) {
	if len(j.Spec.Parents) == 0 {
		return true, nil
	}
	parents, err := g.l.Parents(ctx, j, 0)
	if err != nil {
		return false, err
	}
	satisfied = true
	for i, p := range parents {
		r.Parents[i].State = &p.State
		satisfied = satisfied && p.Judge(p.OnFailure) == ledger.EdgeSatisfied
	}
	return satisfied || j.ParentsWaived, nil
}

// history answers a page; its cursor is the sequence of the last event before.
func (g *Gateway) history(ctx context.Context, r *request) ([]byte, error) {
	var req HistoryRequest
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	var after schemas.Seq
	if req.Cursor != "" {
		var err error
		if after, err = schemas.ParseSeq(req.Cursor); err != nil {
			return nil, badField("cursor", err)
		}
	}
	h, err := g.read(ctx, r.org, r.job())
	if err != nil {
		return nil, err
	}
	withheld := g.withheld(ctx, r.org)
	if withheld != nil && ledger.AsError(withheld).Code != ledger.CodeOrgSuspended {
		return nil, withheld
	}
	masks := g.masks()
	lines, err := g.withUnmaskings(ctx, h)
	if err != nil {
		return nil, err
	}
	var page bytes.Buffer
	page.WriteString(`{"items":[`)
	first, next := true, []byte("null")
	var last schemas.Seq
	for _, line := range lines {
		if line.Seq <= after {
			continue
		}
		if err := masks.line(ctx, &line); err != nil {
			return nil, err
		}
		if withheld != nil {
			if err := withhold(&line); err != nil {
				return nil, err
			}
		}
		body, err := line.Encode(false)
		if err != nil {
			return nil, err
		}
		if !first && page.Len()+len(body) > historyBytes {
			next = fmt.Appendf(nil, `"%d"`, last)
			break
		}
		if !first {
			page.WriteByte(',')
		}
		page.Write(body)
		first, last = false, line.Seq
	}
	fmt.Fprintf(&page, `],"next":%s,"as_of_seq":%d}`, next, h.Job.LastSeq)
	return page.Bytes(), nil
}

// withhold takes the results out of an event of a suspended org.
func withhold(line *ledger.HistoryLine) error {
	switch line.Event {
	case schemas.EventCompleted, schemas.EventLateResult, schemas.EventCheckpointed, schemas.EventCarried:
	default:
		return nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(line.Data, &fields); err != nil {
		return err
	}
	for _, name := range []string{"result", "result_ref", "checkpoint"} {
		delete(fields, name)
	}
	var err error
	line.Data, err = json.Marshal(fields)
	return err
}

// wait answers once the job has ended, or with the job as it is when time is up. A duplicate stands for the
// job it names: the wait goes on with that one (DESIGN D4).
func (g *Gateway) wait(ctx context.Context, r *request) ([]byte, error) {
	var req WaitRequest
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	limit := req.TimeoutMS.Duration()
	if limit <= 0 || limit > WaitMax {
		limit = WaitMax
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	record, err := g.await(ctx, jobKey{r.org, r.job()}, timer.C)
	if err == nil && !covers(ctx, record) { // it stands for the caller's, and is somebody else's
		record, err = g.timedRecord(ctx, jobKey{r.org, r.job()})
	}
	if err != nil {
		return nil, err
	}
	return record.Encode()
}

// await returns the record of k, or of the job that k stands for, once it has ended or up fires.
func (g *Gateway) await(ctx context.Context, k jobKey, up <-chan time.Time) (*ledger.Record, error) {
	for range hopsMax {
		record, err := g.awaitOne(ctx, k, up)
		if err != nil || record.Cancel == nil || record.Cancel.DuplicateOf == nil {
			return record, err
		}
		if record.Cancel.DuplicateOf.ID == k.id { // an earlier life of the id, which is in the archive
			return g.standing(ctx, k)
		}
		k.id = record.Cancel.DuplicateOf.ID
	}
	return nil, ledger.Errorf(ledger.CodeInternal, "job %s is a duplicate of a duplicate without end", k.id)
}

// standing is the record of the life that stands for the job's latest.
func (g *Gateway) standing(ctx context.Context, k jobKey) (*ledger.Record, error) {
	h, err := g.read(ctx, k.org, k.id)
	if err != nil {
		return nil, err
	}
	return g.recordOf(ctx, h.StandsFor())
}

func (g *Gateway) awaitOne(ctx context.Context, k jobKey, up <-chan time.Time) (*ledger.Record, error) {
	// Listen first, then look: an end between the two is heard.
	wake, remove := g.waiters.add(k)
	defer remove()
	for {
		record, err := g.timedRecord(ctx, k)
		if err != nil || record.State.Finished() {
			return record, err
		}
		select {
		case <-wake:
		case <-up:
			return g.timedRecord(ctx, k)
		case <-ctx.Done(): // the service stops: the caller asks another one
			return record, nil
		}
	}
}

// timedRecord is record that also ends while the service stops.
func (g *Gateway) timedRecord(ctx context.Context, k jobKey) (*ledger.Record, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWait)
	defer cancel()
	return g.record(ctx, k.org, k.id)
}

// result answers a completed job's result; where there is none, details.state says why.
func (g *Gateway) result(ctx context.Context, r *request) ([]byte, error) {
	j, err := g.resultJob(ctx, r)
	if err != nil {
		return nil, err
	}
	reply := ResultReply{ID: j.ID, Ref: j.ResultRef, Bytes: int64(len(j.Result)), Result: j.Result}
	if j.ResultRef != nil {
		reply.Bytes, reply.Result = j.ResultRef.Bytes, g.follow(ctx, j)
	}
	return reply.Encode()
}

// resultJob is the job whose result the request's has: that which stands for it, unless the caller may not see it.
func (g *Gateway) resultJob(ctx context.Context, r *request) (*ledger.Job, error) {
	h, err := g.read(ctx, r.org, r.job())
	if err != nil {
		return nil, err
	}
	j := h.StandsFor().Job
	if p := caller(ctx); p != nil && !coversJob(p, j) {
		j = h.Job
	}
	return j, errors.Join(hasResult(j), g.withheld(ctx, r.org))
}

func hasResult(j *ledger.Job) error {
	if j.State == schemas.StateCompleted {
		return nil
	}
	e := ledger.Errorf(ledger.CodeInvalidState, "job %s has no result: it is %s", j.ID, j.State)
	e.Details = map[string]any{"state": j.State}
	return e
}

// Encode returns the reply as JSON with the result byte for byte.
func (r *ResultReply) Encode() ([]byte, error) {
	value := r.Result
	if len(value) == 0 {
		value = json.RawMessage("null")
	}
	return schemas.SpliceJSON(struct {
		ID    schemas.JobID      `json:"id"`
		Bytes int64              `json:"bytes"`
		Ref   *schemas.ObjectRef `json:"ref"`
	}{r.ID, r.Bytes, r.Ref}, schemas.RawField{Name: "result", Value: value})
}
