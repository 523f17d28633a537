package ledger

import (
	"fmt"

	"github.com/dartwing/jobledger/schemas"
)

// The books of limits: how many jobs ran at once under each limit, and which limit was in force, by what the ledger
// says alone. They know nothing of the dispatcher, which counts Queued jobs too and so stays below.
//
// A start is over a limit if more run than the greatest that was in force since the job was Queued: a limit that is
// lowered stops no job that was let in before. Jobs that a leader queued after the next one had begun are left out
// (DESIGN D6: limits may be overshot between two epochs), and those that a person had run at once; but for limits
// of one, which hold always.

// limitName is what a limit is set on.
type limitName struct {
	kind   string
	name   string
	perOrg bool // each org has it to itself
}

// limitScope is what is counted under one limit.
type limitScope struct {
	limitName
	org schemas.OrgID // of limits per org
}

func (s limitScope) String() string {
	if s.perOrg {
		return fmt.Sprintf("%s %s for org %s", s.kind, s.name, s.org)
	}
	return fmt.Sprintf("%s %s", s.kind, s.name)
}

// limitSince is a limit with the sequence from which it is in force; 0 is no limit.
type limitSince struct {
	seq schemas.Seq
	max int
}

// limitBooks are one run's.
type limitBooks struct {
	limits  map[limitName][]limitSince
	running map[limitScope]limitCount
	queued  map[string]admission // Queued and Running jobs, by JobKey
	epoch   schemas.Seq          // of the latest leader
}

// limitCount counts what runs under a limit.
type limitCount struct {
	jobs    int
	excused int // of them those that were not let in by the leader of their time
}

// admission is how a job became Queued.
type admission struct {
	seq     schemas.Seq
	excused bool
}

func newLimitBooks() *limitBooks {
	return &limitBooks{limits: make(map[limitName][]limitSince), running: make(map[limitScope]limitCount), queued: make(map[string]admission)}
}

// set notes settings.
func (b *limitBooks) set(seq schemas.Seq, set schemas.Setting) {
	put := func(kind, name string, perOrg bool, limit int) {
		n := limitName{kind, name, perOrg}
		b.limits[n] = append(b.limits[n], limitSince{seq, limit})
	}
	switch s := set.(type) {
	case *schemas.OrgSet:
		put(KindOrg, string(s.Settings.Name), false, s.Settings.Running())
	case *schemas.QueueSet:
		put(KindQueue, string(s.Settings.Name), false, s.Settings.MaxRunning)
		put(KindQueue, string(s.Settings.Name), true, s.Settings.MaxRunningPerOrg)
	case *schemas.TypeSet:
		put(KindType, string(s.Settings.Name), false, s.Settings.MaxRunning)
		put(KindType, string(s.Settings.Name), true, s.Settings.MaxRunningPerOrg)
	case *schemas.ResourceSet:
		shared, own := s.Settings.MaxRunning, 0
		if s.Settings.PerOrg {
			shared, own = own, shared
		}
		put(KindResource, s.Settings.Name, false, shared)
		put(KindResource, s.Settings.Name, true, own)
	}
}

// inForce is the greatest limit since a sequence; 0 is none.
func (b *limitBooks) inForce(n limitName, since schemas.Seq) int {
	all := b.limits[n]
	greatest := 0
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].max == 0 {
			return 0
		}
		greatest = max(greatest, all[i].max)
		if all[i].seq <= since {
			return greatest
		}
	}
	if n.kind == KindOrg { // before it was set
		return max(greatest, schemas.OrgRunningDefault)
	}
	return 0
}

// scopes are the limits that a job stands under.
func (b *limitBooks) scopes(j *Job) []limitScope {
	s := &j.Spec
	all := []limitScope{
		{limitName{KindQueue, string(s.Queue), false}, ""}, {limitName{KindQueue, string(s.Queue), true}, j.Org},
		{limitName{KindType, string(s.Type), false}, ""}, {limitName{KindType, string(s.Type), true}, j.Org},
	}
	if s.Queue != SystemQueue { // what servers run themselves takes no place among the org's
		all = append(all, limitScope{limitName{KindOrg, string(j.Org), false}, ""})
	}
	if s.Resource != "" {
		all = append(all, limitScope{limitName{KindResource, s.Resource, false}, ""}, limitScope{limitName{KindResource, s.Resource, true}, j.Org})
	}
	return all
}

// checkLimits follows one message; before is the state of its job before it.
func (v *verifier) checkLimits(e *Entry, j *Job, before schemas.State) {
	b := v.limits
	if b == nil || e.Err != nil {
		return
	}
	key := JobKey(e.Org, e.Job)
	if d, ok := e.Data.(*schemas.Queued); ok && before != j.State {
		b.queued[key] = admission{seq: e.Seq, excused: d.Epoch != b.epoch || actorOf(e.Event) != actorDispatcher}
	}
	switch was, is := before == schemas.StateRunning, j.State == schemas.StateRunning; {
	case !was && is:
		v.startUnderLimits(e, j, b.queued[key])
	case was && !is:
		for _, s := range b.scopes(j) {
			b.add(s, -1, b.queued[key])
		}
	}
	if j.State != schemas.StateQueued && j.State != schemas.StateRunning {
		delete(b.queued, key)
	}
}

// controlled follows a control event.
func (b *limitBooks) controlled(e *Entry) {
	switch d := e.Data.(type) {
	case *schemas.LeaderElected:
		b.epoch = d.Epoch(e.Seq)
	case schemas.Setting:
		b.set(e.Seq, d)
	}
}

func (v *verifier) startUnderLimits(e *Entry, j *Job, a admission) {
	for _, s := range v.limits.scopes(j) {
		n := v.limits.add(s, 1, a)
		limit := v.limits.inForce(s.limitName, a.seq)
		over := limit == 1 && n.jobs > 1 || limit > 1 && n.jobs-n.excused > limit
		if over {
			v.problem(ProblemLimit, e.Seq, e.Org, e.Job, "%d jobs run under the limit of %d of %s", n.jobs, limit, s)
		}
	}
}

// add counts a job that starts or ends.
func (b *limitBooks) add(s limitScope, by int, a admission) limitCount {
	n := b.running[s]
	n.jobs += by
	if a.excused {
		n.excused += by
	}
	if n == (limitCount{}) {
		delete(b.running, s)
	} else {
		b.running[s] = n
	}
	return n
}
