package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// The hot window is how long events stay in LEDGER before they leave for ARCHIVE (DESIGN D13). It stands in LEDGER's own
// metadata, so that every writer knows it, whatever program it is.

const (
	// HotNever as ProvisionConfig.HotWindow turns archiving off.
	HotNever time.Duration = -1

	// metaHot is the hot window in LEDGER's metadata, as a duration; absent: events stay.
	metaHot = "jobledger.hot_window"

	// hotWindows is how many duplicate windows a hot window lasts at least: what a submission of the same work has to be
	// compared with is then in LEDGER, also for a leader that folds nothing else.
	hotWindows = 2

	// leaveMarginMax bounds the time before a job's leaving in which a command finds it gone already.
	leaveMarginMax = time.Hour
)

// HotWindowMin is the shortest hot window beside a duplicate window.
func HotWindowMin(duplicates time.Duration) time.Duration {
	return hotWindows * max(duplicates, schemas.DedupWindow)
}

// checkHotWindow refuses a window that is too short beside the duplicate window that is to be in force.
func (c *ProvisionConfig) checkHotWindow(hot, duplicates time.Duration) error {
	least := HotWindowMin(duplicates)
	if c.hotWindowMin > 0 {
		least = c.hotWindowMin
	}
	if hot <= 0 || hot >= least {
		return nil
	}
	return badField("hot_window", fmt.Errorf("hot window %s is below %s, twice the time in which work submitted again is found (dedup window %s): choose a longer one, or 0 for never",
		hot, least, duplicates))
}

// hotOf reads the window from a stream's metadata.
func hotOf(metadata map[string]string) time.Duration {
	w, err := time.ParseDuration(metadata[metaHot])
	if err != nil || w < 0 {
		return 0
	}
	return w
}

// HotWindow is how long events stay in LEDGER, as it was set at most a minute ago; 0: for ever.
func (l *Ledger) HotWindow(ctx context.Context) (time.Duration, error) {
	c, err := l.streamConfig(ctx)
	if err != nil {
		return 0, err
	}
	return c.hot, nil
}

// leaveMargin is how long before it leaves a job counts as gone.
func leaveMargin(window time.Duration) time.Duration { return min(leaveMarginMax, window/4) }

// leaves reports whether a command on the job is to be preceded by carried, so that LEDGER alone tells what it amounts
// to: the job began in ARCHIVE, or it has ended and its beginning leaves before long. An unfinished one is carried by
// the archiver, which meets a command at the job's expectation.
//
// The margin is for the time between this look and the append. A writer that takes longer leaves a job whose beginning
// is in ARCHIVE alone: readers look there then, and the next carried mends it.
func (l *Ledger) leaves(ctx context.Context, j *Job) bool {
	if !j.Exists() || j.Unreadable || j.State == schemas.StateRunning {
		return false
	}
	if j.Archived {
		return true
	}
	if !j.State.Finished() {
		return false
	}
	if window, err := l.HotWindow(ctx); err == nil && window > 0 && time.Since(j.SubmittedAt) > window-leaveMargin(window) {
		return true
	}
	return l.hasLeft(ctx, j.SubmittedSeq)
}

// hasLeft reports whether the archive holds a message, as far as that is known: it stands in LEDGER until a purge is worth
// its while, and is younger than the window where an operator asked for it to leave, or the window is longer by now.
// A command does not wait for an archive that cannot be read.
func (l *Ledger) hasLeft(ctx context.Context, seq schemas.Seq) bool {
	c := l.archive.now.Load()
	if c == nil || c.through.Seq < seq {
		ctx, cancel := context.WithTimeout(ctx, archivePatience)
		defer cancel()
		if err := l.lookAtArchive(ctx, time.Now().Add(-archiveFresh)); err != nil {
			return false
		}
		c = l.archive.now.Load()
	}
	return c != nil && c.through.Seq >= seq
}

// carryFirst appends carried to a job that leaves, and returns it with that applied; any other job as it is. If this
// process dies behind it, the job is as it was, and leaves again later.
func (l *Ledger) carryFirst(ctx context.Context, j *Job, life uint64) (*Job, error) {
	if !l.leaves(ctx, j) {
		return j, nil
	}
	after, _, err := l.attempt(ctx, j, life, &Carry{}, Meta{})
	if err != nil {
		return j, err
	}
	return after, nil
}
