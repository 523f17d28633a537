//go:build unix

package storm_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// killedAtRandom starts a command again and again and kills it a random time later, until it has been killed so often
// or has ended by itself. It returns the number of kills that met it alive.
func (h *home) killedAtRandom(rnd *rand.Rand, kills int, most time.Duration, args ...string) (met int) {
	h.t.Helper()
	for i := range kills {
		p, out := h.run(fmt.Sprintf("%s-%d", args[1], i), binary, nil, args...)
		go func() { _, _ = io.Copy(io.Discard, out) }()
		select {
		case <-p.gone:
			if p.err == nil {
				return met
			}
		case <-time.After(time.Duration(rnd.Int64N(int64(most)))):
			p.kill()
			met++
		}
	}
	return met
}

// copied folds the jobs that the ledger at url holds up to a sequence.
func copied(t *testing.T, url string, last schemas.Seq) (finished map[schemas.JobID]bool, unfinished []schemas.JobID) {
	t.Helper()
	jobs := make(map[schemas.JobID]*ledger.Job)
	err := openLedger(t, url).Replay(t.Context(), ledger.ReplayQuery{Org: acme, To: ledger.ReplayBound{Seq: last}}, func(e *ledger.Entry) error {
		j := jobs[e.Job]
		if j == nil {
			j = &ledger.Job{Org: e.Org, ID: e.Job}
			jobs[e.Job] = j
		}
		e.ApplyTo(j)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	finished = make(map[schemas.JobID]bool)
	for id, j := range jobs {
		if j.State.Finished() {
			finished[id] = true
		} else {
			unfinished = append(unfinished, id)
		}
	}
	return finished, unfinished
}

// cancelSome cancels every tenth job that was acknowledged, if it has not ended.
func cancelSome(ctx context.Context, t *testing.T, ld *load, l *ledger.Ledger) {
	for i := 0; ctx.Err() == nil; i++ {
		ld.mu.Lock()
		var id schemas.JobID
		if i*10 < len(ld.acked) {
			id = ld.acked[i*10]
		}
		ld.mu.Unlock()
		if id == "" {
			i--
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
			continue
		}
		_, _, err := l.Do(ctx, acme, id, &ledger.Cancel{Reason: "storm"}, ledger.Meta{})
		var state *ledger.StateError
		if err != nil && !errors.As(err, &state) && ctx.Err() == nil {
			t.Errorf("cancel %s: %v", id, err)
		}
	}
}

// TestBackupKilled copies a ledger under submits, workers and cancels, with a backup that is killed with kill -9 at
// random points and run again; puts the copy into an empty data folder with a restore that is killed likewise; and
// starts a server on that in the source's place, while the workers live on. The checker finds source and copy clean,
// workers finish all that the copy shows as unfinished, and nothing runs again that it shows as finished (R-42, R-112,
// R-117, DESIGN D2).
func TestBackupKilled(t *testing.T) {
	begin(t)
	fullOnly(t)
	h, rnd := newHome(t), random(t)
	h.timeouts = true
	jobs, kills := jobCount(300, 3000), 12
	port, dir := fmt.Sprint(freePorts(t, 1)[0]), filepath.Join(h.dir, "copy")
	first, second := filepath.Join(h.dir, "first"), filepath.Join(h.dir, "second")
	dev, ready := h.server("first", "dev", "--port", port, "--store", first)
	url := ready.NATSURL
	o := observe(t, url)
	o.restores = 1
	l := openLedger(t, url)
	var workers []*process
	for i := range 2 {
		workers = append(workers, h.worker(fmt.Sprintf("w%d", i), url, "storm", 8, "sleep 0.1"))
	}
	for i := range 40 { // nobody serves them before the restore; their args make the copy large
		args := make([]byte, 700<<10)
		for j := range args {
			args[j] = byte(rnd.Uint32())
		}
		_, err := l.Submit(t.Context(), ledger.SubmitRequest{Org: acme, Type: "bulk", ID: schemas.JobID(fmt.Sprintf("bulk-%d", i)),
			Args: json.RawMessage(`"` + hex.EncodeToString(args) + `"`), RegisterUnknown: true})
		if err != nil {
			t.Fatal(err)
		}
	}
	ld := startLoad(t, o, url, "storm", jobs, backlogUsual)
	canceling, stopCancels := context.WithCancel(t.Context())
	canceled := make(chan struct{})
	go func() { defer close(canceled); cancelSome(canceling, t, ld, openLedger(t, url)) }()
	o.awaitFinished(20)
	met := h.killedAtRandom(rnd, kills, 3*time.Second, "log", "backup", dir, "--server", url, "--rate", "12MB", "--json")
	var done struct {
		Events, Bytes uint64
		LastSeq       schemas.Seq `json:"last_seq"`
		SHA256        string
	}
	if out := h.must("log", "backup", dir, "--server", url, "--json"); json.Unmarshal([]byte(out), &done) != nil || done.LastSeq == 0 {
		t.Fatalf("the backup said %s", out)
	}
	stopCancels()
	<-canceled
	ld.enough()
	(&story{t: t}).verify(h, url) // the source
	end := o.awaitEnd(l)
	finished, unfinished := copied(t, url, done.LastSeq)
	dev.kill()

	metRestore := h.killedAtRandom(rnd, kills, 600*time.Millisecond, "log", "restore", dir, "--store", second, "--json")
	h.must("log", "restore", dir, "--store", second, "--sha256", done.SHA256, "--json")
	text, err := os.ReadFile(h.starts)
	if err != nil {
		t.Fatal(err)
	}
	before := len(text)
	h.server("second", "dev", "--port", port, "--store", second)
	workers = append(workers, h.worker("bulk", url, "bulk", 8, "cat > /dev/null"))
	o.awaitAll(unfinished)
	drain(workers...)
	if text, err = os.ReadFile(h.starts); err != nil {
		t.Fatal(err)
	}
	again := 0
	for line := range strings.Lines(string(text[before:])) {
		again++
		if id, _, _ := strings.Cut(line, " "); finished[schemas.JobID(id)] {
			t.Errorf("a job ran again that the copy shows as finished: %s", line)
		}
	}
	r := retell(t, h, url)
	for _, j := range r.jobs {
		if j.State != schemas.StateCompleted && j.State != schemas.StateCanceled {
			t.Errorf("job %s is %s (%s)", j.ID, j.State, j.DeadReason)
		}
	}
	t.Logf("figures: %d events and %d bytes copied, %d finished and %d unfinished jobs in them; the source was at %d of %d when it died; "+
		"the backup was killed %d times, the restore %d; %d starts after it", done.Events, done.Bytes, len(finished), len(unfinished), done.LastSeq, end, met, metRestore, again)
}
