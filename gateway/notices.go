package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dartwing/jobledger/gateway/rights"
	"github.com/dartwing/jobledger/internal/where"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Bounds of notices. A notice is not stored: it is the end of a job, as the job's own record tells it, so that none can be
// lost and none costs a write. What is stored is how far each owner has read.
const (
	// NoticesMax is how many notices an owner has: those of the jobs that ended last.
	NoticesMax = 1000
	// NoticesAge is after how long a notice expires.
	NoticesAge = 30 * 24 * time.Hour
)

// noticesAges are tried in turn: of an owner of very many jobs those of a shorter time are told.
var noticesAges = []time.Duration{NoticesAge, 24 * time.Hour, time.Hour}

// NoticesRequest asks for an owner's notices, the latest first.
type NoticesRequest struct {
	// Owner is whose; empty: the caller's own. Of others only who may follow all jobs of the org is told.
	Owner  string `json:"owner,omitempty"`
	Unread bool   `json:"unread,omitempty"` // only those that were not read
	Limit  int    `json:"limit,omitempty"`  // LimitDefault if 0
	Cursor string `json:"cursor,omitempty"`
	// MinSeq waits until the notices include what was stored up to this sequence.
	MinSeq schemas.Seq `json:"min_seq,omitempty"`
}

// Notice tells an owner that a job of his has ended. A job has one: of its latest end.
type Notice struct {
	ID         schemas.JobID    `json:"id"`
	Type       schemas.TypeName `json:"type"`
	Generation int              `json:"generation"`
	State      schemas.State    `json:"state"`  // completed, canceled or dead_lettered
	Reason     *string          `json:"reason"` // of what was canceled or dead-lettered
	Error      *LiveError       `json:"error"`  // of the latest attempt that failed
	FinishedAt time.Time        `json:"finished_at"`
	Read       bool             `json:"read"`
	Result     *string          `json:"result"` // the path of a completed job's result over HTTP

	seq schemas.Seq
}

// Notices is a page of them.
type Notices struct {
	Owner       string      `json:"owner"`
	Items       []Notice    `json:"items"`
	Next        *string     `json:"next"`
	Unread      int         `json:"unread"`       // among all that are told, on this page or another
	ReadThrough *time.Time  `json:"read_through"` // those of jobs that ended then or before are read
	Since       time.Time   `json:"since"`        // those of jobs that ended before are not told any more
	AsOfSeq     schemas.Seq `json:"as_of_seq"`
}

// ReadNoticesRequest notes that the caller has read his notices.
type ReadNoticesRequest struct {
	Owner string `json:"owner,omitempty"` // needed in the cell's own account alone, where nobody is
	// Through is the finished_at of the latest notice that was read; empty: all that are there now.
	Through *time.Time `json:"through,omitempty"`
}

// ReadNoticesReply says how far they are read.
type ReadNoticesReply struct {
	Owner       string     `json:"owner"`
	ReadThrough *time.Time `json:"read_through"` // null: there is none to read
}

// noticesOwner is whose notices are asked for.
func (g *Gateway) noticesOwner(ctx context.Context, org schemas.OrgID, asked string, own bool) (string, error) {
	p := caller(ctx)
	switch {
	case p == nil && asked == "":
		return "", badField("owner", errors.New("an owner is required, such as user:ada: here everybody is the cell's operator"))
	case p == nil:
	case asked == "" || asked == p.Actor.String():
		return p.Actor.String(), nil
	case own || !rights.Decide(p, rights.JobsWatch, org).Whole():
		return "", denied(p, rights.JobsWatch, org)
	}
	if _, err := schemas.ParseActor(asked); err != nil {
		return "", badField("owner", err)
	}
	return asked, nil
}

// notices answers an owner's.
func (g *Gateway) notices(ctx context.Context, r *request) ([]byte, error) {
	req := NoticesRequest{Limit: LimitDefault}
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	if req.Limit < 1 || req.Limit > LimitMax {
		return nil, badField("limit", fmt.Errorf("%d is outside 1 to %d", req.Limit, LimitMax))
	}
	behind, err := parsePlace(req.Cursor)
	if err != nil {
		return nil, badField("cursor", err)
	}
	owner, err := g.noticesOwner(ctx, r.org, req.Owner, false)
	if err != nil {
		return nil, err
	}
	all, err := g.noticesOf(ctx, r.org, owner, req.MinSeq)
	if err != nil {
		return nil, err
	}
	items := all.Items
	all.Items = []Notice{}
	for _, n := range items {
		if !behind.before(n.place()) || req.Unread && n.Read {
			continue
		}
		if len(all.Items) == req.Limit {
			next := all.Items[req.Limit-1].place().String()
			all.Next = &next
			break
		}
		all.Items = append(all.Items, n)
	}
	return json.Marshal(all)
}

// place orders notices: the latest end first.
func (n *Notice) place() place { return place{key: -n.FinishedAt.UnixNano(), seq: n.seq} }

// noticesOf is all of an owner's notices.
func (g *Gateway) noticesOf(ctx context.Context, org schemas.OrgID, owner string, minSeq schemas.Seq) (*Notices, error) {
	through, err := g.l.NoticesReadThrough(ctx, org, owner)
	if err != nil {
		return nil, err
	}
	v, err := g.viewsAt(ctx, minSeq, false)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	out := &Notices{Owner: owner}
	if !through.IsZero() {
		out.ReadThrough = &through
	}
	for _, age := range noticesAges {
		out.Since = now.Add(-age).UTC()
		f := Filter{Owner: []string{owner}, State: []schemas.State{schemas.StateCompleted, schemas.StateCanceled, schemas.StateDeadLettered}}
		f.where.Terms = []where.Term{{Field: where.FieldFinished, Values: []where.Value{{Op: where.OpRange, Low: where.Bound{Set: true, N: out.Since.UnixNano()}}}}}
		latest := foremost[Notice]{keep: NoticesMax, before: func(a, b *Notice) bool { return a.place().before(b.place()) }}
		out.AsOfSeq, err = v.jobs(ctx, org, &f, now, sortRowsMax, func(r ledger.Record) { latest.add(noticeOf(&r, through)) })
		if errors.Is(err, errTooMany) {
			continue
		}
		if out.Items = latest.sorted(); len(out.Items) == NoticesMax {
			out.Since = out.Items[NoticesMax-1].FinishedAt
		}
		for i := range out.Items {
			if !out.Items[i].Read {
				out.Unread++
			}
		}
		return out, err
	}
	return nil, ledger.Errorf(ledger.CodeUnavailable, "%s has had more than about %d jobs within %s: follow them live instead", owner, sortRowsMax, noticesAges[len(noticesAges)-1])
}

func noticeOf(r *ledger.Record, through time.Time) Notice {
	n := Notice{ID: r.ID, Type: r.Type, Generation: r.Generation, State: r.State, Reason: r.Reason, FinishedAt: *r.FinishedAt, seq: r.SubmittedSeq,
		Read: !r.FinishedAt.After(through)}
	if e := r.Error; e != nil && r.State != schemas.StateCompleted {
		n.Error = &LiveError{Class: e.Class, Code: deref(e.Code), Message: cut(e.Message, liveErrorMax)}
	}
	if r.State == schemas.StateCompleted {
		path := resultPath(r.Org, r.ID)
		n.Result = &path
	}
	return n
}

func resultPath(org schemas.OrgID, id schemas.JobID) string {
	return "/v1/orgs/" + string(org) + "/jobs/" + string(id) + "/result"
}

// readNotices notes how far the caller has read. It is the owner's own act.
func (g *Gateway) readNotices(ctx context.Context, r *request) ([]byte, error) {
	var req ReadNoticesRequest
	if err := r.decodeStrictly(&req); err != nil {
		return nil, err
	}
	owner, err := g.noticesOwner(ctx, r.org, req.Owner, true)
	if err != nil {
		return nil, err
	}
	all, err := g.noticesOf(ctx, r.org, owner, 0)
	if err != nil {
		return nil, err
	}
	reply := ReadNoticesReply{Owner: owner, ReadThrough: all.ReadThrough}
	// Read is what was there to be read: a time between two notices, or ahead of all, marks none that is yet to come, and where
	// none is marked nothing is stored.
	i := slices.IndexFunc(all.Items, func(n Notice) bool { return req.Through == nil || !n.FinishedAt.After(*req.Through) })
	if i < 0 || all.Items[i].Read {
		return json.Marshal(&reply)
	}
	at, err := g.l.ReadNotices(ctx, r.org, owner, all.Items[i].FinishedAt, ledger.Meta{Actor: g.actor(ctx), CausationID: r.id})
	if err != nil {
		return nil, err
	}
	reply.ReadThrough = &at
	return json.Marshal(&reply)
}
