package sim_test

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Classes of messages. Faults are drawn by class, so that one class's number shifts no other's.
const (
	classAppend  = "append"
	classOffer   = "offer"
	classView    = "view"
	classBeat    = "beat"
	classAck     = "ack"
	classPull    = "pull"
	classAPI     = "api"
	classReply   = "reply"
	classPubAck  = "puback"
	classTail    = "tail"
	classControl = "control"
	classOther   = "other"
)

func classOf(subject string) string {
	switch {
	case subject == "ping":
		return classControl
	case strings.HasPrefix(subject, "jobs."), strings.HasPrefix(subject, "control."):
		return classAppend
	case strings.HasPrefix(subject, "work."):
		return classOffer
	case strings.HasPrefix(subject, "$KV."):
		return classView
	case subject == ledger.SubjectBeat:
		return classBeat
	case strings.HasPrefix(subject, "$JS.ACK."):
		return classAck
	case strings.HasPrefix(subject, "$JS.API.CONSUMER.MSG.NEXT."):
		return classPull
	case strings.HasPrefix(subject, "$JS."):
		return classAPI
	}
	return classOther
}

// lane is laneOf, with what must come first: interests.
func (c *command) lane() string {
	if c.op != "PUB" && c.op != "HPUB" {
		return ""
	}
	if lane := laneOf(c); lane != "" {
		return lane
	}
	return c.subject
}

// laneOf names what a message may not overtake: those of the same connection to the same stream or consumer.
func laneOf(cmd *command) string {
	f := strings.SplitN(cmd.subject, ".", 7)
	switch class := classOf(cmd.subject); class {
	case classAppend, classOffer:
		return class
	case classView:
		return class + f[1]
	case classAck:
		return class + f[2] + f[3]
	case classPull:
		return class + f[len(f)-1]
	case classAPI:
		return "" // the server's workers share them
	}
	return cmd.subject
}

// Columns of the table: what befell the append that made a transition.
var columns = []string{"lost", "dup", "late", "ack lost", "ack late", "full", "in flight", "restart", "cut", "dies", "stands", "tail late"}

// coverage counts, for each legal transition, the faults that its append met.
type coverage struct {
	hits  map[string]map[string]int
	folds map[string]*ledger.Job // of each job subject, as stored
	kinds map[string]int         // messages of other classes that met a fault
	made  map[uint64]string      // the transition that each stored event made
}

func newCoverage() *coverage {
	return &coverage{hits: make(map[string]map[string]int), folds: make(map[string]*ledger.Job), kinds: make(map[string]int), made: make(map[uint64]string)}
}

// fold returns the fold of a job's subject in the model's ledger.
func (v *coverage) fold(subject string) *ledger.Job {
	j := v.folds[subject]
	if j == nil {
		at, _ := schemas.ParseSubject(subject)
		j = &ledger.Job{Org: at.Org, ID: at.Job}
		v.folds[subject] = j
	}
	return j
}

// describe names the transition that an append would make; empty for other messages.
func (v *coverage) describe(class string, cmd *command) string {
	if class != classAppend || !strings.HasPrefix(cmd.subject, "jobs.") {
		return ""
	}
	name := schemas.EventName(strings.TrimPrefix(schemas.TypeOf(headersOf(cmd.header)), "jobledger.v1."))
	var head struct {
		From schemas.State `json:"from"`
	}
	_ = json.Unmarshal(cmd.data, &head)
	return transition(head.From, v.fold(cmd.subject).CancelRequested && head.From == schemas.StateRunning, name)
}

func transition(from schemas.State, cancel bool, name schemas.EventName) string {
	if from == schemas.StateNone {
		from = "none"
	}
	if cancel {
		from += "!"
	}
	return string(from) + " > " + string(name)
}

// stored names the transition that a stored event made, marked as no append.
func (v *coverage) stored(m *message) string {
	if !strings.HasPrefix(m.subject, "jobs.") {
		return ""
	}
	return "~" + v.made[m.seq]
}

func (v *coverage) hit(what, column string) {
	if what == "" {
		return
	}
	if v.hits[what] == nil {
		v.hits[what] = make(map[string]int)
	}
	v.hits[what][column]++
}

// message notes the fate of a message on its way.
func (v *coverage) message(class, what string, f fate) {
	if f.kind == faultNone {
		return
	}
	v.kinds[class+" "+f.kind.String()]++
	switch {
	case class == classAppend:
		v.hit(what, map[faultKind]string{faultDrop: "lost", faultDuplicate: "dup", faultDelay: "late"}[f.kind])
	case class == classTail && f.kind != faultDuplicate:
		v.hit(strings.TrimPrefix(what, "~"), "tail late")
	case class == classPubAck && f.kind == faultDelay:
		v.hit(what, "ack late")
	case class == classPubAck && f.kind == faultDrop:
		v.hit(what, "ack lost")
	}
}

// engine notes what befell an append inside the engine.
func (v *coverage) engine(what string, f engineFault) {
	if f != engineFine {
		v.hit(what, f.String())
	}
}

func (k faultKind) String() string { return [...]string{"-", "drop", "dup", "delay"}[k] }

func (f engineFault) String() string {
	return [...]string{"-", "full", "in flight", "restart", "cut", "dies", "stands"}[f]
}

// merge adds another run's hits.
func (v *coverage) merge(o *coverage) {
	for what, row := range o.hits {
		for column, n := range row {
			if v.hits[what] == nil {
				v.hits[what] = make(map[string]int)
			}
			v.hits[what][column] += n
		}
	}
	for k, n := range o.kinds {
		v.kinds[k] += n
	}
}

// legal lists every transition of the table that this version can make, and those that need a part not built.
func legal() (all []string) {
	for _, cancel := range []bool{false, true} {
		for _, s := range append([]schemas.State{schemas.StateNone}, schemas.States()...) {
			if cancel && s != schemas.StateRunning {
				continue
			}
			for _, e := range jobEvents {
				if _, ok := ledger.Next(s, cancel, e); ok {
					all = append(all, transition(s, cancel, e))
				}
			}
		}
	}
	return all
}

var jobEvents = []schemas.EventName{schemas.EventSubmitted, schemas.EventQueued, schemas.EventRunning, schemas.EventCompleted,
	schemas.EventFailed, schemas.EventTimedOut, schemas.EventCanceled, schemas.EventDeadLettered, schemas.EventCancelRequested,
	schemas.EventReleased, schemas.EventLost, schemas.EventRetried, schemas.EventResolved, schemas.EventIgnored,
	schemas.EventLateResult, schemas.EventCarried}

// table prints the hits of each legal transition.
func (v *coverage) table() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 1, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "transition\tstored\t%s\t\n", strings.Join(columns, "\t"))
	for _, what := range legal() {
		fmt.Fprintf(w, "%s\t%d\t", what, v.hits[what]["stored"])
		for _, c := range columns {
			fmt.Fprintf(w, "%d\t", v.hits[what][c])
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush()
	fmt.Fprintln(&b, "\nother messages that met a fault:")
	keys := sortedKeys(v.kinds)
	for _, k := range keys {
		fmt.Fprintf(&b, "  %-16s %d\n", k, v.kinds[k])
	}
	return b.String()
}

// empty counts the transitions and faults that never met.
func (v *coverage) empty() (n int) {
	for _, what := range legal() {
		for _, c := range columns {
			if v.hits[what][c] == 0 {
				n++
			}
		}
	}
	return n
}

// missing lists the transitions that never happened.
func (v *coverage) missing() (out []string) {
	for _, what := range legal() {
		if v.hits[what]["stored"] == 0 {
			out = append(out, what)
		}
	}
	return out
}

// trace keeps the latest messages, and a sum of all, which repeats with the seed.
type trace struct {
	lines []string
	keep  int
	sum   uint64
	all   []string // every message, if wanted
	full  bool
}

const traceKept = 400

func (t *trace) add(dir, conn, class, subject, what string, f fate) {
	line := fmt.Sprintf("%d %s %s %s %s %s", time.Now().UnixNano(), dir, conn, class, what, f.kind)
	h := fnv.New64a()
	h.Write([]byte(line))
	t.sum = t.sum*31 + h.Sum64()
	if t.full {
		t.all = append(t.all, line)
	}
	if t.keep == 0 || what == "" && f.kind == faultNone && class != classBeat && class != classOffer && class != classTail {
		return
	}
	t.note("%s %s %s %s %s %s", dir, conn, class, subject, what, f.kind)
}

func (t *trace) note(format string, args ...any) {
	if t.keep == 0 {
		return
	}
	t.lines = append(t.lines, time.Now().Format("15:04:05.000000 ")+fmt.Sprintf(format, args...))
	if len(t.lines) > 2*t.keep {
		t.lines = slices.Delete(t.lines, 0, t.keep)
	}
}

func (t *trace) tail(n int) string { return strings.Join(t.lines[max(0, len(t.lines)-n):], "\n") }
