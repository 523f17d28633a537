package sim_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Sizes and times of one run.
const (
	jobsPerRun     = 5                // beside those that go where a fault waits
	stormFor       = 16 * time.Second // simulated; then nothing goes wrong any more
	longStorm      = 45 * time.Second // of some runs: leases pass while things still go wrong
	settleWithin   = 5 * time.Minute  // simulated; by then every job has ended
	stopWithin     = 2 * time.Minute  // simulated; then its connections are closed, and after as long again it hangs
	clientPause    = 3 * time.Second
	restartsMax    = 2 // of the engine
	crashesMax     = 5
	pausesMax      = 4
	leaseAndMore   = 35 * time.Second // longer than any lease, shorter than two
	aWhile         = 10 * time.Second // shorter than any
	testOrg        = schemas.OrgID("acme")
	typePlain      = schemas.TypeName("plain")
	typeOnce       = schemas.TypeName("once")
	longTimeout    = 60 * time.Second // of attempts that last longer than a lease
	submitTimeout  = 4 * time.Second
	slotsPerWorker = 3
	quiet          = 3 * time.Second
	troubleLasts   = 5 * time.Second
	ticksEvery     = 10              // of so many seeds one has schedules
	tickingEnds    = 4 * time.Second // before the faults do
)

// world is one run: the parties, what goes wrong, and what is known to be true.
type world struct {
	seed        uint64
	r           *rand.Rand // of the plan, drawn by the scheduler's goroutine alone
	net         *network
	log         *zap.Logger
	replicas    int
	parties     []*party
	folds       savedFolds
	spawned     int
	calm        bool // nothing goes wrong any more
	full        bool // the disk is
	restarts    int
	crashes     int
	pauses      int
	truth       *truth
	plans       []*plan
	stormFor    time.Duration
	drawn       map[string]int
	restartedAt time.Time
	ticking     *ticking // schedules, in runs that have some
	tickUntil   time.Time
	aims        []*aim
	lateAt      map[schemas.JobID]*moment // when a late result is to come

	withSchedules bool
	deletes       bool      // the org is deleted in the middle of it
	deleteFrom    time.Time // not before
}

func newWorld(seed uint64, log *zap.Logger, keepTrace int) *world {
	n := newNetwork(seed)
	n.trace.keep, n.trace.full = keepTrace, keepTrace == 0
	w := &world{seed: seed, net: n, log: log, r: n.random("plan"), replicas: 1, truth: newTruth(), drawn: make(map[string]int), lateAt: make(map[schemas.JobID]*moment), stormFor: stormFor}
	n.world = w
	if w.r.IntN(8) == 0 {
		w.stormFor = longStorm
	}
	if w.r.IntN(2) == 0 {
		w.replicas, n.engine.r3 = 3, true
	}
	n.engine.stored = w.stored
	n.engine.unanswered = w.fault
	w.takeAim()
	return w
}

// run lets the whole story happen and returns what was wrong with it.
func (w *world) run() error {
	w.begin()
	err := w.net.run(w.ended)
	if err == nil {
		err = w.truth.failure()
	}
	if err == nil {
		err = w.checkEnd()
	}
	w.finish()
	return err
}

// begin starts the parties and plans what goes wrong and what is asked for.
func (w *world) begin() {
	w.spawn("server", runServer)
	w.spawn("server", runServer)
	for range 3 {
		w.spawn("worker", runWorker)
	}
	start := time.Now()
	for i := range jobsPerRun {
		plan := newPlan(w.net.random("job", i), i, w.stormFor == longStorm)
		plan.choosePlanned(w.net.random("parents", i))
		plan.from = start.Add(plan.at)
		w.plans = append(w.plans, plan)
	}
	if w.seed%ticksEvery == 0 || w.withSchedules {
		w.ticking, w.tickUntil = newTicking(), start.Add(w.stormFor-tickingEnds)
	}
	if w.deletes {
		w.deleteFrom = start.Add(w.stormFor / 3)
	}
	w.scripted()
	for _, plan := range w.plans[jobsPerRun:] {
		plan.from = start.Add(plan.at)
	}
	w.spawn("client", runClient)
	for range 4 + w.r.IntN(7) {
		w.net.at(start.Add(2*time.Second+time.Duration(w.r.Int64N(int64(w.stormFor-5*time.Second)))), w.mischief)
	}
	w.net.storm = storm{drop: w.r.IntN(25), duplicate: w.r.IntN(25), delay: w.r.IntN(50)}
	w.net.at(start.Add(w.stormFor), w.calmDown)
}

// mischief does one of the things that go wrong with processes and the server.
func (w *world) mischief() {
	r := w.r
	if len(w.live("worker")) == 0 || len(w.live("server")) == 0 {
		return
	}
	switch r.IntN(11) {
	case 0, 1:
		w.crash(w.any("worker"))
	case 2:
		w.crash(w.any("server"))
	case 3:
		w.any("worker").pause(spread(r, time.Second, w.longest()))
	case 4:
		w.any("server").pause(spread(r, time.Second, w.longest()))
	case 5:
		w.any([]string{"worker", "server"}[r.IntN(2)]).cutOff(spread(r, 200*time.Millisecond, leaseAndMore))
	case 6:
		w.restart()
	case 7:
		w.net.engine.skew += time.Duration(r.Int64N(int64(8*time.Second))) - 4*time.Second
		w.net.trace.note("** the server's clock is now %s off", w.net.engine.skew)
	case 8:
		w.drain(w.any("worker"))
	case 9:
		w.fillDisk(spread(r, 2*time.Second, 15*time.Second))
	case 10:
		w.dropViews()
	}
}

// longest is how long a process stands still at most: longer than a lease where the run lasts for it.
func (w *world) longest() time.Duration {
	if w.stormFor == longStorm {
		return leaseAndMore
	}
	return aWhile
}

func (w *world) any(role string) *party {
	all := w.live(role)
	return all[w.r.IntN(len(all))]
}

// crash ends a process, and has another one take its place a little later.
func (w *world) crash(p *party) {
	if w.crashes >= crashesMax || p.crashed {
		return
	}
	w.crashes++
	p.crash()
	role, start := p.role, p.start
	if role == "leaving" {
		return // another one has taken its place
	}
	w.net.after(spread(w.r, 50*time.Millisecond, 15*time.Second), func() { w.spawn(role, start) })
}

// fillDisk has the engine refuse every event for d, as on a full disk.
func (w *world) fillDisk(d time.Duration) {
	w.net.trace.note("** the disk is full for %s", d)
	w.full = true
	w.restartedAt = time.Now()
	w.net.after(d, func() { w.full, w.restartedAt = false, time.Now() })
}

// dropViews deletes one view, or all, as an operator does who has them folded again.
func (w *world) dropViews() {
	views := []string{ledger.BucketCounts, ledger.BucketJobs, ledger.BucketConfig}
	if n := w.r.IntN(2 * len(views)); n < len(views) {
		views = views[n : n+1]
	}
	for _, bucket := range views {
		w.net.trace.note("** the bucket %s is deleted", bucket)
		w.net.engine.drop("KV_" + bucket)
	}
}

// drain stops a worker as SIGTERM does; another one takes its place.
func (w *world) drain(p *party) {
	w.net.trace.note("** %s is told to stop", p.name)
	p.stop()
	p.role, p.troubledAt = "leaving", time.Now()
	w.net.after(time.Second, func() { w.spawn("worker", runWorker) })
}

// supervise starts a worker again that has ended by itself, as the programs' supervisors do. The only reason for it is
// a handler that must run alone and does not stop when no leader answers (DESIGN D7).
func (w *world) supervise() {
	for _, p := range w.parties {
		if p.role != "worker" || p.crashed || !p.hasEnded() {
			continue
		}
		w.net.trace.note("** %s has ended: %v", p.name, p.err)
		if p.err == nil || !strings.Contains(p.err.Error(), "must run alone did not stop") {
			w.truth.fail("%s ended by itself: %v", p.name, p.err)
		}
		p.crash() // its handlers end with it
		w.net.after(time.Second, func() { w.spawn("worker", runWorker) })
	}
}

// restart crashes the server that holds the streams: what lived in memory is gone.
func (w *world) restart() {
	if w.restarts >= restartsMax || w.net.down {
		return
	}
	w.restarts++
	w.net.trace.note("** the engine crashes")
	w.restartedAt = time.Now()
	w.setDown(true)
	w.net.sever(false, func(*conn) bool { return true })
	w.net.engine.restart()
	w.net.after(spread(w.r, 100*time.Millisecond, 4*time.Second), func() {
		w.net.trace.note("** the engine is back")
		w.setDown(false)
	})
}

func (w *world) setDown(down bool) {
	w.net.mu.Lock()
	defer w.net.mu.Unlock()
	w.net.down = down
}

// calmDown ends all faults: from here every job has to end.
func (w *world) calmDown() {
	w.net.trace.note("** nothing goes wrong any more")
	w.calm = true
	w.net.storm = storm{}
	w.truth.calmAt = time.Now()
	close(w.truth.calm)
	for _, p := range w.parties {
		w.setCut(p, false)
	}
}

// fault draws what goes wrong with an append inside the engine, and with its writer.
func (w *world) fault(what string) engineFault {
	if w.full && !w.calm {
		return engineFull
	}
	if w.calm || what == "" {
		return engineFine
	}
	if f := w.aimedInside(what); f != engineFine {
		return f
	}
	w.drawn[what]++ // job ids are random and no key
	r := w.net.random("engine", what, w.drawn[what])
	p := r.IntN(1000)
	if rare(what) {
		p /= rareFactor
	}
	switch {
	case p < 12:
		return engineFull
	case p < 32:
		return engineInFlight
	case p < 38:
		return engineCut
	case p < 42 && w.crashes < crashesMax:
		return engineCrash
	case p < 45 && w.pauses < pausesMax:
		return enginePause
	case p < 47 && w.restarts < restartsMax:
		return engineRestart
	}
	return engineFine
}

// strike does to the writer of an event, or to the server, what befell it just after the event was stored.
func (w *world) strike(c *conn, f engineFault) {
	switch f {
	case engineRestart:
		w.restart()
	case engineCut:
		w.net.sever(false, func(o *conn) bool { return o == c })
	case engineCrash:
		w.crash(c.party)
	case enginePause:
		w.pauses++
		if c.party.role == "client" {
			c.party.pause(clientPause) // it holds no lease, and all the others wait for what it asks for
			return
		}
		c.party.pause(leaseAndMore)
	}
}

// ended reports that the run is over: all jobs have ended after the faults did, or something is wrong.
func (w *world) ended() bool {
	w.judge()
	w.supervise()
	if w.truth.failed() {
		return true
	}
	if !w.calm || !w.clientDone() {
		return w.calm && time.Since(w.truth.calmAt) > settleWithin
	}
	if time.Since(w.truth.lastAt) > quiet && time.Since(w.truth.calmAt) > quiet && w.allFinished() && w.settled() == nil {
		return true
	}
	return time.Since(w.truth.calmAt) > settleWithin
}

// finish stops every party, so that no goroutine is left.
func (w *world) finish() {
	w.calm, w.net.storm = true, storm{}
	w.setDown(false)
	for _, p := range w.parties {
		w.setCut(p, false)
		p.unpause()
		p.stop()
	}
	w.truth.release()
	deadline := time.Now().Add(stopWithin)
	_ = w.net.run(func() bool {
		for _, p := range w.parties {
			select {
			case <-p.done:
			default:
				switch late := time.Since(deadline); {
				case late > stopWithin:
					panic(fmt.Sprintf("seed %d: %s was told to stop and does not end", w.seed, p.name))
				case late > 0:
					p.close()
				}
				return false
			}
		}
		return true
	})
}
