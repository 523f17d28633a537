// Package handlers runs jobs: the contract between jobledger and the code that does the work, the worker
// that claims offers and appends outcomes, and two built-in handlers, so that any script (Exec) or HTTP
// service (HTTP) is a worker.
//
// # The loop
//
//	beat -> pull an offer -> claim (append running) -> ack -> handler -> append the outcome
//
// A handler is given an Attempt and returns a result or an error. What the error means is judged in one
// place, Classify; what follows from it, retry or dead letter, is decided by package ledger.
//
// # Stored form
//
// Nothing is stored here: the worker appends running, checkpoints and the outcome through package ledger, a result
// over the inline limit into its object store before that, and publishes progress into the bucket LIVE,
// which may be lost; all it knows besides is memory. A worker that dies leaves running events behind; the leader
// ends those attempts when the lease has passed (DESIGN D7).
//
// # Invariants
//
//   - A slot is free only when its handler has returned: a handler that ignores its context keeps the slot,
//     and that is visible in the beats.
//   - An attempt starts only when its claim is known to be stored and current; it is started once.
//   - Every attempt that this process has claimed is named in its beats until its outcome is settled.
//   - Progress is never waited for, and shares no lock with claims, beats and outcomes; whatever an attempt's
//     process or service sends is read at a bounded pace into bounded memory.
//   - A handler sees one attempt and nothing of any other.
package handlers
