// Package projector folds the ledger into the KV views that any NATS client can read and watch: JOBS,
// COUNTS and CONFIG. Only the leader runs one (DESIGN D9).
//
// # Stored form
//
//	JOBS    <org>.<job>            ledger.Document: the record without args, result, steps and attempts
//	COUNTS  <org>.<queue>.<type>   ledger.CountDocument: jobs by state and what happened lately, exact at its seq
//	COUNTS  all                    ledger.CountsDocument: how far each view is written, and the totals
//	CONFIG  <kind>.<name>          ledger.SettingDocument: the latest settings of a type, org, queue, resource or hold
//
// A view is a pure function of the ledger: it may be deleted at any moment, also while the system runs,
// and is folded again from zero. Whoever wants that calls Rebuild, or simply deletes the bucket.
//
// # The loop
//
// Events are folded as they come and mark documents as changed. A flush takes all changed documents at
// once: FlushIdle after the first change, FlushLoad under load, so that a short job costs one put. The
// flush writes, in this order:
//
//  1. the documents, pipelined, each expecting the revision last seen. We die here: some documents are
//     ahead of the stored position, which is harmless; a restart folds the same events again and skips
//     what a document already covers.
//  2. COUNTS/all with the position, once all of them are stored. We die here: the same.
//
// # Invariants
//
//   - No document goes back in time: a put that is refused reads what is there, and the document with the
//     higher sequence stays, also when two leaders write at once. Nor does a leader that stood still while the
//     bucket was created anew: a bucket begins with revisions above all that its predecessors gave out.
//   - COUNTS/all covers only what is stored: every document of an event at or below its position is at
//     that event or later.
//   - COUNTS/all names the form of what is written (ledger.ViewsForm). Where a server of another version led, which
//     reads other events or writes other documents, everything is written anew, in place.
//   - A position is kept with its event id and with the creation time of the bucket it speaks of, COUNTS itself
//     included: a leader that stood still may not call the counters of a later bucket complete. Where
//     any of them does not match, that view is folded from zero (DESIGN D2).
//   - Counts are driven by the fold of each job, so an illegal event counts nothing but itself.
//   - Statistics (ledger.Stats) stand with their counter in one document, so that both are true at one sequence; their time
//     is the stream's. Of ledger.StatsKeysMax counters there are any.
//   - Every map of jobs is bounded: jobsCached folds, of which about dirtyMax are unwritten, and packedMax
//     packed ones of plain jobs that wait.
package projector
