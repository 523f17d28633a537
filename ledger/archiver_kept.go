package ledger

import (
	"github.com/dartwing/jobledger/schemas"
)

// A job that waited for long left in part: its submitted stands in another segment than what came of it. To judge and to
// count the rest the archiver must know how it stood, and to read that costs more than all else that is done for it. So it
// keeps what matters of jobs that left in part, as they were where the archive ends. What it does not keep it reads.

// keptMax bounds the jobs that are kept, at about 60 bytes for one that waits, which most do, and 200 for another. The oldest
// are kept: they go on first.
const keptMax = 400_000

// keptJobs are jobs that left in part, by the sequence of their submitted, which every event of theirs names.
type keptJobs struct {
	at   schemas.Seq // where the archive ended; of another end it says nothing
	jobs map[schemas.Seq]keptJob
	keys map[CountKey]*CountKey
}

// keptJob is what Apply and StandingOf need of a job.
type keptJob struct {
	subject  uint64 // hash
	key      *CountKey
	deferred bool
	more     *keptMore // nil: submitted for the first time, and nothing since
}

type keptMore struct {
	state               schemas.State
	generation, attempt int
	fence               schemas.Fence
	cancelRequested     bool
	resolution          schemas.Resolution
	last                schemas.Seq
}

// begin forgets everything where another archiver has moved the archive's end.
func (k *keptJobs) begin(at schemas.Seq) {
	if k.at != at || k.jobs == nil {
		k.at, k.jobs, k.keys = at, make(map[schemas.Seq]keptJob), make(map[CountKey]*CountKey)
	}
}

// of returns the job whose first message in a stretch is given, without what counting and judging do not need; nil if it
// is not kept.
func (k *keptJobs) of(at schemas.Subject, subject string, entries []*Entry) *Job {
	if len(entries) == 0 || entries[0].Err != nil {
		return nil
	}
	d, ok := entries[0].Data.(schemas.JobData)
	if !ok {
		return nil
	}
	seq := d.Common().Submitted
	kept, ok := k.jobs[seq]
	if !ok || kept.subject != keyOf(subject) {
		return nil
	}
	j := &Job{Org: at.Org, ID: at.Job, State: schemas.StateSubmitted, Generation: 1, SubmittedSeq: seq, LastSeq: seq}
	j.Spec.Type, j.Spec.Queue = kept.key.Type, kept.key.Queue
	if kept.deferred {
		j.NotBefore = entries[0].Time // some time
	}
	if m := kept.more; m != nil {
		j.State, j.Generation, j.Attempt, j.Fence, j.LastSeq = m.state, m.generation, m.attempt, m.fence, m.last
		j.CancelRequested, j.Resolution = m.cancelRequested, m.resolution
	}
	return j
}

// note keeps what is needed of a job that leaves in part.
func (p *leavingPlace) note(j *Job) {
	p.submitted, p.rest = j.SubmittedSeq, nil
	if !j.Exists() || j.Unreadable || j.SubmittedSeq == 0 {
		return
	}
	s := StandingOf(j)
	p.rest = &restOf{key: s.Key, keptJob: keptJob{subject: keyOf(p.subject), deferred: !j.NotBefore.IsZero() || len(j.Spec.Parents) > 0}}
	if j.State != schemas.StateSubmitted || j.LastSeq != j.SubmittedSeq || j.Generation != 1 || j.Illegal > 0 {
		p.rest.more = &keptMore{state: j.State, generation: j.Generation, attempt: j.Attempt, fence: j.Fence, last: j.LastSeq,
			cancelRequested: j.CancelRequested, resolution: j.Resolution}
	}
}

// restOf is a keptJob with the counter that it shares with others.
type restOf struct {
	keptJob
	key CountKey
}

// left notes what a commit has moved: jobs that are gone from LEDGER are forgotten, those that left in part are kept.
func (k *keptJobs) left(s *departure) {
	k.at = s.through
	for _, p := range s.places {
		if p.first > s.through {
			return
		}
		if p.at.Job == "" {
			continue
		}
		if !p.later && p.last <= s.through || p.rest == nil {
			delete(k.jobs, p.submitted)
			continue
		}
		if _, known := k.jobs[p.submitted]; !known && len(k.jobs) >= keptMax {
			continue
		}
		shared := k.keys[p.rest.key]
		if shared == nil {
			if len(k.keys) >= keptMax/100 {
				delete(k.jobs, p.submitted)
				continue
			}
			key := p.rest.key
			shared = &key
			k.keys[key] = shared
		}
		kept := p.rest.keptJob
		kept.key = shared
		k.jobs[p.submitted] = kept
	}
}
