package ledger_test

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// commands builds the rows of decisions.txt. A row may first put the job into the corner that it is about:
// a deadline that has passed, a budget or patience that is used up.
var commands = map[string]func(*standing) ledger.Command{
	"begin": func(*standing) ledger.Command {
		return &ledger.Begin{Spec: schemas.Submitted{Type: "echo", Queue: "default", Priority: schemas.PriorityNormal}}
	},
	"cancel": func(*standing) ledger.Command { return &ledger.Cancel{Reason: "not needed"} },
	"cancel-duplicate": func(*standing) ledger.Command {
		return &ledger.Cancel{DuplicateOf: &schemas.JobRef{ID: "job-0", Generation: 1}}
	},

	"queue":                   queue(func(*standing, *ledger.Queue) {}),
	"queue-early":             queue(early),
	"queue-early-run-now":     queue(func(s *standing, c *ledger.Queue) { early(s, c); c.RunNow = true }),
	"queue-past-deadline":     queue(func(s *standing, _ *ledger.Queue) { pastDeadline(s) }),
	"dead-letter-rejected":    deadLetter(schemas.DeadRejected),
	"dead-letter-dependency":  deadLetter(schemas.DeadDependencyFailed),
	"dead-letter-expired":     deadLetter(schemas.DeadExpired),
	"dead-letter-right-lost":  deadLetter(schemas.DeadPermanentError),
	"dead-letter-org-deleted": deadLetter(schemas.DeadOrgDeleted),
	"dead-letter-exhausted":   deadLetter(schemas.DeadRetriesExhausted),
	"dead-letter-poison":      deadLetter(schemas.DeadPoison),

	"lose":              lose(2, schemas.LossWorkerGone, func(*standing) {}),
	"old:lose":          lose(1, schemas.LossWorkerGone, func(*standing) {}),
	"lose-cell-restart": lose(2, schemas.LossCellRestart, func(s *standing) { s.Used, s.Losses, s.CellLosses = 99, 99, 8 }),
	"lose-poison":       lose(2, schemas.LossWorkerGone, func(s *standing) { s.Losses = s.Policy.PoisonLimit - 1 }),
	"lose-tenth-cell-restart": lose(2, schemas.LossCellRestart, func(s *standing) {
		s.CellLosses = 9
	}),
	"lose-last-of-budget": lose(2, schemas.LossWorkerGone, lastOfBudget),
	"lose-org-deleted": func(s *standing) ledger.Command {
		return &ledger.Lose{Fence: s.fences[2], Cause: schemas.LossWorkerGone, OrgDeleted: true}
	},
	"overrun": func(s *standing) ledger.Command { return &ledger.Overrun{Fence: s.fences[2], Now: now} },
	"overrun-last-of-budget": func(s *standing) ledger.Command {
		lastOfBudget(s)
		return &ledger.Overrun{Fence: s.fences[2], Now: now}
	},
	"overrun-past-deadline": func(s *standing) ledger.Command {
		pastDeadline(s)
		return &ledger.Overrun{Fence: s.fences[2], Now: now}
	},
	"end-cancel": func(s *standing) ledger.Command { return &ledger.EndCancel{Fence: s.fences[2]} },
	"carry":      func(*standing) ledger.Command { return &ledger.Carry{} },

	"claim": func(s *standing) ledger.Command { return s.claim() },
	"claim-right-lost": func(s *standing) ledger.Command {
		c := s.claim()
		c.Denied = true
		return c
	},
	"claim-old-generation": func(s *standing) ledger.Command {
		c := s.claim()
		c.Generation--
		return c
	},
	"complete":                outcome(2, schemas.EventCompleted, nil, func(*standing) {}),
	"fail":                    outcome(2, schemas.EventFailed, transient, func(*standing) {}),
	"fail-permanent":          outcome(2, schemas.EventFailed, &schemas.JobError{Class: schemas.ClassPermanent, Message: "never"}, func(*standing) {}),
	"fail-last-of-budget":     outcome(2, schemas.EventFailed, transient, lastOfBudget),
	"fail-past-deadline":      outcome(2, schemas.EventFailed, transient, pastDeadline),
	"time-out":                outcome(2, schemas.EventTimedOut, nil, func(*standing) {}),
	"time-out-last-of-budget": outcome(2, schemas.EventTimedOut, nil, lastOfBudget),
	"handler-cancels":         outcome(2, schemas.EventCanceled, nil, func(*standing) {}),
	"release":                 outcome(2, schemas.EventReleased, nil, func(*standing) {}),
	"old:complete":            outcome(1, schemas.EventCompleted, nil, func(*standing) {}),
	"old:fail":                outcome(1, schemas.EventFailed, transient, func(*standing) {}),
	"old:release":             outcome(1, schemas.EventReleased, nil, func(*standing) {}),
	"checkpoint":              checkpoint(2),
	"old:checkpoint":          checkpoint(1),
	"checkpoint-again": func(s *standing) ledger.Command {
		s.Checkpoint = json.RawMessage(`{"page":7}`)
		return checkpoint(2)(s)
	},

	"retry":               func(*standing) ledger.Command { return &ledger.Retry{Now: now, Epoch: 1} },
	"retry-past-deadline": func(s *standing) ledger.Command { pastDeadline(s); return &ledger.Retry{Now: now, Epoch: 1} },
	"retry-new-deadline": func(s *standing) ledger.Command {
		pastDeadline(s)
		later := now.Add(time.Hour)
		return &ledger.Retry{Now: now, Epoch: 1, Deadline: &later}
	},
	"retry-refused": func(s *standing) ledger.Command { // with a new deadline too: what is recorded is not what was asked for
		s.Spec.Refused = &schemas.Refusal{Code: "type_disabled"}
		later := now.Add(time.Hour)
		return &ledger.Retry{Now: now, Epoch: 1, Deadline: &later, WaiveParents: true}
	},
	"resolve": func(*standing) ledger.Command { return &ledger.Resolve{Note: "done by hand"} },
	"ignore":  func(*standing) ledger.Command { return &ledger.Resolve{Note: "test data", Ignore: true} },
}

func queue(change func(*standing, *ledger.Queue)) func(*standing) ledger.Command {
	return func(s *standing) ledger.Command {
		c := &ledger.Queue{Policy: schemas.DefaultPolicy(), Epoch: 1, Now: now}
		change(s, c)
		return c
	}
}

func early(s *standing, c *ledger.Queue) {
	switch s.State {
	case schemas.StateSubmitted:
		s.NotBefore = c.Now.Add(time.Nanosecond)
	case schemas.StateRetrying:
		s.RetryAt = c.Now.Add(time.Nanosecond)
	}
}

func pastDeadline(s *standing) { s.Deadline = now.Add(-time.Nanosecond) }

func lastOfBudget(s *standing) { s.Used = s.Policy.MaxAttempts - 1 }

func deadLetter(reason schemas.DeadReason) func(*standing) ledger.Command {
	return func(*standing) ledger.Command { return &ledger.DeadLetter{Reason: reason} }
}

func checkpoint(attempt int) func(*standing) ledger.Command {
	return func(s *standing) ledger.Command {
		return &ledger.Checkpoint{Fence: s.fences[attempt], Value: []byte(`{"page":7}`)}
	}
}

func lose(attempt int, cause schemas.LossCause, prepare func(*standing)) func(*standing) ledger.Command {
	return func(s *standing) ledger.Command {
		prepare(s)
		return &ledger.Lose{Fence: s.fences[attempt], Cause: cause}
	}
}

func outcome(attempt int, kind schemas.EventName, failure *schemas.JobError, prepare func(*standing)) func(*standing) ledger.Command {
	return func(s *standing) ledger.Command {
		prepare(s)
		o := s.outcome(attempt, kind)
		o.Error = failure
		switch kind {
		case schemas.EventReleased:
			o.Reason = schemas.ReleaseDrain
		case schemas.EventCompleted:
			o.Result = json.RawMessage(strings.Repeat(" ", 3) + `null`)
		}
		return o
	}
}
