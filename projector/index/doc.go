// Package index folds the ledger into a local SQLite file, by which jobs are listed, filtered, searched and counted.
// Every server has its own; it is disposable (DESIGN D2, D8).
//
// # Stored form
//
//	jobs    a row a job, under the sequence of its submitted: its fold (row.go), what filters ask about as small numbers,
//	        the beginnings of args and result
//	names   texts that repeat (orgs, types, queues, states, reasons), by number
//	terms   postings: the jobs of an org that bear a tag, an owner, a batch, a parent or a value of an x-index field, by hash
//	counts  jobs by org, queue and type in each state
//	zones   of each stretch of zoneSize sequences: between which times its jobs were submitted, and finished
//	rules   of types whose schema marks fields x-redact or x-index
//	meta    the form, the position: sequence and event id of the last message folded, and how many removals of segments from
//	        the archive were followed
//
// # The loop
//
// Messages are folded by ledger.Apply, each job's fold from where its row left it. A batch, batchMessages or batchWait,
// is one transaction: the rows of all jobs that it moved, once each, and the position. While one batch is written the
// next one is folded. We die here: the file is as the last transaction left it, and the fold goes on from its position.
// When a segment is removed from the archive its jobs are folded anew from what is left of them, some at a time between
// messages, and the number of the removal is written with the last of them.
//
// # Invariants
//
//   - The file is a pure function of the ledger up to its position, less what was removed until the last removal that it
//     followed, whatever was killed and begun again.
//   - A position whose event is not in the ledger, a file of another form and a damaged file are thrown away.
//   - Tables and indexes only narrow: where.Match on the fold is the judge of every job, so a filter means the same here as
//     anywhere. A hash that collides costs a look, never a wrong answer.
//   - A look is bounded: lookMax rows. What is not done then goes on behind Page.Next.
//   - What a schema marks x-redact is not in the file.
package index
