package ledger

import (
	"context"
	"sync"
	"time"
)

// looks are looks at something that many ask for, of which one at a time is under way: of several callers one looks,
// and the others wait for that.
type looks struct {
	mu    sync.Mutex
	began time.Time     // of the latest look that succeeded
	under chan struct{} // closed when the look that is under way has ended; nil: none is
}

// since returns when a look has succeeded that began at a time or later. look is called with the time that it begins at,
// at most once; its error is returned, and has the next caller look.
func (s *looks) since(ctx context.Context, since time.Time, look func(began time.Time) error) error {
	for {
		known, wait := s.begin(since)
		switch {
		case known:
			return nil
		case wait == nil:
			began := time.Now()
			err := look(began)
			s.end(began, err)
			return coded(err)
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return coded(ctx.Err())
		}
	}
}

// begin says whether nobody has to look. Otherwise wait is closed at the end of the look that is under way; nil: the
// caller is the one to look, and to call end.
func (s *looks) begin(since time.Time) (known bool, wait <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.began.Before(since) {
		return true, nil
	}
	if s.under == nil {
		s.under = make(chan struct{})
		return false, nil
	}
	return false, s.under
}

func (s *looks) end(began time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.under)
	s.under = nil
	if err == nil {
		s.began = began
	}
}
