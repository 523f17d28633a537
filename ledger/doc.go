// Package ledger is the truth of jobledger: the pure state machine of a job, and the stream that holds
// every job's events.
//
// # Stored form
//
// One JetStream stream, LEDGER. A job's events stand on the one literal subject jobs.<org>.<job>, control
// events on control.<scope>.<kind>[.<name>]; package schemas defines their records. Old events leave it for ARCHIVE,
// in pages, and CATALOG says what is there: both are the truth as well, and one history with it (archive.go,
// docs/ARCHIVE.md). All other streams and
// buckets (names.go) are caches, which may be deleted at any moment (DESIGN D2): folded from it, but for LIVE, where
// workers say what running attempts report, and say it again (live.go).
//
// The object stores ARGS and RESULTS are no caches: they hold what is too large for an event, which names it as
// <org>/<job>/<event id> (payload.go). The object is stored first, the event second; what no event names is the
// Collector's.
//
// # The loop
//
// Every change of a job goes the same way, whoever asks for it:
//
//	fold the subject -> Decide(job, command) -> Append(event, expecting the subject's last sequence)
//
// Apply and Decide are pure and the only places that know what an event means and when it is legal. An
// append is stored, refused or unknown (DESIGN D3): refused means fold on and decide again, unknown is
// settled by sending the same event again and is never reported as refused.
//
// Submit needs no fold for new work: the stream's window of message ids finds an earlier submission of the
// same work, a job's own subject an earlier job of the same id, and the existing job's policy says what that
// means (DESIGN D4; DedupID, Blocks, the canonical form in canonical.go). Errors bear the codes of R-720.
//
// Provision makes a cell's streams and refuses those that would break a promise; every start of a cell, when
// what lived in memory is made anew, has one id (DESIGN D2).
//
// # Reading
//
// Fold, History and EventsAt read what the stream's leader holds now. A Feed is the one tail of a server
// process, from which each fold takes every message in order through a Cursor of its own; Replay hands out
// a stretch of the ledger, the same each time. Both go on over restarts, and both compare the event id at
// their position before they go on: where another event stands there, the ledger went back to older data and
// what was folded is void (ErrPositionExpired). What has left LEDGER for ARCHIVE is read from there (story.go,
// stretch.go; DESIGN D13): a job that LEDGER does not begin says so (Job.Archived), and Job.Expect is what an append to it
// expects. Of a Feed only SubscribeHistory does; a fold of LEDGER alone is told ErrPositionLeft. A message that is no event of ours is handed out as an
// Entry with Err, so that whoever waits for a sequence gets there. Verify folds everything anew and compares.
//
// # Invariants
//
//   - No job event is stored without an expectation on its own literal subject.
//   - One running has at most one outcome: an outcome names the fence it ends, and Apply accepts only the
//     current one.
//   - An illegal event is kept, ignored by the fold and counted; a message that is not ours moves
//     a job's last sequence and nothing else.
//   - An event names only payloads that were stored before it, of its own job; only those are ever resolved.
//   - A submit that a limit refuses stores nothing. Every way in passes the same door, in Submit; it judges
//     by settings and counts that are a second old at most, and where no limit is set it reads nothing.
//   - The settings of an org that was deleted never change again, and it takes no jobs (orgs.go).
//   - A job that holds an event this binary cannot decode is never decided upon (DESIGN D8).
//
// # Glossary
//
// event, fold, attempt, generation, offer, claim, fence, beat, lane, leader, epoch, cell: as in
// docs/ARCHITECTURE.md. "Finished" is completed, canceled or dead_lettered.
package ledger
