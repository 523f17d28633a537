package backup_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/internal/backup"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// leaving is a source whose jobs are over, and an archiver that moves all of them when it is told to.
type leaving struct {
	*source
	archiver *ledger.Archiver
}

func newLeaving(t *testing.T, jobs, args int) *leaving {
	t.Helper()
	s := &leaving{source: &source{ledgertest.Start(t), t}}
	if _, err := s.Ledger.PutType(s.Context(), schemas.TypeSettings{Name: "echo"}, ledger.Meta{}, ""); err != nil {
		t.Fatal(err)
	}
	for i := range jobs {
		id := schemas.JobID(fmt.Sprintf("done-%d", i))
		s.submit(id, large(args))
		if _, _, err := s.Ledger.Do(s.Context(), org, id, &ledger.Cancel{Reason: "over"}, ledger.Meta{}); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	s.archiver, err = ledger.NewArchiver(ledger.ArchiverConfig{Ledger: s.NewLedger(), Logger: zap.NewNop(), Window: time.Nanosecond, SegmentEvents: 100, Durable: -1})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *leaving) look() {
	moved, err := s.archiver.Look(s.t.Context())
	if err != nil || moved.Events == 0 {
		s.t.Errorf("the archiver moved %+v (%v)", moved, err)
	}
}

// stories are the events of all jobs up to a sequence, byte for byte.
func stories(t *testing.T, l *ledger.Ledger, last schemas.Seq) map[schemas.JobID]string {
	t.Helper()
	got := make(map[schemas.JobID]string)
	err := l.Replay(t.Context(), ledger.ReplayQuery{Org: org, To: ledger.ReplayBound{Seq: last}}, func(e *ledger.Entry) error {
		line, err := ledger.CloudEvent(e)
		got[e.Job] += string(line) + "\n"
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// restored puts the copy back, and holds it to the source.
func (s *leaving) restored(dir string, done *backup.Summary, jobs int) {
	s.t.Helper()
	to := target(s.t)
	if _, err := restoreTo(s.t, to.Connect(), dir); err != nil {
		s.t.Fatal(err)
	}
	verify(s.t, to)
	last := schemas.Seq(done.LastSeq)
	want, got := stories(s.t, s.Ledger, last), stories(s.t, to.NewLedger(), last)
	if len(got) != len(want) || len(got) < jobs {
		s.t.Errorf("%d jobs are in the copy, %d in the source", len(got), len(want))
	}
	for id, text := range want {
		if got[id] != text {
			s.t.Errorf("job %s has in the copy the events\n%.2000s\nin the source\n%.2000s", id, got[id], text)
		}
	}
	archived, err := to.NewLedger().Archived(s.Context())
	if err != nil || archived.Events == 0 || archived.Through.Seq > last {
		s.t.Errorf("the archive of the copy goes through %d, its LEDGER to %d (%v)", archived.Through.Seq, last, err)
	}
}

// Events that are purged from LEDGER while it is being read are in the copy all the same, in its archive (DESIGN D13,
// the restored history is that of the source, job by job.
func TestBackupOfWhatLeavesMeanwhile(t *testing.T) {
	t.Parallel()
	for range 2 {
		if leftMeanwhile(t) {
			return
		}
	}
	// The server gives its reader up, who waits for the archiver here, after 5 s; then LEDGER is taken again.
	t.Skip("the machine is too slow to show it: the archiver takes longer than the server waits")
}

func leftMeanwhile(t *testing.T) bool {
	t.Helper()
	const jobs = 20
	s := newLeaving(t, jobs, 800_000) // more than is under way unconfirmed, so that the server waits for this reader
	dir := t.TempDir()
	cfg := s.config(dir)
	var once sync.Once
	cfg.Progress = func(p backup.Progress) {
		if p.Stream == ledger.StreamLedger && p.Done > 2 {
			once.Do(s.look)
		}
	}
	done, err := backup.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	var record struct {
		Messages uint64
		State    struct{ Messages uint64 }
	}
	if err := json.Unmarshal(read(t, filepath.Join(dir, "LEDGER.json")), &record); err != nil {
		t.Fatal(err)
	}
	s.restored(dir, done, jobs)
	return record.Messages < record.State.Messages
}

// Where the archive runs past the copy of LEDGER, LEDGER is taken again: else the restored one would give out
// sequences that the archive holds.
func TestBackupThatTheArchiveOvertakes(t *testing.T) {
	t.Parallel()
	const jobs = 20
	s := newLeaving(t, jobs, 1000)
	dir := t.TempDir()
	cfg := s.config(dir)
	cuts := 0
	cfg.Progress = func(p backup.Progress) {
		if p.Stream != ledger.StreamLedger || p.Done < p.Last {
			return
		}
		if cuts++; cuts == 1 {
			s.submit("behind", nil)
			s.look()
		}
	}
	done, err := backup.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if cuts != 2 {
		t.Errorf("LEDGER was read to its end %d times, want it again once", cuts)
	}
	s.restored(dir, done, jobs)
}

// A segment that is removed between the copies of the catalogue and of the pages is whole in the copy, or not there: its
// pages stay for a day.
func TestBackupBesideRemoval(t *testing.T) {
	t.Parallel()
	const jobs = 20
	s := newLeaving(t, jobs, 1000)
	s.look()
	remover, err := ledger.NewRemover(ledger.RemoverConfig{Ledger: s.NewLedger(), Logger: zap.NewNop(), Wait: -1, Now: func() time.Time { return time.Now().Add(100 * 24 * time.Hour) }})
	if err != nil {
		t.Fatal(err)
	}
	for _, stream := range []string{ledger.StreamLedger, ledger.StreamCatalog, ledger.StreamArchive} {
		s.submit(schemas.JobID("then-"+stream), nil)
		if _, _, err := s.Ledger.Do(s.Context(), org, schemas.JobID("then-"+stream), &ledger.Cancel{Reason: "over"}, ledger.Meta{}); err != nil {
			t.Fatal(err)
		}
		s.look()
		dir := t.TempDir()
		cfg := s.config(dir)
		removed := 0
		cfg.Progress = func(p backup.Progress) {
			if p.Stream == stream && p.Done == p.Last && removed == 0 {
				plan, err := remover.Look(s.Context())
				if err != nil {
					t.Error(err)
				}
				removed = plan.Segments
			}
		}
		if _, err := backup.Run(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		if removed == 0 {
			t.Errorf("nothing was removed behind the copy of %s", stream)
		}
		to := target(t)
		if _, err := restoreTo(t, to.Connect(), dir); err != nil {
			t.Fatal(err)
		}
		verify(t, to)
	}
}
