package ledger

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/schemas"
)

// The door: what an org may submit is judged before anything is stored, here, hence alike for the gateway
// and for programs that use this package. Limits are judged on the view COUNTS, at most a second old, plus what
// came through this door since, so that several doors together exceed one by what they take in a second. Where no
// limit is set it costs three looks into a map.

const (
	// countsFreshFor is how long an org's counts are used.
	countsFreshFor = time.Second
	// countsAgainAfter is how old they may be when a submit is refused because of them: jobs end fast.
	countsAgainAfter = 50 * time.Millisecond
	// countsLostAfter is when counts that could not be read again are forgotten: the view is being rebuilt, and a
	// limit is no reason to stand still (DESIGN D2).
	countsLostAfter = 10 * time.Second
	// warnedFor is how long an org that was warned is not warned again.
	warnedFor = time.Minute
	// doorOrgsMax bounds what the door remembers; an org beyond it begins anew.
	doorOrgsMax = 100_000

	// DeferredMax is how many jobs an org with a waiting limit may have that wait for their time or their parents
	// (REQUIREMENTS 5): they are not counted by that limit.
	DeferredMax = 10_000
)

// door is what this process knows of the orgs that have limits.
type door struct {
	mu   sync.Mutex
	orgs map[schemas.OrgID]*orgDoor
}

func (d *door) of(org schemas.OrgID) *orgDoor {
	d.mu.Lock()
	defer d.mu.Unlock()
	o := d.orgs[org]
	if o == nil {
		if d.orgs == nil || len(d.orgs) >= doorOrgsMax {
			d.orgs = make(map[schemas.OrgID]*orgDoor)
		}
		o = &orgDoor{org: org, heard: time.Now(), ours: make(map[schemas.QueueName]*taken), buckets: make(map[schemas.TypeName]*bucket)}
		d.orgs[org] = o
	}
	return o
}

// orgDoor judges one org's submits.
type orgDoor struct {
	org schemas.OrgID

	mu      sync.Mutex
	asked   time.Time  // when the latest read of COUNTS began
	heard   time.Time  // when the latest that was answered began; at first, when this began
	counts  *orgCounts // nil: not known
	ours    map[schemas.QueueName]*taken
	in      []entrance                   // ours, that counts does not hold yet
	buckets map[schemas.TypeName]*bucket // the org's own under ""
	over    bool                         // the latest submit was refused
	warned  time.Time                    // when that was logged
}

// taken counts admissions of this door that counts does not hold: under way, or stored behind its position.
type taken struct{ waiting, deferred int64 }

// entrance is a submit that was let in.
type entrance struct {
	seq      schemas.Seq
	queue    schemas.QueueName
	deferred bool
}

// rules are the limits that bind a submission; nil and 0 are none.
type rules struct {
	queueMax, orgMax  int
	orgRate, typeRate *schemas.Rate
}

// pass is a submission at the door.
type pass struct {
	rules
	queue    schemas.QueueName
	typ      schemas.TypeName
	deferred bool
	at       *orgDoor // nil: no limit binds it
}

// admit judges a submission by the settings of its org, queue and type. A refusal for a limit is kept in s.shut:
// what stands under the submission's own or derived id is the answer all the same.
func (s *submission) admit(ctx context.Context, r *SubmitRequest, t *schemas.TypeSettings) error {
	org, err := s.l.Org(ctx, s.org)
	if err != nil {
		return err
	}
	if org != nil && org.State == schemas.OrgDeleted {
		return OrgDeleted(s.org)
	}
	if slices.Contains(t.DisabledOrgs, s.org) {
		return typeDisabled(fmt.Sprintf("type %s is disabled for org %s", t.Name, s.org))
	}
	set, err := s.l.asLooked(ctx, KindQueue, string(s.spec.Queue)) // as for the org, just now
	if err != nil {
		return err
	}
	var queue *schemas.QueueSettings
	if q, ok := set.(*schemas.QueueSet); ok {
		queue = &q.Settings
	}
	if queue != nil && queue.Owner != "" && queue.Owner != s.org {
		e := Errorf(CodePermissionDenied, "queue %s belongs to another org", s.spec.Queue)
		e.Field = "queue"
		return e.with(DetailField, "queue")
	}
	if s.shutForSpace(ctx) || r.NoLimits || r.system || r.once { // a batch paces its items itself
		return nil
	}
	p := &s.pass
	p.queue, p.typ, p.typeRate = s.spec.Queue, t.Name, t.SubmitRate
	p.deferred = s.spec.NotBefore != nil || s.spec.DelayMS > 0 || len(s.spec.Parents) > 0
	if org != nil {
		p.orgMax, p.orgRate = org.MaxWaiting, org.SubmitRate
	}
	if queue != nil {
		p.queueMax = queue.MaxWaitingPerOrg
	}
	if p.rules == (rules{}) {
		return nil
	}
	return s.limited(ctx)
}

// limited judges a submission that some limit binds.
func (s *submission) limited(ctx context.Context) error {
	p, d := &s.pass, s.l.door.of(s.org)
	d.refresh(ctx, s.l, countsFreshFor)
	err := d.enter(p, time.Now())
	if err != nil && err.Code == CodeQueueFull && d.refresh(ctx, s.l, countsAgainAfter) {
		err = d.enter(p, time.Now())
	}
	if err != nil {
		d.warn(s.l, err)
		if told := s.l.cfg.Limited; told != nil {
			told(map[bool]string{true: "waiting", false: "rate"}[err.Code == CodeQueueFull])
		}
		s.shut = err
		return nil
	}
	d.mu.Lock()
	d.over = false
	d.mu.Unlock()
	p.at = d
	return nil
}

// refresh reads the org's counts if they are older than age, and nobody else is reading them; true if it did.
func (d *orgDoor) refresh(ctx context.Context, l *Ledger, age time.Duration) bool {
	now := time.Now()
	d.mu.Lock()
	if now.Sub(d.asked) < age {
		d.mu.Unlock()
		return false
	}
	d.asked = now
	d.mu.Unlock()
	counts, err := l.orgCounts(ctx, d.org)
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case err == nil:
		d.hear(counts, now)
	case now.Sub(d.heard) > countsLostAfter:
		l.log.Debug("the counts of an org cannot be read; limits are judged on what came through this door", zap.String("org", string(d.org)), zap.Error(err))
		d.forget(now)
	}
	return err == nil
}

// forget drops what is known of the view, and begins to count anew.
func (d *orgDoor) forget(now time.Time) {
	d.counts, d.heard = nil, now
	for _, a := range d.in {
		d.our(a.queue).add(a.deferred, -1)
	}
	d.in = nil
}

// hear takes counts over: admissions that they hold are ours no longer.
func (d *orgDoor) hear(c *orgCounts, at time.Time) {
	d.counts, d.heard = c, at
	d.in = slices.DeleteFunc(d.in, func(a entrance) bool {
		if a.seq > c.at {
			return false
		}
		d.our(a.queue).add(a.deferred, -1)
		return true
	})
	for typ, b := range d.buckets {
		b.saw(c.submitted(typ))
	}
}

func (d *orgDoor) our(q schemas.QueueName) *taken {
	t := d.ours[q]
	if t == nil {
		t = new(taken)
		d.ours[q] = t
	}
	return t
}

func (t *taken) add(deferred bool, n int64) {
	if deferred {
		t.deferred += n
	} else {
		t.waiting += n
	}
}

// enter takes a place under every limit, or none.
func (d *orgDoor) enter(p *pass, now time.Time) *Error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.full(p); err != nil {
		return err
	}
	var used []*bucket
	for _, r := range []struct {
		typ  schemas.TypeName
		rate *schemas.Rate
	}{{"", p.orgRate}, {p.typ, p.typeRate}} {
		if r.rate == nil {
			continue
		}
		b := d.bucket(r.typ, *r.rate, now)
		if wait := b.take(now); wait > 0 {
			for _, u := range used {
				u.back()
			}
			return rateLimited(d.org, r.typ, *r.rate, wait)
		}
		used = append(used, b)
	}
	d.our(p.queue).add(p.deferred, 1)
	return nil
}

// full reports a waiting limit that is reached.
func (d *orgDoor) full(p *pass) *Error {
	if p.orgMax == 0 && p.queueMax == 0 {
		return nil
	}
	var ours taken
	for _, t := range d.ours {
		ours.waiting, ours.deferred = ours.waiting+t.waiting, ours.deferred+t.deferred
	}
	all := d.counts.total()
	if p.deferred {
		if n := all.Deferred + ours.deferred; n >= DeferredMax {
			return queueFull(fmt.Sprintf("org %s has %d jobs that wait for their time or their parents", d.org, n), "", d.org, DeferredMax, n)
		}
		return nil
	}
	if n := all.Unfinished() - all.Running - all.Deferred + ours.waiting; p.orgMax > 0 && n >= int64(p.orgMax) {
		return queueFull(fmt.Sprintf("org %s has %d waiting jobs", d.org, n), "", d.org, p.orgMax, n)
	}
	c := d.counts.of(p.queue)
	if n := c.Unfinished() - c.Deferred + d.our(p.queue).waiting; p.queueMax > 0 && n >= int64(p.queueMax) {
		return queueFull(fmt.Sprintf("org %s has %d unfinished jobs in queue %s", d.org, n, p.queue), p.queue, d.org, p.queueMax, n)
	}
	return nil
}

func queueFull(what string, q schemas.QueueName, org schemas.OrgID, limit int, count int64) *Error {
	e := Errorf(CodeQueueFull, "%s, and its limit is %d: try again when some have ended", what, limit)
	e.with("limit", limit).with("count", count).with("org", org)
	if q != "" {
		e.with("queue", q)
	}
	return e
}

func rateLimited(org schemas.OrgID, typ schemas.TypeName, rate schemas.Rate, wait time.Duration) *Error {
	what := "org " + string(org)
	if typ != "" {
		what += " and type " + string(typ)
	}
	e := Errorf(CodeRateLimited, "the submit rate of %s is %s: try again in %s", what, rate, wait.Round(time.Millisecond))
	return e.with("limit", rate.Count).with("per_s", rate.PerMS.Duration().Seconds()).with("remaining", 0).
		with("reset_s", math.Ceil(wait.Seconds()*1000)/1000).with("org", org)
}

func typeDisabled(message string) *Error {
	e := Errorf(CodeTypeDisabled, "%s: it takes no new jobs", message)
	e.Field = "type"
	return e.with(DetailField, "type")
}

// warn says that an org has crossed a limit: once, and not every time that it hovers about it.
func (d *orgDoor) warn(l *Ledger, err *Error) {
	d.mu.Lock()
	first := !d.over && time.Since(d.warned) > warnedFor
	d.over = true
	if first {
		d.warned = time.Now()
	}
	d.mu.Unlock()
	if first {
		l.warnOf(d.org, err)
		l.log.Warn("an org is at its limit: its submits are refused", zap.String("org", string(d.org)), zap.String("code", string(err.Code)), zap.String("limit", err.Message))
	}
}

// leave settles what admit took: nothing was stored under a place that was not used.
func (p *pass) leave(receipt Receipt, err error) {
	if p.at == nil {
		return
	}
	d := p.at
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case err == nil && !receipt.Duplicate:
		d.in = append(d.in, entrance{receipt.Seq, p.queue, p.deferred})
	case errors.Is(err, ErrUnknown): // it may be stored: the next counts tell
		var at schemas.Seq
		if d.counts != nil {
			at = d.counts.at
		}
		d.in = append(d.in, entrance{at + 1, p.queue, p.deferred})
	default:
		d.our(p.queue).add(p.deferred, -1)
		for _, typ := range []schemas.TypeName{"", p.typ} {
			if b := d.buckets[typ]; b != nil && (typ == "" && p.orgRate != nil || typ != "" && p.typeRate != nil) {
				b.back()
			}
		}
	}
}
