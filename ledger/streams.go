package ledger

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/schemas"
)

// ledgerConfig is LEDGER as it is created. Not compressed: a cold write would stall the stream twice as long
// (ENGINE 6).
func ledgerConfig(replicas int, window time.Duration) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              StreamLedger,
		Description:       "jobledger: every event of every job; the only truth",
		Subjects:          ledgerSubjects(),
		Retention:         jetstream.LimitsPolicy,
		Storage:           jetstream.FileStorage,
		Replicas:          replicas,
		Discard:           jetstream.DiscardOld,
		MaxMsgs:           -1,
		MaxBytes:          -1,
		MaxMsgsPerSubject: -1,
		MaxMsgSize:        -1,
		MaxConsumers:      -1,
		Duplicates:        cmp.Or(window, schemas.DedupWindow),
		DenyDelete:        true,
		AllowDirect:       true,
		Metadata:          mark("ledger"),
	}
}

// checkLedger names what would let an event of LEDGER be lost, changed, or refused for no reason of ours.
func checkLedger(c *jetstream.StreamConfig) []string {
	var p problems
	p.require(sameSubjects(c.Subjects, ledgerSubjects()), "its subjects are %s instead of %s", c.Subjects, ledgerSubjects())
	p.require(c.Retention == jetstream.LimitsPolicy, "retention %s removes events that were read", c.Retention)
	p.require(c.Storage == jetstream.FileStorage, "%s storage loses all events with its server", c.Storage)
	p.require(c.DenyDelete, "deny_delete is off, so any event can be removed")
	p.require(!c.AllowRollup, "allow_rollup_hdrs is on: one header can wipe the stream")
	p.require(!c.AllowMsgSchedules, "allow_msg_schedules is on: events can be forged through it")
	p.require(!c.AllowMsgTTL, "allow_msg_ttl is on: events can expire")
	p.require(!c.AllowMsgCounter, "allow_msg_counter is on: it excludes expected sequences")
	p.require(c.MaxAge == 0, "max_age %s removes events", c.MaxAge)
	p.require(c.MaxMsgs <= 0, "max_msgs %d makes it drop or refuse events", c.MaxMsgs)
	p.require(c.MaxBytes <= 0, "max_bytes %d makes it drop or refuse events", c.MaxBytes)
	p.require(c.MaxMsgsPerSubject <= 0, "max_msgs_per_subject %d makes it drop or refuse events of one job", c.MaxMsgsPerSubject)
	p.require(c.MaxMsgSize <= 0 || int(c.MaxMsgSize) >= schemas.ArgsMax+messageRoom,
		"max_msg_size %d is below the %d bytes an event may need", c.MaxMsgSize, schemas.ArgsMax+messageRoom)
	p.require(c.RePublish == nil, "it republishes, which reads the disk at each append")
	p.require(c.SubjectTransform == nil, "a subject transform moves events to other subjects")
	p.require(c.Mirror == nil && len(c.Sources) == 0, "it is fed from another stream")
	p.require(!c.NoAck, "no_ack is on, so that no append is ever confirmed")
	p.require(!c.Sealed, "it is sealed and takes no events")
	p.require(c.PersistMode != jetstream.AsyncPersistMode, "persist_mode async confirms events before they are written")
	return p.with("mend it (nats stream edit %s), or move it away and let jobledger create its own", StreamLedger)
}

// archiveConfig is ARCHIVE as it is created. Compressed: it is read in stretches and written by nobody whose time
// matters.
func archiveConfig(replicas int) jetstream.StreamConfig {
	c := catalogConfig(replicas)
	c.Name, c.Subjects = StreamArchive, []string{archiveSubjects}
	c.Description = "jobledger: every event that left LEDGER, in pages; the truth, as LEDGER is"
	c.Compression = jetstream.S2Compression
	return c
}

// catalogConfig is CATALOG as it is created: what is in ARCHIVE, one small record for each step. A stream of its own, so
// that it is read without the pages that were written in between (ENGINE 6). Messages of both can be deleted: what a
// dead writer left, and segments whose time is over, with their filters; records never are (archive.go).
func catalogConfig(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              StreamCatalog,
		Description:       "jobledger: what ARCHIVE holds; its records are what counts",
		Subjects:          []string{catalogSubjects},
		Retention:         jetstream.LimitsPolicy,
		Storage:           jetstream.FileStorage,
		Replicas:          replicas,
		Discard:           jetstream.DiscardOld,
		MaxMsgs:           -1,
		MaxBytes:          -1,
		MaxMsgsPerSubject: -1,
		MaxMsgSize:        -1,
		MaxConsumers:      -1,
		Duplicates:        archiveDuplicates,
		AllowDirect:       true,
		Metadata:          mark("archive"),
	}
}

// checkArchive names what would let events of ARCHIVE or records of CATALOG be lost, changed, or refused for no
// reason of ours.
func checkArchive(c *jetstream.StreamConfig) []string {
	var p problems
	want := archiveSubjects
	if c.Name == StreamCatalog {
		want = catalogSubjects
	}
	p.require(sameSubjects(c.Subjects, []string{want}), "its subjects are %s instead of [%s]", c.Subjects, want)
	p.require(c.Retention == jetstream.LimitsPolicy, "retention %s removes events that were read", c.Retention)
	p.require(c.Storage == jetstream.FileStorage, "%s storage loses all events with its server", c.Storage)
	p.require(!c.DenyDelete && !c.DenyPurge, "deny_delete or deny_purge is on, so that nothing can be removed when its time is over")
	p.require(!c.AllowRollup, "allow_rollup_hdrs is on: one header can wipe the stream")
	p.require(!c.AllowMsgSchedules, "allow_msg_schedules is on: records can be forged through it")
	p.require(!c.AllowMsgTTL, "allow_msg_ttl is on: events can expire")
	p.require(!c.AllowMsgCounter, "allow_msg_counter is on: it excludes expected sequences")
	p.require(c.MaxAge == 0, "max_age %s removes events", c.MaxAge)
	p.require(c.MaxMsgs <= 0 && c.MaxBytes <= 0 && c.MaxMsgsPerSubject <= 0, "a limit on messages or bytes makes it drop or refuse events")
	p.require(c.MaxMsgSize <= 0 || int(c.MaxMsgSize) >= partMax+messageRoom, "max_msg_size %d is below the %d bytes of a part of a page",
		c.MaxMsgSize, partMax+messageRoom)
	p.require(c.RePublish == nil, "it republishes")
	p.require(c.SubjectTransform == nil, "a subject transform moves events to other subjects")
	p.require(c.Mirror == nil && len(c.Sources) == 0, "it is fed from another stream")
	p.require(!c.NoAck && !c.Sealed, "it is sealed, or confirms nothing")
	p.require(c.PersistMode != jetstream.AsyncPersistMode, "persist_mode async confirms events before they are written")
	return p.with("mend it (nats stream edit %s), or move it away and let jobledger create its own", c.Name)
}

// bucketStream is the stream behind one of our KV buckets as it is created now. It is what nats.go would create,
// but for the fields that differ from bucket to bucket and that it does not offer: message TTLs without delete
// markers, and where revisions begin.
//
// A put expects the revision that its writer saw last. FirstSeq is above every revision of an earlier bucket of the
// name (a microsecond for each put is more than any server takes), so that what a leader saw there, who stood
// still while the bucket was deleted and created anew, names nothing here, and its put is refused (DESIGN D9).
//
// A bucket that an older version created begins at 1 and is used as it is: where revisions begin cannot be changed
// later. Its successor begins above it all the same, so the promise holds from the first deletion on.
func bucketStream(bucket string, replicas int, now time.Time) jetstream.StreamConfig {
	c := jetstream.StreamConfig{
		Name:              "KV_" + bucket,
		Subjects:          []string{"$KV." + bucket + ".>"},
		Storage:           jetstream.FileStorage,
		Replicas:          replicas,
		MaxMsgsPerSubject: 1,
		MaxMsgs:           -1,
		MaxBytes:          -1,
		MaxMsgSize:        -1,
		MaxConsumers:      -1,
		Discard:           jetstream.DiscardNew,
		Duplicates:        bucketDuplicates,
		DenyDelete:        true,
		AllowRollup:       true,
		AllowDirect:       true,
		FirstSeq:          firstSequence(now),
		Metadata:          mark("bucket"),
	}
	switch bucket {
	case BucketJobs:
		c.Description = "jobledger: current state of each job; a view"
		c.AllowMsgTTL = true // documents of finished jobs leave with the hot window
		c.AllowAtomicPublish = true
	case BucketCounts:
		c.Description = "jobledger: counts by state; a view"
		c.AllowAtomicPublish = true
	case BucketConfig:
		c.Description = "jobledger: settings; a view of the control events"
		c.MaxMsgsPerSubject = historyConfig
	case BucketLease:
		c.Description = "jobledger: the leader's lease"
		c.Storage = jetstream.MemoryStorage
		c.AllowMsgTTL = true
	case BucketLive:
		c.Description = "jobledger: progress and presence"
		c.Storage, c.Replicas = jetstream.MemoryStorage, 1
		c.MaxAge, c.AllowMsgTTL = liveTTL, true
		c.MaxMsgs, c.Discard = liveKeysMax, jetstream.DiscardOld
	}
	return c
}

// firstSequence is where a stream that is created now begins: above every sequence of an earlier one of its name.
func firstSequence(now time.Time) uint64 { return uint64(now.UnixMicro()) }

// storeStream is the stream behind an object store, as nats.go would create it. An operator may give it a bound in
// bytes: what is over that is refused, and nothing is lost.
func storeStream(store string, replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              "OBJ_" + store,
		Description:       "jobledger: payloads over the inline limit",
		Subjects:          storeSubjects(store),
		Storage:           jetstream.FileStorage,
		Replicas:          replicas,
		MaxMsgs:           -1,
		MaxBytes:          -1,
		MaxMsgsPerSubject: -1,
		MaxMsgSize:        -1,
		MaxConsumers:      -1,
		Discard:           jetstream.DiscardNew,
		AllowRollup:       true,
		AllowDirect:       true,
		Metadata:          mark("store"),
	}
}

func storeSubjects(store string) []string {
	return []string{"$O." + store + ".C.>", "$O." + store + ".M.>"}
}

// checkStore names what would let a payload be lost that an event names.
func checkStore(c *jetstream.StreamConfig) []string {
	var p problems
	store := strings.TrimPrefix(c.Name, "OBJ_")
	p.require(sameSubjects(c.Subjects, storeSubjects(store)), "its subjects are %s instead of %s", c.Subjects, storeSubjects(store))
	p.require(c.Retention == jetstream.LimitsPolicy, "retention %s removes payloads that were read", c.Retention)
	p.require(c.Storage == jetstream.FileStorage, "%s storage loses all payloads with its server", c.Storage)
	p.require(c.MaxAge == 0, "max_age %s removes payloads", c.MaxAge)
	p.require(c.Discard == jetstream.DiscardNew || c.MaxBytes <= 0 && c.MaxMsgs <= 0, "discard old removes payloads when it is full")
	p.require(c.MaxMsgsPerSubject <= 0, "max_msgs_per_subject %d removes chunks", c.MaxMsgsPerSubject)
	p.require(c.MaxMsgSize <= 0 || int(c.MaxMsgSize) >= chunkMax+chunkRoom, "max_msg_size %d is below the %d bytes of a chunk", c.MaxMsgSize, chunkMax+chunkRoom)
	p.require(c.AllowRollup, "allow_rollup_hdrs is off, so that a record cannot take the place of the one before")
	p.require(c.AllowDirect, "allow_direct is off, so that payloads cannot be read")
	p.require(!c.DenyPurge, "deny_purge is on, so that nothing can be removed")
	p.require(c.Mirror == nil && len(c.Sources) == 0, "it is fed from another stream")
	p.require(!c.NoAck && !c.Sealed, "it is sealed, or confirms nothing")
	return p.with("mend it (nats stream edit %s), or move it away and let jobledger create its own", c.Name)
}

func checkNothing(*jetstream.StreamConfig) []string { return nil }

// problems collects what is wrong with a stream, each as a clause.
type problems []string

func (p *problems) require(ok bool, format string, args ...any) {
	if !ok {
		*p = append(*p, fmt.Sprintf(format, args...))
	}
}

// with ends a non-empty list with what to do.
func (p problems) with(format string, args ...any) []string {
	if len(p) == 0 {
		return nil
	}
	return append(p, fmt.Sprintf(format, args...))
}

// joinProblems makes one sentence: the faults, then what to do.
func joinProblems(p []string) string {
	n := len(p) - 1
	return strings.Join(p[:n], "; ") + ": " + p[n]
}
