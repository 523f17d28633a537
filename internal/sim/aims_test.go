package sim_test

import (
	"math/rand/v2"
	"slices"
)

// Left to chance, some cells of the table are hit once in ten thousand seeds. So each run aims at a few of them: a script
// (scripts_test.go) has a job go where the transition happens, and the fault befalls the first append that makes it. The
// cells take turns, so that a row of seeds as long as the table aims at each of them aimsPerRun times.

// aimsPerRun is how many cells a run aims at.
const aimsPerRun = 4

// cell is a place in the table: a transition, and what befalls the append that makes it.
type cell struct{ what, column string }

// aim is a cell that this run is to hit.
type aim struct {
	cell
	met bool
}

// cellsInTurn lists the cells of the table in the order of their turns. None is kept from being hit by its nature: every legal
// transition is made by some command of this version, and each fault is something that befalls an append, whatever it says.
func cellsInTurn() (all []cell) {
	for _, what := range legal() {
		for _, column := range columns {
			all = append(all, cell{what, column})
		}
	}
	// Shuffled, and always alike: neighbours would need the same script.
	r := rand.New(rand.NewPCG(1, 1))
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

var turns = cellsInTurn()

// takeAim chooses what this seed aims at.
func (w *world) takeAim() {
	for i := range aimsPerRun {
		c := turns[(w.seed*aimsPerRun+uint64(i))%uint64(len(turns))]
		w.aims = append(w.aims, &aim{cell: c})
		switch {
		case c.column == "in flight":
			w.replicas, w.net.engine.r3 = 3, true
		case c.what == "control > schedule_set":
			w.withSchedules = true
		}
		if c.what == "running > lost" {
			w.stormFor = longStorm // a lease passes first
		}
	}
}

// met reports which of the columns befalls an append now because this run aims at it; empty: none.
func (w *world) met(what string, of ...string) string {
	if w.calm {
		return ""
	}
	for _, a := range w.aims {
		if !a.met && a.what == what && slices.Contains(of, a.column) {
			a.met = true
			return a.column
		}
	}
	return ""
}

// aimed is the fault of a message that this run aims at.
func (w *world) aimed(class, what string) faultKind {
	if len(w.aims) == 0 {
		return faultNone
	}
	switch class {
	case classAppend:
		return map[string]faultKind{"lost": faultDrop, "dup": faultDuplicate, "late": faultDelay}[w.met(what, "lost", "dup", "late")]
	case classPubAck:
		return map[string]faultKind{"ack lost": faultDrop, "ack late": faultDelay}[w.met(what, "ack lost", "ack late")]
	case classTail:
		if what != "" && w.met(what[1:], "tail late") != "" {
			return faultDelay
		}
	}
	return faultNone
}

// aimedInside is the fault inside the engine that this run aims at.
func (w *world) aimedInside(what string) engineFault {
	f := map[string]engineFault{"full": engineFull, "in flight": engineInFlight, "restart": engineRestart, "cut": engineCut, "dies": engineCrash,
		"stands": enginePause}[w.met(what, "full", "in flight", "restart", "cut", "dies", "stands")]
	switch f { // it may be one more than chance is allowed
	case engineRestart:
		w.restarts = min(w.restarts, restartsMax-1)
	case engineCrash:
		w.crashes = min(w.crashes, crashesMax-1)
	}
	return f
}
