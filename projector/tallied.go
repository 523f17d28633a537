package projector

import (
	"context"
	"math"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// A fold that would begin at zero need not read what is long over: the archive keeps a tally of each of its commits, whose
// sum is what the counts were at a boundary (DESIGN D13). With a hot window the documents of jobs that ended before it are
// gone from JOBS anyway; every other job has an event behind the boundary, carried as a rule; and settings in force are told
// again there. So views begin anew at that boundary: it costs what is hot, not what is history.

// expiredSlack is how much older than the hot window all must be that is not read: of two clocks one may be ahead.
const expiredSlack = time.Minute

// keptForever is what views say of a JOBS that nothing expires from, but that lacks jobs which were removed from the archive.
const keptForever = time.Duration(math.MaxInt64)

// begin says where the fold begins: where the view that is furthest behind is; at a boundary of the archive, if that would be
// zero and says the same. anew: what stands in JOBS is to be written again.
func (p *Projector) begin(ctx context.Context, v *views, anew bool) error {
	if earliest(v.jobsAt, v.countsAt, v.configAt).Seq == 0 {
		if err := p.tallied(ctx, v, anew); err != nil {
			return err
		}
	}
	v.at = earliest(v.jobsAt, v.countsAt, v.configAt)
	if v.at.Seq == 0 || v.at.Seq == v.base {
		v.seen = newSeen()
	}
	p.log.Info("views are read", zap.Uint64("from_seq", uint64(v.at.Seq)), zap.Uint64("jobs_seq", uint64(v.jobsAt.Seq)),
		zap.Uint64("counts_seq", uint64(v.countsAt.Seq)), zap.Uint64("config_seq", uint64(v.configAt.Seq)))
	return nil
}

// tallied lets views that nothing is known of begin with the sum of the tallies. Without a hot window JOBS holds every job,
// and all is read: so the tallies are needed only for what was removed.
func (p *Projector) tallied(ctx context.Context, v *views, anew bool) error {
	before := time.Time{}
	if v.hot > 0 {
		before = time.Now().Add(-v.hot - p.slack)
	}
	t, err := p.cfg.Ledger.Tallied(ctx, before)
	if err != nil {
		return err
	}
	if t.Missing != "" {
		log, text := p.log.Info, "the counts of what is in the archive are folded from its events"
		if t.Removed {
			log, text = p.log.Warn, "segments were removed whose jobs COUNTS cannot count: put ARCHIVE and CATALOG back from a backup made before, and rebuild"
		}
		log(text, zap.String("reason", t.Missing))
	}
	if v.hot == 0 && t.Removed {
		v.shortest = keptForever
	}
	if t.Seq == 0 || v.hot == 0 && !t.Removed {
		return nil
	}
	v.base = t.Seq
	if v.countsAt.Seq == 0 {
		v.beginCounts(t)
	}
	if v.hot > 0 && !anew {
		if v.jobsAt.Seq == 0 {
			v.jobsAt = t.Position
		}
		if v.configAt.Seq == 0 {
			v.configAt = t.Position
		}
	}
	p.log.Info("views begin with the tallies of the archive", zap.Uint64("seq", uint64(t.Seq)), zap.Time("at", t.At))
	return nil
}

// beginCounts begins with counters that are true at a boundary. Until the fold has come there nothing of them is written,
// nor how far it is: whoever finds the bucket begins again.
func (v *views) beginCounts(t *ledger.Tallied) {
	v.countsAt, v.quarantined, v.illegal = t.Position, t.Quarantined, t.Illegal
	v.coveredMax = max(v.coveredMax, t.Seq)
	v.counts = t.Counts
	v.queues = make(ledger.Counts)
	for k, n := range v.counts {
		v.addQueue(k, *n)
		v.touchCount(k)
	}
	v.moved = true
}

// unmet reports that a submitted begins a job that nothing is known of. A fold that began at a boundary knows it of one
// that says so itself: where it was stored, its subject was empty.
func (v *views) unmet(k jobKey, e *schemas.Event, s *schemas.Submitted) bool {
	first := s.Generation == 1 && s.From == schemas.StateNone && !v.suspects[k]
	if v.seen == nil {
		return first
	}
	return v.seen.add(k) && first && (v.base == 0 || e.First)
}

// carried is the entry of a job whose whole state its first message here holds. Where it stood before is the same.
func (v *views) carried(k jobKey, e *schemas.Event) *jobEntry {
	ent := &jobEntry{key: k, job: new(ledger.Job)}
	ent.known = v.seen != nil && v.seen.add(k) && e.Seq > max(v.jobsAt.Seq, v.anew)
	return ent
}

func isCarried(e *schemas.Event) bool {
	_, ok := e.Data.(*schemas.Carried)
	return ok
}
