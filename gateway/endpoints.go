package gateway

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/dartwing/jobledger/gateway/rights"
	"github.com/dartwing/jobledger/ledger"
)

// endpoint is one verb. A handler returns the reply's body, or an error.
type endpoint struct {
	name     string
	pattern  string // behind jobledger.<org>.
	handle   func(ctx context.Context, r *request) ([]byte, error)
	action   rights.Action // who may ask is decided by it
	job      bool          // the name is a job's, which is judged for itself
	schedule bool          // the name is a schedule's, which is judged for itself
	whole    bool          // asked of all of an org: a right to one's own jobs is not enough
	cell     bool          // asked of, or answered with, more than one org
	waits    bool
	about    string
	stats    endpointStats
}

// endpointStats are what micro cannot count for handlers that return before they answer.
type endpointStats struct {
	answered, failed, micros atomic.Int64
}

func (g *Gateway) endpoints() []*endpoint {
	return slices.Concat(g.jobEndpoints(), g.cellEndpoints())
}

// jobEndpoints are about jobs, and what is told of them.
func (g *Gateway) jobEndpoints() []*endpoint {
	return []*endpoint{
		{name: "submit", action: rights.JobsSubmit, pattern: "submit.*", handle: g.submit, about: "store a job; the body is its args"},
		{name: "upload", action: rights.JobsSubmit, pattern: "upload.*", handle: g.upload, about: "a part of args for a submit to come; the name is a new UUID"},
		{name: "get", action: rights.JobsRead, job: true, pattern: "get.*", handle: g.get, about: "a job's record"},
		{name: "history", action: rights.JobsRead, job: true, pattern: "history.*", handle: g.history, about: "a job's events"},
		{name: "explain", action: rights.JobsRead, job: true, pattern: "explain.*", handle: g.explain, about: "why a job is where it is, what holds it, when it can move"},
		{name: "children", action: rights.JobsRead, job: true, pattern: "children.*", handle: g.children, about: "jobs that wait for a job, or waited for it, and a batch's items, newest first"},
		{name: "wait", action: rights.JobsRead, job: true, pattern: "wait.*", handle: g.wait, waits: true, about: "a job's record, once it has ended"},
		{name: "result", action: rights.PayloadsRead, job: true, pattern: "result.*", handle: g.result, about: "a completed job's result"},
		{name: "payload", action: rights.PayloadsRead, job: true, pattern: "payload.*", handle: g.payload, about: "a job's args or result, page by page"},
		{name: "cancel", action: rights.JobsCancel, job: true, pattern: "cancel.*", handle: g.cancel, about: "cancel a job"},
		{name: "retry", action: rights.JobsRetry, job: true, pattern: "retry.*", handle: g.retry, about: "give a finished job a fresh budget, or run a retrying one now"},
		{name: "resolve", action: rights.JobsResolve, job: true, pattern: "resolve.*", handle: g.resolve, about: "close a dead letter with a note"},
		{name: "resubmit", action: rights.JobsSubmit, job: true, pattern: "resubmit.*", handle: g.resubmit, about: "a new job from an old one"},
		{name: "batch", action: rights.JobsSubmit, pattern: "batch", handle: g.batch, about: "a job that submits many at a pace and follows them"},
		{name: "submits", action: rights.JobsSubmit, pattern: "submits", handle: g.submitMany, about: "store many jobs, each for itself"},
		{name: "unmask", action: rights.PayloadsUnmask, job: true, pattern: "unmask.*", handle: g.unmask, about: "a job's args with what its type redacts; an event says to whom and why"},
		{name: "bulk", action: rights.JobsBulk, whole: true, pattern: "bulk", handle: g.bulk, about: "cancel, retry or resolve many jobs"},
		{name: "bulk-info", action: rights.JobsRead, whole: true, pattern: "bulk.info.*", handle: g.bulkInfo, about: "how far a detached bulk is"},
		{name: "bulk-stop", action: rights.JobsBulk, whole: true, pattern: "bulk.stop.*", handle: g.bulkStop, about: "stop a detached bulk between two jobs"},
		{name: "errors", action: rights.JobsRead, pattern: "errors", handle: g.deadLetters, about: "dead letters, grouped by what they died of"},
		{name: "list", action: rights.JobsRead, pattern: "list", handle: g.list, about: "jobs that match a filter, newest first"},
		{name: "events", action: rights.JobsWatch, pattern: "events", handle: g.events, waits: true, about: "what happens, behind a position, as soon as something does"},
		{name: "notices", action: rights.JobsWatch, pattern: "notices", handle: g.notices, about: "an owner's notices: which of his jobs have ended, how, and which of that he has read"},
		{name: "notices-read", action: rights.JobsWatch, pattern: "notices.read", handle: g.readNotices, about: "the caller has read his notices"},
		{name: "stats", action: rights.MetricsRead, whole: true, pattern: "stats", handle: g.stats, about: "rates, durations and depth over time"},
		{name: "usage", action: rights.MetricsRead, whole: true, pattern: "usage", handle: g.usage, about: "what the org used"},
		{name: "count", action: rights.MetricsRead, pattern: "count", handle: g.count, about: "how many jobs stand where"},
		{name: "status", action: rights.MetricsRead, cell: true, pattern: "status", handle: g.status, about: "how far the views are, what is wrong in the ledger, whether somebody leads"},
		{name: "info", action: rights.MetricsRead, cell: true, pattern: "info", handle: g.info, about: "what runs: leader, ledger, archive, storage, views"},
	}
}

// cellEndpoints are about who works, and about what is set.
func (g *Gateway) cellEndpoints() []*endpoint {
	return []*endpoint{
		{name: "worker-ls", action: rights.WorkersRead, cell: true, pattern: "worker.ls", handle: g.workerList, about: "all workers"},
		{name: "worker-info", action: rights.WorkersRead, cell: true, pattern: "worker.info.*", handle: g.workerInfo, about: "a worker and what it runs"},
		{name: "worker-drain", action: rights.WorkersDrain, cell: true, pattern: "worker.drain.*", handle: g.workerDrain, about: "a worker claims nothing more, finishes and ends"},
		{name: "org-ls", action: rights.SettingsRead, cell: true, pattern: "org.ls", handle: g.orgList, about: "all orgs that were set"},
		{name: "org-info", action: rights.SettingsRead, whole: true, pattern: "org.info", handle: g.orgInfo, about: "an org, its limits and its jobs"},
		{name: "org-set", action: rights.OrgsEdit, cell: true, pattern: "org.set", handle: g.orgSet, about: "add or change an org"},
		{name: "org-rm", action: rights.OrgsEdit, cell: true, pattern: "org.rm", handle: g.orgRemove, about: "delete an org, for good; or count what that would end"},
		{name: "org-history", action: rights.SettingsRead, whole: true, pattern: "org.history", handle: g.historyOf(ledger.KindOrg), about: "all settings an org ever had"},
		{name: "token-add", action: rights.TokensEdit, cell: true, pattern: "token.add", handle: g.tokenAdd, about: "make a credential for an org, or for all"},
		{name: "token-ls", action: rights.TokensEdit, cell: true, pattern: "token.ls", handle: g.tokenList, about: "the credentials of an org, or all"},
		{name: "token-rm", action: rights.TokensEdit, cell: true, pattern: "token.rm.*", handle: g.tokenRemove, about: "revoke a credential for good"},
		{name: "queue-ls", action: rights.SettingsRead, cell: true, pattern: "queue.ls", handle: g.queueList, about: "all queues and their load"},
		{name: "queue-info", action: rights.SettingsRead, cell: true, pattern: "queue.info.*", handle: g.queueInfo, about: "a queue, its limits and its load"},
		{name: "queue-set", action: rights.LimitsEdit, cell: true, pattern: "queue.set.*", handle: g.queueSet, about: "add or change a queue"},
		{name: "queue-history", action: rights.SettingsRead, cell: true, pattern: "queue.history.*", handle: g.historyOf(ledger.KindQueue), about: "all settings a queue ever had"},
		{name: "resource-ls", action: rights.SettingsRead, cell: true, pattern: "resource.ls", handle: g.resourceList, about: "all resources that were set"},
		{name: "resource-info", action: rights.SettingsRead, cell: true, pattern: "resource.info.*", handle: g.resourceInfo, about: "a resource and its limits"},
		{name: "resource-set", action: rights.LimitsEdit, cell: true, pattern: "resource.set.*", handle: g.resourceSet, about: "add or change a resource"},
		{name: "resource-history", action: rights.SettingsRead, cell: true, pattern: "resource.history.*", handle: g.historyOf(ledger.KindResource), about: "all settings a resource ever had"},
		{name: "hold-ls", action: rights.SettingsRead, whole: true, pattern: "hold.ls", handle: g.holdList, about: "what is paused"},
		{name: "hold-set", action: rights.HoldsOrg, whole: true, pattern: "hold.set", handle: g.holdSet, about: "pause or resume a scope"},
		{name: "legalhold-ls", action: rights.SettingsRead, cell: true, pattern: "legalhold.ls", handle: g.legalHoldList, about: "history that is kept, however old"},
		{name: "legalhold-set", action: rights.OrgsEdit, cell: true, pattern: "legalhold.set", handle: g.legalHoldSet, about: "keep history from being removed, or release it"},
		{name: "type-set", action: rights.TypesEdit, cell: true, pattern: "type.set.*", handle: g.typeSet, about: "change some of a type's policy"},
		{name: "type-apply", action: rights.TypesEdit, cell: true, pattern: "type.apply", handle: g.typeApply, about: "register or change many types"},
		{name: "type-history", action: rights.SettingsRead, cell: true, pattern: "type.history.*", handle: g.historyOf(ledger.KindType), about: "all policies a type ever had"},
		{name: "type-close-breaker", action: rights.HoldsOrg, whole: true, pattern: "type.close-breaker.*", handle: g.closeBreaker, about: "let a type that fails too often start again"},
		{name: "type-add", action: rights.TypesEdit, cell: true, pattern: "type.add.*", handle: g.typeAdd, about: "register a type, or change it"},
		{name: "type-info", action: rights.SettingsRead, whole: true, pattern: "type.info.*", handle: g.typeInfo, about: "a type's policy"},
		{name: "type-ls", action: rights.SettingsRead, whole: true, pattern: "type.ls", handle: g.typeList, about: "all types"},
		{name: "schedule-add", action: rights.SchedulesEdit, schedule: true, pattern: "schedule.add.*", handle: g.scheduleAdd, about: "add a schedule, or change it"},
		{name: "schedule-rm", action: rights.SchedulesEdit, schedule: true, pattern: "schedule.rm.*", handle: g.scheduleRemove, about: "remove a schedule"},
		{name: "schedule-info", action: rights.SchedulesRead, schedule: true, pattern: "schedule.info.*", handle: g.scheduleInfo, about: "a schedule, with its next tick"},
		{name: "schedule-ls", action: rights.SchedulesRead, pattern: "schedule.ls", handle: g.scheduleList, about: "all schedules of the org"},
		{name: "schedule-pause", action: rights.SchedulesEdit, schedule: true, pattern: "schedule.pause.*", handle: g.schedulePause, about: "let the ticks of a schedule pass"},
		{name: "schedule-resume", action: rights.SchedulesEdit, schedule: true, pattern: "schedule.resume.*", handle: g.scheduleResume, about: "go on from now"},
		{name: "schedule-trigger", action: rights.SchedulesEdit, schedule: true, pattern: "schedule.trigger.*", handle: g.scheduleTrigger, about: "a job of the schedule, now"},
		{name: "schedule-next", action: rights.SchedulesRead, schedule: true, pattern: "schedule.next.*", handle: g.scheduleNext, about: "the ticks to come"},
		{name: "schedule-backfill", action: rights.SchedulesEdit, schedule: true, pattern: "schedule.backfill.*", handle: g.scheduleBackfill, about: "the jobs of past ticks that have none"},
	}
}
