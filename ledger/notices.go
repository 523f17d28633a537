package ledger

import (
	"context"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// NoticesReadThrough is how far an owner has read the notices of an org: those of jobs that ended at that time of
// the ledger's clock or before. Zero: none.
func (l *Ledger) NoticesReadThrough(ctx context.Context, org schemas.OrgID, owner string) (time.Time, error) {
	if err := schemas.CheckToken("org", string(org)); err != nil {
		return time.Time{}, badField("org", err)
	}
	e, _, err := l.readSetting(ctx, schemas.NoticesPlace(org, owner))
	if err != nil || e == nil {
		return time.Time{}, coded(err)
	}
	return e.Data.(*schemas.NoticesRead).Settings.Through, nil
}

// ReadNotices notes that an owner has read his notices up to a time, and returns how far they are read then: never less
// than before, whoever else notes it.
func (l *Ledger) ReadNotices(ctx context.Context, org schemas.OrgID, owner string, through time.Time, m Meta) (time.Time, error) {
	mark := schemas.NoticesMark{Org: org, Owner: owner, Through: through.UTC()}
	if err := mark.Validate(); err != nil {
		return time.Time{}, badField("notices", err)
	}
	_, err := l.Put(ctx, m, schemas.NoticesPlace(org, owner), func(have schemas.Setting) (schemas.Setting, error) {
		if was, ok := have.(*schemas.NoticesRead); ok && !was.Settings.Through.Before(mark.Through) {
			mark.Through = was.Settings.Through
			return was, nil
		}
		return &schemas.NoticesRead{Settings: mark}, nil
	})
	return mark.Through, err
}
