package gateway

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// begun notes what has its turn, in order, and ends it when told.
type begun struct {
	t     *turns
	mu    sync.Mutex
	order []string
	leave map[string]func()
	ended int // that had no turn: there are none any more
}

func newBegun(places int) *begun { return &begun{t: newTurns(places), leave: map[string]func(){}} }

func (b *begun) ask(org, caller, name string, bytes int) bool {
	return b.t.take(asker{schemas.OrgID(org), caller}, bytes, func(leave func()) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if leave == nil {
			b.ended++
			return
		}
		b.order = append(b.order, name)
		b.leave[name] = leave
	})
}

// end ends what has its turn; what is next begins meanwhile.
func (b *begun) end(name string) {
	b.mu.Lock()
	leave := b.leave[name]
	delete(b.leave, name)
	b.mu.Unlock()
	leave()
}

// count is how many had their turn.
func (b *begun) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.order)
}

// endAll ends all that has, or gets, its turn.
func (b *begun) endAll() {
	for b.running() > 0 {
		b.end(b.first())
	}
}

func (b *begun) running() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.leave)
}

func (b *begun) first() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(keysOf(b.leave))[0]
}

func (b *begun) any(r *rand.Rand) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(keysOf(b.leave))[r.IntN(len(b.leave))]
}

func keysOf(m map[string]func()) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// An org that asks much waits for itself: who asks beside it is next, and one caller of it does not keep out another.
func TestTurnsAreFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBegun(256)
		b.ask("other", "x", "other", 0)
		b.end("other") // from here two ask
		for i := range 100 {
			b.ask("noisy", "a", fmt.Sprintf("a%02d", i), 0)
		}
		b.ask("noisy", "b", "b", 0)
		if b.count() != 1+b.t.beside {
			t.Fatalf("%d of noisy's are worked on at once, want %d", b.count()-1, b.t.beside)
		}
		b.ask("calm", "c", "calm", 0)
		if last := b.order[len(b.order)-1]; last != "calm" {
			t.Errorf("after calm asked %s began", last)
		}
		b.end("a00")
		b.end("a01")
		if last := b.order[len(b.order)-2:]; !slices.Contains(last, "b") {
			t.Errorf("the two next are %v, neither of the caller b", last)
		}
		b.endAll()
		if b.count() != 103 || len(b.t.lines) != 0 || b.t.running+b.t.waiting+b.t.bytes != 0 {
			t.Errorf("%d had their turn, and %+v stayed", b.count(), b.t)
		}
	})
}

// While nobody else asks an org has more places; what takes long does not keep the rest out, up to an org's share of all places.
func TestTurnsOfSlowRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBegun(256)
		for i := range 200 {
			b.ask("alone", "a", fmt.Sprintf("%03d", i), 0)
		}
		if b.count() != b.t.alone {
			t.Errorf("%d at once while nobody else asks, want %d", b.count(), b.t.alone)
		}
		<-time.After(10 * slowAfter) // of the bubble's clock
		synctest.Wait()
		if b.count() != 64 {
			t.Errorf("%d at once when all are slow, want %d", b.count(), 64)
		}
		b.endAll()
		if b.count() != 200 {
			t.Errorf("%d of 200 had their turn", b.count())
		}
	})
}

// What waits is bounded: of a caller, of an org, of all, in number and in bytes. At the end nothing waits for ever.
func TestTurnsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBegun(8)
		waiting := func(org, caller string, bytes, tries int) (n int) {
			for i := range tries {
				if before := b.count(); b.ask(org, caller, fmt.Sprintf("%s%s%06d", org, caller, i), bytes) && b.count() == before {
					n++
				}
			}
			return n
		}
		if n := waiting("x", "a", 0, 10_000); n != lineMax/2 {
			t.Errorf("%d of one caller wait, want %d", n, lineMax/2)
		}
		if n := waiting("x", "b", 0, 10_000) + waiting("x", "c", 0, 10_000); n != lineMax/2+1 { // one of whom nothing waited
			t.Errorf("%d of two others of the org wait, want %d", n, lineMax/2+1)
		}
		b.ask("y", "a", "y", 0)
		if n := waiting("y", "a", 1<<20, 100); n != lineBytes/2>>20 {
			t.Errorf("%d of 1 MiB wait of one caller, want %d", n, lineBytes/2>>20)
		}
		if n := waiting("y", "b", 1<<20, 100); n != lineBytes/2>>20 {
			t.Errorf("%d of 1 MiB wait of another one, want %d", n, lineBytes/2>>20)
		}
		all := b.t.waiting
		for i := range linesMax/lineMax + 1 {
			all += waiting(fmt.Sprintf("o%d", i), "a", 0, lineMax/2) + waiting(fmt.Sprintf("o%d", i), "b", 0, lineMax/2)
		}
		const most = linesMax + 2 // one each of two orgs of which nothing waited
		if all != most || b.t.waiting != most {
			t.Errorf("%d wait of all, want %d", all, most)
		}
		running := b.running()
		b.t.close()
		if b.ended != most || !b.ask("z", "a", "z", 0) || b.ended != most+1 {
			t.Errorf("%d of %d were told that there are no turns any more", b.ended, most)
		}
		b.endAll()
		if b.count() > running+1 || len(b.t.lines) != 0 || b.t.running+b.t.waiting+b.t.bytes != 0 {
			t.Errorf("after the end %+v stayed", b.t)
		}
	})
}

// Whatever comes and ends in whatever order, each has its turn once, none beyond the places, and the oldest one of an org waits for
// no more turns of others than there are others who wait, once its org has room.
func TestTurnsRandom(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	synctest.Test(t, func(t *testing.T) {
		b := newBegun(12)
		asked := 0
		for range 5000 {
			switch {
			case r.IntN(2) == 0 || b.running() == 0:
				org := string(rune('a' + min(r.IntN(6), r.IntN(6))))
				if b.ask(org, fmt.Sprint(r.IntN(3)), fmt.Sprintf("%s%d", org, asked), r.IntN(9)) {
					asked++
				}
			case r.IntN(20) == 0:
				<-time.After(slowAfter)
				synctest.Wait()
			default:
				b.end(b.any(r))
			}
			b.look(t)
		}
		b.endAll()
		slices.Sort(b.order)
		if n := len(slices.Compact(b.order)); n != asked {
			t.Errorf("%d had a turn of %d", n, asked)
		}
	})
}

// look holds what the turns count to what runs.
func (b *begun) look(t *testing.T) {
	b.t.mu.Lock()
	defer b.t.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	of := map[string]int{}
	for name := range b.leave {
		of[name[:1]]++
	}
	for org, n := range of {
		if l := b.t.lines[schemas.OrgID(org)]; n > b.t.ofOrg || l.running != n || l.quick > l.running {
			t.Fatalf("org %s: %d run of %d", org, n, b.t.ofOrg)
		}
	}
	if len(b.leave) != b.t.running || b.t.running > b.t.places {
		t.Fatalf("%d run, %d are counted", len(b.leave), b.t.running)
	}
	for _, l := range b.t.lines { // nobody waits while there is room
		if l.count > 0 && b.t.running < b.t.places && b.t.room(l, time.Now()) {
			t.Fatalf("org %s waits: %s", l.org, strings.Join(b.order, " "))
		}
	}
}

// Long polls of one org leave room for others'.
func TestSeats(t *testing.T) {
	s := newSeats()
	taken := 0
	for range 2 * waitsMax {
		if s.take("noisy") {
			taken++
		}
	}
	if taken != waitsMax/2 {
		t.Errorf("%d are of one org, want %d", taken, waitsMax/2)
	}
	if !s.take("calm") {
		t.Error("another org's wait is refused")
	}
	s.leave("calm")
	for range taken {
		s.leave("noisy")
	}
	if s.all != 0 || len(s.by) != 0 {
		t.Errorf("%+v stayed", s)
	}
}

// Who fills a line keeps out himself: another caller of the org is let in with one request, and another org while a few fill what may
// wait of all.
func TestTurnsSpare(t *testing.T) {
	b := newBegun(0) // nothing has its turn
	fill := func(org, caller string, bytes int) (n int) {
		for b.ask(org, caller, "", bytes) {
			n++
		}
		return n
	}
	if x, y := fill("noisy", "x", 0), fill("noisy", "y", 0); x != lineMax/2 || y != lineMax/2 {
		t.Fatalf("%d and %d wait", x, y)
	}
	if n := fill("noisy", "admin", 0); n != 1 {
		t.Errorf("%d of a third caller wait, want 1", n)
	}
	for i := 0; b.t.bytes < linesBytes; i++ {
		for _, caller := range []string{"x", "y"} {
			fill(fmt.Sprintf("large%d", i), caller, 1<<20)
		}
	}
	if !b.ask("calm", "c", "", 1<<20) || b.ask("large0", "x", "", 1<<20) {
		t.Error("a calm org is kept out, or one that fills its line is not")
	}
	b.t.close()
	if b.t.waiting+b.t.bytes != 0 || len(b.t.lines) != 0 {
		t.Errorf("%+v stayed", b.t)
	}
}
