// Package cell is what one server process runs: it provisions the ledger, reads it once, and lets
// dispatcher, projector and gateway work on what was read (DESIGN D8, D14).
//
//	feed        the one tail of LEDGER
//	dispatcher  on every server; the leader's also runs the projector
//	gateway     the command service
//	batches     submits the items of batches and follows them
//	metrics     counts the tail, and http answers /metrics, /healthz, /readyz and the API below /v1, where that is wanted
//
// Several cells may run in one process, and several servers serve one cell: nothing here is global.
//
// # Stopping
//
// The first part that ends ends all. Batches are handed back first, while there is a leader to take leave of. The
// others stop in the order of a request's way: the gateway takes no more
// and lets its requests end, then the dispatcher gives up the lead and with it the projector writes its
// last documents, then the feed, and HTTP last: until then /readyz says that this server stops. Run returns when all have.
package cell
