package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// TimeoutDefault of one request.
	TimeoutDefault = 5 * time.Second
	// tryTimeout is how long a submit waits before it is repeated under the same identity.
	tryTimeout = 2 * time.Second
	// retryPause is the wait between two tries where nobody answers at all.
	retryPause = 100 * time.Millisecond
	// requestTries is how often a request is made that nobody takes.
	requestTries = 6
	// waitStep is how long one wait request is held by the server; below WaitMax, so that the answer comes
	// before the request's own timeout.
	waitStep = 20 * time.Second
	// wayBack is left for the answer of a wait where time is short; below holdMin no more is asked.
	wayBack = 200 * time.Millisecond
	holdMin = 20 * time.Millisecond
	// waitSlack is added to it for the way there and back.
	waitSlack = 5 * time.Second
)

// Client calls the command service of one org. Every error is, or wraps, a *ledger.Error: the service's
// own, or unavailable, with details.reason ledger.ReasonNoResponse where nobody took the request, and
// ledger.ReasonOutcomeUnknown where it was sent and not answered.
type Client struct {
	Conn *nats.Conn
	Org  schemas.OrgID
	// Timeout of one request, and of a submit with all its tries; TimeoutDefault if 0.
	Timeout time.Duration
}

// Submit stores a job. A request without an answer is repeated under the same identity until Timeout; then
// the error says outcome_unknown, and its details.id is the job to ask for. Org, Meta.Actor,
// RegisterUnknown, ArgsRef and Override.Backoff are not the client's to choose.
func (c *Client) Submit(ctx context.Context, r ledger.SubmitRequest) (*SubmitReply, error) {
	return c.submit(ctx, "submit."+string(r.Type), r)
}

// SubmitBatch stores a batch: a job that submits the spec's items at its pace and follows them to their ends. r
// says when and under which id or key; its type, queue and args are left empty. Else it is as Submit.
func (c *Client) SubmitBatch(ctx context.Context, r ledger.SubmitRequest, spec *ledger.BatchSpec) (*SubmitReply, error) {
	args, err := spec.Encode()
	if err != nil {
		return nil, ledger.Errorf(ledger.CodeInvalidArgument, "%v", err)
	}
	r.Args = args
	return c.submit(ctx, "batch", r)
}

func (c *Client) submit(ctx context.Context, subject string, r ledger.SubmitRequest) (*SubmitReply, error) {
	h, err := submitHeaders(&r)
	if err != nil {
		return nil, err
	}
	if r.RequestID == uuid.Nil {
		r.RequestID = uuid.UUID(uuid.Must(uuid.NewV7()))
	}
	id := r.ID
	if id == "" {
		id = schemas.JobID(r.RequestID.String())
	}
	body, err := c.sendArgs(ctx, h, r.Args)
	if err != nil {
		return nil, err
	}
	var reply SubmitReply
	if err := c.store(ctx, storing{subject: subject, headers: h, body: body, size: len(r.Args), request: r.RequestID, id: id}, &reply); err != nil {
		return nil, err
	}
	return &reply, nil
}

// Resubmit submits a job like an old one. What Submit says about answers that do not come holds here too.
func (c *Client) Resubmit(ctx context.Context, id schemas.JobID, r ResubmitRequest) (*ResubmitReply, error) {
	h := nats.Header{}
	args, err := c.sendArgs(ctx, h, r.Args)
	if err != nil {
		return nil, err
	}
	body, err := schemas.SpliceJSON(struct {
		Reason string `json:"reason"`
	}{r.Reason}, schemas.RawField{Name: "args", Value: args}) // byte for byte
	if err != nil {
		return nil, ledger.Errorf(ledger.CodeInvalidArgument, "%v", err)
	}
	request := uuid.UUID(uuid.Must(uuid.NewV7()))
	var reply ResubmitReply
	if err := c.store(ctx, storing{subject: "resubmit." + string(id), headers: h, body: body, size: len(r.Args), request: request,
		id: schemas.JobID(request.String())}, &reply); err != nil {
		return nil, err
	}
	return &reply, nil
}

// storing is a request that stores a job.
type storing struct {
	subject string
	headers nats.Header
	body    []byte
	size    int // bytes of the job's args, also of those that were uploaded before
	request uuid.UUID
	id      schemas.JobID
}

// store sends a request that stores a job, again under the same identity until it is answered.
func (c *Client) store(ctx context.Context, s storing, reply any) error {
	s.headers[HeaderRequestID] = []string{s.request.String()}
	ctx, cancel := context.WithTimeout(ctx, c.timeout()+allowance(s.size))
	defer cancel()
	sent := false
	for {
		try, cancelTry := context.WithTimeout(ctx, tryTimeout+allowance(s.size))
		err := c.call(try, s.subject, s.headers, s.body, reply)
		cancelTry()
		if err == nil {
			c.dropUpload(s.headers)
			return nil
		}
		e := ledger.AsError(err)
		if e.Code != ledger.CodeUnavailable {
			c.dropUpload(s.headers)
			return err
		}
		sent = sent || !nothingStored(e)
		if !sent {
			return err // at once: nothing is stored, and the caller knows best whether to wait
		}
		if !pause(ctx, retryPause) {
			return &ledger.Error{Code: ledger.CodeUnavailable, Cause: err,
				Message: fmt.Sprintf("it is not known whether job %s is stored: ask for it, or submit again with the same id or key", s.id),
				Details: map[string]any{ledger.DetailReason: ledger.ReasonOutcomeUnknown, "id": string(s.id)}}
		}
	}
}

// Get returns a job's record, current, with attempts.
func (c *Client) Get(ctx context.Context, id schemas.JobID) (*ledger.Record, error) {
	return ask[ledger.Record](ctx, c, "get."+string(id), nil)
}

// GetAt returns a job's record as it stood at a moment: at a sequence, or a time in RFC 3339.
func (c *Client) GetAt(ctx context.Context, id schemas.JobID, at string) (*ledger.Record, error) {
	return ask[ledger.Record](ctx, c, "get."+string(id), GetRequest{At: at})
}

// History returns all events of a job, oldest first.
func (c *Client) History(ctx context.Context, id schemas.JobID) ([]ledger.HistoryLine, error) {
	var all []ledger.HistoryLine
	req := HistoryRequest{}
	for {
		page, err := ask[History](ctx, c, "history."+string(id), req)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if page.Next == nil {
			return all, nil
		}
		req.Cursor = *page.Next
	}
}

// Wait returns the record of a job once it has ended, whatever its end; of the job that stands for it, if
// it is a duplicate. When ctx ends first, the error is that of ctx and the record, if one is known, is the
// latest.
func (c *Client) Wait(ctx context.Context, id schemas.JobID) (*ledger.Record, error) {
	var last *ledger.Record
	for {
		step := waitStep
		if deadline, ok := ctx.Deadline(); ok {
			step = min(step, holdUntil(deadline))
		}
		if last != nil && step < holdMin {
			<-ctx.Done()
		}
		if ctx.Err() != nil {
			return last, context.Cause(ctx)
		}
		try, cancel := context.WithTimeout(ctx, step+waitSlack)
		record := new(ledger.Record)
		err := c.request(try, "wait."+string(id), nil, WaitRequest{TimeoutMS: schemas.MillisOf(step)}, record)
		cancel()
		switch {
		case err == nil && record.State.Finished():
			return record, nil
		case err == nil:
			last = record
		case ctx.Err() != nil:
			return last, context.Cause(ctx)
		case ledger.AsError(err).Code != ledger.CodeUnavailable, last == nil && errors.Is(err, nats.ErrNoResponders):
			return last, err
		default: // the server is away for a moment
			pause(ctx, retryPause)
		}
	}
}

// holdUntil is how long a wait may be held so that its answer is back before the deadline.
func holdUntil(deadline time.Time) time.Duration {
	left := time.Until(deadline)
	return max(left-wayBack, left/2)
}

// List returns a page of jobs, newest first.
func (c *Client) List(ctx context.Context, r ListRequest) (*List, error) {
	r.Filter = r.sent()
	return ask[List](ctx, c, "list", r)
}

// Children returns a page of the jobs that wait for a job, or waited for it, and of a batch's items, newest first.
func (c *Client) Children(ctx context.Context, id schemas.JobID, r ListRequest) (*List, error) {
	r.Filter = r.sent()
	return ask[List](ctx, c, "children."+string(id), r)
}

// Notices returns an owner's notices, the latest first.
func (c *Client) Notices(ctx context.Context, r NoticesRequest) (*Notices, error) {
	return ask[Notices](ctx, c, "notices", r)
}

// ReadNotices notes that the caller has read his notices.
func (c *Client) ReadNotices(ctx context.Context, r ReadNoticesRequest) (*ReadNoticesReply, error) {
	return ask[ReadNoticesReply](ctx, c, "notices.read", r)
}

// Count returns exact counts.
func (c *Client) Count(ctx context.Context, r CountRequest) (*Count, error) {
	reply, err := ask[Count](ctx, c, "count", r)
	if err == nil && r.Where != "" && reply.Where == "" {
		return nil, ledger.Errorf(ledger.CodeInvalidArgument, "the server is of an earlier version, which cannot count by where")
	}
	return reply, err
}

// Cancel ends a job, or asks its worker to.
func (c *Client) Cancel(ctx context.Context, id schemas.JobID, reason string) (*CancelReply, error) {
	return ask[CancelReply](ctx, c, "cancel."+string(id), CancelRequest{Reason: reason})
}

// CancelCascade is Cancel of the job and of all that wait for it, and for those.
func (c *Client) CancelCascade(ctx context.Context, id schemas.JobID, reason string) (*CancelReply, error) {
	return ask[CancelReply](ctx, c, "cancel."+string(id), CancelRequest{Reason: reason, Cascade: true})
}

// Retry gives a canceled or dead-lettered job a fresh budget; a job that waits for its retry runs now.
func (c *Client) Retry(ctx context.Context, id schemas.JobID, r RetryRequest) (*RetryReply, error) {
	return ask[RetryReply](ctx, c, "retry."+string(id), r)
}

// Resolve closes a dead letter with a note.
func (c *Client) Resolve(ctx context.Context, id schemas.JobID, r ResolveRequest) (*ResolveReply, error) {
	return ask[ResolveReply](ctx, c, "resolve."+string(id), r)
}

// Bulk acts on many jobs, or counts them.
func (c *Client) Bulk(ctx context.Context, r BulkRequest) (*BulkReply, error) {
	if r.Filter != nil {
		filter := r.Filter.sent()
		r.Filter = &filter
	}
	return ask[BulkReply](ctx, c, "bulk", r)
}

// BulkInfo tells how far a detached bulk is.
func (c *Client) BulkInfo(ctx context.Context, id schemas.JobID) (*BulkStatus, error) {
	return ask[BulkStatus](ctx, c, "bulk.info."+string(id), nil)
}

// StopBulk stops a detached bulk between two of its jobs: what is done is done.
func (c *Client) StopBulk(ctx context.Context, id schemas.JobID, reason string) (*BulkStatus, error) {
	return ask[BulkStatus](ctx, c, "bulk.stop."+string(id), ReasonRequest{Reason: reason})
}

// Errors returns dead letters in groups.
func (c *Client) Errors(ctx context.Context, r ErrorsRequest) (*ErrorGroups, error) {
	r.Filter = r.sent()
	return ask[ErrorGroups](ctx, c, "errors", r)
}

// Workers returns all workers that beat lately, but for the servers' own.
func (c *Client) Workers(ctx context.Context) (*Workers, error) {
	return c.AllWorkers(ctx, WorkersRequest{})
}

// AllWorkers is Workers with a choice.
func (c *Client) AllWorkers(ctx context.Context, r WorkersRequest) (*Workers, error) {
	return ask[Workers](ctx, c, "worker.ls", r)
}

// Worker returns one worker; not_found if there is none.
func (c *Client) Worker(ctx context.Context, id schemas.SessionID) (*Worker, error) {
	return ask[Worker](ctx, c, "worker.info."+string(id), nil)
}

// DrainWorker has a worker claim nothing more, finish within its grace, and end.
func (c *Client) DrainWorker(ctx context.Context, id schemas.SessionID, reason string) (*DrainWorkerReply, error) {
	return ask[DrainWorkerReply](ctx, c, "worker.drain."+string(id), DrainWorkerRequest{Reason: reason})
}

// TypeAdd registers a type, or changes it; the reply is what is in force.
func (c *Client) TypeAdd(ctx context.Context, t Type) (*Type, error) {
	return ask[Type](ctx, c, "type.add."+string(t.Name), t)
}

// Type returns a type; not_found if there is none.
func (c *Client) Type(ctx context.Context, name schemas.TypeName) (*Type, error) {
	return ask[Type](ctx, c, "type.info."+string(name), nil)
}

// Types returns all types.
func (c *Client) Types(ctx context.Context) (*Types, error) {
	return ask[Types](ctx, c, "type.ls", nil)
}

// ask makes one request within the client's timeout.
func ask[T any](ctx context.Context, c *Client, subject string, body any) (*T, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	reply := new(T)
	if err := c.request(ctx, subject, nil, body, reply); err != nil {
		return nil, err
	}
	return reply, nil
}

func (c *Client) timeout() time.Duration {
	if c.Timeout > 0 {
		return c.Timeout
	}
	return TimeoutDefault
}

func (c *Client) request(ctx context.Context, subject string, h nats.Header, body, reply any) error {
	var raw []byte
	if body != nil {
		var err error
		if raw, err = json.Marshal(body); err != nil {
			return ledger.Errorf(ledger.CodeInvalidArgument, "%v", err)
		}
	}
	return c.call(ctx, subject, h, raw, reply)
}

// call sends one request. Names are checked here too: a bad one would make a subject nobody serves.
func (c *Client) call(ctx context.Context, subject string, h nats.Header, body []byte, reply any) error {
	if err := schemas.CheckToken("org", string(c.Org)); err != nil {
		return badField("org", err)
	}
	for token := range strings.SplitSeq(subject, ".") {
		if err := schemas.CheckToken("name", token); err != nil {
			return badField("name", err)
		}
	}
	m, err := c.send(ctx, Name+"."+string(c.Org)+"."+subject, h, body)
	if err != nil {
		return unanswered(err)
	}
	if m.Header.Get(micro.ErrorCodeHeader) != "" {
		return replied(m)
	}
	if err := json.Unmarshal(m.Data, reply); err != nil {
		return ledger.Errorf(ledger.CodeInternal, "the reply to %s cannot be read: %v", subject, err)
	}
	return nil
}

// send makes a request, again for a moment where nobody takes it: a node of a cluster hears late of a server that has
// just begun to serve on another one. What nobody took has done nothing, so to ask again is safe.
func (c *Client) send(ctx context.Context, subject string, h nats.Header, body []byte) (*nats.Msg, error) {
	for try := 1; ; try++ {
		m, err := c.Conn.RequestMsgWithContext(ctx, &nats.Msg{Subject: subject, Header: h, Data: body})
		if !errors.Is(err, nats.ErrNoResponders) || try == requestTries || !pause(ctx, retryPause) {
			return m, err
		}
	}
}

// unanswered says what the absence of an answer means: no responders took nothing, anything else may have.
func unanswered(err error) error {
	e := &ledger.Error{Code: ledger.CodeUnavailable, Cause: err, Details: map[string]any{}}
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return ledger.Errorf(ledger.CodePayloadTooLarge, "the request is larger than the server's max_payload")
	case errors.Is(err, nats.ErrNoResponders):
		e.Message = "nobody serves this request: is a jobledger server running on this account?"
		e.Details[ledger.DetailReason] = ledger.ReasonNoResponse
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrConnectionDraining), errors.Is(err, nats.ErrInvalidConnection):
		e.Message = "the connection is closed"
		e.Details[ledger.DetailReason] = ledger.ReasonNoResponse
	default:
		e.Message = fmt.Sprintf("no answer: %v", err)
		e.Details[ledger.DetailReason] = ledger.ReasonOutcomeUnknown
	}
	return e
}

// replied is the error that the service answered with.
func replied(m *nats.Msg) error {
	var env envelope
	if json.Unmarshal(m.Data, &env) != nil || env.Error.Code == "" {
		return ledger.Errorf(ledger.CodeInternal, "%s %s", m.Header.Get(micro.ErrorCodeHeader), m.Header.Get(micro.ErrorHeader))
	}
	return &ledger.Error{Code: env.Error.Code, Message: env.Error.Message, Details: env.Error.Details}
}

// pause waits d; false if ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
