package gateway

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// DeadLettersAlert is how many open dead letters of an org are told to its operators.
	DeadLettersAlert = 50
	// alertsKept is how many alerts a server remembers for who asks from time to time.
	alertsKept = 256
	// alertEvery is how often an org whose jobs are dead-lettered is looked at, and alertWait how long such a look may take.
	alertEvery = time.Second
	alertWait  = 10 * time.Second
	// alertAgain is how long the same warning is not told again.
	alertAgain = time.Minute
	// alertOrgsMax bounds what is remembered of orgs.
	alertOrgsMax = 10_000
)

// LiveAlert is what a job_limit_warning or a dlq_alert tells.
type LiveAlert struct {
	Queue *schemas.QueueName `json:"queue"` // of the limit; null: it is one of the org, or a rate
	Code  ledger.Code        `json:"code,omitempty"`
	Used  int64              `json:"used"`  // of the limit; of a dlq_alert open dead letters
	Limit int64              `json:"limit"` // of a dlq_alert the threshold
	// Largest is the largest group of the dead letters.
	Largest *ErrorGroup `json:"largest_group,omitempty"`
}

// liveAlerts are what is told that is no event: each server finds it out for its own followers. They have no position, and may
// be missed.
type liveAlerts struct {
	conn *nats.Conn
	wake func(schemas.OrgID)
	// open counts an org's open dead letters, with where that is true, and largest finds their largest group.
	open    func(ctx context.Context, org schemas.OrgID) (int64, schemas.Seq, error)
	largest func(ctx context.Context, org schemas.OrgID) (*ErrorGroup, error)
	log     *zap.Logger
	looks   chan struct{} // takes one: there are orgs to look at

	mu      sync.Mutex
	version uint64
	items   []reportedAt
	dead    map[schemas.OrgID]schemas.Seq // orgs to look at: of the latest dead letter
	above   map[schemas.OrgID]bool        // was told
	warned  map[ledger.LimitWarning]time.Time
}

func newLiveAlerts(conn *nats.Conn, wake func(schemas.OrgID), log *zap.Logger) *liveAlerts {
	return &liveAlerts{conn: conn, wake: wake, log: log, looks: make(chan struct{}, 1), dead: map[schemas.OrgID]schemas.Seq{},
		above: map[schemas.OrgID]bool{}, warned: map[ledger.LimitWarning]time.Time{}}
}

// tell keeps an alert, and lets followers look.
func (a *liveAlerts) tell(push Push, org schemas.OrgID, alert *LiveAlert) {
	a.mu.Lock()
	a.version++
	a.items = append(a.items, reportedAt{&LiveEvent{Push: push, Time: time.Now().UTC(), Org: &org, Alert: alert}, a.version})
	if len(a.items) > alertsKept {
		a.items = append([]reportedAt(nil), a.items[len(a.items)-alertsKept:]...)
	}
	a.mu.Unlock()
	a.wake(org)
}

func (a *liveAlerts) since(org schemas.OrgID, version uint64) (out []*LiveEvent, now uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, at := range a.items {
		if at.version > version && (org == "" || *at.ev.Org == org) {
			out = append(out, at.ev)
		}
	}
	return out, a.version
}

func (a *liveAlerts) now() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.version
}

// hear takes the warning of a door, of this process or another.
func (a *liveAlerts) hear(m *nats.Msg) {
	w, ok := ledger.DecodeLimitWarning(m.Subject, m.Data)
	if !ok {
		return
	}
	same := ledger.LimitWarning{Org: w.Org, Queue: w.Queue, Code: w.Code}
	now := time.Now()
	a.mu.Lock()
	told := now.Sub(a.warned[same]) < alertAgain
	if !told {
		if len(a.warned) >= alertOrgsMax {
			clear(a.warned)
		}
		a.warned[same] = now
	}
	a.mu.Unlock()
	if told {
		return
	}
	alert := &LiveAlert{Code: w.Code, Used: w.Used, Limit: w.Limit}
	if w.Queue != "" {
		alert.Queue = &w.Queue
	}
	a.tell(PushLimit, w.Org, alert)
}

// event notes that there is a dead letter more, or one less.
func (a *liveAlerts) event(e *ledger.Entry) {
	switch e.Data.(type) {
	case *schemas.DeadLettered, *schemas.Resolved, *schemas.Ignored, *schemas.Retried:
	default:
		return
	}
	a.mu.Lock()
	_, more := e.Data.(*schemas.DeadLettered)
	if (more || a.above[e.Org]) && len(a.dead) < alertOrgsMax {
		a.dead[e.Org] = e.Seq
	}
	a.mu.Unlock()
	select {
	case a.looks <- struct{}{}:
	default:
	}
}

// run looks at the orgs whose dead letters change, until ctx ends. followed says whether anybody would hear of it.
func (a *liveAlerts) run(ctx context.Context, followed func(schemas.OrgID) bool) {
	sub, err := a.conn.Subscribe(ledger.SubjectLimits, a.hear)
	if err == nil {
		defer func() { _ = sub.Unsubscribe() }() // fails only when the connection is closed, which ends it too
	}
	pace := time.NewTimer(0)
	defer pace.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.looks:
		}
		pace.Reset(alertEvery) // what comes meanwhile is looked at together, and is in the counters then
		select {
		case <-ctx.Done():
			return
		case <-pace.C:
		}
		a.round(ctx, followed)
	}
}

// round looks at them once. Of an org that nobody follows is forgotten what was told: when it is back below the threshold is
// not seen, and who follows it later has heard nothing.
func (a *liveAlerts) round(ctx context.Context, followed func(schemas.OrgID) bool) {
	a.mu.Lock()
	dead := a.dead
	a.dead = map[schemas.OrgID]schemas.Seq{}
	a.mu.Unlock()
	for org, seq := range dead {
		if followed(org) {
			a.look(ctx, org, seq)
			continue
		}
		a.mu.Lock()
		delete(a.above, org)
		a.mu.Unlock()
	}
}

// look tells of an org whose dead letters have come to be many.
func (a *liveAlerts) look(ctx context.Context, org schemas.OrgID, seq schemas.Seq) {
	ctx, cancel := context.WithTimeout(ctx, alertWait)
	defer cancel()
	open, at, err := a.open(ctx, org)
	if err != nil || at < seq && open < DeadLettersAlert { // the counters do not hold it yet
		a.again(org, seq)
		return
	}
	a.mu.Lock()
	first := open >= DeadLettersAlert && !a.above[org]
	if open < DeadLettersAlert {
		delete(a.above, org)
	} else if len(a.above) < alertOrgsMax {
		a.above[org] = true
	}
	a.mu.Unlock()
	if !first {
		return
	}
	largest, err := a.largest(ctx, org)
	if err != nil {
		a.log.Debug("the groups of dead letters cannot be read", zap.String("org", string(org)), zap.Error(err))
	}
	a.tell(PushDeadLetters, org, &LiveAlert{Used: open, Limit: DeadLettersAlert, Largest: largest})
}

// again has an org looked at once more.
func (a *liveAlerts) again(org schemas.OrgID, seq schemas.Seq) {
	a.mu.Lock()
	a.dead[org] = max(a.dead[org], seq)
	a.mu.Unlock()
	select {
	case a.looks <- struct{}{}:
	default:
	}
}

// openDeadLetters counts those of an org, by the view.
func (g *Gateway) openDeadLetters(ctx context.Context, org schemas.OrgID) (n int64, at schemas.Seq, err error) {
	counts, at, err := g.views.counts(ctx, org)
	for _, c := range counts {
		n += c.DeadLettersOpen
	}
	return n, at, err
}

// largestGroup is that of an org's open dead letters by error.
func (g *Gateway) largestGroup(ctx context.Context, org schemas.OrgID) (*ErrorGroup, error) {
	v, err := g.viewsAt(ctx, 0, false)
	if err != nil {
		return nil, err
	}
	groups := errorGroups{by: ByError, byKey: map[string]*ErrorGroup{}}
	open := Filter{State: []schemas.State{schemas.StateDeadLettered}, Resolution: string(schemas.ResolutionOpen)}
	if _, err := v.jobs(ctx, org, &open, time.Now(), sortRowsMax, func(r ledger.Record) { groups.add(&r) }); err != nil {
		return nil, err
	}
	if all := groups.largest(); len(all.Groups) > 0 {
		return &all.Groups[0], nil
	}
	return nil, nil
}
