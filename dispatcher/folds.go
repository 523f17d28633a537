package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Folds is where a Host keeps its saved fold, so that it need not fold the ledger from its beginning when it starts. It
// may lose it, or bring back an earlier one.
type Folds interface {
	// Open returns the latest saved fold; the error is fs.ErrNotExist if there is none.
	Open() (io.ReadCloser, error)
	// Replace stores what write writes in place of what is there, or, where that fails, leaves it.
	Replace(write func(io.Writer) error) error
}

// FoldFile keeps the saved fold in a file of this path. Its folder is made when it is first needed.
type FoldFile string

// foldFileMax bounds what is read as a saved fold: a hundred million waiting jobs.
const foldFileMax = 2 << 30

// Open implements Folds.
func (f FoldFile) Open() (io.ReadCloser, error) {
	file, err := os.Open(string(f))
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && info.Size() > foldFileMax {
		err = fmt.Errorf("%s holds %d bytes: no saved fold is as large", f, info.Size())
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// Replace implements Folds. If this process dies in here, the former file is there, or the new one is, whole; what is
// left of a half-written one is written over next time. One that could not be written to its end is removed at once: as a
// rule the disk is full, and what it takes is kept for the jobs that exist.
func (f FoldFile) Replace(write func(io.Writer) error) error {
	if err := os.MkdirAll(filepath.Dir(string(f)), 0o750); err != nil {
		return err
	}
	file, err := os.OpenFile(string(f)+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	err = write(file)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return os.Rename(file.Name(), string(f))
}

// takeUp goes on from the saved fold, if there is one and the ledger still holds what it was made of; else the ledger
// is folded from its beginning. It is called before the loop runs. The log says in one line what was done.
func (h *Host) takeUp(ctx context.Context) {
	if h.cfg.Folds == nil {
		return
	}
	begin := time.Now()
	core, err := h.loadFold(ctx)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		h.log.Info("no saved fold, the ledger is folded from its beginning")
	case err != nil:
		h.log.Warn("the saved fold is not used, the ledger is folded from its beginning", zap.Error(err))
	default:
		h.core, h.from, h.saved = core, core.At(), core.position
		cell := core.Cell()
		h.cell.Store(&cell)
		h.log.Info("saved fold loaded", zap.Uint64("seq", uint64(h.from.Seq)), zap.Float64("took_s", time.Since(begin).Seconds()))
	}
}

func (h *Host) loadFold(ctx context.Context) (*Core, error) {
	r, err := h.cfg.Folds.Open()
	if err != nil {
		return nil, err
	}
	core, err := LoadCore(r, h.cfg.Times.Core)
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, err
	}
	// The last event that the fold holds is asked for too: the tail compares only the one it goes on from, and a leader
	// folds its own events before they come by there. What stood between the two may have been lost with the power.
	for _, p := range []schemas.Position{core.At(), core.Witness()} {
		if err := h.holdsStill(ctx, p); err != nil {
			return nil, err
		}
	}
	return core, nil
}

// holdsStill returns nil if the ledger holds the event of a position. It asks until it is answered.
func (h *Host) holdsStill(ctx context.Context, p schemas.Position) error {
	for {
		e, err := h.l.EventAt(ctx, p.Seq)
		switch {
		case err == nil && e.Position() == p:
			return nil
		case err == nil:
			return fmt.Errorf("the ledger holds another event at %d: it went back to older data, or is another one", p.Seq)
		case errors.Is(err, ledger.ErrNotFound):
			return fmt.Errorf("the ledger does not hold event %d: it went back to older data, or the event has left it", p.Seq)
		case ctx.Err() != nil || h.l.Conn().IsClosed():
			return err
		}
		h.log.Warn("the event of the saved fold cannot be read", zap.Uint64("seq", uint64(p.Seq)), zap.Error(err))
		pause(ctx, h.cfg.Times.Renew)
	}
}

const (
	// foldMany is how many events make a fold worth saving before its time: as many are folded in a second.
	foldMany = 100_000
	// foldRest is the least time between two savings as a multiple of what the last one took, and foldOften as a part of
	// the usual time: saving takes no more than a fiftieth of a processor, however much waits and happens.
	foldRest  = 50
	foldOften = 12
)

// saveIfDue saves the fold once in a while, if it has moved, and sooner if it has moved far. The loop stands still for
// the copying alone.
func (h *Host) saveIfDue() {
	if h.cfg.Folds == nil || h.saving.Load() || h.core.position == h.saved {
		return
	}
	every := h.cfg.Times.Save
	if h.core.position-h.saved >= foldMany {
		every = min(every, max(every/foldOften, foldRest*time.Duration(h.saveTook.Load())))
	}
	if time.Since(h.savedAt) < every {
		return
	}
	h.savedAt, h.saved = time.Now(), h.core.position
	m := h.core.image()
	stood := time.Since(h.savedAt)
	h.saving.Store(true)
	h.savers.Go(func() {
		defer h.saving.Store(false)
		h.save(m, stood)
	})
}

// foldLong is how many events a start folds at least for its fold to be saved as soon as it is there.
const foldLong = 10_000

// saveSoon has the fold saved now, if it took long to get it.
func (h *Host) saveSoon(events schemas.Seq) {
	if events >= foldLong {
		h.savedAt = time.Time{}
	}
}

// saveLast saves the fold when the loop has ended, so that the next start has nothing to read.
func (h *Host) saveLast() {
	h.savers.Wait()
	if h.cfg.Folds != nil && h.core.position != h.saved {
		h.save(h.core.image(), 0)
	}
}

func (h *Host) save(m *image, stood time.Duration) {
	begin := time.Now()
	if err := h.cfg.Folds.Replace(m.write); err != nil {
		h.log.Warn("the fold was not saved: a start has to read more of the ledger", zap.Error(err))
		return
	}
	h.saveTook.Store(int64(stood + time.Since(begin)))
	h.counters.FoldsSaved.Add(1)
	h.log.Debug("fold saved", zap.Uint64("seq", uint64(m.at.Seq)), zap.Float64("stood_s", stood.Seconds()), zap.Float64("took_s", time.Since(begin).Seconds()))
}
