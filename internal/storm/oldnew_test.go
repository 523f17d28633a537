//go:build unix

package storm_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
)

// TestOldBesideNew has servers and workers of the previous release and of this version on one NATS server, under
// load: the old ones alone, both side by side with the leadership going to and fro, then a rolling upgrade of
// everything and a rolling downgrade. Every job runs, nothing is lost, no attempt is consumed, and the checkers of
// both versions find nothing wrong with what the other one wrote (R-25, R-110, DESIGN D8).
//
// It begins with streams that either version has made; and it runs with and without events that only one of them
// can read, or neither: those concern nobody but whom they are about.
func TestOldBesideNew(t *testing.T) {
	fullOnly(t)
	begin(t)
	t.Run("old streams and strange events", func(t *testing.T) {
		begin(t)
		b := newBeside(t)
		b.setOut()
		b.strange = newStrange(b) // its workers are there before and behind both deploys
		b.sideBySide()
		b.upgrade()
		b.strange.shown(binary)
		b.strange.viewed()
		b.verify(binary)
		b.downgrade()
		b.strange.shown(released)
		b.judge()
	})
	t.Run("new streams", func(t *testing.T) {
		begin(t)
		b := newBeside(t)
		if _, err := ledger.Provision(t.Context(), openLedger(t, b.url), ledger.ProvisionConfig{}); err != nil {
			t.Fatal(err)
		}
		b.setOut()
		b.sideBySide()
		b.upgrade()
		b.verify(binary)
		b.downgrade()
		b.judge()
	})
}

// deployGrace is less than what a job takes, so that a worker that ends hands some back.
const deployGrace = 500 * time.Millisecond

// beside is a cell of two versions.
type beside struct {
	*cell
	workers []*process
	load    *load
	hired   int      // workers and servers
	strange *strange // nil: there are no strange events
	notes   []string
}

func newBeside(t *testing.T) *beside {
	t.Helper()
	needRelease(t)
	return &beside{cell: bareCell(t, 1)}
}

// hire starts a worker of a build, and returns when it heeds SIGTERM.
func (b *beside) hire(program string) *process {
	b.hired++
	name := fmt.Sprintf("%s-w%d", filepath.Base(program), b.hired)
	p := b.workerOf(program, name, b.url, typeName, workerSlots, witnessed("sleep 1"), "--grace", deployGrace.String())
	p.await("that it has started", func() bool { return len(p.said) > 0 })
	return p
}

// setOut starts a server and workers of the old version, with jobs.
func (b *beside) setOut() {
	b.serveOf(released, "released-s1")
	b.watch()
	if out, talk, err := b.try(released, nil, "type", "add", typeName, "--server", b.url); err != nil {
		b.t.Fatalf("%v: %s%s", err, out, talk)
	}
	for range 2 {
		b.workers = append(b.workers, b.hire(released))
	}
	b.load = startLoad(b.t, b.o, b.url, typeName, jobCount(150, 1500), size(50, backlogUsual))
	b.o.awaitFinished(10)
}

// sideBySide starts a server and workers of this version beside the old ones, and has them lead in turn.
func (b *beside) sideBySide() {
	b.serveOf(binary, "jobledger-s1")
	for range 2 {
		b.workers = append(b.workers, b.hire(binary))
	}
	for range size(2, 6) {
		b.handOver()
		if b.strange != nil {
			b.strange.happen()
		}
	}
}

// handOver stops the leader until the other one has queued jobs; the stopped one goes on and finds that it leads no
// more.
func (b *beside) handOver() {
	p := b.leader()
	p.mu.Lock()
	deposed := p.deposed
	p.mu.Unlock()
	before, since := b.latestEpoch(), time.Now()
	b.views.awaitPut()
	p.signal(syscall.SIGSTOP)
	took := b.awaitFailover(before, since)
	p.signal(syscall.SIGCONT)
	p.await("that its leadership has ended", func() bool { return p.deposed > deposed })
	b.views.awaitPut()
	b.o.awaitFinished(b.o.count() + 10)
	b.notes = append(b.notes, fmt.Sprintf("%s took over: %s", b.leader().name, took))
}

// upgrade replaces whatever is old, and downgrade whatever is new, one process after the other under load.
func (b *beside) upgrade()   { b.replace(released, binary) }
func (b *beside) downgrade() { b.replace(binary, released) }

func (b *beside) replace(from, to string) {
	old := func(p *process) bool { return strings.HasPrefix(p.name, filepath.Base(from)+"-") }
	for i, p := range b.workers {
		if old(p) {
			b.workers[i] = b.hire(to)
			b.o.awaitFinished(b.o.count() + 10)
			drain(p)
		}
	}
	for _, p := range slices.Clone(b.servers) {
		if old(p) {
			b.hired++
			b.serveOf(to, fmt.Sprintf("%s-s%d", filepath.Base(to), b.hired))
			drain(p)
			b.o.awaitFinished(b.o.count() + 10)
		}
	}
	b.servers = slices.DeleteFunc(b.servers, old)
}

// judge ends the test.
func (b *beside) judge() {
	s := b.settle(b.load, b.workers)
	consumed, handed := s.handedBack()
	by := make(map[string]int)
	for _, a := range handed {
		version, _, _ := strings.Cut(a.worker, "-")
		by[version]++
	}
	if len(by) != 2 {
		b.t.Errorf("attempts were handed back by workers of one version only: %v", by)
	}
	b.views.end()
	if b.strange != nil {
		// What only this version reads counts as quarantined for the old one, which begins where this one ended.
		if out, talk, err := b.try(released, nil, "log", "rebuild", "--force", "--server", b.url); err != nil {
			b.t.Errorf("%v: %s%s", err, out, talk)
		}
	}
	b.verify(released)
	b.verify(binary)
	if b.strange != nil {
		drain(b.strange.workers...)
	}
	b.end()
	s.figures(fmt.Sprintf("; attempts consumed %d; handed back by old workers %d, by new ones %d; %s", consumed, by["released"], by["jobledger"], strings.Join(b.notes, "; ")))
}
