package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// BulkMax is how many jobs one bulk reaches, the oldest first; the rest is for the next one.
	BulkMax = ledger.BulkMax
	// BulkChunk is how many jobs one request acts upon before it is answered. More take a job of their own (detached).
	BulkChunk = 100
	// bulkParallel is how many jobs of one request are under way at once.
	bulkParallel = 16
)

// What a bulk does.
const (
	ActionCancel  = "cancel"
	ActionRetry   = "retry"
	ActionResolve = "resolve"
)

// BulkRequest does one thing to all jobs of IDs, or of Filter, or, with both, to those of IDs which match
// Filter still: the view that jobs were chosen from may be a second old, but a job is acted upon only as its
// own events say.
//
// With DryRun nothing is done: the reply counts, and with Filter alone names the eligible jobs in IDs, at most
// BulkMax, the oldest first.
//
// With Detach, Rate or more than BulkChunk IDs the set is fixed, and the servers do the rest as a job under the bulk's id,
// whatever becomes of the caller: BulkInfo tells how far it is, StopBulk or a cancel of the job stops it. Else the reply
// comes when it is done: Filter alone does the oldest BulkChunk, and the caller repeats it until Left is 0. Doing the same
// bulk again is safe: what is done no longer matches, or is refused by its state.
type BulkRequest struct {
	Action string `json:"action"`
	// Filter nil: IDs alone choose.
	Filter *Filter `json:"filter,omitempty"`
	// Q is Filter with that text in Where.
	Q      string          `json:"q,omitempty"`
	IDs    []schemas.JobID `json:"ids,omitempty"` // at most BulkMax
	DryRun bool            `json:"dry_run,omitempty"`
	Detach bool            `json:"detach,omitempty"`
	// Rate is how many jobs a second a detached bulk acts upon; ledger.BulkRateDefault if 0.
	Rate int `json:"rate,omitempty"`
	// BulkID names the bulk in the events it causes, and its job; a new one if empty.
	BulkID string      `json:"bulk_id,omitempty"`
	MinSeq schemas.Seq `json:"min_seq,omitempty"` // of the view that Filter chooses from

	Reason       string     `json:"reason,omitempty"` // required, but for resolve
	Note         string     `json:"note,omitempty"`   // of resolve: required
	As           string     `json:"as,omitempty"`     // of resolve: AsResolved or AsIgnored
	Deadline     *time.Time `json:"deadline,omitempty"`
	WaiveParents bool       `json:"waive_parents,omitempty"`
	// Cascade of a cancel reaches all that wait for the jobs. Of a retry, a dry run names with the jobs those that
	// ended with them, parents first; IDs are then retried one after the other.
	Cascade bool `json:"cascade,omitempty"`

	named bool // the caller gave the BulkID
	again bool // this bulk may have acted upon the jobs before
}

// BulkReply counts. Matched = done + skipped + failed + Left, where something was done.
type BulkReply struct {
	BulkID string `json:"bulk_id"`
	DryRun bool   `json:"dry_run"`
	// Detached: the job BulkID does it from here on; Eligible but for Left are its set.
	Detached bool `json:"detached"`
	Matched  int  `json:"matched"`
	Eligible int  `json:"eligible"` // their state allows the action
	Done     int  `json:"done"`
	Skipped  int  `json:"skipped"` // not eligible, gone, or no longer matching the filter: nothing was tried
	Failed   int  `json:"failed"`  // refused, or not known
	Left     int  `json:"left"`    // eligible, for the next request
	// Items are those that were acted upon; of a dry run of more than BulkChunk, the first that are not eligible.
	Items   []BulkItem      `json:"items"`
	IDs     []schemas.JobID `json:"ids,omitempty"`
	AsOfSeq *schemas.Seq    `json:"as_of_seq"` // of the view, if one was asked
}

// BulkItem is what became of one job.
type BulkItem struct {
	ID    schemas.JobID `json:"id"`
	OK    bool          `json:"ok"`
	State schemas.State `json:"state,omitzero"`
	Seq   *schemas.Seq  `json:"seq"`
	// Skipped says why nothing was tried.
	Skipped string     `json:"skipped,omitempty"`
	Error   *BulkError `json:"error"`
}

// BulkError is why a job was left as it was.
type BulkError struct {
	Code    ledger.Code    `json:"code"`
	Message string         `json:"message"`
	Details map[string]any `json:"details"`
}

// Reasons of BulkItem.Skipped.
const (
	SkippedGone    = "not_found"
	SkippedChanged = "no_longer_matches"
)

// errChanged: the job no longer matches the filter by which it was chosen.
var errChanged = errors.New("no longer matches the filter")

func (r *BulkRequest) check() error {
	if r.Q != "" {
		if r.Filter == nil {
			r.Filter = &Filter{}
		}
		if r.Filter.Where != "" {
			return badField("q", errors.New("the filter has a where, too: give one of them"))
		}
		r.Filter.Where, r.Q = r.Q, ""
	}
	switch {
	case r.Filter == nil && len(r.IDs) == 0:
		return badField("filter", errors.New("a filter or ids are required"))
	case len(r.IDs) > BulkMax:
		return badField("ids", fmt.Errorf("%d ids: a bulk reaches %d jobs at most", len(r.IDs), BulkMax))
	case r.Rate < 0 || r.Rate > ledger.BulkRateMax:
		return badField("rate", fmt.Errorf("%d jobs a second: give 1 to %d", r.Rate, ledger.BulkRateMax))
	}
	for _, id := range r.IDs {
		if err := schemas.CheckToken("job id", string(id)); err != nil {
			return badField("ids", err)
		}
	}
	if r.BulkID != "" {
		if err := schemas.CheckToken("bulk id", r.BulkID); err != nil {
			return badField("bulk_id", err)
		}
	}
	if err := r.checkCascade(); err != nil {
		return err
	}
	if r.Filter != nil {
		return r.Filter.check()
	}
	return nil
}

// operation is what the bulk does to each job. A bulk is an operator's: its reason is not optional.
func (r *BulkRequest) operation(ctx context.Context, g *Gateway, org schemas.OrgID) (op *operation, err error) {
	switch r.Action {
	case ActionCancel:
		if err := checkReason("reason", r.Reason, true); err != nil {
			return nil, err
		}
		op, err = g.cancelOperation(r.Reason, r.Cascade)
	case ActionRetry:
		op, err = g.retryOperation(ctx, org, &RetryRequest{Reason: r.Reason, Deadline: r.Deadline, WaiveParents: r.WaiveParents})
	case ActionResolve:
		op, err = g.resolveOperation(r.Note, r.As)
	default:
		return nil, badField("action", unknownValue(r.Action, []string{ActionCancel, ActionRetry, ActionResolve}))
	}
	if err == nil {
		op.cause = r.BulkID
	}
	return op, err
}

// eligible reports whether a job in this state can be acted upon, and whether that would change anything.
func (r *BulkRequest) eligible(j *ledger.Record) bool {
	if j.Type == ledger.BulkType { // a bulk is stopped, or begun again, by its id
		return false
	}
	switch r.Action {
	case ActionCancel:
		return !j.State.Finished() && !slices.Contains(j.Flags, ledger.FlagCancelRequested)
	case ActionRetry:
		duplicate := j.Cancel != nil && j.Cancel.DuplicateOf != nil // another job stands for it
		refused := j.Reason != nil && *j.Reason == string(schemas.DeadRejected) && (j.Error == nil || deref(j.Error.Code) != ledger.CodePolicy)
		return j.State == schemas.StateRetrying || j.State == schemas.StateDeadLettered && !refused || j.State == schemas.StateCanceled && !duplicate
	}
	want := schemas.ResolutionResolved
	if r.As == AsIgnored {
		want = schemas.ResolutionIgnored
	}
	return j.State == schemas.StateDeadLettered && (j.Resolution == nil || j.Resolution.State != want)
}

// bulk acts on many jobs. If this process dies in it, each job was acted upon or not, and doing it again is safe.
func (g *Gateway) bulk(ctx context.Context, r *request) ([]byte, error) {
	var req BulkRequest
	if err := r.decodeStrictly(&req); err != nil { // a filter with a misspelled field would choose every job
		return nil, err
	}
	if err := req.check(); err != nil {
		return nil, err
	}
	if req.named = req.BulkID != ""; !req.named {
		req.BulkID = newBulkID()
	}
	if req.DryRun { // counting needs no reason yet
		req.Reason, req.Note = cmp.Or(req.Reason, "dry run"), cmp.Or(req.Note, "dry run")
	}
	op, err := req.operation(ctx, g, r.org)
	if err != nil {
		return nil, err
	}
	reply := BulkReply{BulkID: req.BulkID, DryRun: req.DryRun, Items: []BulkItem{}}
	if req.detached() {
		return encoded(&reply, g.detach(ctx, r.org, &req, &reply))
	}
	ids := req.IDs
	if len(ids) == 0 {
		if ids, err = g.choose(ctx, r.org, &req, &reply); err != nil {
			return nil, err
		}
		if req.DryRun {
			reply.IDs = ids
			if req.Cascade && req.Action == ActionRetry {
				err = g.spread(ctx, r.org, &req, ids, &reply)
			}
			return encoded(&reply, err)
		}
		ids = ids[:min(len(ids), BulkChunk)]
		reply.Left = reply.Eligible - len(ids)
	} else {
		reply.Matched = len(ids)
		if req.DryRun && req.Cascade && req.Action == ActionRetry {
			reply.Eligible = len(ids)
			return encoded(&reply, g.spread(ctx, r.org, &req, ids, &reply))
		}
	}
	reply.Items = g.each(ctx, r.org, ids, &req, op)
	reply.count(len(req.IDs) > 0)
	if len(reply.Items) > BulkChunk { // a dry run
		reply.Items = slices.DeleteFunc(reply.Items, func(i BulkItem) bool { return i.OK })
		reply.Items = reply.Items[:min(len(reply.Items), BulkChunk)]
	}
	if !req.DryRun {
		g.log.Info("bulk", zap.String("action", req.Action), zap.String("org", string(r.org)), zap.String("actor", g.actor(ctx).String()),
			zap.String("request_id", req.BulkID), zap.String("reason", cmp.Or(req.Reason, req.Note)),
			zap.Int("done", reply.Done), zap.Int("skipped", reply.Skipped), zap.Int("failed", reply.Failed))
	}
	return json.Marshal(&reply)
}

func encoded(reply *BulkReply, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return json.Marshal(reply)
}

// choose reads from the view which jobs match the filter, counts them, and returns the eligible ones.
func (g *Gateway) choose(ctx context.Context, org schemas.OrgID, req *BulkRequest, reply *BulkReply) ([]schemas.JobID, error) {
	v, err := g.viewsAt(ctx, req.MinSeq, req.Filter.where.Payload())
	if err != nil {
		return nil, err
	}
	if err := searchable(v, &req.Filter.where); err != nil {
		return nil, err
	}
	type candidate struct {
		seq schemas.Seq
		id  schemas.JobID
	}
	var oldest []candidate
	cut := func(to int) {
		slices.SortFunc(oldest, func(a, b candidate) int { return cmp.Compare(a.seq, b.seq) })
		oldest = oldest[:min(len(oldest), to)]
	}
	seq, err := v.jobs(ctx, org, req.Filter, time.Now(), 0, func(record ledger.Record) {
		reply.Matched++
		if !req.eligible(&record) {
			reply.Skipped++
			return
		}
		reply.Eligible++
		if oldest = append(oldest, candidate{record.SubmittedSeq, record.ID}); len(oldest) >= 2*BulkMax {
			cut(BulkMax)
		}
	})
	if err != nil {
		return nil, err
	}
	cut(BulkMax)
	reply.AsOfSeq = &seq
	ids := make([]schemas.JobID, len(oldest))
	for i, c := range oldest {
		ids[i] = c.id
	}
	return ids, nil
}

// each acts on every job, a bounded number at a time, and goes on past single errors.
func (g *Gateway) each(ctx context.Context, org schemas.OrgID, ids []schemas.JobID, req *BulkRequest, op *operation) []BulkItem {
	items := make([]BulkItem, len(ids))
	parallel := bulkParallel
	if req.Cascade && req.Action == ActionRetry {
		parallel = 1 // parents first
	}
	hands := make(chan struct{}, parallel)
	var all sync.WaitGroup
	for i, id := range ids {
		hands <- struct{}{}
		all.Go(func() {
			defer func() { <-hands }()
			items[i] = g.one(ctx, org, id, req, op)
		})
	}
	all.Wait()
	return items
}

func (g *Gateway) one(ctx context.Context, org schemas.OrgID, id schemas.JobID, req *BulkRequest, op *operation) BulkItem {
	item := BulkItem{ID: id}
	var j *ledger.Job
	var err error
	if req.again {
		if j, err = g.doneBy(ctx, org, id, req.BulkID); j != nil && err == nil {
			item.OK, item.State, item.Seq = true, j.State, &j.LastSeq
			return item
		}
	}
	switch {
	case err != nil:
	case req.DryRun:
		j, err = g.would(ctx, org, id, req, op)
	default:
		j, err = g.carryOut(ctx, org, id, op, func(j *ledger.Job) error { return g.meant(ctx, req, j) })
	}
	if err != nil && req.again { // by an earlier attempt that was given up and ended meanwhile
		if done, look := g.doneBy(ctx, org, id, req.BulkID); look == nil && done != nil {
			j, err = done, nil
		}
	}
	if j != nil && j.Exists() {
		item.State, item.Seq = j.State, &j.LastSeq
	}
	switch {
	case err == nil:
		item.OK = true
	case errors.Is(err, errChanged):
		item.Skipped = SkippedChanged
	case req.Filter != nil && ledger.AsError(err).Code == ledger.CodeNotFound:
		item.Skipped = SkippedGone
	default:
		e := ledger.AsError(err)
		item.Error = &BulkError{Code: e.Code, Message: e.Message, Details: e.Details}
	}
	return item
}

// meant reports errChanged for a job that was chosen by the filter and matches it no longer.
func (g *Gateway) meant(ctx context.Context, r *BulkRequest, j *ledger.Job) error {
	if r.Filter == nil {
		return nil
	}
	record := ledger.RecordOf(j)
	if r.Filter.where.Payload() {
		if err := g.kept(ctx, &record); err != nil {
			return err
		}
	}
	if r.Filter.matches(&record, time.Now()) {
		return nil
	}
	return errChanged
}

// would is a dry run of one job: what Decide says to its present fold.
func (g *Gateway) would(ctx context.Context, org schemas.OrgID, id schemas.JobID, req *BulkRequest, op *operation) (*ledger.Job, error) {
	j, err := g.l.Fold(ctx, org, id)
	if errors.Is(err, ledger.ErrNotFound) {
		return nil, noJob(org, id, err)
	}
	if err != nil {
		return nil, err
	}
	if err := g.meant(ctx, req, j); err != nil {
		return j, err
	}
	if op.judge != nil {
		if err := op.judge(ctx, j); err != nil {
			return j, err
		}
	}
	_, err = ledger.Decide(j, op.cmd)
	return j, err
}

// count adds the items up. fromItems: what is eligible is known from them alone.
func (r *BulkReply) count(fromItems bool) {
	for i := range r.Items {
		item := &r.Items[i]
		switch {
		case item.Skipped != "":
			r.Skipped++
		case !item.OK:
			r.Failed++
			if item.Error.Code == ledger.CodeNotFound {
				r.Matched--
			}
		case r.DryRun:
			r.Eligible++
		default:
			r.Done++
			if fromItems {
				r.Eligible++
			}
		}
	}
}
