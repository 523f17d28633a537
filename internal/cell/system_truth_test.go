package cell_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// witness wraps a handler: each start is appended to the worker's own file first.
func (s *system) witness(worker string, h handlers.HandlerFunc) handlers.HandlerFunc {
	s.t.Helper()
	file, err := os.OpenFile(filepath.Join(s.files, worker), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { file.Close() })
	return func(ctx context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		k := attemptKey{a.ID, a.Generation, a.Number}
		if _, err := fmt.Fprintln(file, k.id, k.gen, k.number); err != nil {
			s.t.Errorf("the start of %v is not on file: %v", k, err)
		}
		s.mu.Lock()
		s.starts[k] = append(s.starts[k], worker)
		s.begun++
		s.notify()
		s.mu.Unlock()
		return h(ctx, a)
	}
}

// startsOnFile reads what the handlers wrote: the workers that started each attempt.
func (s *system) startsOnFile() map[attemptKey][]string {
	s.t.Helper()
	files, err := os.ReadDir(s.files)
	if err != nil {
		s.t.Fatal(err)
	}
	starts := make(map[attemptKey][]string)
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(s.files, f.Name()))
		if err != nil {
			s.t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			var k attemptKey
			if _, err := fmt.Sscan(line, &k.id, &k.gen, &k.number); err != nil {
				s.t.Fatalf("file of worker %s: %q: %v", f.Name(), line, err)
			}
			starts[k] = append(starts[k], f.Name())
		}
	}
	return starts
}

// story is what the ledger says of attempts.
type story struct {
	running   map[attemptKey]int    // number of running events
	worker    map[attemptKey]string // who claimed it
	lost      map[attemptKey]*ledger.Entry
	released  map[attemptKey]string // cause
	submitted map[schemas.JobID]int // number of submitted events
	args      map[string][]schemas.JobID
}

// cause of a loss.
func cause(lost *ledger.Entry) schemas.LossCause { return lost.Data.(*schemas.Lost).Cause }

func (s *system) replay() *story {
	s.t.Helper()
	out := &story{running: make(map[attemptKey]int), worker: make(map[attemptKey]string), lost: make(map[attemptKey]*ledger.Entry),
		released: make(map[attemptKey]string), submitted: make(map[schemas.JobID]int), args: make(map[string][]schemas.JobID)}
	err := s.env.NewLedger().Replay(s.t.Context(), ledger.ReplayQuery{Org: acme}, func(e *ledger.Entry) error {
		switch d := e.Data.(type) {
		case *schemas.Submitted:
			out.submitted[e.Job]++
			out.args[string(d.Args)] = append(out.args[string(d.Args)], e.Job)
		case *schemas.Running:
			k := attemptKey{e.Job, d.Generation, d.Attempt}
			out.running[k]++
			out.worker[k] = d.Worker
		case *schemas.Lost:
			out.lost[attemptKey{e.Job, d.Generation, d.Attempt}] = e
		case *schemas.Released:
			out.released[attemptKey{e.Job, d.Generation, d.Attempt}] = d.Cause
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// check compares the handlers' files with the ledger: each attempt started once and stored once; those stored
// and not started were handed back or given up.
func (s *system) check(ids []schemas.JobID) *story {
	s.t.Helper()
	told, starts := s.replay(), s.startsOnFile()
	for k, by := range starts {
		if len(by) != 1 || told.running[k] != 1 {
			s.t.Errorf("attempt %v was started by %v, with %d running events", k, by, told.running[k])
		}
	}
	for k, n := range told.running {
		if n != 1 {
			s.t.Errorf("attempt %v has %d running events", k, n)
		}
		if len(starts[k]) == 0 && told.lost[k] == nil && told.released[k] != schemas.ReleaseLateClaim {
			s.t.Errorf("attempt %v was stored as running, never started and never given up", k)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if j := s.jobs[id]; j == nil || !j.State.Finished() {
			s.t.Errorf("job %s was acknowledged and is not finished: %+v", id, j)
		}
	}
	return told
}

// allCompleted checks that all jobs did, without a loss but for restarts.
func (s *system) allCompleted(ids []schemas.JobID) *story {
	s.t.Helper()
	told := s.check(ids)
	for k, e := range told.lost {
		if cause(e) != schemas.LossCellRestart {
			s.t.Errorf("attempt %v was lost: %s", k, cause(e))
		}
	}
	s.completed(ids)
	return told
}

func (s *system) completed(ids []schemas.JobID) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if s.jobs[id].State != schemas.StateCompleted {
			s.t.Errorf("job %s is %s: %+v", id, s.jobs[id].State, s.jobs[id].Error)
		}
	}
}
