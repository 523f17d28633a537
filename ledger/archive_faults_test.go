package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
)

// whole shows that the archive holds exactly all, each message once, and ARCHIVE nothing else; nor CATALOG any filter or
// tally that no record names.
func whole(t *testing.T, env *ledgertest.Env, all []*ledger.Entry) {
	t.Helper()
	l := env.NewLedger()
	if _, err := l.Expel(t.Context(), time.Now().Add(ledger.RemoveDelay)); err != nil {
		t.Fatal(err)
	}
	if _, err := l.SweepArchive(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	sameEntries(t, "archive", archived(t, l, 0, 1<<63, ""), all)
	state, err := l.Archived(t.Context())
	if err != nil || int(state.Events) != len(all) {
		t.Fatalf("%+v, %v, want %d events", state, err, len(all))
	}
	segments, err := l.ArchiveSegments(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	messages := 0
	for _, s := range segments {
		messages += s.Messages
	}
	s, err := l.JetStream().Stream(t.Context(), ledger.StreamArchive)
	if err != nil || int(s.CachedInfo().State.Msgs) != messages {
		t.Fatalf("ARCHIVE has %d messages, its segments %d (%v)", s.CachedInfo().State.Msgs, messages, err)
	}
	if s, err = l.JetStream().Stream(t.Context(), ledger.StreamCatalog); err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(t.Context(), jetstream.WithSubjectFilter("catalog.>"))
	through, tallies, failed := l.Commits(t.Context())
	if err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	if n := info.State.Subjects; int(n["catalog.filter"]) != len(segments) || int(n["catalog.tally"]) != len(through) {
		t.Fatalf("CATALOG has %v, for %d segments and %d commits with tallies at %v", n, len(segments), len(through), tallies)
	}
}

// Every write of a step is refused, lost, or stored with its reply lost: the step goes on; or its writer dies there, or
// the server: another writer goes on, nothing is lost or doubled, and what is left over goes (DESIGN D3, D13).
func TestArchiveFaults(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	for _, write := range []string{"archive.page.", "archive.index", "catalog.filter", "catalog.tally", "catalog.record"} {
		for kind, name := range map[ledgertest.Kind]string{ledgertest.Refuse: "refused", ledgertest.LoseRequest: "request lost", ledgertest.LoseReply: "reply lost"} {
			for _, end := range []string{"goes on", "writer dies", "server restarts"} {
				fill(t, env, "acme", 5)
				ctx, die := context.WithCancel(t.Context())
				env.Faults.Inject(ledgertest.Fault{Archive: write, Kind: kind, After: func(*nats.Msg) {
					switch end {
					case "writer dies":
						die()
					case "server restarts":
						env.Restart()
					}
				}})
				hits := env.Faults.Hits()
				err := env.Ledger.ArchiveThrough(ctx, 0, 7)
				die()
				what := fmt.Sprintf("%s %s, %s", write, name, end)
				if env.Faults.Hits() == hits || (err == nil) != (end != "writer dies") {
					t.Fatalf("%s: %v", what, err)
				}
				if err != nil && write == "catalog.record" && kind != ledgertest.Refuse && !errors.Is(err, ledger.ErrUnknown) {
					t.Errorf("%s: %v, want that it is not known", what, err)
				}
				env.Faults.Clear()
				if err := env.NewLedger().ArchiveThrough(t.Context(), 0, 0); err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				whole(t, env, everything(t, env.Ledger))
			}
		}
	}
}

// Of writers at the same step one wins; the others are told, and leave nothing.
func TestArchiveWritersAtOnce(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	const writers = 4
	for range 3 {
		fill(t, env, "acme", 20)
		var wg sync.WaitGroup
		errs, commits := make([]error, writers), make([]func(context.Context) error, writers)
		for i := range writers {
			if commits[i], errs[i] = env.NewLedger().ArchiveStep(t.Context(), 50); errs[i] != nil {
				t.Fatal(errs[i])
			}
		}
		for i, commit := range commits {
			wg.Go(func() { errs[i] = commit(t.Context()) })
		}
		wg.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
			} else if !errors.Is(err, ledger.ErrRefused) {
				t.Error(err)
			}
		}
		if won != 1 {
			t.Fatalf("%d writers were told that they won: %v", won, errs)
		}
	}
	if err := env.Ledger.ArchiveThrough(t.Context(), 0, 0); err != nil {
		t.Fatal(err)
	}
	whole(t, env, everything(t, env.Ledger))
}

// A sweep takes the messages of a writer who is still at it only together with his chance to commit.
func TestArchiveSweepRefusesTheLateWriter(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	fill(t, env, "acme", 20)
	other := env.NewLedger()
	env.Faults.Inject(ledgertest.Fault{Archive: "catalog.record", Before: func(*nats.Msg) {
		if n, err := other.SweepArchive(t.Context(), time.Hour); err != nil || n != 0 {
			t.Errorf("%d young messages were swept, %v", n, err)
		}
		if n, err := other.SweepArchive(t.Context(), 0); err != nil || n == 0 {
			t.Errorf("%d messages were swept, %v", n, err)
		}
	}})
	commit, err := env.Ledger.ArchiveStep(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := commit(t.Context()); !errors.Is(err, ledger.ErrRefused) {
		t.Errorf("the late writer: %v", err)
	}
	if err := env.Ledger.ArchiveThrough(t.Context(), 0, 0); err != nil {
		t.Fatal(err)
	}
	whole(t, env, everything(t, env.Ledger))
}

// What was changed, cut off, or is gone is never handed out, nor passed over: the error says where it is.
func TestArchiveDamage(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]struct {
		write string
		how   func(m *nats.Msg)
		says  string
	}{
		"flipped byte":        {"archive.page.org.acme", func(m *nats.Msg) { m.Data[len(m.Data)/2] ^= 1 }, "page 1"},
		"flipped head":        {"archive.page.org.acme", func(m *nats.Msg) { m.Data[10] ^= 1 }, "page 1"},
		"cut off":             {"archive.page.org.acme", func(m *nats.Msg) { m.Data = m.Data[:len(m.Data)-9] }, "page 1"},
		"empty":               {"archive.page.org.acme", func(m *nats.Msg) { m.Data = nil }, "page 1"},
		"flipped index":       {"archive.index", func(m *nats.Msg) { m.Data[len(m.Data)-3] ^= 1 }, "the index"},
		"index cut off":       {"archive.index", func(m *nats.Msg) { m.Data = m.Data[:40] }, "the index"},
		"flipped filter":      {"catalog.filter", func(m *nats.Msg) { m.Data[len(m.Data)-3] ^= 1 }, "the filter"},
		"record of something": {"catalog.record", func(m *nats.Msg) { m.Data = []byte("{}") }, "record"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := ledgertest.Start(t)
			env.SkipVerify()
			fill(t, env, "acme", 10)
			env.Faults.Inject(ledgertest.Fault{Archive: damage.write, Before: damage.how})
			if err := env.Ledger.ArchiveThrough(t.Context(), 40, 0); err != nil && damage.write != "catalog.record" {
				t.Fatal(err)
			}
			l := env.NewLedger()
			id := everything(t, env.Ledger)[10].Job
			got, err := l.ArchivedSubject(t.Context(), "acme", id)
			if err == nil || !strings.Contains(err.Error(), damage.says) {
				t.Errorf("history: %d entries, %v, want an error that names %s", len(got), err, damage.says)
			}
			err = l.ArchivedRange(t.Context(), 0, 1<<63, "acme", func([]*ledger.Entry) error { return nil })
			if err == nil || !strings.Contains(err.Error(), damage.says) {
				t.Errorf("range: %v, want an error that names %s", err, damage.says)
			}
		})
	}
}

// A page that was deleted is named, and its segment.
func TestArchiveMissingPage(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	env.SkipVerify()
	fill(t, env, "acme", 10)
	if err := env.Ledger.ArchiveThrough(t.Context(), 0, 20); err != nil {
		t.Fatal(err)
	}
	segments, err := env.Ledger.ArchiveSegments(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	at, err := env.Ledger.PageSeqs(t.Context(), segments[1].ID)
	if err != nil {
		t.Fatal(err)
	}
	s, err := env.Ledger.JetStream().Stream(t.Context(), ledger.StreamArchive)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteMsg(t.Context(), uint64(at[0])); err != nil {
		t.Fatal(err)
	}
	for _, l := range []*ledger.Ledger{env.Ledger, env.NewLedger()} {
		n := 0
		err := l.ArchivedRange(t.Context(), 0, 1<<63, "", func(e []*ledger.Entry) error { n += len(e); return nil })
		if err == nil || !strings.Contains(err.Error(), segments[1].ID) || !strings.Contains(err.Error(), "not there") || n != 20 {
			t.Errorf("%d messages, then %v; want the first segment, and that a page of %s is not there", n, err, segments[1].ID)
		}
	}
}

// dying ends the writer's context when the fault has happened.
func dying(die context.CancelFunc) func(*nats.Msg) { return func(*nats.Msg) { die() } }
