package ledger

import (
	"strings"

	"github.com/dartwing/jobledger/schemas"
)

// Streams and buckets of a cell (DESIGN, Streams and buckets).
const (
	StreamLedger = "LEDGER"
	StreamWork   = "WORK"
	BucketJobs   = "JOBS"
	BucketCounts = "COUNTS"
	BucketConfig = "CONFIG"
	BucketLease  = "LEASE"
	BucketLive   = "LIVE"
	StreamLive   = "KV_" + BucketLive
	StoreArgs    = "ARGS"
	StoreResults = "RESULTS"

	// StreamArchive holds what left LEDGER, in pages; StreamCatalog says what is in it, and its records are what makes
	// it count (archive.go). Both are the truth, as LEDGER is.
	StreamArchive = "ARCHIVE"
	StreamCatalog = "CATALOG"

	// LeaseKey is the one key of BucketLease.
	LeaseKey = "leader"
)

// Core NATS subjects between servers and workers; none is stored by a stream.
const (
	// SubjectBeat takes a worker's Beat as a request; the leader answers with a BeatAnswer. Standbys
	// subscribe too, without answering.
	SubjectBeat = "jl.beat"
	// subjectCancel is followed by a session id: a wake-up, the fact is the stored cancel_requested.
	subjectCancel = "jl.cancel."
	// subjectDrain is followed by a session id.
	subjectDrain = "jl.drain."
)

// Control subjects.
var (
	// ControlStart holds cell_started events.
	ControlStart = schemas.ControlSubject("cell", "start")
	// ControlLeader holds leader_elected events.
	ControlLeader = schemas.ControlSubject("cell", "leader")
)

// Kinds of settings that the whole cell has: the second token of their control subjects.
const (
	KindType     = "type"
	KindOrg      = "org"
	KindQueue    = "queue"
	KindResource = "resource"
	KindHold     = "hold"
	// KindLegalHold holds back the removal of history, not its jobs.
	KindLegalHold = "legal_hold"
	// KindToken lets somebody in; it holds back nothing.
	KindToken = "token"
	// KindVerify is what the checker found of the whole ledger.
	KindVerify = "verify"
)

// KindSchedule is the kind of an org's own settings: the second token of control.<org>.schedule.<name>.
const KindSchedule = "schedule"

// ControlType is the subject of a type's settings.
func ControlType(t schemas.TypeName) schemas.Subject {
	return (&schemas.TypeSet{Settings: schemas.TypeSettings{Name: t}}).Place()
}

// SubjectCancel is where a session listens for cancel signals.
func SubjectCancel(s schemas.SessionID) string { return subjectCancel + string(s) }

// SubjectDrain is where a session takes a DrainRequest.
func SubjectDrain(s schemas.SessionID) string { return subjectDrain + string(s) }

// OfferSubject is the one place of a job's offer in WORK.
func OfferSubject(q schemas.QueueName, t schemas.TypeName, org schemas.OrgID, id schemas.JobID) string {
	return "work." + string(q) + "." + string(t) + "." + string(org) + "." + string(id)
}

// ParseOfferSubject undoes OfferSubject.
func ParseOfferSubject(s string) (q schemas.QueueName, t schemas.TypeName, org schemas.OrgID, id schemas.JobID, ok bool) {
	p := strings.Split(s, ".")
	if len(p) != 5 || p[0] != "work" {
		return "", "", "", "", false
	}
	return schemas.QueueName(p[1]), schemas.TypeName(p[2]), schemas.OrgID(p[3]), schemas.JobID(p[4]), true
}

// ConsumerName is the durable consumer of (queue, type) on WORK. '~' cannot stand in a queue or type, so
// two pairs never share a name.
func ConsumerName(q schemas.QueueName, t schemas.TypeName) string { return string(q) + "~" + string(t) }

// ParseConsumerName undoes ConsumerName.
func ParseConsumerName(s string) (schemas.QueueName, schemas.TypeName, bool) {
	q, t, ok := strings.Cut(s, "~")
	return schemas.QueueName(q), schemas.TypeName(t), ok
}

// ConsumerFilter is what the durable consumer of (queue, type) takes from WORK.
func ConsumerFilter(q schemas.QueueName, t schemas.TypeName) string {
	return "work." + string(q) + "." + string(t) + ".*.*"
}

// JobKey is a job's key in BucketJobs.
func JobKey(org schemas.OrgID, id schemas.JobID) string { return string(org) + "." + string(id) }
