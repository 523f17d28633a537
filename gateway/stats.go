package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// StatsRequest asks what happened lately to the org's jobs, of these types and queues alone if there are any.
type StatsRequest struct {
	Type  []schemas.TypeName  `json:"type,omitempty"`
	Queue []schemas.QueueName `json:"queue,omitempty"`
}

// StatsReply are the org's figures, all of them from one fold of its events. A time is the beginning of its minute,
// hour or day, of UTC; the newest is not over.
type StatsReply struct {
	AsOfSeq schemas.Seq `json:"as_of_seq"`
	Time    time.Time   `json:"time"`
	Items   []TypeStats `json:"items"` // by type
	Minutes []StatPoint `json:"minutes"`
	Hours   []StatPoint `json:"hours"`
	Days    []StatPoint `json:"days"`
	// Partial: some of it is not counted: there are more types and orgs than statistics are kept of, or they began lately.
	Partial bool `json:"partial"`
}

// StatPoint is what happened in a minute, an hour or a day, and how many jobs waited at its end.
type StatPoint struct {
	Time         time.Time `json:"time"`
	Submitted    int64     `json:"submitted"`
	Started      int64     `json:"started"`
	Ended        int64     `json:"ended"` // attempts, but for canceled and released ones
	Failed       int64     `json:"failed"`
	Completed    int64     `json:"completed"`
	DeadLettered int64     `json:"dead_lettered"`
	Waiting      int64     `json:"waiting"`
	WaitingMax   int64     `json:"waiting_max"` // no more waited at any moment of it
}

// TypeStats are the figures of a type in the org. Durations are of what ended in the last hour, in steps of ten minutes
// and off by 9 % at most; null where nothing did.
type TypeStats struct {
	Type    schemas.TypeName `json:"type"`
	P50MS   *float64         `json:"p50_ms"` // of completed attempts, as the next three
	P95MS   *float64         `json:"p95_ms"`
	P99MS   *float64         `json:"p99_ms"`
	AvgMS   *float64         `json:"avg_ms"`
	Samples int64            `json:"samples"`
	Wait    Durations        `json:"wait"`  // of first attempts, from when the job could run; not of jobs with parents
	Total   Durations        `json:"total"` // from submitted to the end
	// FailureRate is that of the attempts that ended in 24 h; null where none did.
	FailureRate *float64     `json:"failure_rate"`
	Failures    FailureRates `json:"failures"`
}

// Durations are quantiles.
type Durations struct {
	P50MS   *float64 `json:"p50_ms"`
	P95MS   *float64 `json:"p95_ms"`
	P99MS   *float64 `json:"p99_ms"`
	AvgMS   *float64 `json:"avg_ms"`
	Samples int64    `json:"samples"`
}

// FailureRates are of the last minute, hour, 24 hours and 30 days, that which is not over included.
type FailureRates struct {
	Minute FailureRate `json:"1m"`
	Hour   FailureRate `json:"1h"`
	Day    FailureRate `json:"24h"`
	Month  FailureRate `json:"30d"`
}

// FailureRate counts attempts and dead letters apart.
type FailureRate struct {
	Ended        int64    `json:"ended"`
	Failed       int64    `json:"failed"`
	Rate         *float64 `json:"rate"`
	DeadLettered int64    `json:"dead_lettered"`
}

// UsageRequest asks what the org used from one day to another, both included, of UTC. The zero value asks for this month.
type UsageRequest struct {
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
}

// Usage is what an org used. Days are whole; those before ledger.StatDays are not kept.
type Usage struct {
	Org        schemas.OrgID `json:"org"`
	From       time.Time     `json:"from"`
	To         time.Time     `json:"to"` // behind the last day
	Submitted  int64         `json:"submitted"`
	Completed  int64         `json:"completed"`
	Attempts   int64         `json:"attempts"`    // that began
	RunSeconds float64       `json:"run_seconds"` // by the workers' clocks; what a lost attempt ran nobody knows
	BytesIn    int64         `json:"bytes_in"`    // args
	BytesOut   int64         `json:"bytes_out"`   // results
	AsOfSeq    schemas.Seq   `json:"as_of_seq"`
	Partial    bool          `json:"partial"` // as of StatsReply
}

// figures are counters with their statistics.
type figures struct {
	docs    []ledger.CountDocument
	seq     schemas.Seq
	partial bool
}

// figures reads the org's counters, of a type alone if one is given.
func (g *Gateway) figures(ctx context.Context, org schemas.OrgID, typ string, want func(*ledger.CountDocument) bool) (*figures, error) {
	v := &kvViews{l: g.l}
	kv, err := v.bucket(ctx, ledger.BucketCounts)
	if err != nil {
		return nil, err
	}
	all, err := v.all(ctx, kv)
	if err != nil {
		return nil, err
	}
	f := &figures{seq: all.Seq}
	err = scan(ctx, kv, string(org)+".*."+typ, func(body []byte) error {
		var doc ledger.CountDocument
		if err := json.Unmarshal(body, &doc); err != nil {
			return err
		}
		if want == nil || want(&doc) {
			f.partial = f.partial || doc.Stats == nil || doc.Stats.After > 0
			if doc.Stats == nil {
				doc.Stats = new(ledger.Stats)
			}
			f.docs = append(f.docs, doc)
		}
		return nil
	})
	return f, err
}

func (g *Gateway) stats(ctx context.Context, r *request) ([]byte, error) {
	var req StatsRequest
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	f, err := g.figures(ctx, r.org, "*", func(d *ledger.CountDocument) bool { return anyOf(req.Type, d.Type) && anyOf(req.Queue, d.Queue) })
	if err != nil {
		return nil, err
	}
	now := time.Now().UTC()
	reply := StatsReply{AsOfSeq: f.seq, Time: now, Items: []TypeStats{}, Partial: f.partial}
	byType := map[schemas.TypeName][]ledger.CountDocument{}
	for _, d := range f.docs {
		byType[d.Type] = append(byType[d.Type], d)
	}
	for typ, docs := range byType {
		reply.Items = append(reply.Items, typeStats(typ, docs, now))
	}
	slices.SortFunc(reply.Items, func(a, b TypeStats) int { return strings.Compare(string(a.Type), string(b.Type)) })
	reply.Minutes, reply.Hours, reply.Days = f.points(minutes, now), f.points(hours, now), f.points(days, now)
	return json.Marshal(&reply)
}

// typeFigures are those of one type in an org; nil where there are none.
func (g *Gateway) typeFigures(ctx context.Context, org schemas.OrgID, typ schemas.TypeName) (*TypeStats, error) {
	if schemas.CheckToken("org", string(org)) != nil {
		return nil, nil // asked over HTTP without an org: of no org in particular
	}
	f, err := g.figures(ctx, org, string(typ), nil)
	if err != nil || len(f.docs) == 0 {
		return nil, err
	}
	s := typeStats(typ, f.docs, time.Now())
	return &s, nil
}

// DepthPoint is how many of the org's jobs waited at the end of a minute, and at most in it.
type DepthPoint struct {
	Time       time.Time `json:"time"`
	Waiting    int64     `json:"waiting"`
	WaitingMax int64     `json:"waiting_max"`
}

// depth is how many jobs of an org waited in a queue, for each of the last ledger.StatMinutes.
func (g *Gateway) depth(ctx context.Context, org schemas.OrgID, queue schemas.QueueName) ([]DepthPoint, error) {
	if schemas.CheckToken("org", string(org)) != nil {
		return nil, nil
	}
	f, err := g.figures(ctx, org, "*", func(d *ledger.CountDocument) bool { return d.Queue == queue })
	if err != nil {
		return nil, err
	}
	points := f.points(minutes, time.Now())
	out := make([]DepthPoint, len(points))
	for i, p := range points {
		out[i] = DepthPoint{p.Time, p.Waiting, p.WaitingMax}
	}
	return out, nil
}

func (g *Gateway) usage(ctx context.Context, r *request) ([]byte, error) {
	var req UsageRequest
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	now := time.Now().UTC()
	if req.To.IsZero() {
		req.To = now
	}
	if req.From.IsZero() {
		req.From = time.Date(req.To.UTC().Year(), req.To.UTC().Month(), 1, 0, 0, 0, 0, time.UTC)
	}
	from, to := days.at(req.From), days.at(req.To)
	switch {
	case to < from:
		return nil, badField("to", fmt.Errorf("it is before from"))
	case from <= days.at(now)-ledger.StatDays:
		return nil, badField("from", fmt.Errorf("usage is kept for %d days: since %s", ledger.StatDays, days.time(days.at(now)-ledger.StatDays+1).Format(time.DateOnly)))
	}
	f, err := g.figures(ctx, r.org, "*", nil)
	if err != nil {
		return nil, err
	}
	u := Usage{Org: r.org, From: days.time(from), To: days.time(to + 1), AsOfSeq: f.seq, Partial: f.partial}
	ran := int64(0)
	for i := range f.docs {
		for _, s := range f.docs[i].Stats.Days {
			if s.At < from || s.At > to {
				continue
			}
			u.Submitted += int64(s.Submitted)
			u.Completed += int64(s.Completed)
			u.Attempts += int64(s.Started)
			u.BytesIn += s.In
			u.BytesOut += s.Out
			ran += s.RanMS
		}
	}
	u.RunSeconds = float64(ran) / 1000
	return json.Marshal(&u)
}

// Stats returns the org's figures.
func (c *Client) Stats(ctx context.Context, r StatsRequest) (*StatsReply, error) {
	return ask[StatsReply](ctx, c, "stats", r)
}

// Usage returns what the org used.
func (c *Client) Usage(ctx context.Context, r UsageRequest) (*Usage, error) {
	return ask[Usage](ctx, c, "usage", r)
}
