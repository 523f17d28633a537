package index

import (
	"context"
	"fmt"
	"time"

	"github.com/dartwing/jobledger/ledger"
)

const (
	// removedEvery is how often an index asks whether history was removed since it was begun.
	removedEvery = time.Hour
	// removedAge is how old an index is at least that begins anew for that: a fold from zero costs minutes where there are
	// millions of jobs, and history may be removed every hour.
	removedAge = 24 * time.Hour
)

// history tells whether rows may have outlived their jobs. Nothing in the ledger says which jobs they are, whose history is
// past its retention and removed; a fold from zero does not meet them.
type history struct {
	// removed is how many segments of the archive were removed, ever.
	removed    func(ctx context.Context) (int, error)
	every, age time.Duration
}

func historyOf(l *ledger.Ledger) history {
	h := history{every: removedEvery, age: removedAge}
	h.removed = func(ctx context.Context) (int, error) {
		if l == nil {
			return 0, nil
		}
		s, err := l.Archived(ctx)
		return s.Removed, err
	}
	return h
}

// outlived has the index begin anew if history was removed since it was begun. What cannot be asked now is asked next time.
func (s *session) outlived(ctx context.Context) error {
	now, err := s.x.history.removed(ctx)
	if err != nil {
		return nil
	}
	var begun, was int64
	err = s.file.write.QueryRowContext(ctx, `SELECT (SELECT value FROM meta WHERE key = 'begun'), (SELECT value FROM meta WHERE key = 'removed')`).Scan(&begun, &was)
	switch {
	case err != nil:
		return err
	case was < 0: // it begins: what was removed until now it will not meet
		_, err := s.file.write.ExecContext(ctx, `UPDATE meta SET value = ? WHERE key = 'removed'`, now)
		return err
	case int64(now) > was && time.Since(time.Unix(begun, 0)) >= s.x.history.age:
		return fmt.Errorf("%w: history was removed since it was begun", errAnew)
	}
	return nil
}
