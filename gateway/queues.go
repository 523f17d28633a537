package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Queue is an isolation class: what waits in it, who works on it, and its limits (R-331..R-334). What can be set with
// a SetRequest are the fields of Limits, and description and owner.
type Queue struct {
	Name        schemas.QueueName `json:"name"`
	Description string            `json:"description"`
	Owner       *schemas.OrgID    `json:"owner"`  // the one org that may use it; null: all
	Paused      bool              `json:"paused"` // some hold stands on it, alone or with all others
	Holds       []Hold            `json:"holds"`
	Workers     int               `json:"workers"`
	Slots       int               `json:"slots"`
	Busy        int               `json:"busy"`
	Waiting     int64             `json:"waiting"` // submitted: for a slot, a limit, a time, a parent
	Queued      int64             `json:"queued"`
	Running     int64             `json:"running"`
	Retrying    int64             `json:"retrying"`
	Mine        QueueShare        `json:"of_org"`       // of the asking org
	OldestAgeS  *float64          `json:"oldest_age_s"` // of the asking org's waiting jobs; null in a list, or where none waits
	// Depth is how many of the asking org's jobs waited in the last hour, by minute; null in a list.
	Depth  []DepthPoint          `json:"depth"`
	Limits schemas.QueueSettings `json:"limits"`
	SettingAuthor
}

// QueueShare is what one org has in a queue.
type QueueShare struct {
	Waiting  int64 `json:"waiting"`
	Queued   int64 `json:"queued"`
	Running  int64 `json:"running"`
	Retrying int64 `json:"retrying"`
}

// Queues are all queues that were set, are served, are named by a type or have jobs, by name.
type Queues struct {
	Items   []Queue     `json:"items"`
	Next    *string     `json:"next"`
	AsOfSeq schemas.Seq `json:"as_of_seq"`
}

// Resource is a named thing that jobs share.
type Resource struct {
	schemas.ResourceSettings
	SettingAuthor
}

// Resources are all that were set, by name. One that was not has no limits.
type Resources struct {
	Items []Resource `json:"items"`
	Next  *string    `json:"next"`
}

// overview collects what is known of queues.
type overview struct {
	queues map[schemas.QueueName]*Queue
	asOf   schemas.Seq
}

func (o *overview) queue(name schemas.QueueName) *Queue {
	q := o.queues[name]
	if q == nil {
		q = &Queue{Name: name, Holds: []Hold{}, Limits: schemas.QueueSettings{Name: name}}
		o.queues[name] = q
	}
	return q
}

// overview reads settings, types, counts, workers and holds of all queues.
func (g *Gateway) overview(ctx context.Context, org schemas.OrgID) (*overview, error) {
	o := &overview{queues: map[schemas.QueueName]*Queue{}}
	set, err := g.l.Settings(ctx, ledger.KindQueue)
	if err != nil {
		return nil, err
	}
	for _, e := range set {
		s := e.Data.(*schemas.QueueSet).Settings
		o.queue(s.Name).settings(&s, authorOf(e))
	}
	types, err := g.l.Types(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range types {
		o.queue(cmp.Or(t.Queue, schemas.QueueDefault))
	}
	counts, asOf, err := g.views.counts(ctx, "")
	if err != nil {
		return nil, err
	}
	o.asOf = asOf
	for k, c := range counts {
		if c.Unfinished() > 0 {
			o.queue(k.Queue).count(&c, k.Org == org)
		}
	}
	err = g.presences(ctx, ledger.PresenceKeys, o.worker)
	if err != nil && ledger.AsError(err).Code != ledger.CodeUnavailable {
		return nil, err // a LIVE that is away knows of nobody
	}
	holds, err := g.holds(ctx)
	if err != nil {
		return nil, err
	}
	for _, h := range holds {
		o.hold(h)
	}
	return o, nil
}

// settings takes over what is set.
func (q *Queue) settings(s *schemas.QueueSettings, by SettingAuthor) {
	q.Limits, q.Description, q.SettingAuthor = *s, s.Description, by
	q.Owner = nil
	if s.Owner != "" {
		q.Owner = &s.Owner
	}
}

func (q *Queue) count(c *ledger.Count, mine bool) {
	q.Waiting, q.Queued, q.Running, q.Retrying = q.Waiting+c.Submitted, q.Queued+c.Queued, q.Running+c.Running, q.Retrying+c.Retrying
	if mine {
		m := &q.Mine
		m.Waiting, m.Queued, m.Running, m.Retrying = m.Waiting+c.Submitted, m.Queued+c.Queued, m.Running+c.Running, m.Retrying+c.Retrying
	}
}

// worker adds a live worker to the queues that it serves; its slots are all of theirs.
func (o *overview) worker(p *ledger.Presence) {
	var served []schemas.QueueName
	for _, s := range p.Serves {
		if !slices.Contains(served, s.Queue) {
			served = append(served, s.Queue)
		}
	}
	for _, name := range served {
		q := o.queue(name)
		q.Workers, q.Slots, q.Busy = q.Workers+1, q.Slots+p.Slots, q.Busy+p.Busy
	}
}

// hold shows a hold at every queue in which it can hold a job. It pauses the queue if it holds all of its jobs.
func (o *overview) hold(h Hold) {
	for _, q := range o.queues {
		if h.Scope.Queue != "" && h.Scope.Queue != q.Name {
			continue
		}
		q.Holds = append(q.Holds, h)
		rest := h.Scope
		rest.Queue = ""
		q.Paused = q.Paused || rest == schemas.HoldScope{}
	}
}

func (g *Gateway) queueList(ctx context.Context, r *request) ([]byte, error) {
	o, err := g.overview(ctx, r.org)
	if err != nil {
		return nil, err
	}
	reply := Queues{Items: []Queue{}, AsOfSeq: o.asOf}
	for _, name := range slices.Sorted(maps.Keys(o.queues)) {
		reply.Items = append(reply.Items, *o.queues[name])
	}
	return json.Marshal(&reply)
}

func (g *Gateway) queueInfo(ctx context.Context, r *request) ([]byte, error) {
	o, err := g.overview(ctx, r.org)
	if err != nil {
		return nil, err
	}
	q := o.queues[schemas.QueueName(r.name)]
	if q == nil {
		return nil, ledger.Errorf(ledger.CodeNotFound, "there is no queue %s: `jobledger queue ls` shows those that there are", r.name)
	}
	if q.Mine.Waiting > 0 {
		if err := g.oldest(ctx, r.org, q); err != nil {
			return nil, err
		}
	}
	if q.Depth, err = g.depth(ctx, r.org, q.Name); err != nil {
		g.log.Warn("a queue is told without its depth over time", zap.Error(err)) // the views may be folded anew just now
	}
	return json.Marshal(q)
}

// oldest finds the asking org's longest waiting job of a queue.
func (g *Gateway) oldest(ctx context.Context, org schemas.OrgID, q *Queue) error {
	now := time.Now()
	v, err := g.viewsAt(ctx, 0, false)
	if err != nil {
		return err
	}
	waiting := Filter{Queue: []schemas.QueueName{q.Name}, State: []schemas.State{schemas.StateSubmitted}}
	_, err = v.jobs(ctx, org, &waiting, now, 0, func(r ledger.Record) {
		if age := now.Sub(r.SubmittedAt).Seconds(); q.OldestAgeS == nil || age > *q.OldestAgeS {
			q.OldestAgeS = &age
		}
	})
	return err
}

func (g *Gateway) queueSet(ctx context.Context, r *request) ([]byte, error) {
	e, err := change(ctx, g, queues, r.name, r)
	if err != nil {
		return nil, err
	}
	q := Queue{Name: schemas.QueueName(r.name), Holds: []Hold{}}
	s := e.Data.(*schemas.QueueSet).Settings
	q.settings(&s, authorOf(e))
	return json.Marshal(&q)
}

func resourceEntry(e *ledger.Entry) Resource {
	return Resource{ResourceSettings: e.Data.(*schemas.ResourceSet).Settings, SettingAuthor: authorOf(e)}
}

func (g *Gateway) resourceList(ctx context.Context, _ *request) ([]byte, error) {
	all, err := g.l.Settings(ctx, ledger.KindResource)
	if err != nil {
		return nil, err
	}
	reply := Resources{Items: make([]Resource, 0, len(all))}
	for _, e := range all {
		reply.Items = append(reply.Items, resourceEntry(e))
	}
	return json.Marshal(&reply)
}

func (g *Gateway) resourceInfo(ctx context.Context, r *request) ([]byte, error) {
	e, err := g.l.Setting(ctx, ledger.KindResource, r.name)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return nil, neverSet(ledger.KindResource, r.name)
	}
	return json.Marshal(resourceEntry(e))
}

func (g *Gateway) resourceSet(ctx context.Context, r *request) ([]byte, error) {
	e, err := change(ctx, g, resources, r.name, r)
	if err != nil {
		return nil, err
	}
	return json.Marshal(resourceEntry(e))
}

// Queues returns all queues.
func (c *Client) Queues(ctx context.Context) (*Queues, error) {
	return ask[Queues](ctx, c, "queue.ls", nil)
}

// Queue returns one queue; not_found if nobody knows it.
func (c *Client) Queue(ctx context.Context, name schemas.QueueName) (*Queue, error) {
	return ask[Queue](ctx, c, "queue.info."+string(name), nil)
}

// SetQueue adds or changes a queue. The reply holds its settings, not its load.
func (c *Client) SetQueue(ctx context.Context, name schemas.QueueName, r SetRequest) (*Queue, error) {
	return ask[Queue](ctx, c, "queue.set."+string(name), r)
}

// QueueHistory returns all settings that a queue ever had.
func (c *Client) QueueHistory(ctx context.Context, name schemas.QueueName) (*SettingHistory, error) {
	return ask[SettingHistory](ctx, c, "queue.history."+string(name), nil)
}

// Resources returns all resources that were set.
func (c *Client) Resources(ctx context.Context) (*Resources, error) {
	return ask[Resources](ctx, c, "resource.ls", nil)
}

// Resource returns one resource; not_found if it was never set.
func (c *Client) Resource(ctx context.Context, name string) (*Resource, error) {
	return ask[Resource](ctx, c, "resource.info."+name, nil)
}

// SetResource adds or changes a resource.
func (c *Client) SetResource(ctx context.Context, name string, r SetRequest) (*Resource, error) {
	return ask[Resource](ctx, c, "resource.set."+name, r)
}

// ResourceHistory returns all settings that a resource ever had.
func (c *Client) ResourceHistory(ctx context.Context, name string) (*SettingHistory, error) {
	return ask[SettingHistory](ctx, c, "resource.history."+name, nil)
}
