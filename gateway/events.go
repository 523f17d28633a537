package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/gateway/rights"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// eventsBytes is how much one reply holds, roughly.
	eventsBytes = 512 << 10
	// watchStep is how long a watch's request is held by the server, and watchSlack is added for the way there and back:
	// after so long a server that died has cost a watch its time.
	watchStep  = 10 * time.Second
	watchSlack = 2 * time.Second
)

// EventsRequest asks for what happens in the org behind a position, and waits for it, TimeoutMS at most, WaitMax if that
// is 0. Without After it asks where the ledger is now, at once. Each request stands alone: any server answers it.
type EventsRequest struct {
	Filter
	Jobs          []schemas.JobID `json:"jobs,omitempty"`
	After         *schemas.Seq    `json:"after,omitempty"`
	AfterID       schemas.EventID `json:"after_id,omitempty"`
	Notices       bool            `json:"notices,omitempty"` // ends of jobs alone, as job_finished
	Progress      bool            `json:"progress,omitempty"`
	ProgressAfter string          `json:"progress_after,omitempty"`
	TimeoutMS     schemas.Millis  `json:"timeout_ms,omitempty"`
}

// Events are those behind the position asked for, in order, none left out, and progress. The next request is for those
// behind Seq and EventID, and ProgressMark.
type Events struct {
	Items        []*LiveEvent    `json:"items"`
	Seq          schemas.Seq     `json:"seq"`
	EventID      schemas.EventID `json:"event_id"`
	ProgressMark string          `json:"progress_mark"`
}

func (g *Gateway) events(ctx context.Context, r *request) ([]byte, error) {
	var req EventsRequest
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	limit := req.TimeoutMS.Duration()
	if limit <= 0 || limit > WaitMax {
		limit = WaitMax
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	s, err := g.live.Subscribe(ctx, LiveRequest{Org: r.org, Jobs: req.Jobs, Filter: req.Filter, After: req.After, AfterID: req.AfterID,
		Notices: req.Notices, Progress: req.Progress, ProgressAfter: req.ProgressAfter, Visible: visible(ctx, r.org), transport: TransportNATS})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if req.After == nil {
		return s.page(nil)
	}
	items, err := s.Next(ctx)
	if err != nil && ctx.Err() == nil {
		return nil, err
	}
	return s.page(items)
}

// visible says which jobs of the org the caller may follow; nil: all of them.
func visible(ctx context.Context, org schemas.OrgID) func(*ledger.Record) bool {
	p := caller(ctx)
	if p == nil {
		return nil
	}
	return within(p, rights.Decide(p, rights.JobsWatch, org))
}

// page is the reply with as many of the items as fit; the others are asked for again.
func (s *Subscription) page(items []*LiveEvent) ([]byte, error) {
	at, told := s.pos, len(items)
	var page bytes.Buffer
	page.WriteString(`{"items":[`)
	for i, item := range items {
		body, err := json.Marshal(item)
		if err != nil {
			return nil, err
		}
		if i > 0 && page.Len()+len(body) > eventsBytes {
			if item.Seq != nil { // progress has no position and is asked for by its mark, which is behind it: it may be missed
				at = schemas.Position{Seq: *items[i-1].Seq, ID: *items[i-1].EventID}
			}
			told = i
			break
		}
		if i > 0 {
			page.WriteByte(',')
		}
		page.Write(body)
	}
	rest, err := json.Marshal(Events{Seq: at.Seq, EventID: at.ID, ProgressMark: s.ProgressMark()})
	if err != nil {
		return nil, err
	}
	s.delivered(items[:told])
	page.WriteString(`],`)
	page.Write(bytes.TrimPrefix(rest, []byte(`{"items":null,`)))
	return page.Bytes(), nil
}

// WatchRequest says what to follow of the client's org.
type WatchRequest struct {
	Filter
	// Jobs, if there are any, are the only ones to tell of.
	Jobs []schemas.JobID
	// After is the position behind which to begin, the Position of an earlier watch; 0: from now on.
	After schemas.Position
	// NoProgress leaves out what running attempts report.
	NoProgress bool
	// Began, if set, is called with where the watch begins: everything behind it is told. Its error ends the watch.
	Began func(schemas.Position) error
}

// Watch calls fn for each event that matches, in order, none left out and none twice, and for what running attempts
// report, merged to the latest, until ctx ends or fn returns an error, which it returns. It goes on by itself where it
// was over lost connections and restarts of servers. It asks the service and so needs no connection in the ledger's
// account.
//
// Where events were lost, because nobody could ask for longer than a server remembers, the error is position_expired.
func (c *Client) Watch(ctx context.Context, r WatchRequest, fn func(*LiveEvent) error) error {
	w := clientWatch{c: c, fn: fn, seen: make(map[schemas.JobID]progressSeen), req: EventsRequest{Filter: r.sent(), Jobs: r.Jobs,
		AfterID: r.After.ID, Progress: !r.NoProgress}}
	if r.After.Seq > 0 {
		w.req.After = &r.After.Seq
	}
	for begun := false; ; {
		page, err := w.ask(ctx, begun)
		if err != nil {
			return err
		}
		if page == nil {
			continue
		}
		if !begun && r.Began != nil {
			at := schemas.Position{Seq: page.Seq, ID: page.EventID}
			if r.After.Seq > 0 {
				at = r.After
			}
			if err := r.Began(at); err != nil {
				return err
			}
		}
		w.req.After, w.req.AfterID, w.req.ProgressAfter, begun = &page.Seq, page.EventID, page.ProgressMark, true
		for _, ev := range page.Items {
			if err := w.tell(ev); err != nil {
				return err
			}
		}
	}
}

// clientWatch is one call of Client.Watch.
type clientWatch struct {
	c    *Client
	req  EventsRequest
	fn   func(*LiveEvent) error
	seen map[schemas.JobID]progressSeen
}

// progressSeen is the latest progress of a job that was told.
type progressSeen struct {
	fence schemas.Seq
	n     uint64
}

// ask makes one request; nil if nobody answered, which may pass.
func (w *clientWatch) ask(ctx context.Context, begun bool) (*Events, error) {
	w.req.TimeoutMS = schemas.MillisOf(watchStep)
	try, cancel := context.WithTimeout(ctx, watchStep+watchSlack)
	defer cancel()
	defer w.whileConnected(try, cancel)()
	page := new(Events)
	err := w.c.request(try, "events", nil, w.req, page)
	switch {
	case err == nil:
		return page, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case ledger.AsError(err).Code != ledger.CodeUnavailable, !begun && nothingStored(ledger.AsError(err)):
		return nil, err
	case w.c.Conn.IsClosed():
		return nil, err
	}
	pause(ctx, retryPause)
	return nil, nil
}

// whileConnected cancels once the connection is cut, until the function it returns is called: what was asked on it is not
// answered any more.
func (w *clientWatch) whileConnected(ctx context.Context, cancel func()) (stop func()) {
	cut := w.c.Conn.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	go func() {
		select {
		case <-cut:
			cancel()
		case <-ctx.Done():
		}
	}()
	return func() { w.c.Conn.RemoveStatusListener(cut) }
}

// tell hands an event on, unless it is progress that was told, perhaps by another server.
func (w *clientWatch) tell(ev *LiveEvent) error {
	switch ev.Push {
	case PushReset:
		return expired("events up to %d were lost: the watch was too slow", *ev.Seq)
	case PushProgress:
		seen := w.seen[*ev.ID]
		if *ev.Fence < seen.fence || *ev.Fence == seen.fence && ev.N <= seen.n {
			return nil
		}
		if len(w.seen) >= liveProgressMax {
			clear(w.seen)
		}
		w.seen[*ev.ID] = progressSeen{*ev.Fence, ev.N}
	}
	return w.fn(ev)
}
