package ledger_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// storyCommands builds the command of each word of a story; those that decide nothing are in run.
var storyCommands = map[string]func(*story, args) ledger.Command{
	// publisher: submit delay=D deadline=D args=JSON · cancel reason=TEXT duplicate-of=ID
	"submit": func(s *story, a args) ledger.Command {
		return &ledger.Begin{Spec: schemas.Submitted{Type: "echo", Queue: "default", Priority: schemas.PriorityNormal,
			DelayMS: schemas.MillisOf(a.duration(s.t, "delay")), DeadlineMS: schemas.MillisOf(a.duration(s.t, "deadline")),
			Args: json.RawMessage(a["args"])}}
	},
	"cancel": func(_ *story, a args) ledger.Command {
		c := &ledger.Cancel{Reason: a["reason"]}
		if id := a["duplicate-of"]; id != "" {
			c.DuplicateOf = &schemas.JobRef{ID: schemas.JobID(id), Generation: 1}
		}
		return c
	},

	// dispatcher: queue attempts=N poison=N list=D,D · dead-letter reason=R · lose cause=C org-deleted · overrun ·
	// end-cancel · carry. lose, overrun and end-cancel take attempt=N, else mean the current one.
	"queue": func(s *story, a args) ledger.Command {
		p := schemas.DefaultPolicy()
		p.MaxAttempts = a.number(s.t, "attempts", p.MaxAttempts)
		p.PoisonLimit = a.number(s.t, "poison", p.PoisonLimit)
		p.Backoff.ListMS = []schemas.Millis{60_000}
		return &ledger.Queue{Policy: p, Epoch: 1, Now: s.clock}
	},
	"dead-letter": func(_ *story, a args) ledger.Command {
		return &ledger.DeadLetter{Reason: schemas.DeadReason(a["reason"])}
	},
	"lose": func(s *story, a args) ledger.Command {
		return &ledger.Lose{Fence: s.fence(a), Cause: schemas.LossCause(a["cause"]), OrgDeleted: a["org-deleted"] != ""}
	},
	"overrun":    func(s *story, a args) ledger.Command { return &ledger.Overrun{Fence: s.fence(a), Now: s.clock} },
	"end-cancel": func(s *story, a args) ledger.Command { return &ledger.EndCancel{Fence: s.fence(a)} },
	"carry":      func(*story, args) ledger.Command { return &ledger.Carry{} },

	// worker: claim worker=W generation=N submitted=SEQ · complete result=JSON · fail class=C message=TEXT
	// retry-after=D · time-out · give-up reason=TEXT forced (the handler ended canceled) · release cause=C.
	// checkpoint value=JSON.
	// Outcomes and checkpoints take attempt=N or attempt=GENERATION/N, else speak for the current attempt.
	"claim": func(s *story, a args) ledger.Command {
		worker := a["worker"]
		return &ledger.Claim{Generation: a.number(s.t, "generation", s.job.Generation),
			Submitted: schemas.Seq(a.number(s.t, "submitted", int(s.job.SubmittedSeq))), Session: schemas.SessionID("session-of-" + worker), Worker: worker}
	},
	"complete": func(s *story, a args) ledger.Command {
		o := s.says(a, schemas.EventCompleted)
		o.Result = []byte(a["result"])
		return o
	},
	"fail": func(s *story, a args) ledger.Command {
		o := s.says(a, schemas.EventFailed)
		o.Error = &schemas.JobError{Class: schemas.ErrorClass(a["class"]), Message: a["message"]}
		o.RetryAfter = a.duration(s.t, "retry-after")
		return o
	},
	"time-out": func(s *story, a args) ledger.Command { return s.says(a, schemas.EventTimedOut) },
	"give-up": func(s *story, a args) ledger.Command {
		o := s.says(a, schemas.EventCanceled)
		o.Reason, o.Forced = a["reason"], a["forced"] != ""
		return o
	},
	"release": func(s *story, a args) ledger.Command {
		o := s.says(a, schemas.EventReleased)
		o.Reason = a["cause"]
		return o
	},
	"checkpoint": func(s *story, a args) ledger.Command {
		return &ledger.Checkpoint{Fence: s.fence(a), Value: []byte(a["value"])}
	},

	// operator: retry deadline=D (from now) waive-parents · resolve note=TEXT · ignore note=TEXT
	"retry": func(s *story, a args) ledger.Command {
		c := &ledger.Retry{Reason: a["reason"], Now: s.clock, Epoch: 1, WaiveParents: a["waive-parents"] != ""}
		if a["deadline"] != "" {
			at := s.clock.Add(a.duration(s.t, "deadline"))
			c.Deadline = &at
		}
		return c
	},
	"resolve": func(_ *story, a args) ledger.Command { return &ledger.Resolve{Note: a["note"]} },
	"ignore":  func(_ *story, a args) ledger.Command { return &ledger.Resolve{Note: a["note"], Ignore: true} },
}

// attempt names the attempt that a command speaks for.
func (s *story) attempt(a args) (generation, attempt int) {
	generation, attempt = s.job.Generation, s.job.Attempt
	if v := a["attempt"]; v != "" {
		g, n, ok := strings.Cut(v, "/")
		if !ok {
			g, n = fmt.Sprint(generation), v
		}
		if _, err := fmt.Sscan(g+" "+n, &generation, &attempt); err != nil {
			s.t.Fatal(err)
		}
	}
	return generation, attempt
}

func (s *story) fence(a args) schemas.Fence {
	generation, attempt := s.attempt(a)
	return s.fences[fmt.Sprintf("%d/%d", generation, attempt)]
}

func (s *story) says(a args, kind schemas.EventName) *ledger.Outcome {
	generation, attempt := s.attempt(a)
	o := &ledger.Outcome{Fence: s.fence(a), Generation: generation, Attempt: attempt, Kind: kind, Now: s.clock}
	if !s.job.StartedAt.IsZero() && o.Fence == s.job.Fence {
		o.Duration = s.clock.Sub(s.job.StartedAt).Round(time.Millisecond)
	}
	return o
}
