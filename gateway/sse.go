package gateway

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/dartwing/jobledger/gateway/rights"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// The pace of a stream of events.
const (
	// streamEvery is the time between two writes to one client: what happens meanwhile goes out together (INTERFACE 3).
	streamEvery = 100 * time.Millisecond
	// streamCheck is how often the right to a stream is looked at again, whatever happens on it.
	streamCheck = time.Second
	// streamPing is the time without a word after which a comment is sent, so that nobody between takes it for dead.
	streamPing = 15 * time.Second
	// streamWrite is how long a client may take to read what was written.
	streamWrite = 30 * time.Second
)

// streams are the routes of server-sent events.
var streams = []string{"GET /v1/orgs/{org}/events", "GET /v1/orgs/{org}/jobs/{name}/events", "GET /v1/events"}

// streamParams are the parameters that they read.
var streamParams = slices.Concat(filterNames, []string{"after", "scope", "progress", "notices"})

// stream is one client of the live feed over HTTP.
type stream struct {
	h    *httpAPI
	ctx  context.Context // ends it
	r    *http.Request
	org  schemas.OrgID // empty: all
	to   *http.ResponseController
	w    http.ResponseWriter
	buf  bytes.Buffer
	said time.Time
	// reach is how far the caller's right went when the stream began: it ends with that right.
	reach rights.Reach
}

// events serves the live feed: an org's, one job's, or the cell's.
func (h *httpAPI) events(w http.ResponseWriter, r *http.Request) {
	s := &stream{h: h, r: r, org: schemas.OrgID(r.PathValue("org")), to: http.NewResponseController(w), w: w}
	ctx, leave, err := h.g.admit(r.Context(), &endpoint{waits: true})
	if err != nil {
		h.refuse(w, requestID(r), err)
		return
	}
	defer leave()
	s.ctx = ctx
	defer context.AfterFunc(ctx, func() { _ = s.to.SetWriteDeadline(time.Now()) })() // a client that reads nothing does not hold up the end
	sub, err := s.subscribe(ctx)
	if err != nil {
		h.refuse(w, requestID(r), err)
		return
	}
	defer sub.Close()
	head := w.Header()
	head.Set("Content-Type", "text/event-stream")
	head.Set("Cache-Control", "no-store")
	head.Set("X-Accel-Buffering", "no")
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("X-Request-Id", requestID(r))
	w.WriteHeader(http.StatusOK)
	// The position comes first: a client that is cut off before anything happens misses nothing.
	fmt.Fprintf(&s.buf, "id: %d\nretry: 1000\n: from here\n\n", sub.Position().Seq)
	s.run(ctx, sub)
}

// subscribe reads what to follow, and whether the caller may.
func (s *stream) subscribe(ctx context.Context) (*Subscription, error) {
	visible, err := s.right(ctx) // first: strangers hear of no mistake but that one
	if err != nil {
		return nil, err
	}
	req, err := s.request()
	if err != nil {
		return nil, err
	}
	req.Visible = visible
	return s.h.g.live.Subscribe(ctx, req)
}

// request is what the query asks for.
func (s *stream) request() (LiveRequest, error) {
	values := s.r.URL.Query()
	if err := known(values, streamParams); err != nil {
		return LiveRequest{}, err
	}
	f, err := filter(values)
	if err != nil {
		return LiveRequest{}, err
	}
	req := LiveRequest{transport: TransportSSE, Org: s.org, Filter: f, Progress: values.Get("progress") != "off", Notices: values.Get("notices") == "on"}
	if v := values.Get("scope"); v != "" && v != "own" {
		return req, badField("scope", fmt.Errorf("%q is unknown: use own, or leave it out", v))
	}
	if name := s.r.PathValue("name"); name != "" {
		if err := schemas.CheckToken("job id", name); err != nil {
			return req, badField("id", err)
		}
		req.Jobs = []schemas.JobID{schemas.JobID(name)}
	}
	if after := cmp.Or(s.r.Header.Get("Last-Event-ID"), values.Get("after")); after != "" {
		seq, err := schemas.ParseSeq(after)
		if err != nil {
			return req, badField("after", err)
		}
		req.After = &seq
	}
	return req, nil
}

// caller says whom the client is taken for now, and how far he may listen.
func (s *stream) caller(ctx context.Context) (*rights.Principal, rights.Reach, error) {
	ctx, err := s.h.enter(s.r.WithContext(ctx))
	if err != nil {
		return nil, rights.None, err
	}
	p, org := caller(ctx), cmp.Or(s.org, cellOrg)
	reach := rights.Decide(p, rights.JobsWatch, org)
	if reach == rights.None || s.org == "" && reach != rights.All {
		return p, reach, denied(p, rights.JobsWatch, org)
	}
	return p, reach, nil
}

// right says which jobs the client may hear of; nil: all that was asked for.
func (s *stream) right(ctx context.Context) (visible func(*ledger.Record) bool, err error) {
	p, reach, err := s.caller(ctx)
	name := s.r.PathValue("name")
	if name != "" && p != nil {
		in := &request{org: s.org, name: name}
		if err = in.check(); err == nil {
			err = s.h.g.authorizeJob(ctx, p, rights.JobsWatch, reach, in) // one that he may not see is not there
		}
	}
	if err != nil {
		return nil, err
	}
	s.reach = reach
	if s.r.URL.Query().Get("scope") == "own" {
		reach = rights.Own
	}
	return within(p, reach), nil
}

// stands reports whether the right with which the stream began is there still. Where that cannot be found out it is.
func (s *stream) stands(ctx context.Context) bool {
	_, reach, err := s.caller(ctx)
	if err != nil {
		return ledger.AsError(err).Code == ledger.CodeUnavailable
	}
	return reach == s.reach
}

// run writes what comes, until the client, the server or the right to it goes.
func (s *stream) run(ctx context.Context, sub *Subscription) {
	pace := time.NewTimer(streamEvery)
	defer pace.Stop()
	checked := time.Now()
	var told []*LiveEvent // what is written next
	for {
		if s.flush() != nil {
			return
		}
		sub.delivered(told)
		wait, cancel := context.WithTimeout(ctx, streamCheck)
		events, err := sub.Next(wait)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if time.Since(checked) >= streamCheck {
			if !s.stands(ctx) {
				return
			}
			checked = time.Now()
		}
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			s.end(err)
			return
		}
		for _, ev := range events {
			s.add(ev)
		}
		told = events
		if len(events) == 0 && time.Since(s.said) >= streamPing {
			fmt.Fprintf(&s.buf, "id: %d\n: ping\n\n", sub.Position().Seq)
		}
		if len(events) > 0 && !s.rest(ctx, pace) {
			return
		}
	}
}

// rest waits out the pace, so that what comes meanwhile is written together.
func (s *stream) rest(ctx context.Context, pace *time.Timer) bool {
	pace.Reset(max(0, streamEvery-time.Since(s.said)))
	select {
	case <-pace.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// add puts one event into what is to be written.
func (s *stream) add(ev *LiveEvent) {
	data, err := json.Marshal(ev)
	if err != nil {
		return // no event is of a kind that JSON has not
	}
	if ev.Seq != nil {
		s.buf.WriteString("id: ")
		s.buf.WriteString(strconv.FormatUint(uint64(*ev.Seq), 10))
		s.buf.WriteByte('\n')
	}
	s.buf.WriteString("event: ")
	s.buf.WriteString(string(ev.Push))
	s.buf.WriteString("\ndata: ")
	s.buf.Write(data)
	s.buf.WriteString("\n\n")
}

// end tells the client why nothing more comes.
func (s *stream) end(err error) {
	fmt.Fprintf(&s.buf, "event: error\ndata: %s\n\n", errorBody(requestID(s.r), ledger.AsError(err)))
	_ = s.flush() // the stream ends in any case
}

func (s *stream) flush() error {
	if s.buf.Len() == 0 {
		return nil
	}
	writeUntil(s.ctx, s.to)
	_, err := s.w.Write(s.buf.Bytes())
	s.buf.Reset()
	s.said = time.Now()
	return errors.Join(err, s.to.Flush())
}

// writeUntil bounds the next write of an answer that ctx ends: without it a client that reads nothing is held by the server's own
// bound.
func writeUntil(ctx context.Context, to *http.ResponseController) {
	_ = to.SetWriteDeadline(time.Now().Add(streamWrite))
	if ctx.Err() != nil { // it ended just now, and its own deadline was overwritten
		_ = to.SetWriteDeadline(time.Now())
	}
}
