package main

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// A SQLite file holds the chosen events, and every job as a naive fold up to the end of the range has it, whichever events
// were chosen; its views answer.
func TestLogReplaySQLite(t *testing.T) {
	w := startWorld(t)
	echoWorker(w)
	w.must(exitOK, "job", "submit", "echo", `{"n": 9007199254740993}`, "--wait", "--tag", "k=v")
	w.run("job", "submit", "fail", "--wait")
	var entries []*ledger.Entry
	if err := w.NewLedger().Replay(t.Context(), ledger.ReplayQuery{Org: "acme"}, func(e *ledger.Entry) error { entries = append(entries, e); return nil }); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for i, to := range []schemas.Seq{entries[2].Seq, entries[len(entries)-1].Seq} {
		file := filepath.Join(dir, to.String()+" ?%#.db")
		args := []string{"log", "replay", "-O", "acme", "--to", to.String(), "--format", "sqlite", "-o", file}
		done := w.must(exitOK, args...)
		if done.stdout != "" || done.stderr != "last seq "+to.String()+"\n" {
			t.Errorf("%+v", done)
		}
		db := openFile(t, file)
		jobs := map[schemas.JobID]*ledger.Job{}
		for _, e := range entries {
			if e.Seq > to {
				break
			}
			if jobs[e.Job] == nil {
				jobs[e.Job] = &ledger.Job{Org: "acme", ID: e.Job}
			}
			e.ApplyTo(jobs[e.Job])
			var event, data string
			if err := db.QueryRow(`SELECT event, data FROM events WHERE seq = ?`, uint64(e.Seq)).Scan(&event, &data); err != nil || event != string(e.Name()) || data != string(e.Body) {
				t.Errorf("event %d: %q %q, %v", e.Seq, event, data, err)
			}
		}
		for id, j := range jobs {
			var state string
			var attempt int
			var seq uint64
			if err := db.QueryRow(`SELECT state, attempt, seq FROM jobs WHERE org = 'acme' AND id = ?`, string(id)).Scan(&state, &attempt, &seq); err != nil ||
				state != string(j.State) || attempt != j.Attempt || schemas.Seq(seq) != j.LastSeq {
				t.Errorf("%s at %d: %s %d %d, want %+v, %v", id, to, state, attempt, seq, j, err)
			}
		}
		if n := numberOf(t, db, `SELECT count(*) FROM jobs`); n != len(jobs) {
			t.Errorf("%d jobs, want %d", n, len(jobs))
		}
		if i == 0 {
			continue
		}
		for query, want := range map[string]int{
			`SELECT sum(jobs) FROM counts`:                                                       len(jobs),
			`SELECT count(*) FROM dead_letters WHERE type = 'fail'`:                              1,
			`SELECT jobs FROM errors WHERE type = 'fail'`:                                        1,
			`SELECT count(*) FROM attempts WHERE seconds >= 0 AND outcome = 'completed'`:         1,
			`SELECT count(*) FROM payloads WHERE args = '{"n":9007199254740993}'`:                1,
			`SELECT sum(events) FROM actors`:                                                     len(entries),
			`SELECT sum(events) FROM per_minute`:                                                 len(entries),
			`SELECT count(*) FROM jobs WHERE tags ->> 'k' = 'v' AND finished_at >= submitted_at`: 1,
			`SELECT value FROM about WHERE name = 'last_seq'`:                                    int(to),
		} {
			if n := numberOf(t, db, query); n != want {
				t.Errorf("%s: %d, want %d", query, n, want)
			}
		}
		if got := w.must(exitUsage, args...); !strings.Contains(got.stderr, "--force") {
			t.Errorf("%s", got.stderr)
		}
		w.must(exitOK, append(args, "--force", "--event", "running")...)
		db = openFile(t, file)
		if events, stand := numberOf(t, db, `SELECT count(*) FROM events`), numberOf(t, db, `SELECT count(*) FROM jobs`); events != 2 || stand != len(jobs) {
			t.Errorf("of one kind %d events, %d jobs", events, stand)
		}
	}
	w.must(exitUsage, "log", "replay", "--format", "sqlite")
	w.must(exitUsage, "log", "replay", "--format", "sqlite", "-o", filepath.Join(dir, "x"), "--resume")
	w.must(exitError, "log", "replay", "--format", "sqlite", "-o", filepath.Join(dir, "no", "x"))
	if left, err := filepath.Glob(filepath.Join(dir, "*.partial")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func openFile(t *testing.T, name string) *sql.DB {
	t.Helper()
	if _, err := os.Stat(name); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", "file:"+strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(name)+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func numberOf(t *testing.T, db *sql.DB, query string) (n int) {
	t.Helper()
	if err := db.QueryRow(query).Scan(&n); err != nil {
		t.Errorf("%s: %v", query, err)
	}
	return n
}

// A job whose id was used again for another type is told of by the file of that type, as it stands; by that of the type before,
// its events are.
func TestLogReplaySQLiteOfAType(t *testing.T) {
	w := startWorld(t)
	var none schemas.Millis
	for _, typ := range []schemas.TypeName{"before", "behind"} {
		if _, err := w.Ledger.PutType(t.Context(), schemas.TypeSettings{Name: typ, WindowMS: &none}, ledger.Meta{}, "test"); err != nil {
			t.Fatal(err)
		}
	}
	w.must(exitOK, "job", "submit", "before", "{}", "--id", "one")
	w.must(exitOK, "job", "cancel", "one", "--reason", "r")
	w.must(exitOK, "job", "submit", "behind", "{}", "--id", "one")
	dir := t.TempDir()
	for typ, want := range map[string]struct{ jobs, lives int }{"before": {0, 1}, "behind": {1, 1}} {
		file := filepath.Join(dir, typ)
		w.must(exitOK, "log", "replay", "-O", "acme", "--type", typ, "--format", "sqlite", "-o", file)
		db := openFile(t, file)
		for query, n := range map[string]int{
			`SELECT count(*) FROM jobs`: want.jobs,
			`SELECT count(*) FROM jobs WHERE id = 'one' AND type = 'behind' AND generation = 2 AND flags IS NULL`: want.jobs,
			`SELECT CAST(value AS INTEGER) FROM about WHERE name = 'jobs'`:                                        want.jobs,
			`SELECT count(*) FROM events WHERE event = 'submitted'`:                                               want.lives,
			`SELECT count(DISTINCT type) FROM events`:                                                             1,
		} {
			if got := numberOf(t, db, query); got != n {
				t.Errorf("%s: %s: %d, want %d", typ, query, got, n)
			}
		}
	}
}
