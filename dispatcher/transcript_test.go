package dispatcher

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

var update = flag.Bool("update", false, "rewrite the transcripts with what the core answers now")

// TestTranscripts plays testdata/dispatcher/*.txt: comments, a command with arguments, the answer, a blank
// line; === begins another ledger. Every rule of the core is shown there (R-203 to R-230, DESIGN D5 and D7).
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("../testdata/dispatcher/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(string(want))
			switch {
			case got == string(want):
			case *update:
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			default:
				t.Errorf("the core answers otherwise (-update rewrites):\n%s", firstDifference(string(want), got))
			}
		})
	}
}

// play runs a transcript and returns it with the answers it got: lines that begin with "  ".
func play(text string) string {
	p := &player{world: newWorld()}
	var out strings.Builder
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, "  "): // an old answer
		case strings.HasPrefix(line, "#"), strings.TrimSpace(line) == "":
			out.WriteString(line)
		case strings.HasPrefix(line, "==="): // another ledger
			p = &player{world: newWorld()}
			out.WriteString(line)
		default:
			out.WriteString(line)
			for answer := range strings.Lines(p.run(strings.Fields(line))) {
				out.WriteString("  " + answer)
			}
		}
	}
	return out.String()
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			return fmt.Sprintf("line %d\n- %s\n+ %s", i+1, w[i], g[i])
		}
	}
	return fmt.Sprintf("%d lines wanted, %d got", len(w), len(g))
}

// player is a world that takes its commands as text.
type player struct{ *world }

// args splits the words of a command into names and key=value options.
func args(words []string) (names []string, opt map[string]string) {
	opt = make(map[string]string)
	for _, w := range words {
		if k, v, ok := strings.Cut(w, "="); ok {
			opt[k] = v
		} else {
			names = append(names, w)
		}
	}
	return names, opt
}

func millis(s string) schemas.Millis {
	d, _ := time.ParseDuration(s)
	return schemas.MillisOf(d)
}

func (p *player) carryOut(words []string) string {
	names, opt := args(words[1:])
	if out, ok := p.runSchedule(words); ok {
		return out
	}
	switch words[0] {
	case "submit":
		return p.submitAll(names, opt)
	case "beat":
		return p.beat(names[0], opt)
	case "lead": // as the winner of an election
		e := p.put(schemas.NewEvent(ledger.ControlLeader, &schemas.LeaderElected{Server: "s", Cell: "c"}))
		p.core.Lead(e.Seq, p.mono)
		return fmt.Sprintf("epoch %d\n", e.Seq)
	case "follow":
		p.core.Follow()
		return ""
	case "restart": // of the cell
		p.put(schemas.NewEvent(ledger.ControlStart, &schemas.CellStarted{Cell: "c2"}))
		return ""
	case "lag": // events are fed to the core only by feed
		p.auto = false
		return ""
	case "feed":
		p.feed(len(p.log))
		return ""
	case "pass": // time
		d, _ := time.ParseDuration(names[0])
		p.now = p.now.Add(d)
		for ; d > 0; d -= stepMax { // the host calls often
			p.mono += min(d, stepMax)
			p.core.advance(p.mono)
		}
		return ""
	case "stop": // the process is stopped for a while
		d, _ := time.ParseDuration(names[0])
		p.now, p.mono = p.now.Add(d), p.mono+d
		return ""
	case "decide":
		return p.decideText(opt)
	case "store", "fail", "claim", "complete", "die", "error", "release", "cancel", "retry", "carry":
		return p.jobs1(words[0], names, opt)
	case "dispatch": // decide and store until nothing is decided
		return p.dispatch(opt)
	case "stats":
		return p.statsText()
	case "set":
		return p.set(names, opt)
	case "close-breaker":
		return p.closeBreaker(names[0], names[1])
	case "hold", "lift":
		return p.holdOn(words[0] == "hold", opt)
	case "explain":
		return p.explain(names[0])
	}
	return "unknown command\n"
}

// submitAll: submit ORG/JOB... [type= queue= priority= resource= delay= deadline= after=]
func (p *player) submitAll(names []string, opt map[string]string) string {
	out := ""
	for _, key := range names {
		err := p.submit(key, schemas.Submitted{Type: schemas.TypeName(opt["type"]), Queue: schemas.QueueName(opt["queue"]),
			Priority: schemas.Priority(opt["priority"]), Resource: opt["resource"],
			DelayMS: millis(opt["delay"]), DeadlineMS: millis(opt["deadline"]),
			Parents: p.parents(orgOf(key), opt["after"]),
			Key:     opt["key"], Dedup: schemas.DedupPolicy(opt["dedup"]), WindowMS: millis(opt["window"])})
		if err != nil {
			out += err.Error() + "\n"
		}
	}
	return out
}

// beat: beat SESSION [slots=1 serves=q/t,q/u names=ORG/JOB,... hung=ORG/JOB draining= leaving=]
func (p *player) beat(session string, opt map[string]string) string {
	b := &ledger.Beat{Session: schemas.SessionID(session), Epoch: p.core.epoch}
	b.Slots, _ = strconv.Atoi(opt["slots"])
	if opt["slots"] == "" {
		b.Slots = 1
	}
	_, b.Draining = opt["draining"]
	_, b.Leaving = opt["leaving"]
	serves := opt["serves"]
	if serves == "" {
		serves = "q/t"
	}
	for _, s := range strings.Split(serves, ",") {
		q, t, _ := strings.Cut(s, "/")
		b.Serves = append(b.Serves, ledger.Serves{Queue: schemas.QueueName(q), Type: schemas.TypeName(t)})
	}
	for what, list := range map[string]string{"names": opt["names"], "hung": opt["hung"]} {
		for _, key := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' }) {
			j := p.jobs[key]
			ref := ledger.AttemptRef{Org: j.Org, Job: j.ID, Attempt: j.Attempt, Fence: j.Fence, Hung: what == "hung"}
			if j.Fence.IsZero() {
				ref.Fence = j.LastFence
			}
			b.Attempts = append(b.Attempts, ref)
		}
	}
	p.core.Beat(b, p.mono)
	a := p.core.Answer(b)
	out := ""
	if len(a.Canceled) > 0 {
		out += fmt.Sprintf("canceled %v\n", a.Canceled)
	}
	if len(a.Invalid) > 0 {
		out += fmt.Sprintf("invalid %v\n", a.Invalid)
	}
	return out
}

func (p *player) decideText(opt map[string]string) string {
	limit, _ := strconv.Atoi(opt["max"])
	if limit == 0 {
		limit = 1000
	}
	out := ""
	for _, d := range p.decide(limit) {
		out += p.describe(d) + "\n"
	}
	if out == "" {
		return "nothing\n"
	}
	return out
}

func (p *player) describe(d Decision) string {
	kind := [...]string{"", "queue", "offer", "expire", "lose", "overrun", "end-cancel", "duplicate", "look up", "dependency", "tick", "dissolve", "remove", "signal"}[d.Kind]
	switch d.Kind {
	case DecideRemove:
		return fmt.Sprintf("%s offer %d", kind, d.Work)
	case DecideSignal:
		return fmt.Sprintf("%s %s %s", kind, p.name(d.ID), d.Session)
	case DecideLookup:
		return fmt.Sprintf("%s %s/%s", kind, d.Org, d.Parent.ID)
	case DecideDependency:
		if d.Cascade {
			kind = "cascade"
		}
		return fmt.Sprintf("%s %s of %s", kind, p.name(d.ID), d.Parent.ID)
	case DecideTick:
		return fmt.Sprintf("%s %s/%s %s", kind, d.Org, d.Schedule, d.Tick.Format(time.RFC3339))
	case DecideLose:
		return fmt.Sprintf("%s %s %s", kind, p.name(d.ID), d.Cause)
	case DecideDuplicate:
		return fmt.Sprintf("%s %s of %s", kind, p.name(d.ID), p.name(d.Of))
	}
	return kind + " " + p.name(d.ID)
}

// dispatch: decide and store until nothing is decided.
func (p *player) dispatch(opt map[string]string) string {
	out := ""
	for range 100 {
		ds := p.decide(1000)
		if len(ds) == 0 {
			break
		}
		for _, d := range ds {
			out += p.describe(d)
			if d.Kind != DecideRemove && d.Kind != DecideSignal {
				out += ": " + p.settle(d)
			}
			out += "\n"
		}
	}
	if _, quiet := opt["quiet"]; quiet {
		return fmt.Sprintf("%d decisions\n", strings.Count(out, "\n"))
	}
	if out == "" {
		return "nothing\n"
	}
	return out
}

// jobs1 carries a command out on each job named: store and fail settle the decision in flight about it.
func (p *player) jobs1(verb string, names []string, opt map[string]string) string {
	out := ""
	for _, key := range names {
		out += p.job1(verb, key, opt)
	}
	return out
}

func (p *player) job1(verb, key string, opt map[string]string) string {
	if verb == "store" || verb == "fail" {
		for _, d := range p.air {
			if d.Kind == DecideTick && string(d.Org)+"/"+d.Schedule != key {
				continue
			}
			if d.Kind != DecideTick && p.name(d.ID) != key && (d.Kind != DecideLookup || string(d.Org)+"/"+string(d.Parent.ID) != key) {
				continue
			}
			if verb == "store" {
				return fmt.Sprintf("%s: %s\n", p.describe(d), p.settle(d))
			}
			p.air = without(p.air, d.N)
			p.core.Settle(d, Result{Outcome: Failed})
			return fmt.Sprintf("%s: failed\n", p.describe(d))
		}
		return "nothing in flight\n"
	}
	e, err := p.do(key, p.commandOf(verb, p.jobs[key], opt))
	switch {
	case err != nil:
		return err.Error() + "\n"
	case e == nil:
		return "nothing to write\n"
	}
	return fmt.Sprintf("%s %s at %d\n", key, e.Name(), e.Seq)
}

func without(ds []Decision, n uint64) (out []Decision) {
	for _, d := range ds {
		if d.N != n {
			out = append(out, d)
		}
	}
	return out
}

func (p *player) commandOf(verb string, j *ledger.Job, opt map[string]string) ledger.Command {
	outcome := &ledger.Outcome{Fence: j.Fence, Generation: j.Generation, Attempt: j.Attempt, Now: p.now}
	switch verb {
	case "claim":
		return &ledger.Claim{Generation: j.Generation, Submitted: j.SubmittedSeq, Session: schemas.SessionID(opt["session"]), Worker: "w"}
	case "complete":
		outcome.Kind = schemas.EventCompleted
	case "die": // of an error that no retry mends
		outcome.Kind = schemas.EventFailed
		outcome.Error = &schemas.JobError{Class: schemas.ClassPermanent, Message: "x"}
	case "error":
		outcome.Kind = schemas.EventFailed
		outcome.Error = &schemas.JobError{Class: schemas.ClassTransient, Message: "x"}
		outcome.RetryAfter = millis(opt["after"]).Duration()
	case "release":
		outcome.Kind, outcome.Reason = schemas.EventReleased, "drain"
	case "cancel":
		_, cascade := opt["cascade"]
		p.cascaded = p.cascaded || cascade
		return &ledger.Cancel{Reason: "asked", Cascade: cascade}
	case "retry":
		_, waive := opt["waive"]
		return &ledger.Retry{Reason: "again", WaiveParents: waive, Epoch: p.core.epoch, Now: p.now}
	case "carry":
		return &ledger.Carry{}
	}
	return outcome
}

func (p *player) statsText() string {
	s := p.core.Stats()
	lines := []string{fmt.Sprintf("waiting %d timers %d parked %d tombs %d", s.Waiting, s.Timers, s.Parked, s.Tombs),
		fmt.Sprintf("queued %d running %d in flight %d", s.Queued, s.Running, s.InFlight),
		fmt.Sprintf("sessions %d slots %d busy %d", s.Sessions, s.Slots, s.Busy)}
	sort.Strings(lines)
	return strings.Join(lines, "\n") + "\n"
}

func orgOf(key string) string {
	org, _, _ := strings.Cut(key, "/")
	return org
}
