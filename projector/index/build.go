package index

import (
	"context"
	"errors"
	"iter"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
)

// Built is an index of entries that nothing follows.
type Built struct {
	*Index
	s *session
}

// Build folds entries, which are a ledger's from its beginning on, into an index in an empty folder, for measurements.
// Whoever is done with it closes it.
func Build(ctx context.Context, dir string, entries iter.Seq[[]*ledger.Entry]) (*Built, error) {
	x := newIndex(Config{Dir: dir, Logger: zap.NewNop()})
	s := &session{x: x}
	var err error
	if s.file, err = openFile(ctx, dir); err != nil {
		return nil, err
	}
	if err = s.begin(ctx); err == nil {
		s.show(s.fold.at)
		err = s.pump(ctx, func(ctx context.Context, out chan<- []*ledger.Entry) error {
			for es := range entries {
				select {
				case out <- es:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return nil
		})
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return &Built{Index: x, s: s}, nil
}

// Close closes the file.
func (b *Built) Close() error { return b.s.close() }
