// Package backup copies a ledger that is being written to into a folder, and puts such a copy back into an empty
// store: what `jobledger log backup` and `log restore` do (DESIGN D2, R-42, ENGINE 8). It also writes one org's history as
// text (export.go).
//
// # What is copied
//
// All that is truth (ledger.TruthStreams): LEDGER, CATALOG and ARCHIVE, the object stores ARGS and RESULTS. Views, offers
// and leases are not: they are folded again. Each stream is taken by the server's own snapshot, which is a cut: every
// message up to the stream's last sequence at its beginning, but for those removed while it is read.
//
// # Order
//
// The streams are cut one after the other, so their cuts differ, and the order is what makes them one history:
//
//   - LEDGER before CATALOG before ARCHIVE. An event leaves LEDGER only after its segment is committed by a record of
//     CATALOG, and a record follows the pages of ARCHIVE that it names; what a purge takes away while LEDGER is being
//     read is therefore in what is cut afterwards. The other way round an event could be in neither. What stands in
//     both is the same message, and readers take it once.
//   - LEDGER before the object stores. A payload is stored before the event that names it, so every payload that an
//     event of the copy names is in a store that is cut later. Payloads that no event of the copy names may be there
//     too; the collector removes them.
//   - The ARCHIVE must not reach beyond the LEDGER of the copy, or the restored LEDGER would give out sequences again that
//     the archive holds. It can only where reading LEDGER took longer than the hot window; then both are taken again.
//
// # Stored form
//
//	backup.json             {"v":1,"id":...}: the folder is ours; written first
//	LEDGER-<attempt>/00000  the snapshot of a stream as the server sent it, in parts of 16 MiB
//	LEDGER.json             what those parts are, each with its SHA-256; written when the last of them is on disk
//	...                     the same for each stream
//	manifest.json           all of it in one document; written last: where it is missing, the backup is incomplete
//	manifest.json.sha256    its digest, in the form of sha256sum
//
// A snapshot is S2-framed. Since nats-server 2.15 it holds messages one by one and an end mark; before, it was a tar of
// the stream's files. It is read back while it is written, so that what is called complete can be decoded to its end.
//
// # What a kill leaves
//
// Of a backup: a folder without manifest. The next run keeps every stream whose parts are complete and still have their
// digests, removes the rest, and goes on. Of a restore: streams that bear a mark (ledger.MetaRestoring) and listen on
// no subject of ours, which no server or publisher takes for a ledger. The next run deletes what is half there, keeps what
// is whole, and goes on. LEDGER is created first and set free last, so that there is no moment at which a server could
// start on half a copy.
package backup
