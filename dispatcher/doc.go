// Package dispatcher decides which job runs next, and carries the decisions out.
//
// # Two halves
//
// Core is pure: a fold of the ledger's events and of workers' beats, from which Decide tells what to do
// next. It has no clock, no I/O and no goroutine; its rules are shown as transcripts in testdata/dispatcher
// and checked against a dumb model. Host is thin: it reads the tail, keeps the leader's lease, carries
// decisions out on the ledger and on WORK, and answers beats (DESIGN D5, D6, D7).
//
// # What is stored
//
// Nothing that could not be lost. The core is rebuilt from the ledger; WORK holds offers, which are hints
// and are made again; the bucket LEASE holds who leads, which is an optimisation: two leaders at once cannot
// queue a job twice, because every event they append expects the last sequence of the job's own subject
// (DESIGN D1).
//
// A host may keep its fold in a file, so that a start need not read the ledger from its beginning (DESIGN D6): every
// minute, after a long fold and at a clean stop. It is written beside the old one and renamed. A start that finds it
// asks the ledger for the event at its position, and for the last one it holds: only if both bear the ids that were
// saved it goes on from there. In all other cases, as one that is damaged, older than what the ledger still holds, or of
// another form (SavedForm), the ledger is folded as if there were none.
//
// # Invariants
//
//   - At most one decision about a job is in flight.
//   - A waiting job is in one lane or one timer, and costs 16 or 24 bytes, or it waits for parents and has a record
//     with an edge to each of them (core_parents.go); an entry that should not be there
//     leads at worst to a decision that the job's own fold refuses, a missing one would be a lost job.
//   - Of the others only Queued and Running jobs have records, so their number is bounded by the slots of workers.
//   - No job starts over a limit, and no slot is idle while a job may start: gates (core_gates.go) count what is Queued
//     and Running by scope, and keep what they block out of the heaps of what is ready.
//   - Of a type that no live worker serves nothing is Queued; of others about as many as slots turn over in
//     100 ms (room, in core_pools.go).
//   - Of a deleted org nothing starts, and what is unfinished is ended at a pace; how far that has come is kept nowhere but
//     in the jobs (core_dissolve.go).
//   - Leases are judged on a clock that runs only while this process does and is connected.
//   - Offers are removed by WORK sequence, never by subject: a subject may hold a newer one by then.
package dispatcher
