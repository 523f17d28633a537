package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// explainWait is how long the leader may take to say what it knows of a job; without it the job's own events and the
// workers tell what they can.
const explainWait = 2 * time.Second

// Explanation says why an unfinished job is where it is, what holds it, and when it can move.
type Explanation struct {
	ID     schemas.JobID `json:"id"`
	Org    schemas.OrgID `json:"org"`
	State  schemas.State `json:"state"`
	Reason *string       `json:"reason"` // as in a record; for a waiting job also paused and limited
	Since  *time.Time    `json:"since"`  // when the job came into this state
	// Next says in words what happens next.
	Next  string        `json:"next"`
	Holds []ExplainHold `json:"holds"` // all of them; empty: nothing keeps it
	// EarliestStart is when all holds that end by themselves have ended; null where that is not known.
	EarliestStart *time.Time     `json:"earliest_start"`
	Place         *ExplainPlace  `json:"place"` // null where the job is in no lane, or no leader answered
	Workers       ExplainWorkers `json:"workers"`
	// Leader: the leader answered. Without it, what it alone knows is missing: limits, pauses, its place.
	Leader  bool        `json:"leader"`
	AsOfSeq schemas.Seq `json:"as_of_seq"` // of the job's own last event
}

// ExplainPlace is where a job stands among those alike: same org, queue, type, priority and resource.
type ExplainPlace struct {
	Ahead int  `json:"ahead"` // jobs before it
	More  bool `json:"more"`  // and further ones, that were not counted
}

// ExplainWorkers are the live workers that serve the job's type in its queue.
type ExplainWorkers struct {
	Serving   int `json:"serving"`
	Slots     int `json:"slots"`
	FreeSlots int `json:"free_slots"`
}

// ExplainHold is one reason why a job does not start, or move on.
type ExplainHold struct {
	// Hold is a ledger.BlockerKind, or one of the Hold constants.
	Hold  string `json:"hold"`
	Scope string `json:"scope"` // what it stands on, as in "org acme, queue bulk"
	// Value and Limit: so many run of so many that may.
	Value *int          `json:"value"`
	Limit *int          `json:"limit"`
	Rate  *schemas.Rate `json:"rate"`
	Until *time.Time    `json:"until"` // when it ends by itself
	// Message says it in words.
	Message string `json:"message"`
	// Setting and Field name what makes it: the key in CONFIG, such as org.acme, and who set it, when and why.
	Setting *string `json:"setting"`
	Field   *string `json:"field"`
	SettingAuthor
	// Fix is a command line that would lift it; null where there is only waiting.
	Fix *string `json:"fix"`
}

// Holds that the job's own events tell, beside the leader's kinds.
const (
	HoldRetry = "retry" // it failed, and waits before the next attempt
)

// explain answers why a job does not start.
func (g *Gateway) explain(ctx context.Context, r *request) ([]byte, error) {
	j, err := g.l.Fold(ctx, r.org, r.job())
	if errors.Is(err, ledger.ErrNotFound) {
		return nil, noJob(r.org, r.job(), err)
	}
	if err != nil {
		return nil, err
	}
	x := &Explanation{ID: j.ID, Org: j.Org, State: j.State, Holds: []ExplainHold{}, AsOfSeq: j.LastSeq}
	x.own(j)
	if !j.State.Finished() && j.State != schemas.StateRunning {
		if err := g.explainParents(ctx, j, x); err != nil {
			return nil, err
		}
		g.explainPlace(ctx, j, x)
	}
	x.conclude(j)
	return json.Marshal(x)
}

// own tells what the job's own events say.
func (x *Explanation) own(j *ledger.Job) {
	since := j.SubmittedAt
	switch j.State {
	case schemas.StateRunning:
		since = j.StartedAt
		x.Next = fmt.Sprintf("attempt %d runs on worker %s; it may take until %s", j.Attempt, j.Worker, j.StartedAt.Add(j.Policy.TimeoutMS.Duration()).UTC().Format(time.RFC3339))
		if j.CancelRequested {
			x.Next = fmt.Sprintf("attempt %d was told to stop and runs on worker %s still; it has %s, then it is closed", j.Attempt, j.Worker, j.Policy.GraceMS.Duration())
		}
	case schemas.StateQueued:
		since = j.QueuedAt
		x.Next = "a worker may claim it"
	case schemas.StateRetrying:
		since = j.LastAt
		x.Holds = append(x.Holds, retryHold(j))
	case schemas.StateSubmitted:
		if now := time.Now(); j.NotBefore.After(now) {
			until := j.NotBefore.UTC()
			x.Holds = append(x.Holds, ExplainHold{Hold: string(ledger.BlockDelay), Scope: "job", Until: &until,
				Message: "it was submitted to start no earlier than " + until.Format(time.RFC3339)})
		}
	default:
		since = j.FinishedAt
		x.Next = "nothing: it has ended"
		record := ledger.RecordOf(j)
		x.Reason = record.Reason
		if j.DeadReason == schemas.DeadOrgDeleted {
			x.Next = "nothing: its org was deleted"
		} else if j.State != schemas.StateCompleted {
			x.Next = fmt.Sprintf("nothing by itself; `jobledger job retry %s --reason TEXT` starts it again", j.ID)
		}
	}
	if !since.IsZero() {
		since = since.UTC()
		x.Since = &since
	}
}

func retryHold(j *ledger.Job) ExplainHold {
	until, why := j.RetryAt.UTC(), ""
	if j.Error != nil {
		why = ": " + j.Error.Message
	}
	fix := fmt.Sprintf("jobledger job retry %s --reason TEXT", j.ID)
	return ExplainHold{Hold: HoldRetry, Scope: "job", Value: &j.Used, Limit: &j.Policy.MaxAttempts, Until: &until, Fix: &fix,
		Message: fmt.Sprintf("attempt %d failed%s; the next one is due at %s", j.Attempt, why, until.Format(time.RFC3339))}
}

// explainParents names each parent that the job waits for.
func (g *Gateway) explainParents(ctx context.Context, j *ledger.Job, x *Explanation) error {
	if len(j.Spec.Parents) == 0 || j.ParentsWaived || j.State != schemas.StateSubmitted {
		return nil
	}
	parents, err := g.l.Parents(ctx, j, 0)
	if err != nil {
		return err
	}
	for _, p := range parents {
		if p.Judge(p.OnFailure) == ledger.EdgeSatisfied {
			continue
		}
		fix := fmt.Sprintf("jobledger job explain %s", p.ID)
		x.Holds = append(x.Holds, ExplainHold{Hold: string(ledger.BlockParents), Scope: "job " + string(p.ID), Fix: &fix,
			Message: fmt.Sprintf("it waits for job %s, which is %s", p.ID, cmp.Or(string(p.State), "not in the ledger"))})
	}
	return nil
}

// explainPlace tells what the leader says, or without it what the workers say of themselves.
func (g *Gateway) explainPlace(ctx context.Context, j *ledger.Job, x *Explanation) {
	asking, cancel := context.WithTimeout(ctx, explainWait)
	defer cancel()
	at, err := g.l.Explain(asking, j)
	if err != nil {
		g.log.Debug("no leader explains", zap.String("job", string(j.ID)), zap.Error(err))
		g.explainWorkers(ctx, j, x)
		return
	}
	x.Leader = true
	x.Workers = ExplainWorkers{Serving: at.Workers, Slots: at.Slots, FreeSlots: at.Free}
	if at.Place == ledger.PlaceLane {
		x.Place = &ExplainPlace{Ahead: at.Ahead, More: at.AheadMore}
	}
	unknown := slices.ContainsFunc(at.Blockers, func(b ledger.Blocker) bool { return b.Kind == ledger.BlockRight })
	for i := range at.Blockers {
		b := &at.Blockers[i]
		if b.Kind == ledger.BlockDelay && unknown {
			continue // until the next question; where the job asked for a time, it says so itself
		}
		if b.Kind == ledger.BlockParents || b.Kind == ledger.BlockDelay {
			if slices.ContainsFunc(x.Holds, func(h ExplainHold) bool { return h.Hold == string(b.Kind) || h.Hold == HoldRetry }) {
				continue // told in more detail by the job itself
			}
		}
		x.Holds = append(x.Holds, g.holdOf(ctx, j, b))
	}
	switch at.Place {
	case ledger.PlaceDuplicate:
		x.Next = "an earlier job stands for the same work: this one is about to be canceled"
	case ledger.PlaceDeciding:
		x.Next = "it is being started at this moment"
	}
}

func (g *Gateway) explainWorkers(ctx context.Context, j *ledger.Job, x *Explanation) {
	pair := ledger.Serves{Queue: j.Spec.Queue, Type: j.Spec.Type}
	err := g.presences(ctx, ledger.PresenceKeys, func(p *ledger.Presence) {
		if !p.Draining && slices.Contains(p.Serves, pair) {
			x.Workers.Serving++
			x.Workers.Slots += p.Slots
			x.Workers.FreeSlots += max(p.Slots-p.Busy, 0)
		}
	})
	switch {
	case err != nil:
		g.log.Debug("the workers cannot be read", zap.String("job", string(j.ID)), zap.Error(err))
	case x.Workers.Serving == 0:
		x.Holds = append(x.Holds, g.holdOf(ctx, j, &ledger.Blocker{Kind: ledger.BlockNoWorker}))
	}
}

// conclude derives reason, earliest start and what is next from the holds.
func (x *Explanation) conclude(j *ledger.Job) {
	if j.State.Finished() || j.State == schemas.StateRunning {
		return
	}
	known := true
	for i := range x.Holds {
		switch until := x.Holds[i].Until; {
		case until == nil:
			known = false
		case x.EarliestStart == nil || until.After(*x.EarliestStart):
			x.EarliestStart = until
		}
	}
	if !known {
		x.EarliestStart = nil
	}
	if reason := x.reason(j.State); reason != "" {
		x.Reason = &reason
	}
	switch {
	case slices.ContainsFunc(x.Holds, func(h ExplainHold) bool { return h.Hold == string(ledger.BlockDeleted) }):
		x.Next, x.EarliestStart = "the leader dead-letters it in its turn: its org was deleted", nil
	case x.Next != "" && len(x.Holds) == 0:
	case len(x.Holds) > 0 && x.EarliestStart != nil:
		x.Next = "it can start at " + x.EarliestStart.UTC().Format(time.RFC3339)
	case len(x.Holds) > 0:
		x.Next = "it starts when nothing holds it any more"
	case x.Place != nil && x.Place.Ahead > 0:
		x.Next = fmt.Sprintf("nothing holds it: it waits for its turn, behind %d jobs like it", x.Place.Ahead)
	case x.Leader:
		x.Next = "nothing holds it: it is about to start"
	default:
		x.Next = "no leader answers: what else holds it is not known"
	}
}

// reasonOf is the sub-reason that each hold gives a waiting job.
var reasonOf = map[string]string{
	string(ledger.BlockDelay): ledger.ReasonScheduled, string(ledger.BlockParents): ledger.ReasonWaitingOnParent,
	string(ledger.BlockHold): ledger.ReasonPaused, string(ledger.BlockSuspended): ledger.ReasonPaused, string(ledger.BlockBreaker): ledger.ReasonPaused,
	string(ledger.BlockDeleted): ledger.ReasonPaused, string(ledger.BlockRight): ledger.ReasonPaused,
	string(ledger.BlockLimit): ledger.ReasonLimited, string(ledger.BlockRate): ledger.ReasonLimited, string(ledger.BlockUnsettled): ledger.ReasonLimited,
	string(ledger.BlockOwner): ledger.ReasonLimited, string(ledger.BlockNoWorker): ledger.ReasonUnserved,
}

// reason is the first that applies.
func (x *Explanation) reason(s schemas.State) string {
	for _, r := range []string{ledger.ReasonScheduled, ledger.ReasonWaitingOnParent, ledger.ReasonPaused, ledger.ReasonLimited, ledger.ReasonUnserved} {
		for i := range x.Holds {
			if reasonOf[x.Holds[i].Hold] == r {
				return r
			}
		}
	}
	if s == schemas.StateSubmitted {
		return ledger.ReasonReady
	}
	return ""
}

// Explain says why a job is where it is.
func (c *Client) Explain(ctx context.Context, id schemas.JobID) (*Explanation, error) {
	return ask[Explanation](ctx, c, "explain."+string(id), nil)
}
