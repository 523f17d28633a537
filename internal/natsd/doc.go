// Package natsd runs a NATS server with JetStream inside this process.
//
// It exists so that `jobledger dev`, `jobledger server` without --server, and
// every test have a real engine with nothing to install. It is the only
// package that imports nats-server; everything above it sees a
// [*nats.Conn] and cannot tell an embedded server from an outside one
// (DESIGN D14).
//
// # What is stored
//
// The data folder ([Config.StoreDir]) holds
//
//	LOCK         taken by the process that uses the folder, names its pid
//	jetstream/   the engine's own files: streams, consumers, buckets
//
// Other components of a cell keep disposable files (folds, index) beside
// them; natsd does not look at those.
//
// # Invariants
//
//   - One process per data folder. The lock is the operating system's and dies
//     with the process, so a crash leaves nothing to clean up.
//   - Nothing listens outside the loopback address unless Config.Host says so.
//   - [Server.Shutdown] returns when the engine has written and closed its
//     files; a process that ends afterwards loses nothing it acknowledged.
//
// # The durability promise
//
// [Durability] names the two modes and [Durability.Promise] states in words
// what an acknowledgement is worth in each (ENGINE 8, DESIGN D12). Programs
// print it when they start: a promise nobody reads is no promise.
package natsd
