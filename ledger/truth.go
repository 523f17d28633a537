package ledger

import "github.com/nats-io/nats.go/jetstream"

// TruthStreams are the streams that hold what cannot be folded again, in the order in which a copy must cut them: an
// event is committed to ARCHIVE by a record of CATALOG before it leaves LEDGER, a page of ARCHIVE is stored before the
// record that names it, and a payload before its event: so what is cut later holds all that the earlier cuts speak of.
func TruthStreams() []string {
	return []string{StreamLedger, StreamCatalog, StreamArchive, "OBJ_" + StoreArgs, "OBJ_" + StoreResults}
}

// CacheStreams are the others of a cell, folded from those or written again (DESIGN D2).
func CacheStreams() []string {
	return []string{StreamWork, "KV_" + BucketJobs, "KV_" + BucketCounts, "KV_" + BucketConfig, "KV_" + BucketLease, StreamLive}
}

// MetaRestoring marks, in a stream's metadata, that it is being put back from a backup, whose id is the value. Nobody
// may take such a stream for a ledger: it may lack what comes last.
const MetaRestoring = "jobledger.restoring"

// MetaRestored tells from which backup a stream was put back.
const MetaRestored = "jobledger.restored"

// restoring is the error for a stream that is half put back; nil for any other.
func restoring(c *jetstream.StreamConfig) error {
	id := c.Metadata[MetaRestoring]
	if id == "" {
		return nil
	}
	return Errorf(CodeUnavailable, "stream %s is being put back from backup %s, and is not whole yet: let jobledger log restore end, or run it again", c.Name, id)
}
