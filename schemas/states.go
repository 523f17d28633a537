package schemas

import "fmt"

// State is where a job stands (REQUIREMENTS 4).
type State string

// The seven states. StateNone is a job that has no event yet.
const (
	StateNone         State = ""
	StateSubmitted    State = "submitted"
	StateQueued       State = "queued"
	StateRunning      State = "running"
	StateRetrying     State = "retrying"
	StateCompleted    State = "completed"
	StateCanceled     State = "canceled"
	StateDeadLettered State = "dead_lettered"
)

// States lists the seven states in the order of a job's life.
func States() []State {
	return []State{StateSubmitted, StateQueued, StateRunning, StateRetrying, StateCompleted, StateCanceled, StateDeadLettered}
}

// Finished reports whether s is an end of a job: completed, canceled or dead_lettered.
func (s State) Finished() bool {
	return s == StateCompleted || s == StateCanceled || s == StateDeadLettered
}

// EventName is the short name of an event; its ce-type is "jobledger.v1." + name.
type EventName string

// The events of a job: the sixteen of REQUIREMENTS 4 and checkpointed, then the control events (DESIGN D11).
const (
	EventSubmitted       EventName = "submitted"
	EventQueued          EventName = "queued"
	EventRunning         EventName = "running"
	EventCompleted       EventName = "completed"
	EventFailed          EventName = "failed"
	EventTimedOut        EventName = "timed_out"
	EventCanceled        EventName = "canceled"
	EventDeadLettered    EventName = "dead_lettered"
	EventCancelRequested EventName = "cancel_requested"
	EventReleased        EventName = "released"
	EventLost            EventName = "lost"
	EventRetried         EventName = "retried"
	EventResolved        EventName = "resolved"
	EventIgnored         EventName = "ignored"
	EventLateResult      EventName = "late_result"
	EventCarried         EventName = "carried"
	EventCheckpointed    EventName = "checkpointed"

	EventCellStarted   EventName = "cell_started"
	EventLeaderElected EventName = "leader_elected"
	EventTypeSet       EventName = "type_set"
	EventOrgSet        EventName = "org_set"
	EventQueueSet      EventName = "queue_set"
	EventResourceSet   EventName = "resource_set"
	EventHoldSet       EventName = "hold_set"
	EventLegalHoldSet  EventName = "legal_hold_set"
	EventScheduleSet   EventName = "schedule_set"
	EventTokenSet      EventName = "token_set"
	EventBreakerClosed EventName = "breaker_closed"
	EventNoticesRead   EventName = "notices_read"
	EventUnmasked      EventName = "unmasked"
	EventVerified      EventName = "verified"
)

// JobEvents lists the seventeen events of a job.
func JobEvents() []EventName {
	return []EventName{EventSubmitted, EventQueued, EventRunning, EventCompleted, EventFailed, EventTimedOut,
		EventCanceled, EventDeadLettered, EventCancelRequested, EventReleased, EventLost, EventRetried,
		EventResolved, EventIgnored, EventLateResult, EventCarried, EventCheckpointed}
}

// ControlEvents lists the control events this version knows.
func ControlEvents() []EventName {
	return []EventName{EventCellStarted, EventLeaderElected, EventTypeSet, EventOrgSet, EventQueueSet, EventResourceSet, EventHoldSet, EventScheduleSet, EventBreakerClosed,
		EventLegalHoldSet, EventTokenSet, EventNoticesRead, EventUnmasked, EventVerified}
}

// Priority orders the work of one org inside a queue.
type Priority string

// The four priorities.
const (
	PriorityLow      Priority = "low"
	PriorityNormal   Priority = "normal"
	PriorityHigh     Priority = "high"
	PriorityCritical Priority = "critical"
)

// Validate reports a priority that is none of the four.
func (p Priority) Validate() error {
	switch p {
	case PriorityLow, PriorityNormal, PriorityHigh, PriorityCritical:
		return nil
	}
	return fmt.Errorf("priority %q is unknown: use low, normal, high or critical", string(p))
}

// DeadReason says why a job was dead-lettered.
type DeadReason string

// The seven reasons.
const (
	DeadPermanentError   DeadReason = "permanent_error"
	DeadRetriesExhausted DeadReason = "retries_exhausted"
	DeadDependencyFailed DeadReason = "dependency_failed"
	DeadExpired          DeadReason = "expired"
	DeadRejected         DeadReason = "rejected"
	DeadOrgDeleted       DeadReason = "org_deleted"
	DeadPoison           DeadReason = "poison"
)

// Validate reports an unknown reason.
func (r DeadReason) Validate() error {
	switch r {
	case DeadPermanentError, DeadRetriesExhausted, DeadDependencyFailed, DeadExpired, DeadRejected, DeadOrgDeleted, DeadPoison:
		return nil
	}
	return fmt.Errorf("dead-letter reason %q is unknown", string(r))
}

// Resolution says what became of a dead letter.
type Resolution string

// The three resolutions.
const (
	ResolutionOpen     Resolution = "open"
	ResolutionResolved Resolution = "resolved"
	ResolutionIgnored  Resolution = "ignored"
)

// ErrorClass is the class of a failed attempt (REQUIREMENTS 7).
type ErrorClass string

// The classes.
const (
	ClassTransient    ErrorClass = "transient"
	ClassPermanent    ErrorClass = "permanent"
	ClassUnclassified ErrorClass = "unclassified"
	ClassTimeout      ErrorClass = "timeout"
	ClassLost         ErrorClass = "lost"
)

// LossCause says what a silent holder died of; only worker_gone counts towards budget and poison (DESIGN D7).
type LossCause string

// The two causes.
const (
	LossWorkerGone  LossCause = "worker_gone"
	LossCellRestart LossCause = "cell_restart"
)

// Validate reports an unknown cause.
func (c LossCause) Validate() error {
	if c == LossWorkerGone || c == LossCellRestart {
		return nil
	}
	return fmt.Errorf("cause of loss %q is unknown", string(c))
}

// DedupPolicy says which earlier job with the same content blocks a new one.
type DedupPolicy string

// The policies. DedupOff stores no content id.
const (
	DedupOff      DedupPolicy = ""
	DedupStrict   DedupPolicy = "strict"    // an earlier job with the same content, in the window, unless canceled or dead-lettered
	DedupInFlight DedupPolicy = "in_flight" // an unfinished job with the same content, however old
	// DedupSingleton: an unfinished job of the type with the same key, whatever its content; without a key, of the type.
	DedupSingleton DedupPolicy = "singleton"
)

// Exact reports whether the policy is kept by the job's own id, for any length of time (DESIGN D4), and not by the
// window of message ids.
func (p DedupPolicy) Exact() bool { return p == DedupInFlight || p == DedupSingleton }

// Validate reports an unknown policy.
func (p DedupPolicy) Validate() error {
	switch p {
	case DedupOff, DedupStrict, DedupInFlight, DedupSingleton:
		return nil
	}
	return fmt.Errorf("dedup policy %q is unknown: use strict, in_flight or singleton", string(p))
}

// ReusePolicy says when a finished caller-chosen id may start a new generation.
type ReusePolicy string

// The policies; the empty policy means ReuseFinished.
const (
	ReuseFinished ReusePolicy = "finished"
	ReuseFailed   ReusePolicy = "failed"
	ReuseNever    ReusePolicy = "never"
)
