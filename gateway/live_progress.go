package gateway

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// liveProgressMax is of how many jobs a server knows which attempt is the newest; of more the oldest are forgotten, and old
// progress of one of those could be shown once more.
const liveProgressMax = 10_000

// liveProgress is the latest that attempts report, from the first subscription on that asks. It has no position and may be
// lost; each attempt's is told in its place: never when the attempt has ended, as far as this server knows, or was
// followed by another.
type liveProgress struct {
	conn  *nats.Conn
	wake  func(schemas.OrgID)
	token string // names this server's versions

	mu      sync.Mutex
	sub     *nats.Subscription
	version uint64
	jobs    map[jobKey]*attemptProgress
	order   []jobKey // of jobs, oldest first
}

// attemptProgress is the newest attempt of a job.
type attemptProgress struct {
	fence   schemas.Seq
	ended   bool
	n       uint64
	version uint64
	ev      *LiveEvent // nil before it reports
}

func newLiveProgress(conn *nats.Conn, wake func(schemas.OrgID)) *liveProgress {
	return &liveProgress{conn: conn, wake: wake, token: uuid.NewString()[:8], jobs: make(map[jobKey]*attemptProgress)}
}

// listen begins to hear progress, unless it does.
func (p *liveProgress) listen() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sub != nil {
		return nil
	}
	sub, err := p.conn.Subscribe(ledger.ProgressSubject("*", "*"), p.hear)
	if err == nil {
		p.sub = sub
	}
	return err
}

func (p *liveProgress) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sub != nil {
		_ = p.sub.Unsubscribe() // fails only when the connection is closed, which ends it too
		p.sub = nil
	}
}

func (p *liveProgress) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.jobs)
	p.order = nil
}

// event takes note of which attempt runs.
func (p *liveProgress) event(e *ledger.Entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sub == nil {
		return
	}
	if fence, ended := ledger.AttemptOf(e.Event); fence > 0 {
		p.attempt(jobKey{e.Org, e.Job}, fence, ended)
	}
}

// attempt returns the job's newest attempt, which that one is, or nil if it is older. p.mu is held.
func (p *liveProgress) attempt(k jobKey, fence schemas.Seq, ended bool) *attemptProgress {
	a := p.jobs[k]
	switch {
	case a == nil:
		if len(p.order) == liveProgressMax {
			delete(p.jobs, p.order[0])
			p.order = p.order[1:]
		}
		p.order = append(p.order, k)
		a = &attemptProgress{fence: fence}
		p.jobs[k] = a
	case fence < a.fence:
		return nil
	case fence > a.fence:
		*a = attemptProgress{fence: fence}
	}
	a.ended = a.ended || ended
	return a
}

// hear takes progress off the connection. What no worker of ours wrote is not worth a word.
func (p *liveProgress) hear(m *nats.Msg) {
	got, err := ledger.DecodeProgress(m.Subject, m.Data)
	if err == nil && p.heard(got) {
		p.wake(got.Org)
	}
}

func (p *liveProgress) heard(got *ledger.LiveProgress) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.attempt(jobKey{got.Org, got.Job}, got.Fence.Seq, false)
	if a == nil || a.ended || got.N <= a.n {
		return false
	}
	p.version++
	a.n, a.version, a.ev = got.N, p.version, progressEvent(got, time.Now())
	return true
}

// reportedAt is what an attempt reported last, and the version at which it did.
type reportedAt struct {
	ev      *LiveEvent
	version uint64
}

// since returns what was reported behind a version by attempts that run, of one org or all, the oldest first, and the version
// it is true at.
func (p *liveProgress) since(org schemas.OrgID, version uint64) ([]reportedAt, uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if version == p.version {
		return nil, version
	}
	var found []*attemptProgress
	for k, a := range p.jobs {
		if a.ev != nil && a.version > version && !a.ended && (org == "" || k.org == org) {
			found = append(found, a)
		}
	}
	slices.SortFunc(found, func(a, b *attemptProgress) int { return cmp.Compare(a.version, b.version) })
	out := make([]reportedAt, len(found))
	for i, a := range found {
		out[i] = reportedAt{a.ev, a.version}
	}
	return out, p.version
}

func (p *liveProgress) now() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.version
}
