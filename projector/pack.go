package projector

import (
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// packedMax bounds the packed jobs, at about 300 bytes each; the oldest, which move first, are kept.
	packedMax = 250_000
	// thinMax bounds the plain waiting jobs beyond those of which only the document's revision is kept, at about 40 bytes
	// each: when such a job moves, the rest is read where its submitted stands, beside many others. A waiting job that is
	// not plain, or beyond this, costs a read of its subject and of its document.
	thinMax = 5_000_000
	// templatesMax bounds what packed jobs share.
	templatesMax = 4096
)

// template is what waiting jobs have in common.
type template struct {
	org                 schemas.OrgID
	kind                schemas.TypeName
	queue               schemas.QueueName
	priority            schemas.Priority
	resource, principal string
	dedup               schemas.DedupPolicy
	window              schemas.Millis
	by                  schemas.Actor
	from                schemas.State
	generation          int
}

// packed is the fold of a plain waiting job, of which there may be very many: nothing happened to it since
// its submitted, and it asked for nothing unusual. unpack gives back exactly what was packed.
type packed struct {
	rev   uint64 // revision of its document
	t     *template
	seq   schemas.Seq
	at    int64 // stream time of its submitted, Unix nanoseconds
	event schemas.EventID
	hash  string
	trace string
}

// packer keeps packed jobs. Their ids are the keys.
type packer struct {
	max       int // packedMax
	jobs      map[jobKey]packed
	thin      map[schemas.Seq]uint64 // by the sequence of its submitted: the revision of a packable job's document
	templates map[template]*template
}

func newPacker() *packer {
	return &packer{max: packedMax, jobs: make(map[jobKey]packed), thin: make(map[schemas.Seq]uint64), templates: make(map[template]*template)}
}

// put packs e if it can be; the caller then forgets it.
func (p *packer) put(e *jobEntry) bool {
	if e.seq != e.job.LastSeq || !packable(e.job) {
		return false
	}
	if len(p.jobs) >= p.max {
		return p.putThin(e)
	}
	j, s := e.job, &e.job.Spec
	key := template{org: j.Org, kind: s.Type, queue: s.Queue, priority: s.Priority, resource: s.Resource,
		principal: s.Principal, dedup: s.Dedup, window: s.WindowMS, by: j.SubmittedBy, from: s.From, generation: j.Generation}
	t := p.templates[key]
	if t == nil {
		if len(p.templates) >= templatesMax {
			return p.putThin(e)
		}
		t = &key
		p.templates[key] = t
	}
	p.jobs[e.key] = packed{rev: e.rev, t: t, seq: j.SubmittedSeq, at: j.SubmittedAt.UnixNano(), event: j.SubmittedID,
		hash: s.Hash, trace: j.Traceparent}
	return true
}

// putThin keeps of a packable job the revision of its document alone.
func (p *packer) putThin(e *jobEntry) bool {
	if len(p.thin) >= thinMax {
		return false
	}
	p.thin[e.job.SubmittedSeq] = e.rev
	return true
}

// takeThin returns the entry of k, of which only its document's revision is kept, and forgets it: nothing but its
// submitted, which s is, had made it what it was. Nil if s does not stand for such a job of k.
func (p *packer) takeThin(k jobKey, s *ledger.Entry) *jobEntry {
	if s == nil || s.Err != nil || s.Org != k.org || s.Job != k.id {
		return nil
	}
	rev, ok := p.thin[s.Seq]
	if !ok {
		return nil
	}
	delete(p.thin, s.Seq)
	j := new(ledger.Job)
	ledger.Apply(j, s.Event)
	strip(j)
	if !packable(j) || j.SubmittedSeq != s.Seq {
		return nil
	}
	return &jobEntry{slot: slot{rev: rev, seq: s.Seq, known: true}, key: k, job: j}
}

// has reports whether the job of k is here.
func (p *packer) has(k jobKey) bool {
	_, ok := p.jobs[k]
	return ok
}

// take unpacks the job of k, and forgets it; nil if it is not here.
func (p *packer) take(k jobKey) *jobEntry {
	c, ok := p.jobs[k]
	if !ok {
		return nil
	}
	delete(p.jobs, k)
	t, at := c.t, time.Unix(0, c.at).UTC()
	return &jobEntry{slot: slot{rev: c.rev, seq: c.seq, known: true}, key: k, job: &ledger.Job{
		Org: t.org, ID: k.id, Generation: t.generation, State: schemas.StateSubmitted,
		Spec: schemas.Submitted{From: t.from, Type: t.kind, Queue: t.queue, Priority: t.priority, Resource: t.resource,
			Generation: t.generation, Principal: t.principal, Hash: c.hash, Dedup: t.dedup, WindowMS: t.window},
		SubmittedSeq: c.seq, SubmittedID: c.event, SubmittedAt: at, SubmittedBy: t.by, Traceparent: c.trace,
		LastSeq: c.seq, LastID: c.event, LastAt: at,
	}}
}

// packable reports whether j is a stripped fold that packed can hold whole.
func packable(j *ledger.Job) bool {
	s := &j.Spec
	return j.State == schemas.StateSubmitted && j.LastSeq == j.SubmittedSeq && j.LastID == j.SubmittedID && j.LastAt == j.SubmittedAt &&
		j.SubmittedAt.Location() == time.UTC && s.Generation == j.Generation && j.Org != "" &&
		plain(j) && s.Key == "" && s.NotBefore == nil && s.Deadline == nil && s.DelayMS == 0 && s.DeadlineMS == 0 &&
		s.Parents == nil && s.Batch == "" && s.Schedule == "" && s.Tick == nil && s.Tags == nil && s.Override == nil && s.Reason == "" && s.Refused == nil && s.ArgsRef == nil && s.Args == nil
}

// plain reports whether nothing but its submitted has made j what it is.
func plain(j *ledger.Job) bool {
	b := &j.Policy.Backoff
	return !j.CancelRequested && j.DeadReason == "" && j.Resolution == "" && j.CausationID == "" && j.CorrelationID == "" &&
		j.Tracestate == "" && j.NotBefore.IsZero() && j.Deadline.IsZero() && j.Policy.TimeoutMS == 0 && j.Policy.GraceMS == 0 && j.Policy.MaxAttempts == 0 && j.Policy.PoisonLimit == 0 &&
		b.BaseMS == 0 && b.Factor == 0 && b.CapMS == 0 && b.ListMS == nil &&
		j.Attempt == 0 && j.Used == 0 && j.Losses == 0 && j.CellLosses == 0 && j.Fence.IsZero() && j.Session == "" && j.Worker == "" &&
		j.LastFence.IsZero() && j.LastOutcome == "" && j.Late == nil && j.QueuedAt.IsZero() && j.StartedAt.IsZero() &&
		j.FinishedAt.IsZero() && j.RetryAt.IsZero() && j.CancelBy == (schemas.Actor{}) && j.CancelReason == "" && !j.CancelForced && !j.ParentsWaived &&
		j.DuplicateOf == nil && j.ResolvedBy == (schemas.Actor{}) && j.ResolvedAt.IsZero() && j.Note == "" &&
		j.Error == nil && j.Progress == nil && j.ResultRef == nil && j.Result == nil && j.Checkpoint == nil &&
		j.Illegal == 0 && !j.Unreadable && !j.Archived && !j.Emptied
}
