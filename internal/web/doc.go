// Package web is the one HTTP listener of a server: health, readiness and metrics now, and the place for what else is to
// be served from the same port (INTERFACE 3).
//
//	/healthz   200 while the process serves HTTP at all
//	/readyz    200 if requests are worth sending here; else 503 with reasons
//	/metrics   for Prometheus
//
// What else there is gets its routes with Server.Handle before Run.
//
// # Invariants
//
//   - A client that is slow, or that sends nothing, costs no more than one connection for a bounded time.
//   - Nothing listens beyond loopback unless it was asked for (Listen).
//   - Health and readiness answer without the cell: whoever is asked says what is wrong, and does not hang with it.
package web
