package ledger

import (
	"context"

	"github.com/dartwing/jobledger/schemas"
)

// Memory holds the filters of the newest segments (ArchiveCache). A look that needs others would read each of them, 40 to 64
// kB: of an archive of hundreds of millions of jobs that is no way to learn, at each submit, that an id is new. So a look for an earlier
// life of an id asks first who has folded the whole ledger, as a server's query index has, between which sequences the job stands, and
// leaves out the segments that cannot hold it.

// Whereabouts says where the messages of one job's id stand.
type Whereabouts struct {
	// Through is the last sequence that this tells about.
	Through schemas.Seq
	// None: there is no job under the id, up to Through. Else all that it is folded from stands between From and To, both included. What has
	// no beginning, since that was removed, may stand elsewhere.
	None     bool
	From, To schemas.Seq
}

// AskWhere has this Ledger's looks for earlier lives of ids (Earlier, and those of a submit) ask where, if the filters of segments that
// may hold one are not in memory. ok is false where that cannot be told; the filters are read then. where is called by many at a time.
// What it is told by is disposable: all that reads, moves, removes or proves history goes by the archive itself.
func (l *Ledger) AskWhere(where func(ctx context.Context, org schemas.OrgID, id schemas.JobID) (w Whereabouts, ok bool)) {
	l.archive.where.Store(&where)
}

// excludes reports that a segment holds nothing of the job.
func (w *Whereabouts) excludes(s *archiveSegment) bool {
	return w != nil && s.Last <= w.Through && (w.None || s.Last < w.From || s.First > w.To)
}

// whereabouts is where a job stands, as is known or asked if a filter that a look needs is not in memory; nil: it is not known.
func (a *archive) whereabouts(ctx context.Context, t *filterTable, want *archivedJob) *Whereabouts {
	ask := a.where.Load()
	if want.where != nil || !want.asks || ask == nil || t.unknown == 0 {
		return want.where
	}
	for i, s := range t.segments {
		if t.known[i] || want.later(s) {
			continue
		}
		if w, ok := (*ask)(ctx, want.org, want.id); ok {
			return &w
		}
		return nil
	}
	return nil
}
