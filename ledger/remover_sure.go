package ledger

import (
	"context"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// A clock that is ahead for a while, as of a machine that starts with a wrong one, must not remove what no command brings
// back; and where there is one machine only, there is one clock only. So a segment whose time is over goes when that has
// been so for a day: by two looks of one remover, or by the ledger itself, two commits of whose archive are a day apart. The
// latter outlives a server that is started anew every night.

// sureWait is RemoverConfig.Wait where nothing else is said.
const sureWait = schemas.Day

// sighting is when the time of a segment was found over.
type sighting struct {
	at  time.Time // by what retentions are counted to
	own time.Time // by this computer, whose clock goes on evenly while this process lives
}

// sure reports whether the time of a segment, if it is over, has been for long enough, and notes when that was found first.
func (r *Remover) sure(ctx context.Context, d *duty, s *archiveSegment, over bool, now time.Time) (bool, error) {
	if !over {
		if s.Class != classOpen || r.opened[s.ID].look == r.looks {
			delete(r.seen, s.ID)
		}
		return false, nil
	}
	if r.asked || r.cfg.Wait < 0 {
		return true, nil
	}
	if first, ok := r.seen[s.ID]; !ok || now.Before(first.at) {
		r.seen[s.ID] = sighting{at: now, own: time.Now()}
	}
	if r.waited(s.ID, now) {
		return true, nil
	}
	at := settledAt(d.c.commits, r.cfg.Wait)
	if at.IsZero() || at.After(now) {
		return false, nil
	}
	return r.over(ctx, d.c, d.k, s, at)
}

// waited reports whether it has been known for long enough that the time of a segment is over.
func (r *Remover) waited(id string, now time.Time) bool {
	if r.asked || r.cfg.Wait < 0 {
		return true
	}
	first, ok := r.seen[id]
	return ok && now.Sub(first.at) >= r.cfg.Wait && (r.cfg.Now != nil || time.Since(first.own) >= r.cfg.Wait)
}

// settledAt is the latest time that a commit ends with, of those that end so long before the last one; zero if there is none.
// An event leaves no sooner than the hot window after its time: so that time has been, and so much more since.
func settledAt(commits []committed, wait time.Duration) time.Time {
	for i := len(commits) - 1; i >= 0; i-- {
		if at := commits[i].throughAt; commits[len(commits)-1].throughAt.Sub(at) >= wait {
			return at
		}
	}
	return time.Time{}
}
