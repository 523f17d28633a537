package metrics

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// orgsMax bounds the orgs whose attempts are counted.
	orgsMax = 100_000
	// orgsTimeout bounds the question for the counters.
	orgsTimeout = 2 * time.Second
)

// OrgLabel says which orgs have families of their own: none, those with the most, or all.
type OrgLabel struct {
	on  bool
	top int // 0: all
}

// ParseOrgLabel reads off, all or top:N.
func ParseOrgLabel(text string) (OrgLabel, error) {
	if n, ok := strings.CutPrefix(text, "top:"); ok {
		if top, err := strconv.Atoi(n); err == nil && top > 0 {
			return OrgLabel{on: true, top: top}, nil
		}
	}
	switch text {
	case "", "off":
		return OrgLabel{}, nil
	case "all":
		return OrgLabel{on: true}, nil
	}
	return OrgLabel{}, fmt.Errorf("%q is unknown: use off, all or top:N, such as top:20", text)
}

var (
	descOrgJobs     = desc("org_jobs", "Jobs of an org by state, by this server's query index; where metrics_org_label asks for it.", "org", "queue", "state")
	descOrgAttempts = desc("org_attempts_total", "Attempts of an org that ended, by outcome; where metrics_org_label asks for it.", "org", "outcome")
)

// orgAttempts counts by org and outcome; nil counts nothing. m.mu is held.
type orgAttempts map[schemas.OrgID]*[outcomes]uint64

func (o orgAttempts) count(e *schemas.Event) {
	if o == nil {
		return
	}
	n := outcomeOf(e)
	if n == outcomes {
		return
	}
	c := o[e.Org]
	if c == nil {
		if len(o) >= orgsMax {
			return
		}
		c = new([outcomes]uint64)
		o[e.Org] = c
	}
	c[n]++
}

// outcomeOf is how an event ended an attempt; outcomes if it ended none.
func outcomeOf(e *schemas.Event) outcome {
	running := func(h *schemas.Head, o outcome) outcome {
		if h.From == schemas.StateRunning {
			return o
		}
		return outcomes
	}
	switch d := e.Data.(type) {
	case *schemas.Completed:
		return outcomeCompleted
	case *schemas.Failed:
		return outcomeFailed
	case *schemas.TimedOut:
		return outcomeTimedOut
	case *schemas.Released:
		return outcomeReleased
	case *schemas.Lost:
		return outcomeLost
	case *schemas.Canceled:
		return running(&d.Head, outcomeCanceled)
	case *schemas.DeadLettered:
		return running(&d.Head, outcomeDeadLettered)
	}
	return outcomes
}

// orgs tells of the orgs that are asked for.
func (m *Metrics) orgs(to sink) {
	if !m.cfg.Orgs.on {
		return
	}
	type sum struct {
		org schemas.OrgID
		n   uint64
		by  [outcomes]uint64
	}
	var sums []sum
	m.mu.Lock()
	for org, by := range m.attempts {
		s := sum{org: org, by: *by}
		for _, n := range by {
			s.n += n
		}
		sums = append(sums, s)
	}
	m.mu.Unlock()
	slices.SortFunc(sums, func(a, b sum) int { return cmp.Or(cmp.Compare(b.n, a.n), cmp.Compare(a.org, b.org)) })
	for _, s := range sums[:m.cfg.Orgs.most(len(sums))] {
		for o, n := range s.by {
			to.counter(descOrgAttempts, float64(n), string(s.org), outcomeNames[o])
		}
	}
	m.orgJobs(to)
}

func (l OrgLabel) most(n int) int {
	if l.top > 0 {
		return min(n, l.top)
	}
	return n
}

// orgJobs tells the counters, those of the orgs with the most unfinished jobs first.
func (m *Metrics) orgJobs(to sink) {
	if m.cfg.Counts == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), orgsTimeout)
	defer cancel()
	all, err := m.cfg.Counts(ctx)
	if err != nil {
		return // it is being folded
	}
	type place struct {
		org   schemas.OrgID
		queue schemas.QueueName
	}
	unfinished, sums := map[schemas.OrgID]int64{}, map[place]ledger.Count{}
	for k, n := range all {
		unfinished[k.Org] += n.Unfinished()
		s := sums[place{k.Org, k.Queue}]
		s.Add(n)
		sums[place{k.Org, k.Queue}] = s
	}
	var orgs []schemas.OrgID
	for org := range unfinished {
		orgs = append(orgs, org)
	}
	slices.SortFunc(orgs, func(a, b schemas.OrgID) int {
		return cmp.Or(cmp.Compare(unfinished[b], unfinished[a]), cmp.Compare(a, b))
	})
	told := map[schemas.OrgID]bool{}
	for _, org := range orgs[:m.cfg.Orgs.most(len(orgs))] {
		told[org] = true
	}
	for p, n := range sums {
		if !told[p.org] {
			continue
		}
		for _, state := range schemas.States() {
			to.gauge(descOrgJobs, float64(n.Of(state)), string(p.org), string(p.queue), string(state))
		}
	}
}
