package ledger

import (
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// DedupID names the work that a submission asks for, among all of its cell: two submissions with the same
// DedupID are the same work, and Blocks says what the earlier one means for the later (DESIGN D4). It is
// the caller's key if there is one, else the content hash; empty if the submission carries no content id.
//
// It is also the message id of a first submission, built by us alone: the caller's bytes are hashed, and the
// org stands first, for the window's scope is the whole stream (ENGINE 2).
func DedupID(org schemas.OrgID, s *schemas.Submitted) string {
	switch {
	case s.Dedup == schemas.DedupOff:
		return ""
	case s.Dedup == schemas.DedupSingleton:
		return string(org) + ":s:" + shortHash(string(s.Type), s.Key)
	case s.Key != "":
		return string(org) + ":k:" + shortHash(s.Key)
	case s.Hash != "":
		return string(org) + ":" + s.Hash
	}
	return ""
}

// Blocks reports whether an earlier job stands in the way of a later one with the same DedupID, by the
// earlier one's policy. age is the stream time between their submitted events; state is the earlier
// job's when the later is judged. A job canceled as a duplicate is judged by the one it names.
func Blocks(earlier *schemas.Submitted, state schemas.State, age time.Duration) bool {
	if earlier.Dedup.Exact() {
		return !state.Finished() // however old
	}
	if state == schemas.StateCanceled || state == schemas.StateDeadLettered {
		return false
	}
	return age < earlier.WindowMS.Duration()
}

// derivedID is the job id of work that may be in flight once: exact uniqueness of any length by the job's
// own subject (DESIGN D4). A singleton's is that of its type and key: its content may differ each time.
func derivedID(s *schemas.Submitted) schemas.JobID {
	if s.Dedup == schemas.DedupSingleton {
		return schemas.JobID(schemas.ReservedPrefix + "s" + shortHash(string(s.Type), s.Key))
	}
	if s.Key != "" {
		return schemas.JobID(schemas.ReservedPrefix + "k" + shortHash(s.Key))
	}
	return schemas.JobID(schemas.ReservedPrefix + "d" + s.Hash)
}

// mayReuse reports whether a finished id may begin a new generation. "failed" is every end without
// success.
func mayReuse(policy schemas.ReusePolicy, state schemas.State) bool {
	switch policy {
	case schemas.ReuseNever:
		return false
	case schemas.ReuseFailed:
		return state == schemas.StateCanceled || state == schemas.StateDeadLettered
	}
	return state.Finished()
}
