package ledger

import "github.com/dartwing/jobledger/schemas"

// Job is the folded state of one job.
type Job = schemas.Job

// situation is a row of the transition table: none, the seven states, and running with a cancel requested.
type situation uint8

const (
	sitNone situation = iota
	sitSubmitted
	sitQueued
	sitRunning
	sitRunningCancel // written Running! in REQUIREMENTS 4
	sitRetrying
	sitCompleted
	sitCanceled
	sitDeadLettered
	situations
)

func situationOf(s schemas.State, cancelRequested bool) situation {
	switch s {
	case schemas.StateSubmitted:
		return sitSubmitted
	case schemas.StateQueued:
		return sitQueued
	case schemas.StateRunning:
		if cancelRequested {
			return sitRunningCancel
		}
		return sitRunning
	case schemas.StateRetrying:
		return sitRetrying
	case schemas.StateCompleted:
		return sitCompleted
	case schemas.StateCanceled:
		return sitCanceled
	case schemas.StateDeadLettered:
		return sitDeadLettered
	}
	return sitNone
}

// same marks a transition that leaves the state as it is.
const same schemas.State = "same"

// transitions is the whole table of REQUIREMENTS 4, and the checkpoints of R-26, which move no state: what is
// not in it is illegal.
var transitions = map[schemas.EventName]map[situation]schemas.State{
	schemas.EventSubmitted: {
		sitNone: schemas.StateSubmitted, sitCompleted: schemas.StateSubmitted,
		sitCanceled: schemas.StateSubmitted, sitDeadLettered: schemas.StateSubmitted},
	schemas.EventQueued: {
		sitSubmitted: schemas.StateQueued, sitRetrying: schemas.StateQueued},
	schemas.EventRunning:   {sitQueued: schemas.StateRunning},
	schemas.EventCompleted: {sitRunning: schemas.StateCompleted, sitRunningCancel: schemas.StateCompleted},
	schemas.EventFailed:    {sitRunning: schemas.StateRetrying},
	schemas.EventTimedOut:  {sitRunning: schemas.StateRetrying},
	schemas.EventCanceled: {
		sitSubmitted: schemas.StateCanceled, sitQueued: schemas.StateCanceled, sitRetrying: schemas.StateCanceled,
		sitRunning: schemas.StateCanceled, sitRunningCancel: schemas.StateCanceled},
	schemas.EventDeadLettered: {
		sitSubmitted: schemas.StateDeadLettered, sitQueued: schemas.StateDeadLettered, sitRetrying: schemas.StateDeadLettered,
		sitRunning: schemas.StateDeadLettered, sitRunningCancel: schemas.StateDeadLettered},
	schemas.EventCancelRequested: {sitRunning: same},
	schemas.EventReleased:        {sitRunning: schemas.StateQueued},
	schemas.EventLost:            {sitRunning: schemas.StateQueued},
	schemas.EventRetried:         {sitCanceled: schemas.StateSubmitted, sitDeadLettered: schemas.StateSubmitted},
	schemas.EventResolved:        {sitDeadLettered: same},
	schemas.EventIgnored:         {sitDeadLettered: same},
	schemas.EventLateResult: {
		sitSubmitted: same, sitQueued: same, sitRunning: same, sitRunningCancel: same, sitRetrying: same,
		sitCompleted: same, sitCanceled: same, sitDeadLettered: same},
	schemas.EventCarried: {
		sitSubmitted: same, sitQueued: same, sitRetrying: same,
		sitCompleted: same, sitCanceled: same, sitDeadLettered: same},
	schemas.EventCheckpointed: {sitRunning: same, sitRunningCancel: same},
}

// Next returns the state after event in state s, and whether the event is legal there.
func Next(s schemas.State, cancelRequested bool, event schemas.EventName) (schemas.State, bool) {
	to, ok := transitions[event][situationOf(s, cancelRequested)]
	if to == same {
		to = s
	}
	return to, ok
}
