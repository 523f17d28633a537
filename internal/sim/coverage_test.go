package sim_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

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
	if class != classAppend {
		return ""
	}
	name := schemas.EventName(strings.TrimPrefix(headerOf(cmd.header, schemas.HeaderType), "jobledger.v1."))
	if !strings.HasPrefix(cmd.subject, "jobs.") {
		return controlled(name)
	}
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
	if what := v.made[m.seq]; what != "" {
		return "~" + what
	}
	return ""
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

// controlled names the storing of a control event, which is a row of its own.
func controlled(e schemas.EventName) string { return "control > " + string(e) }

// control notes a control event that was stored.
func (v *coverage) control(m *message) {
	what := controlled(schemas.EventName(strings.TrimPrefix(headerOf(m.header, schemas.HeaderType), "jobledger.v1.")))
	v.hit(what, "stored")
	v.made[m.seq] = what
}

// legal lists every transition of a job's table, and behind them the control events.
func legal() (all []string) {
	for _, cancel := range []bool{false, true} {
		for _, s := range append([]schemas.State{schemas.StateNone}, schemas.States()...) {
			if cancel && s != schemas.StateRunning {
				continue
			}
			for _, e := range schemas.JobEvents() {
				if _, ok := ledger.Next(s, cancel, e); ok {
					all = append(all, transition(s, cancel, e))
				}
			}
		}
	}
	for _, e := range schemas.ControlEvents() {
		all = append(all, controlled(e))
	}
	return all
}

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

// empty lists the cells that were never hit.
func (v *coverage) empty() (out []string) {
	for _, c := range turns {
		if v.hits[c.what][c.column] == 0 {
			out = append(out, c.what+": "+c.column)
		}
	}
	slices.Sort(out)
	return out
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
