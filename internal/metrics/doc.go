// Package metrics counts what happens in a cell for Prometheus, on the server's own tail (INTERFACE 6, R-46, R-751..R-753).
//
// # What is counted where
//
// Counters and histograms are one more fold of the feed (DESIGN D8): from the end of the ledger at the server's start on,
// so each begins at zero with the process, as Prometheus expects. Every server of a cell reads the whole ledger and counts
// the same events: over several servers the numbers are compared (max), not added.
//
// Gauges tell how things stand when they are asked for. They are read from numbers that dispatcher and projector keep as
// they go, never by looking at what waits. What only a leader knows is exported by the leader alone: on the others it is
// absent, not zero.
//
// # Invariants
//
//   - A family is here only if its value is known. What no part tells yet is absent.
//   - Labels are queue, type and priority, never an org or a job, and no more than seriesMax of each kind: names of queues
//     are the submitters' choice. What is beyond is counted under the name "_other".
//   - The fold has no map of all jobs. When a job was submitted it learns from its sequence (times.go); from when it could
//     run is kept for those jobs alone that were to wait, no more than laterMax of them. What is not known is not observed.
//   - An event is counted for what it says. One that is not legal where it stands is counted, too.
//   - Of what ends an attempt nothing is observed that nobody measured: a lost attempt has no duration.
//   - The registry is this package's own.
package metrics
