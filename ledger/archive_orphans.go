package ledger

import (
	"context"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/schemas"
)

// orphans are filters and tallies in CATALOG that no record names and that are older than age, and the segments and
// records that they were written for, of those that are not part of the archive. The numbers that the server keeps of
// each subject tell that there are none; if there are, they stand where no named one does, as a rule at the end.
func (a *archive) orphans(ctx context.Context, c *catalog, age time.Duration) (left []schemas.Seq, ids []string, err error) {
	var info *jetstream.StreamInfo
	err = a.l.asking(ctx, func(ctx context.Context) error {
		s, err := a.l.js.Stream(ctx, StreamCatalog)
		if err == nil {
			info, err = s.Info(ctx, jetstream.WithSubjectFilter(catalogSubjects))
		}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	found := strays{c: c}
	for subject, named := range map[string][]schemas.Seq{filterSubject: c.filters(info.TimeStamp), tallySubject: c.tallies()} {
		excess := int(info.State.Subjects[subject]) - len(named)
		slices.Sort(named)
		for i := len(named); i >= 0 && excess > 0 && len(found.seqs) < sweepMax; i-- {
			gap := span{1, schemas.Seq(info.State.LastSeq)}
			if i > 0 {
				gap.from = named[i-1] + 1
			}
			if i < len(named) {
				gap.to = named[i] - 1
			}
			for next := gap.from; next <= gap.to && excess > 0; {
				m, err := a.nextOn(ctx, StreamCatalog, subject, next)
				if err != nil {
					return nil, nil, err
				}
				if m == nil || m.Seq > gap.to {
					break
				}
				next = m.Seq + 1
				excess--
				found.add(m, info.TimeStamp, age)
			}
		}
	}
	return found.seqs, found.ids, nil
}

// filters are where the filters of all segments stand in CATALOG, of those too that were removed a short time ago.
func (c *catalog) filters(now time.Time) (at []schemas.Seq) {
	for i := range c.leaving {
		if m := &c.leaving[i]; now.Sub(m.at) < removeDelay {
			at = append(at, m.Filter)
		}
	}
	for _, k := range c.chunks {
		for _, s := range k.segments {
			at = append(at, s.Filter)
		}
	}
	return at
}

// tallies are where those of all commits stand.
func (c *catalog) tallies() (at []schemas.Seq) {
	for i := range c.commits {
		if t := c.commits[i].tally; t != nil {
			at = append(at, t.At...)
		}
	}
	return at
}
