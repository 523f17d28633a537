// Package gateway is the door for the outside: commands and reads of one org as a NATS micro service, and
// the client of it (DESIGN D10, INTERFACE 4).
//
// # Protocol
//
// Requests go to jobledger.<org>.<verb>[.<name>], bodies and replies are JSON:
//
//	.submit.<type>     body: the job's args; options are headers, see Header* · reply SubmitReply
//	.upload.<uuid>     body: a part of args that are too large for one submit; empty: done with it · reply UploadReply
//	.get.<id>          reply ledger.Record, with attempts
//	.history.<id>      body HistoryRequest · reply History: ledger.HistoryLine, oldest first, in pages
//	.explain.<id>      reply Explanation: why the job is where it is, what holds it, when it can move
//	.wait.<id>         body WaitRequest · reply ledger.Record as soon as the job has ended, or as it is when time is up
//	.result.<id>       reply ResultReply; invalid_state with details.state where there is none
//	.payload.<id>      body PayloadRequest · reply PayloadPage: args or result of any size, page by page
//	.children.<id>     body ListRequest · reply List: what waits for the job, or waited for it; a batch's items
//	.list              body ListRequest · reply List
//	.count             body CountRequest · reply Count
//	.stats             body StatsRequest · reply StatsReply
//	.usage             body UsageRequest · reply Usage
//	.events            body EventsRequest · reply Events: what happens behind a position, as soon as something does
//	.cancel.<id>       body CancelRequest · reply CancelReply
//	.retry.<id>        body RetryRequest · reply RetryReply
//	.resolve.<id>      body ResolveRequest · reply ResolveReply
//	.resubmit.<id>     body ResubmitRequest · reply ResubmitReply
//	.unmask.<id>       body UnmaskRequest · reply UnmaskReply: args with what their type redacts; who saw it is an event
//	.batch             body: a ledger.BatchSpec; options are headers as of a submit · reply SubmitReply, of the batch
//	.bulk              body BulkRequest · reply BulkReply
//	.errors            body ErrorsRequest · reply ErrorGroups
//	.worker.ls         body WorkersRequest · reply Workers
//	.worker.info.<id>  reply Worker
//	.worker.drain.<id> body DrainWorkerRequest · reply DrainWorkerReply
//	.type.add.<name>   body Type · reply Type
//	.type.info.<name>  reply Type
//	.type.ls           reply Types
//	.type.set.<name>   body SetRequest · reply Type: some of its policy is changed
//	.type.apply        body TypesRequest · reply TypesReply
//	.type.history.<name>      reply SettingHistory
//	.org.ls            reply Orgs
//	.org.info          reply Org: the org of the subject
//	.org.set           body SetRequest · reply Org
//	.org.rm            body RemoveOrgRequest · reply OrgRemoval: delete the org of the subject, for good
//	.org.history       reply SettingHistory
//	.token.add         body AddTokenRequest · reply NewToken: a credential for the org of the subject
//	.token.ls          body TokensRequest · reply Tokens
//	.token.rm.<id>     body ReasonRequest · reply Token: revoke it for good
//	.queue.ls          reply Queues
//	.queue.info.<name> reply Queue
//	.queue.set.<name>  body SetRequest · reply Queue
//	.queue.history.<name>     reply SettingHistory
//	.resource.ls       reply Resources
//	.resource.info.<name>     reply Resource
//	.resource.set.<name>      body SetRequest · reply Resource
//	.resource.history.<name>  reply SettingHistory
//	.hold.ls           reply Holds
//	.hold.set          body HoldRequest · reply HoldReply: pause or resume a scope
//	.schedule.add.<name>       body AddSchedule · reply Schedule
//	.schedule.rm|pause|resume.<name>  body ReasonRequest · reply Schedule
//	.schedule.info.<name>      reply Schedule
//	.schedule.ls               reply Schedules
//	.schedule.trigger.<name>   body ReasonRequest · reply SubmitReply
//	.schedule.next.<name>      body NextRequest · reply NextReply
//	.schedule.backfill.<name>  body BackfillRequest · reply BackfillReply
//
// An error is the headers Nats-Service-Error and Nats-Service-Error-Code (the HTTP status) and the body
// {"error":{"code","message","details","request_id"}}; the codes are ledger.Codes. No responders means that
// nothing was stored; a request that was not answered may have been carried out.
//
// A caller who repeats a submit that was not answered sends the same Jobledger-Request-Id, a UUID: it
// becomes the identity of the event, so that the repetition finds its own job and not a duplicate.
//
// A submit that is published without a reply subject is a raw one: it is judged like any other, but what would be refused is
// recorded as a job that is dead-lettered as rejected, with the code and the text of the refusal. Whether it was recorded
// at all the sender does not hear.
//
// # Invariants
//
//   - No caller's header is forwarded into the ledger: every event is built anew from validated fields.
//   - The org is a token of the subject. In a tenant's account it is fixed by the server's import, which puts the account's
//     name before it (jobledger-as.<account>.<org>.…); that name is the id of the token that says who calls. A job of another
//     org is not_found, exactly like one that does not exist.
//   - Reads of one job fold its subject from the stream's leader and are current; lists and counts come from
//     the KV views and say as_of_seq.
//   - The live feed (Live) is one ring of recent events for all who follow, bounded in bytes. A position is the ledger's, so
//     that any server goes on where another one was; where a follower was too slow or a position is too old, it is told
//     (docs/LIVE.md).
//   - Handlers are bounded: requestsMax at once, and waitsMax long polls; what waits is bounded, too, and orgs take turns, as do the
//     callers of one (turns.go).
package gateway
