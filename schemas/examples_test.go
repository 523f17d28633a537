package schemas_test

import (
	"encoding/json"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// big is a sequence no float64 can hold: a reader that goes through one is found out.
const big schemas.Seq = 1<<53 + 1

// hardArgs holds what a careless encoder rewrites: blanks, big integers, number forms, the order of keys, an
// escape that need not be one, and characters that Go escapes for HTML.
const hardArgs = `{ "z":9007199254740993 ,` + "\n\t" + `"a": [1.0, 1e400, -0],"html":"<a href=\"x\">&</a>","slash":"\/","name":"Ünïcödé 漢字 🚀 ` + "\u2028" + `" }`

var (
	aTime  = time.Date(2026, 11, 23, 14, 0, 0, 123456789, time.UTC)
	fence  = schemas.Fence{Seq: big, ID: "01938d4a-0000-7000-8000-00000000000f"}
	head   = schemas.Head{From: schemas.StateRunning, Type: "email-send", Queue: "mail", Priority: schemas.PriorityHigh, Resource: "carrier_7", Generation: 2, Submitted: big - 2}
	named  = schemas.AttemptHead{Head: head, Attempt: 3, Fence: fence}
	ended  = schemas.Progress{Percent: 40, Message: "<40 %> & \"rising\"", Steps: []schemas.Step{{Name: "render", State: "done"}, {Name: "send", State: "in_progress"}}}
	broken = schemas.JobError{Class: schemas.ClassTransient, Code: "smtp_451", Message: "try again: <busy> & \"full\"\n\u2028漢", Cause: "dial tcp 192.0.2.1:25: i/o timeout", RemoteStatus: 451, Stack: "goroutine 1 [running]:\nmain.main()\n\t/src/main.go:7 +0x1d"}
	stored = schemas.ObjectRef{Bucket: "RESULTS", Name: "acme/job-1/01938d4a", Bytes: 1<<53 + 1, SHA256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}
	policy = schemas.Policy{TimeoutMS: 300000, GraceMS: 30000, MaxAttempts: 6, PoisonLimit: 3, Backoff: schemas.Backoff{BaseMS: 60000, Factor: 1.5, CapMS: 3600000, ListMS: []schemas.Millis{0, 1000}}}
)

func ptr[T any](v T) *T { return &v }

func from(s schemas.State) schemas.Head {
	h := head
	h.From = s
	return h
}

func submittedExample() schemas.Submitted {
	return schemas.Submitted{
		From: schemas.StateDeadLettered, Type: "email-send", Queue: "mail", Priority: schemas.PriorityHigh, Resource: "carrier_7", Generation: 2,
		Principal: "user:ada", Hash: "47DEQpj8HBSa-_TImW-5JC", Key: "order 4711 <&> ü", Dedup: schemas.DedupInFlight, WindowMS: 300000,
		NotBefore: ptr(aTime), DelayMS: 1, Deadline: ptr(aTime.Add(time.Hour)), DeadlineMS: 7200000,
		Parents: []schemas.ParentRef{{ID: "parent-1", Generation: 1, OnFailure: schemas.ParentRun}, {ID: "_tick_2", Generation: 3}},
		Batch:   "_batch-1", Schedule: "nightly", Tick: ptr(aTime.Truncate(time.Second)), Tags: map[string]string{"z": "last", "customer": "Ünï <&>", "a": ""},
		Override: &schemas.Override{TimeoutMS: ptr(schemas.Millis(1000)), MaxAttempts: ptr(1), Backoff: &policy.Backoff},
		Reason:   "asked for by <ada> & co", Refused: &schemas.Refusal{Code: "queue_full", Field: "args", Message: "<full> & closed"}, ArgsRef: &stored, Args: json.RawMessage(hardArgs),
	}
}

func jobExample() schemas.Job {
	spec := submittedExample()
	spec.Args = nil
	return schemas.Job{
		Org: "acme", ID: "job-1", Generation: 2, State: schemas.StateDeadLettered, CancelRequested: true,
		DeadReason: schemas.DeadPoison, Resolution: schemas.ResolutionIgnored,
		Spec: spec, SubmittedSeq: big - 2, SubmittedID: "01938d4a-0000-7000-8000-000000000001", SubmittedAt: aTime,
		SubmittedBy: schemas.Actor{Type: "api_key", ID: "ci <&>"}, CausationID: "req-1", CorrelationID: "root-1",
		Traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", Tracestate: "vendor=1",
		NotBefore: aTime, Deadline: aTime.Add(time.Hour), Policy: policy,
		Attempt: 3, Used: 2, Losses: 1, CellLosses: 4, Fence: fence, Session: "s-1", Worker: "w-7",
		LastFence: fence, LastOutcome: schemas.EventLost, Late: []schemas.Seq{big - 1, big},
		QueuedAt: aTime, StartedAt: aTime, FinishedAt: aTime, RetryAt: aTime,
		CancelBy: schemas.Actor{Type: "user", ID: "bob"}, CancelReason: "no longer needed", CancelForced: true,
		DuplicateOf: &schemas.JobRef{ID: "job-0", Generation: 1},
		ResolvedBy:  schemas.Actor{Type: "user", ID: "eve"}, ResolvedAt: aTime, Note: "known <issue> & old", ParentsWaived: true,
		Error: &broken, Progress: &ended, ResultRef: &stored,
		LastSeq: big, LastID: "01938d4a-0000-7000-8000-00000000000e", LastAt: aTime, Illegal: 1,
	}
}

// scheduleExample has every field but those that do not go with a cron expression; TestScheduleForms has them.
func scheduleExample() *schemas.ScheduleSet {
	return &schemas.ScheduleSet{Reason: "month's <end>", Carried: &schemas.ScheduleCarried{Over: aTime, Last: aTime, Job: "_s-nightly-2-20261201T063000Z", ID: big, Open: true}, Settings: schemas.ScheduleSettings{
		Org: "acme", Name: "nightly", Generation: 2, Description: "books & <reports>", Cron: "0 30 2 * * MON-FRI", Zone: "Europe/Berlin",
		Missed: schemas.MissedAll, MissedMax: 10, Overlap: schemas.OverlapAllow,
		JitterMS: 60000, Paused: true, Removed: true, Job: schemas.JobTemplate{
			Type: "email-send", Queue: "mail", Priority: schemas.PriorityHigh, Resource: "carrier_7", Principal: "user:ada", DeadlineMS: 7200000,
			Tags:     map[string]string{"z": "last", "customer": "Ünï <&>"},
			Override: &schemas.Override{TimeoutMS: ptr(schemas.Millis(1000)), MaxAttempts: ptr(1), Backoff: &policy.Backoff},
			Args:     json.RawMessage(`{"to":"<ada>","n":9007199254740993}`)}}}
}

// examples holds one event of every name, with every field given, so that the files in testdata/events show
// the whole of each event's form. Such a combination of values need not occur; its encoding does not care.
func examples() []*schemas.Event {
	job := schemas.JobSubject("acme", "job-1")
	holdEnd := time.Date(2026, 12, 1, 6, 0, 0, 0, time.UTC)
	holdExample := &schemas.HoldSet{Reason: "carrier <down>", Settings: schemas.HoldSettings{
		Scope: schemas.HoldScope{Queue: "bulk", Type: "email-send", Org: "acme", Batch: "b-1", Resource: "carrier-7"}, On: true, Until: &holdEnd}}
	legalExample := &schemas.LegalHoldSet{Reason: "case <4711>", Settings: schemas.LegalHoldSettings{
		Scope: schemas.LegalScope{Org: "acme", Type: "email-send", Job: "job-1"}, On: true}}
	tokenExample := &schemas.TokenSet{Reason: "nightly <import>", Settings: schemas.TokenSettings{ID: "5f2a9c0e11d84b37", Org: "acme", Title: "CI <é>",
		Role: schemas.RoleMember, Actor: schemas.Actor{Type: "api_key", ID: "ci"}, Permissions: []string{"mail.send"},
		Hash: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", ExpiresAt: &holdEnd, Revoked: true}}
	noticesExample := &schemas.NoticesRead{Settings: schemas.NoticesMark{Org: "acme", Owner: "user:ada <é>", Through: aTime}}
	control := func(tokens ...string) schemas.Subject { return schemas.ControlSubject(tokens...) }
	submitted := submittedExample()
	events := []*schemas.Event{
		{Subject: job, Data: &submitted, Actor: schemas.Actor{Type: "user", ID: "ada lovelace 100%\"ü"}, Meant: ptr(aTime),
			CausationID: "req 1", CorrelationID: "root-1", Traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
			Tracestate: "vendor=a b", MsgID: "acme.47DEQpj8HBSa-_TImW-5JC"},
		{Subject: job, Data: &schemas.Queued{Head: from(schemas.StateSubmitted), Policy: policy, Used: 2, Epoch: big}},
		{Subject: job, Data: &schemas.Running{Head: from(schemas.StateQueued), Attempt: 3, Session: "01938d4a-0000-7000-8000-0000000000aa", Worker: "w-7 <é>"},
			Traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
		{Subject: job, Data: &schemas.Completed{AttemptHead: named, DurationMS: 1234, Progress: &ended, ResultRef: &stored, Result: json.RawMessage(hardArgs)}},
		{Subject: job, Data: &schemas.Failed{AttemptHead: named, Error: broken, DelayMS: 61234, DurationMS: 1234, Progress: &ended}},
		{Subject: job, Data: &schemas.TimedOut{AttemptHead: named, Error: broken, DelayMS: 61234, DurationMS: 300000, Progress: &ended}},
		{Subject: job, Data: &schemas.Canceled{Head: head, Attempt: 3, Fence: fence, Outcome: schemas.EventFailed, Reason: "wrong <address>", Forced: true, Cascade: true,
			DuplicateOf: &schemas.JobRef{ID: "job-0", Generation: 1}, Error: &broken, DurationMS: 1234, Progress: &ended}, Actor: schemas.Actor{Type: "user", ID: "bob"}},
		{Subject: job, Data: &schemas.DeadLettered{Head: head, Attempt: 3, Fence: fence, Outcome: schemas.EventTimedOut, Reason: schemas.DeadRetriesExhausted,
			Cause: schemas.LossWorkerGone, Error: &broken, DurationMS: 1234, Progress: &ended}},
		{Subject: job, Data: &schemas.CancelRequested{AttemptHead: named, Reason: "wrong <address>", Cascade: true}, Actor: schemas.Actor{Type: "service_account", ID: "billing"}},
		{Subject: job, Data: &schemas.Released{AttemptHead: named, Cause: schemas.ReleaseLateClaim, Progress: &ended}},
		{Subject: job, Data: &schemas.Lost{AttemptHead: named, Cause: schemas.LossCellRestart}},
		{Subject: job, Data: &schemas.Retried{Head: from(schemas.StateDeadLettered), Reason: "carrier is back", Deadline: ptr(aTime), WaivedParents: true,
			Parents: []schemas.ParentRef{{ID: "job-0", Generation: 1, OnFailure: schemas.ParentRun}}},
			Actor: schemas.Actor{Type: "user", ID: "bob"}, CausationID: "bulk-7"},
		{Subject: job, Data: &schemas.Resolved{Head: from(schemas.StateDeadLettered), Note: "sent by hand & filed"}, Actor: schemas.Actor{Type: "user", ID: "bob"}},
		{Subject: job, Data: &schemas.Ignored{Head: from(schemas.StateDeadLettered), Note: "test data <old>"}, Actor: schemas.Actor{Type: "user", ID: "bob"}},
		{Subject: job, Data: &schemas.LateResult{AttemptHead: named, Outcome: schemas.EventCompleted, Error: &broken, ResultRef: &stored, Result: json.RawMessage(" null\n")}},
		{Subject: job, Data: &schemas.Carried{Head: from(schemas.StateDeadLettered), Job: jobExample(), Args: json.RawMessage(hardArgs),
			Result: json.RawMessage(`[ ]`), Checkpoint: json.RawMessage(`{ "page" : 9007199254740993 }`)}, Actor: schemas.Actor{Type: "system", ID: "dispatcher"}},
		{Subject: job, Data: &schemas.Checkpointed{AttemptHead: named, Checkpoint: json.RawMessage(`{ "page" : 9007199254740993, "h":"<&>" }`)}},
		{Subject: control("cell", "start"), Data: &schemas.CellStarted{Cell: "01938d4a-0000-7000-8000-0000000000ce", Version: "0.1.0", Carried: big}},
		{Subject: control("cell", "leader"), Data: &schemas.LeaderElected{Server: "01938d4a-0000-7000-8000-0000000000aa", Cell: "01938d4a-0000-7000-8000-0000000000ce", Carried: big}},
		{Subject: control("cell", "type", "email-send"), Actor: schemas.Actor{Type: "user", ID: "root"}, Data: &schemas.TypeSet{Reason: "slower <carrier>", Settings: schemas.TypeSettings{
			Name: "email-send", DisplayName: "Send an e-mail", Description: "One <mail> & its receipt", Disabled: true, Queue: "mail",
			Priority: schemas.PriorityLow, TimeoutMS: 60000, GraceMS: ptr(schemas.Millis(0)), MaxAttempts: 3, PoisonLimit: 2, Backoff: policy.Backoff,
			Dedup: schemas.DedupStrict, WindowMS: ptr(schemas.Millis(0)), Reuse: schemas.ReuseFailed, Exclusive: true, Permission: "mail.send",
			MaxRunning: 20, MaxRunningPerOrg: 5, StartRate: &schemas.Rate{Count: 50, PerMS: 60000}, SubmitRate: &schemas.Rate{Count: 100, PerMS: 1000},
			Breaker: &schemas.Breaker{Percent: 40, MinAttempts: 20, WindowMS: 600000, CooldownMS: 60000, ReopenMS: 30000}, DisabledOrgs: []schemas.OrgID{"old"}, RetentionDays: 365,
			Schema: json.RawMessage(`{"type":"object","properties":{"to":{"type":"string","pattern":"<.+@.+>"}}}`)}}},
		{Subject: control("cell", "org", "acme"), Actor: schemas.Actor{Type: "user", ID: "root"}, Data: &schemas.OrgSet{Reason: "paid <late>", Settings: schemas.OrgSettings{
			Name: "acme", DisplayName: "Acme & Co", State: schemas.OrgSuspended, Weight: 4, MaxRunning: ptr(0), MaxWaiting: 1000,
			SubmitRate: &schemas.Rate{Count: 100, PerMS: 1000}, StartRate: &schemas.Rate{Count: 10, PerMS: 1000}, RetentionDays: 365}}},
		{Subject: control("cell", "queue", "bulk"), Actor: schemas.Actor{Type: "user", ID: "root"}, Data: &schemas.QueueSet{Reason: "more room", Settings: schemas.QueueSettings{
			Name: "bulk", Description: "imports <and> exports", Owner: "acme", MaxRunning: 50, MaxRunningPerOrg: 10, MaxWaitingPerOrg: 100,
			StartRatePerOrg: &schemas.Rate{Count: 50, PerMS: 60000}, Weights: map[schemas.OrgID]int{"acme": 2, "beta": 1}}}},
		{Subject: control("cell", "resource", "carrier-7"), Actor: schemas.Actor{Type: "user", ID: "root"}, Data: &schemas.ResourceSet{Reason: "one at a time", Settings: schemas.ResourceSettings{
			Name: "carrier-7", Description: "the old one", PerOrg: true, MaxRunning: 1, StartRate: &schemas.Rate{Count: 3, PerMS: 1000}}}},
		{Subject: control("acme", "schedule", "nightly"), Actor: schemas.Actor{Type: "user", ID: "root"}, Data: scheduleExample()},
		{Subject: control("acme", "breaker", "email-send"), Actor: schemas.Actor{Type: "user", ID: "root"}, Data: &schemas.BreakerClosed{
			Org: "acme", Type: "email-send", Reason: "the <carrier> is back"}},
		{Subject: holdExample.Place(), Actor: schemas.Actor{Type: "user", ID: "root"}, Data: holdExample},
		{Subject: legalExample.Place(), Actor: schemas.Actor{Type: "user", ID: "root"}, Data: legalExample},
		{Subject: tokenExample.Place(), Actor: schemas.Actor{Type: "user", ID: "root"}, Data: tokenExample},
		{Subject: noticesExample.Place(), Actor: schemas.Actor{Type: "user", ID: "ada"}, Data: noticesExample},
		{Subject: schemas.UnmaskPlace("acme", "job-1"), Actor: schemas.Actor{Type: "user", ID: "ada"}, CausationID: "req-1", Data: &schemas.Unmasked{
			Org: "acme", Job: "job-1", Type: "email-send", Fields: []string{"", "user.mail <é>"}, Reason: "case <4711>"}},
		{Subject: control("cell", "verify", "ledger"), Actor: schemas.Actor{Type: "user", ID: "ada"}, Data: &schemas.Verified{Settings: schemas.VerifyResult{Full: true, Limits: true, FirstSeq: 1,
			LastSeq: big, Events: 4711, Jobs: 815, Problems: map[string]int{"view": 2, "gap": 1}, DurationMS: 61234}}},
	}
	for _, e := range events {
		e.ID = "01938d4a-7c00-7abc-8def-0123456789ab"
	}
	return events
}
