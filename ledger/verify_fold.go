package ledger

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"hash/fnv"
	"slices"

	"github.com/dartwing/jobledger/schemas"
)

// verifiedJob is one job's fold, with what is compared to it.
type verifiedJob struct {
	job *Job
	// open is the attempt that has begun and not ended, kept apart from the fold as an auditor would: by
	// what the events say alone.
	open schemas.Fence
	// covered is the job's last message at or below the position up to which JOBS claims to be complete.
	covered schemas.Seq
	// ended is how its present life has ended so far, earlier how those before it did.
	ended   ends
	earlier map[int]ends
	// document is the sequence of the job's document in JOBS; 0 if it has none.
	document schemas.Seq
	// doubtful: messages of it may have been removed since it was last told whole.
	doubtful bool
	// args is the hash of the args of this life; 0 if its submitted was not seen.
	args uint64
}

// idAt is the hash of an event id and where it stands: 16 bytes an event.
type idAt struct {
	hash uint64
	seq  schemas.Seq
}

func hashOf(b []byte) uint64 {
	h := fnv.New64a()
	h.Write(b)
	return h.Sum64()
}

// entry checks one message and folds it.
func (v *verifier) entry(ctx context.Context, e *Entry) error {
	if v.cfg.Org != "" && e.Org != v.cfg.Org {
		return v.views.passed(v, e)
	}
	if e.Err != nil {
		v.verdict.Quarantined++
		if errors.Is(e.Err, schemas.ErrUndecodable) {
			v.problem(ProblemDecode, e.Seq, e.Org, e.Job, "%v", e.Err)
		}
	} else {
		v.verdict.Events++
		if v.cfg.Full {
			v.checkBytes(e)
			v.notePayloads(e)
		}
	}
	if e.ID != "" && !errors.Is(e.Err, schemas.ErrForeign) {
		v.ids = append(v.ids, idAt{hash: hashOf([]byte(e.ID)), seq: e.Seq})
	}
	if e.Job != "" {
		if err := v.apply(ctx, e); err != nil {
			return err
		}
	} else if e.Err != nil {
		v.tallies.counted(Move{Quarantined: 1})
	} else if v.limits != nil {
		v.limits.controlled(e)
	}
	return v.views.passed(v, e)
}

// apply folds a message of a job and compares the document that is true there.
func (v *verifier) apply(ctx context.Context, e *Entry) error {
	key := JobKey(e.Org, e.Job)
	vj := v.jobs[key]
	if vj == nil {
		var err error
		if vj, err = v.recall(ctx, e); err != nil {
			return err
		}
		if vj == nil {
			vj = &verifiedJob{job: &Job{Org: e.Org, ID: e.Job}}
			v.verdict.Jobs++
		} else if err := v.indexes.settle(vj, -1); err != nil {
			return err
		}
		v.jobs[key] = vj
	}
	if v.orphaned(vj, e) {
		return nil
	}
	v.checkCarried(vj, e)
	was, generation := vj.job.State, vj.job.Generation
	move := Counted(vj.job, e.Event, e.Err)
	if !move.Legal {
		v.problem(ProblemIllegal, e.Seq, e.Org, e.Job, "%s is not legal for a job that is %s, attempt %d of generation %d",
			e.Name(), cmp.Or(string(vj.job.State), "not there"), vj.job.Attempt, vj.job.Generation)
	} else if e.Err == nil && !vj.job.Unreadable {
		v.audit(vj, e.Event)
		if err := v.auditParents(ctx, vj, e.Event); err != nil {
			return err
		}
	}
	vj.noteEnd(was, generation)
	v.checkLimits(e, vj.job, was)
	vj.slim(e)
	v.tallies.counted(move)
	v.views.moved(e, move)
	return v.views.compareJob(v, key, vj, e)
}

// audit keeps its own books of attempts: one begins at a time, by a running, and ends once.
func (v *verifier) audit(vj *verifiedJob, e *schemas.Event) {
	var ended schemas.Fence
	switch d := e.Data.(type) {
	case *schemas.Submitted:
		if e.First {
			vj.open = schemas.Fence{} // another life of an id that had left
			return
		}
	case *schemas.Running:
		if !vj.open.IsZero() {
			v.problem(ProblemIllegal, e.Seq, e.Org, e.Job, "an attempt begins while that of sequence %d has not ended", vj.open.Seq)
		}
		vj.open = schemas.Fence{Seq: e.Seq, ID: e.ID}
		return
	case *schemas.LateResult, *schemas.CancelRequested, *schemas.Checkpointed:
		return
	case *schemas.Canceled:
		ended = d.Fence
	case *schemas.DeadLettered:
		ended = d.Fence
	case interface{ Named() *schemas.AttemptHead }:
		ended = d.Named().Fence
	}
	if ended != vj.open && (!ended.IsZero() || vj.job.State != schemas.StateRunning && !vj.open.IsZero()) {
		v.problem(ProblemIllegal, e.Seq, e.Org, e.Job, "%s ends the attempt of sequence %d, but open is that of %d", e.Name(), ended.Seq, vj.open.Seq)
	}
	if !ended.IsZero() {
		vj.open = schemas.Fence{}
	}
}

// slim drops what no view shows.
func slim(j *Job) {
	j.Spec.Args, j.Result, j.Checkpoint = nil, nil, nil
	if p := j.Progress; p != nil && p.Steps != nil {
		j.Progress = &schemas.Progress{Percent: p.Percent, Message: p.Message}
	}
	if e := j.Error; e != nil && e.Stack != "" {
		c := *e
		c.Stack = ""
		j.Error = &c
	}
}

// checkBytes encodes the event again. Fields that a newer version added within v1 are lost by that, so only
// an event of this version's fields can be told to have changed; a difference names it either way.
func (v *verifier) checkBytes(e *Entry) {
	body, err := schemas.EncodeBody(e.Data)
	if err != nil || !bytes.Equal(body, e.Body) {
		v.problem(ProblemDecode, e.Seq, e.Org, e.Job, "%s encodes to other bytes than are stored: %v", e.Name(), err)
	}
}

// checkIDs looks for event ids that stand twice: equal hashes, then the ids themselves.
func (v *verifier) checkIDs(ctx context.Context) error {
	slices.SortFunc(v.ids, func(a, b idAt) int { return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.seq, b.seq)) })
	for i := 1; i < len(v.ids); i++ {
		if v.ids[i].hash != v.ids[i-1].hash {
			continue
		}
		pair, err := v.l.EventsAt(ctx, []schemas.Seq{v.ids[i-1].seq, v.ids[i].seq})
		if err != nil {
			return err
		}
		if a, b := pair[0], pair[1]; a != nil && b != nil && a.ID == b.ID {
			v.problem(ProblemDuplicateID, b.Seq, b.Org, b.Job, "event id %s stands at sequence %d already", b.ID, a.Seq)
		}
	}
	v.ids = nil
	return nil
}
