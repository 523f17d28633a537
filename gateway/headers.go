package gateway

import (
	"fmt"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Headers of a submit (INTERFACE 4), read in any case; all are optional, and no other is read. Times are
// RFC 3339 or a duration from now; durations are like 90s, 1h30m, 2d.
const (
	HeaderKey         = "Nats-Msg-Id" // the caller's idempotency key
	HeaderQueue       = "Jobledger-Queue"
	HeaderPriority    = "Jobledger-Priority"
	HeaderNotBefore   = "Jobledger-Not-Before"
	HeaderDeadline    = "Jobledger-Deadline"
	HeaderAfter       = "Jobledger-After"        // parent ids, repeated or separated by commas; "id;cancel" sets one's policy
	HeaderAfterPolicy = "Jobledger-After-Policy" // of parents that name none: fail, cancel or run
	HeaderJobID       = "Jobledger-Job-Id"
	HeaderMaxAttempts = "Jobledger-Max-Attempts"
	HeaderRunTimeout  = "Jobledger-Run-Timeout"
	HeaderResource    = "Jobledger-Resource"
	HeaderPrincipal   = "Jobledger-Principal"
	HeaderTag         = "Jobledger-Tag" // k=v, repeated
	HeaderDedup       = "Jobledger-Dedup"
	HeaderOnDuplicate = "Jobledger-On-Duplicate"
	HeaderBatch       = "Jobledger-Batch"
	HeaderReason      = "Jobledger-Reason"

	// HeaderRequestID names a request of any verb; it is echoed in errors. On a submit a UUID is also the
	// identity of the event: repeat it with the request, never with another.
	HeaderRequestID = "Jobledger-Request-Id"

	// DedupOffValue of HeaderDedup submits without content id.
	DedupOffValue = "off"
)

// submitHeaders are r's options as headers; the error names a value that no header can carry.
func submitHeaders(r *ledger.SubmitRequest) (nats.Header, error) {
	h := nats.Header{}
	add := func(name, value string) {
		if value != "" {
			h[name] = append(h[name], value)
		}
	}
	add(HeaderKey, r.Key)
	add(HeaderQueue, string(r.Queue))
	add(HeaderPriority, string(r.Priority))
	add(HeaderNotBefore, timeHeader(r.NotBefore, r.Delay))
	add(HeaderDeadline, timeHeader(r.Deadline, r.DeadlineIn))
	add(HeaderJobID, string(r.ID))
	add(HeaderResource, r.Resource)
	add(HeaderPrincipal, r.Principal)
	add(HeaderOnDuplicate, r.OnDuplicate)
	add(HeaderBatch, r.Batch)
	add(HeaderReason, r.Reason)
	add(schemas.HeaderTraceparent, r.Meta.Traceparent)
	add(schemas.HeaderTracestate, r.Meta.Tracestate)
	if r.NoDedup {
		add(HeaderDedup, DedupOffValue)
	}
	for _, p := range r.Parents {
		v := string(p.ID)
		if p.OnFailure != "" {
			v += ";" + p.OnFailure
		}
		add(HeaderAfter, v)
	}
	for k, v := range r.Tags {
		add(HeaderTag, k+"="+v)
	}
	if o := r.Override; o != nil {
		if o.MaxAttempts != nil {
			add(HeaderMaxAttempts, strconv.Itoa(*o.MaxAttempts))
		}
		if o.TimeoutMS != nil {
			add(HeaderRunTimeout, o.TimeoutMS.Duration().String())
		}
	}
	for name, values := range h {
		for _, v := range values {
			if strings.ContainsAny(v, "\r\n\x00") || strings.TrimSpace(v) != v {
				return nil, ledger.Errorf(ledger.CodeInvalidArgument, "%s: %q has a line break, or blanks around it", fieldOf(name), v)
			}
		}
	}
	return h, nil
}

func timeHeader(at *time.Time, in time.Duration) string {
	if at != nil {
		return at.Format(time.RFC3339Nano)
	}
	if in != 0 {
		return in.String()
	}
	return ""
}

// parseHeaders fills r from what a caller sent.
func parseHeaders(h nats.Header, r *ledger.SubmitRequest) error {
	read := options(h)
	r.Key = read.one(HeaderKey)
	r.Queue = schemas.QueueName(read.one(HeaderQueue))
	r.Priority = schemas.Priority(read.one(HeaderPriority))
	r.ID = schemas.JobID(read.one(HeaderJobID))
	r.Resource, r.Principal = read.one(HeaderResource), read.one(HeaderPrincipal)
	r.OnDuplicate, r.Batch, r.Reason = read.one(HeaderOnDuplicate), read.one(HeaderBatch), read.one(HeaderReason)
	r.Meta.Traceparent, r.Meta.Tracestate = read.one(schemas.HeaderTraceparent), read.one(schemas.HeaderTracestate)
	switch v := read.one(HeaderDedup); v {
	case "":
	case DedupOffValue:
		r.NoDedup = true
	default:
		return badHeader(HeaderDedup, fmt.Errorf("%q is unknown: use %s, or leave it out", v, DedupOffValue))
	}
	var err error
	if r.NotBefore, r.Delay, err = read.time(HeaderNotBefore); err != nil {
		return err
	}
	if r.Deadline, r.DeadlineIn, err = read.time(HeaderDeadline); err != nil {
		return err
	}
	if err := read.override(r); err != nil {
		return err
	}
	if err := read.parents(r); err != nil {
		return err
	}
	return read.tags(r)
}

// options are a caller's headers under their names in canonical form, so that case does not matter.
func options(h nats.Header) headers {
	read := make(headers, len(h))
	for k, v := range h {
		k = textproto.CanonicalMIMEHeaderKey(k)
		read[k] = append(read[k], v...)
	}
	return read
}

type headers map[string][]string

func (h headers) all(name string) []string { return h[textproto.CanonicalMIMEHeaderKey(name)] }

func (h headers) one(name string) string {
	if v := h.all(name); len(v) > 0 {
		return v[0]
	}
	return ""
}

// time reads a point in time or a duration from now.
func (h headers) time(name string) (*time.Time, time.Duration, error) {
	v := h.one(name)
	if v == "" {
		return nil, 0, nil
	}
	if t, err := time.Parse(time.RFC3339, v); err == nil {
		return &t, 0, nil
	}
	d, err := parseDuration(v)
	if err != nil || d < 0 {
		return nil, 0, badHeader(name, fmt.Errorf("%q is neither a time like 2026-11-23T14:00:00Z nor a duration like 90s", v))
	}
	return nil, d, nil
}

func (h headers) override(r *ledger.SubmitRequest) error {
	var o schemas.Override
	if v := h.one(HeaderMaxAttempts); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			return badHeader(HeaderMaxAttempts, fmt.Errorf("%q is no number", v))
		}
		o.MaxAttempts = &n
	}
	if v := h.one(HeaderRunTimeout); v != "" {
		d, err := parseDuration(v)
		if err != nil {
			return badHeader(HeaderRunTimeout, err)
		}
		ms := schemas.MillisOf(d)
		o.TimeoutMS = &ms
	}
	if o != (schemas.Override{}) {
		r.Override = &o
	}
	return nil
}

func (h headers) parents(r *ledger.SubmitRequest) error {
	policy := h.one(HeaderAfterPolicy)
	for _, line := range h.all(HeaderAfter) {
		for v := range strings.SplitSeq(line, ",") {
			id, own, named := strings.Cut(strings.TrimSpace(v), ";")
			if !named {
				own = policy
			}
			if err := schemas.CheckToken("job id", id); err != nil {
				return badHeader(HeaderAfter, err)
			}
			r.Parents = append(r.Parents, schemas.ParentRef{ID: schemas.JobID(id), OnFailure: own})
		}
	}
	return nil
}

func (h headers) tags(r *ledger.SubmitRequest) error {
	for _, v := range h.all(HeaderTag) {
		k, value, ok := strings.Cut(v, "=")
		if !ok {
			return badHeader(HeaderTag, fmt.Errorf("%q is not k=v", v))
		}
		if r.Tags == nil {
			r.Tags = make(map[string]string)
		}
		r.Tags[k] = value
	}
	return nil
}

// fieldOf is the name of a header's option in errors: max_attempts for Jobledger-Max-Attempts.
func fieldOf(header string) string {
	if header == HeaderKey {
		return "key"
	}
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(header, "Jobledger-")), "-", "_")
}

func badHeader(header string, err error) error { return badField(fieldOf(header), err) }

func badField(field string, err error) error {
	return &ledger.Error{Code: ledger.CodeInvalidArgument, Message: err.Error(), Field: field, Cause: err,
		Details: map[string]any{ledger.DetailField: field}}
}

// parseDuration reads Go's durations, and whole days and weeks (INTERFACE 2.1).
func parseDuration(s string) (time.Duration, error) {
	for unit, d := range map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		if n, ok := strings.CutSuffix(s, unit); ok {
			if v, err := strconv.ParseUint(n, 10, 13); err == nil {
				return time.Duration(v) * d, nil
			}
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%q is no duration like 90s, 1h30m or 2d", s)
	}
	return d, nil
}
