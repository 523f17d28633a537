// Package ledgertest opens a real ledger inside a test: an embedded NATS server on a temporary folder, the
// cell's streams and buckets, and faults on demand.
//
//	func TestMine(t *testing.T) {
//		env := ledgertest.Start(t)
//		env.Faults.Inject(ledgertest.Fault{Event: schemas.EventCompleted, Kind: ledgertest.LoseReply})
//		... env.Ledger.Submit(...)
//	}
//
// Everything is stopped when the test ends, and the ledger is checked then (STYLE 22): replaying it from
// zero must show nothing wrong. A test that damages its ledger on purpose says so with Env.SkipVerify.
//
// What a test stores lives in t.TempDir and is gone with it.
package ledgertest
