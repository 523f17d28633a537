package dispatcher

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// set: set org|queue|type|resource NAME [running= per-org= rate=N/WINDOW weight= weight.ORG= owner= state= breaker=PERCENT/ATTEMPTS
// window= cooldown= reopen=]; each replaces what was set of the thing before, as in the ledger.
func (p *player) set(names []string, opt map[string]string) string {
	number := func(key string) int { n, _ := strconv.Atoi(opt[key]); return n }
	rate := func(key string) *schemas.Rate {
		count, window, ok := strings.Cut(opt[key], "/")
		if !ok {
			return nil
		}
		n, _ := strconv.Atoi(count)
		return &schemas.Rate{Count: n, PerMS: millis(window)}
	}
	_, perOrg := opt["per-org"]
	var set schemas.Setting
	switch name := names[1]; names[0] {
	case "org":
		o := schemas.OrgSettings{Name: schemas.OrgID(name), State: schemas.OrgState(opt["state"]), Weight: number("weight"), StartRate: rate("rate")}
		if _, ok := opt["running"]; ok {
			n := number("running")
			o.MaxRunning = &n
		}
		set = &schemas.OrgSet{Settings: o}
	case "queue":
		q := schemas.QueueSettings{Name: schemas.QueueName(name), Owner: schemas.OrgID(opt["owner"]), MaxRunning: number("running"),
			MaxRunningPerOrg: number("per-org"), StartRatePerOrg: rate("rate")}
		for key := range opt {
			if org, ok := strings.CutPrefix(key, "weight."); ok {
				if q.Weights == nil {
					q.Weights = make(map[schemas.OrgID]int)
				}
				q.Weights[schemas.OrgID(org)] = number(key)
			}
		}
		set = &schemas.QueueSet{Settings: q}
	case "type":
		t := schemas.TypeSettings{Name: schemas.TypeName(name), MaxRunning: number("running"), MaxRunningPerOrg: number("per-org"), StartRate: rate("rate")}
		if percent, attempts, ok := strings.Cut(opt["breaker"], "/"); ok {
			t.Breaker = &schemas.Breaker{WindowMS: millis(opt["window"]), CooldownMS: millis(opt["cooldown"]), ReopenMS: millis(opt["reopen"])}
			t.Breaker.Percent, _ = strconv.Atoi(percent)
			t.Breaker.MinAttempts, _ = strconv.Atoi(attempts)
		}
		set = &schemas.TypeSet{Settings: t}
	case "resource":
		set = &schemas.ResourceSet{Settings: schemas.ResourceSettings{Name: name, PerOrg: perOrg, MaxRunning: number("running"), StartRate: rate("rate")}}
	default:
		return "unknown setting\n"
	}
	return p.putSetting(set)
}

func (w *world) putSetting(set schemas.Setting) string {
	if err := set.Validate(); err != nil {
		return err.Error() + "\n"
	}
	w.put(schemas.NewEvent(set.Place(), set))
	return ""
}

// closeBreaker: close-breaker ORG TYPE
func (p *player) closeBreaker(org, typ string) string {
	d := &schemas.BreakerClosed{Org: schemas.OrgID(org), Type: schemas.TypeName(typ)}
	p.put(schemas.NewEvent(d.Place(), d))
	return ""
}

// holdOn: hold|lift [org= queue= type= resource= for=]
func (p *player) holdOn(on bool, opt map[string]string) string {
	h := schemas.HoldSettings{On: on, Scope: schemas.HoldScope{Org: schemas.OrgID(opt["org"]), Queue: schemas.QueueName(opt["queue"]),
		Type: schemas.TypeName(opt["type"]), Resource: opt["resource"], Batch: opt["batch"]}}
	if d, err := time.ParseDuration(opt["for"]); err == nil {
		until := p.now.Add(d)
		h.Until = &until
	}
	return p.putSetting(&schemas.HoldSet{Settings: h})
}

// explain: explain ORG/JOB
func (p *player) explain(key string) string {
	j := p.jobs[key]
	x := p.core.Explain(&ledger.ExplainRequest{Org: j.Org, Job: j.ID, Submitted: j.SubmittedSeq, Queue: j.Spec.Queue, Type: j.Spec.Type,
		Priority: j.Spec.Priority, Resource: j.Spec.Resource}, p.now)
	out := fmt.Sprintf("%s, %d ahead, %d of %d slots free on %d workers\n", x.Place, x.Ahead, x.Free, x.Slots, x.Workers)
	for _, b := range x.Blockers {
		out += string(b.Kind)
		if b.Setting != "" {
			out += fmt.Sprintf(" of %s: %s in %s", b.Scope, b.Field, b.Setting)
		}
		if b.Kind == ledger.BlockLimit {
			out += fmt.Sprintf(", %d of %d", b.Used, b.Limit)
		}
		if b.Rate != nil {
			out += ", " + b.Rate.String()
		}
		if b.State != "" {
			out += ", " + b.State
		}
		if !b.Until.IsZero() {
			out += fmt.Sprintf(", for %s", b.Until.Sub(p.now))
		}
		out += "\n"
	}
	if !x.EarliestStart.IsZero() {
		out += fmt.Sprintf("not before %s from now\n", x.EarliestStart.Sub(p.now))
	}
	return out
}

// What servers run themselves, such as batches, takes no place among the running jobs of an org: else a batch would
// keep its items from starting for ever. A suspended org's batches wait.
func TestSystemJobsTakeNoPlaceOfTheirOrg(t *testing.T) {
	for _, system := range []bool{true, false} {
		c := NewCore(Times{})
		limit := 1
		org := &schemas.OrgSettings{Name: "acme", MaxRunning: &limit}
		set := func() { c.set(&schemas.Event{Seq: 1}, &schemas.OrgSet{Settings: *org}) }
		set()
		q := schemas.QueueName("default")
		if system {
			q = ledger.SystemQueue
		}
		batch := c.stakeFor(c.pair(q, ledger.BatchType), "acme", "")
		item := c.gate(scope{org: "acme"})
		if shut := c.shut(item); shut == system {
			t.Errorf("beside a job of queue %s the org takes another: %t", q, !shut)
		}
		org.State = schemas.OrgSuspended
		set()
		if !c.barred(batch.gates[ofOrg]) {
			t.Errorf("jobs of queue %s start for a suspended org", q)
		}
		c.giveBack(&batch)
	}
}
