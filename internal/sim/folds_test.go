package sim_test

import (
	"bytes"
	"io"
	"io/fs"
	"sync"
	"time"

	"github.com/dartwing/jobledger/dispatcher"
	"github.com/dartwing/jobledger/schemas"
)

// saveFoldEvery is how often servers save their fold: so that a run of seconds has several.
const saveFoldEvery = 1500 * time.Millisecond

// savedFolds are all that the servers of a run have saved.
type savedFolds struct {
	mu   sync.Mutex
	all  [][]byte
	last schemas.Seq // about where the latest of them ends
}

// partyFolds is a server's data folder. What a new server finds in it is the latest fold of any server, or an earlier
// one, as a crash or a restored disk leaves it; or none, a damaged one, or one of another ledger.
type partyFolds struct{ p *party }

// Open implements dispatcher.Folds.
func (f *partyFolds) Open() (io.ReadCloser, error) {
	w := f.p.world
	w.folds.mu.Lock()
	defer w.folds.mu.Unlock()
	r := w.net.random("fold", f.p.name)
	if len(w.folds.all) == 0 || r.IntN(8) == 0 {
		return nil, fs.ErrNotExist
	}
	fold := w.folds.all[len(w.folds.all)-1]
	if r.IntN(2) == 0 {
		fold = w.folds.all[r.IntN(len(w.folds.all))]
	}
	switch r.IntN(8) {
	case 0:
		fold = fold[:r.IntN(len(fold))]
	case 1:
		fold = bytes.Clone(fold)
		fold[r.IntN(len(fold))] ^= 1 << r.IntN(8)
	case 2, 3:
		fold = foreignFold(w.folds.last)
	}
	return io.NopCloser(bytes.NewReader(fold)), nil
}

// Replace implements dispatcher.Folds.
func (f *partyFolds) Replace(write func(io.Writer) error) error {
	var out bytes.Buffer
	if err := write(&out); err != nil {
		return err
	}
	c, err := dispatcher.LoadCore(bytes.NewReader(out.Bytes()), dispatcher.DefaultTimes())
	if err != nil {
		f.p.world.truth.fail("%s saved a fold that cannot be loaded: %v", f.p.name, err)
		return err
	}
	s := &f.p.world.folds
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all, s.last = append(s.all, out.Bytes()), c.Position()
	return nil
}

// foreignFold is the fold of another ledger that is as long.
func foreignFold(events schemas.Seq) []byte {
	c := dispatcher.NewCore(dispatcher.DefaultTimes())
	for seq := range events {
		c.Skip(&schemas.Event{Seq: seq + 1, ID: "of-another-ledger"}, false)
	}
	var out bytes.Buffer
	if err := c.Save(&out); err != nil {
		panic(err) // a buffer takes everything
	}
	return out.Bytes()
}
