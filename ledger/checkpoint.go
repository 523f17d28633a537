package ledger

import (
	"bytes"

	"github.com/dartwing/jobledger/schemas"
)

// Checkpoint keeps what a later attempt resumes from, for the attempt that Fence names. It is an event
// of the job's own subject, because only the ledger is kept (DESIGN D2), and what a claim folds brings it
// along (DESIGN D1). From an attempt that is no longer the current one it is ErrStaleAttempt: a newer one may
// be further already.
type Checkpoint struct {
	Fence schemas.Fence
	// Value is one JSON value of at most schemas.CheckpointMax bytes; null takes the checkpoint away. What
	// stands already is not written again.
	Value []byte
}

func (c *Checkpoint) decide(j *Job) (schemas.Data, error) {
	if j.State != schemas.StateRunning || j.Fence != c.Fence {
		return nil, ErrStaleAttempt
	}
	if bytes.Equal(orNull(j.Checkpoint), orNull(c.Value)) {
		return nil, nil
	}
	return &schemas.Checkpointed{AttemptHead: j.AttemptHead(), Checkpoint: orNull(c.Value)}, nil
}

// checkpoint folds a checkpoint: null is none.
func checkpoint(j *Job, d *schemas.Checkpointed) {
	j.Checkpoint = d.Checkpoint
	if string(d.Checkpoint) == "null" {
		j.Checkpoint = nil
	}
}
