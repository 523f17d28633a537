package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// drainAnswerMax is how long a worker may take to say that it drains.
	drainAnswerMax = 3 * time.Second
	// describedMax is how many attempts that the leader no longer knows are looked up for one answer.
	describedMax = 50
)

// States of a worker.
const (
	WorkerIdle     = "idle"
	WorkerBusy     = "busy"
	WorkerDraining = "draining"
	WorkerSilent   = "silent" // it missed beats; its attempts are lost when its lease ends
)

// Worker is one worker process as the leader last heard it. Of what it runs, the asking org's attempts are
// listed and the others counted.
type Worker struct {
	ID        schemas.SessionID   `json:"id"`
	Name      string              `json:"name"`
	Host      string              `json:"host"`
	Queues    []schemas.QueueName `json:"queues"`
	Types     []schemas.TypeName  `json:"types"`
	Slots     int                 `json:"slots"`
	Busy      int                 `json:"busy"` // hung handlers included: each keeps its slot
	Hung      int                 `json:"hung"` // handlers that outlive their attempts, of any org
	State     string              `json:"state"`
	Version   *string             `json:"version"`
	StartedAt time.Time           `json:"started_at"`
	SeenAt    time.Time           `json:"seen_at"` // its latest beat
	Running   []WorkerAttempt     `json:"running"`
	Others    int                 `json:"running_others"` // attempts of other orgs
}

// WorkerAttempt is an attempt that a worker runs.
type WorkerAttempt struct {
	Org     schemas.OrgID     `json:"org"`
	ID      schemas.JobID     `json:"id"`
	Type    *schemas.TypeName `json:"type"` // null where it is not known
	Attempt int               `json:"attempt"`
	Since   *time.Time        `json:"since"`
	// Hung: the attempt has ended, by a timeout for instance, and its handler has not returned.
	Hung bool `json:"hung"`
}

// WorkersRequest chooses workers.
type WorkersRequest struct {
	// All lists the servers' own workers, too: those that serve nothing but jobledger's own queues, such as batches.
	All bool `json:"all,omitempty"`
}

// Workers are all workers that beat lately, by name.
type Workers struct {
	Items   []Worker    `json:"items"`
	Next    *string     `json:"next"`
	AsOfSeq schemas.Seq `json:"as_of_seq"`
}

// DrainWorkerRequest says why.
type DrainWorkerRequest struct {
	Reason string `json:"reason"` // required
}

// DrainWorkerReply: the worker has begun to drain. It claims nothing more, ends when its handlers have returned,
// and hands back what has not after GraceS.
type DrainWorkerReply struct {
	ID     schemas.SessionID `json:"id"`
	Busy   int               `json:"busy"`
	GraceS float64           `json:"grace_s"`
}

// serverOwn reports a worker that a server runs for itself.
func serverOwn(p *ledger.Presence) bool {
	return len(p.Serves) > 0 && !slices.ContainsFunc(p.Serves, func(s ledger.Serves) bool {
		return !strings.HasPrefix(string(s.Queue), schemas.ReservedPrefix)
	})
}

func (g *Gateway) workerList(ctx context.Context, r *request) ([]byte, error) {
	var req WorkersRequest
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	end, err := g.l.End(ctx)
	if err != nil {
		return nil, err
	}
	reply := Workers{Items: []Worker{}, AsOfSeq: end.Seq}
	described := 0
	err = g.presences(ctx, ledger.PresenceKeys, func(p *ledger.Presence) {
		if req.All || !serverOwn(p) {
			reply.Items = append(reply.Items, g.worker(ctx, r.org, p, &described))
		}
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(reply.Items, func(a, b Worker) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return json.Marshal(&reply)
}

func (g *Gateway) workerInfo(ctx context.Context, r *request) ([]byte, error) {
	var found *ledger.Presence
	err := g.presences(ctx, ledger.PresenceKey(schemas.SessionID(r.name)), func(p *ledger.Presence) { found = p })
	if err != nil {
		return nil, err
	}
	if found == nil {
		return nil, noWorker(r.name)
	}
	described := 0
	w := g.worker(ctx, r.org, found, &described)
	return json.Marshal(&w)
}

func noWorker(id string) error {
	return ledger.Errorf(ledger.CodeNotFound, "there is no worker %s: `jobledger worker ls` shows those that there are", id)
}

// presences reads LIVE. A LIVE that is away knows of nobody.
func (g *Gateway) presences(ctx context.Context, keys string, take func(*ledger.Presence)) error {
	var kv jetstream.KeyValue
	err := reading(ctx, func(ctx context.Context) (err error) {
		kv, err = g.l.JetStream().KeyValue(ctx, ledger.BucketLive)
		return err
	})
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return ledger.Errorf(ledger.CodeUnavailable, "bucket %s is being made again: try again in a moment", ledger.BucketLive)
	}
	if err != nil {
		return err
	}
	return scan(ctx, kv, keys, func(body []byte) error {
		p, err := ledger.DecodePresence(body)
		if err != nil {
			return err
		}
		take(p)
		return nil
	})
}

// served says whether a worker takes new jobs of a pair. One that died counts until it leaves LIVE.
func (g *Gateway) served(ctx context.Context, pair ledger.Serves) (served bool, err error) {
	err = g.presences(ctx, ledger.PresenceKeys, func(p *ledger.Presence) {
		served = served || !p.Draining && slices.Contains(p.Serves, pair)
	})
	return served, err
}

// worker describes a session to one org. described counts look-ups.
func (g *Gateway) worker(ctx context.Context, org schemas.OrgID, p *ledger.Presence, described *int) Worker {
	w := Worker{ID: p.Session, Name: p.Worker, Host: p.Host, Slots: p.Slots, Busy: p.Busy, StartedAt: p.StartedAt, SeenAt: p.SeenAt,
		Queues: []schemas.QueueName{}, Types: []schemas.TypeName{}, Running: []WorkerAttempt{}, Others: p.More}
	if p.Version != "" {
		w.Version = &p.Version
	}
	for _, s := range p.Serves {
		if !slices.Contains(w.Queues, s.Queue) {
			w.Queues = append(w.Queues, s.Queue)
		}
		if !slices.Contains(w.Types, s.Type) {
			w.Types = append(w.Types, s.Type)
		}
	}
	switch {
	case time.Since(p.SeenAt) > ledger.BeatCutoff:
		w.State = WorkerSilent
	case p.Draining:
		w.State = WorkerDraining
	case p.Busy > 0:
		w.State = WorkerBusy
	default:
		w.State = WorkerIdle
	}
	for i := range p.Attempts {
		a := &p.Attempts[i]
		if a.Hung {
			w.Hung++
		}
		if a.Org != org {
			w.Others++
			continue
		}
		out := WorkerAttempt{Org: a.Org, ID: a.Job, Attempt: a.Attempt, Hung: a.Hung}
		if a.Type == "" && *described < describedMax {
			*described++
			g.describeAttempt(ctx, a)
		}
		if a.Type != "" {
			out.Type = &a.Type
		}
		if !a.Since.IsZero() {
			out.Since = &a.Since
		}
		w.Running = append(w.Running, out)
	}
	slices.SortFunc(w.Running, func(a, b WorkerAttempt) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Attempt, b.Attempt))
	})
	return w
}

// describeAttempt reads from the job's own history what the leader did not know of an attempt.
func (g *Gateway) describeAttempt(ctx context.Context, a *ledger.PresentAttempt) {
	h, err := g.l.History(ctx, a.Org, a.Job)
	if err != nil {
		return // left out: it is a courtesy
	}
	for _, e := range h.Entries {
		if e.Seq == a.Fence.Seq && e.Err == nil && e.ID == a.Fence.ID {
			if d, ok := e.Data.(*schemas.Running); ok {
				a.Type, a.Since = d.Type, e.Time
			}
		}
	}
}

// workerDrain asks the worker itself, which answers when it has begun.
func (g *Gateway) workerDrain(ctx context.Context, r *request) ([]byte, error) {
	var req DrainWorkerRequest
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	if err := checkReason("reason", req.Reason, true); err != nil {
		return nil, err
	}
	body, err := json.Marshal(ledger.DrainRequest{Actor: g.actor(ctx).String(), Reason: req.Reason})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, drainAnswerMax)
	defer cancel()
	m, err := g.l.Conn().RequestWithContext(ctx, ledger.SubjectDrain(schemas.SessionID(r.name)), body)
	if errors.Is(err, nats.ErrNoResponders) {
		return nil, noWorker(r.name)
	}
	if err != nil {
		e := ledger.Errorf(ledger.CodeUnavailable, "worker %s did not answer; it may drain all the same: look with `jobledger worker info`, or ask again: %v", r.name, err)
		e.Details = map[string]any{ledger.DetailReason: ledger.ReasonOutcomeUnknown}
		return nil, e
	}
	var answer ledger.DrainAnswer
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return nil, ledger.Errorf(ledger.CodeInternal, "worker %s answered what cannot be read: %v", r.name, err)
	}
	g.log.Info("operator action", zap.String("action", "drain"), zap.String("worker", r.name),
		zap.String("actor", g.actor(ctx).String()), zap.String("reason", req.Reason), zap.String("request_id", r.id))
	return json.Marshal(DrainWorkerReply{ID: answer.Session, Busy: answer.Busy, GraceS: answer.GraceMS.Duration().Seconds()})
}
