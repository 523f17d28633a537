package ledger

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/schemas"
)

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

// CommittedThrough is the sequence up to which, by a message of CATALOG, events have left LEDGER; 0 if it says nothing of
// the kind.
func CommittedThrough(subject string, body []byte) schemas.Seq {
	if subject != catalogSubject {
		return 0
	}
	r, err := decodeRecord(body)
	if err != nil || r.Kind != recordCommit {
		return 0
	}
	return r.Through.Seq
}

// RemovedSince reports that a record of CATALOG behind a sequence removes segments, so that pages and payloads are
// going which a copy of the records before still names.
func (l *Ledger) RemovedSince(ctx context.Context, seq schemas.Seq) (bool, error) {
	last, err := l.archive.last(ctx)
	if err != nil || last == nil {
		return false, err
	}
	for seq < last.Seq {
		batch, err := l.archive.records(ctx, seq+1, last)
		if err != nil {
			return false, err
		}
		for _, e := range batch {
			if r, err := decodeRecord(e.Body); err == nil && r.Kind == recordRemove {
				return true, nil
			}
			seq = e.Seq
		}
	}
	return false, nil
}

// Referred returns a payload that an event of a job names. Errors are those of Args.
func (l *Ledger) Referred(ctx context.Context, org schemas.OrgID, id schemas.JobID, ref *schemas.ObjectRef) ([]byte, error) {
	return l.payload(ctx, ref.Bucket, org, id, ref)
}

// PayloadsOf are the payloads that an event names.
func PayloadsOf(data schemas.Data) []*schemas.ObjectRef { return refsOf(data) }
