package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// SubmitsRequest submits up to ledger.SubmitManyMax jobs, each as `POST /v1/orgs/{org}/jobs` would.
type SubmitsRequest struct {
	Items []json.RawMessage `json:"items"`
}

// SubmitsReply answers each item, in their order.
type SubmitsReply struct {
	Items     []SubmitAnswer `json:"items"`
	Created   int            `json:"created"`
	Duplicate int            `json:"duplicate"`
	Refused   int            `json:"refused"` // or not known
}

// SubmitAnswer is what became of one item: one of the two is null.
type SubmitAnswer struct {
	Submit *SubmitReply `json:"submit"`
	Error  *ItemError   `json:"error"`
}

// ItemError is what is wrong with one item.
type ItemError struct {
	Code    ledger.Code    `json:"code"`
	Message string         `json:"message"`
	Details map[string]any `json:"details"`
}

// fillSubmits takes over what belongs to the request as a whole.
func fillSubmits(in *httpRequest) error {
	if in.Header.Get("Idempotency-Key") != "" {
		return badField("key", errors.New("each item has its own key: the header Idempotency-Key names one job"))
	}
	return in.identify("")
}

// submitMany stores many jobs. Each item is judged and answered for itself; a member's calls are counted one for each, and the
// items beyond what is left of them are refused with rate_limited.
func (g *Gateway) submitMany(ctx context.Context, r *request) ([]byte, error) {
	var req SubmitsRequest
	if err := r.decodeStrictly(&req); err != nil {
		return nil, err
	}
	n := len(req.Items)
	if n == 0 || n > ledger.SubmitManyMax {
		return nil, badField("items", fmt.Errorf("there are %d: give 1 to %d", n, ledger.SubmitManyMax))
	}
	allowed := n
	p := caller(ctx)
	if isMember(ctx, r.org) { // one is counted already
		allowed = 1 + g.paces.takeMore(p, r.org, paceSubmit, n-1)
		r.left.remaining = max(0, r.left.remaining-(allowed-1))
	}
	reply := SubmitsReply{Items: make([]SubmitAnswer, n)}
	requests, at := make([]ledger.SubmitRequest, 0, n), make([]int, 0, n)
	large := false
	for i, item := range req.Items {
		if i >= allowed {
			err := ledger.Errorf(ledger.CodeRateLimited, "%s may submit %d jobs a minute", p.Actor, perMinute[paceSubmit])
			err.Details = map[string]any{"limit": perMinute[paceSubmit], "remaining": 0, "retry_after_s": 60/perMinute[paceSubmit] + 1}
			reply.refuse(i, err)
			continue
		}
		one, err := g.submitOf(ctx, r, i, item)
		if err == nil {
			err = g.authorizeSubmit(ctx, &one)
		}
		if err == nil {
			err = g.refuseMask(ctx, one.Type, one.Args)
		}
		if err != nil {
			reply.refuse(i, err)
			continue
		}
		large = large || len(one.Args) > schemas.ArgsMax
		requests, at = append(requests, one), append(at, i)
	}
	if large {
		leave, err := g.enterLarge(ctx)
		if err != nil {
			return nil, err
		}
		defer leave()
	}
	done, err := g.l.SubmitMany(ctx, requests)
	if err != nil {
		return nil, err
	}
	for k, s := range done {
		err := s.Err
		if err == nil {
			err = g.notOthers(ctx, s.Receipt)
		}
		if err != nil {
			reply.refuse(at[k], err)
			continue
		}
		reply.accept(at[k], s.Receipt)
	}
	return json.Marshal(&reply)
}

// submitOf is one item as a submit of its own. Where the caller gave his request an identity, each item has one that follows
// from it: the same request again finds its jobs.
func (g *Gateway) submitOf(ctx context.Context, r *request, i int, item json.RawMessage) (req ledger.SubmitRequest, err error) {
	var b submitBody
	if err := decodeStrictly(item, &b); err != nil {
		return req, err
	}
	if b.Type == "" {
		return req, badField("type", errors.New("a type is required"))
	}
	h, err := b.headers()
	if err != nil {
		return req, err
	}
	if b.Key != "" {
		h[HeaderKey] = []string{b.Key}
	}
	for _, name := range []string{schemas.HeaderTraceparent, schemas.HeaderTracestate} {
		if v := options(r.headers).all(name); v != nil {
			h[name] = v
		}
	}
	req = ledger.SubmitRequest{Org: r.org, Type: b.Type, Args: b.Args, RegisterUnknown: g.cfg.RegisterUnknown}
	if err := parseHeaders(nats.Header(h), &req); err != nil {
		return req, err
	}
	req.Meta.Actor = g.actor(ctx)
	if id, bad := uuid.Parse(options(r.headers).one(HeaderRequestID)); bad == nil {
		req.RequestID = uuid.NewSHA1(id, fmt.Append(nil, i))
	}
	return req, nil
}

func (s *SubmitsReply) accept(i int, r ledger.Receipt) {
	s.Items[i].Submit = &SubmitReply{ID: r.ID, Org: r.Org, Seq: r.Seq, Duplicate: r.Duplicate, State: r.State}
	if r.Duplicate {
		s.Duplicate++
	} else {
		s.Created++
	}
}

func (s *SubmitsReply) refuse(i int, err error) {
	e := ledger.AsError(err)
	message := e.Message
	if e.Field != "" {
		message = e.Field + ": " + message
	}
	s.Items[i].Error = &ItemError{Code: e.Code, Message: message, Details: e.Details}
	s.Refused++
}
