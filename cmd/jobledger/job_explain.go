package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/choria-io/fisk"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/schemas"
)

func (p *program) addJobExplain(job *fisk.CmdClause) {
	var id string
	cmd := p.command(job, "explain", "Say why a job is where it is, what holds it, when it can move", func(ctx context.Context) error {
		return p.jobExplain(ctx, id)
	})
	cmd.HelpLong(`Every reason that keeps the job from starting, with the setting it comes from, who made
it and why, when it ends by itself, and the command that would lift it. A job that
nothing holds waits for its turn: behind how many, and how many slots are free.

Examples:

	jobledger job explain 0193f0c2-...
	jobledger job explain 0193f0c2-... --json | jq -r '.holds[].fix'`)
	cmd.Arg("id", "The job").Required().StringVar(&id)
}

func (p *program) jobExplain(ctx context.Context, id string) error {
	if err := checkJobID(id); err != nil {
		return err
	}
	c, err := p.openClient("job explain")
	if err != nil {
		return err
	}
	defer c.Conn.Close()
	x, err := c.Explain(ctx, schemas.JobID(id))
	if err != nil {
		return err
	}
	if p.flags.JSON {
		return p.document(x)
	}
	state := string(x.State)
	if reason := deref(x.Reason); reason != "" {
		state += " (" + reason + ")"
	}
	facts := []fact{
		{"Job", string(x.ID)},
		{"State", state},
		{"Since", p.since(x.Since)},
		{"Place", placeFact(x)},
		{"Workers", workersFact(x)},
		{"Earliest", p.since(x.EarliestStart)},
		{"Next", x.Next},
	}
	if err := p.printFacts(facts); err != nil {
		return err
	}
	for i := range x.Holds {
		if err := p.printHold(&x.Holds[i]); err != nil {
			return err
		}
	}
	return nil
}

// printFacts prints those that have a value.
func (p *program) printFacts(facts []fact) error {
	for _, f := range facts {
		if f.value == "" || f.value == "null" {
			continue
		}
		if err := p.printf("%12s: %s\n", f.name, quiet(oneLine.Replace(f.value))); err != nil {
			return err
		}
	}
	return nil
}

// printHold prints one reason, with what stands behind it below.
func (p *program) printHold(h *gateway.ExplainHold) error {
	if err := p.printf("\n%12s: %s\n", h.Hold, quiet(oneLine.Replace(h.Message))); err != nil {
		return err
	}
	return p.printFacts([]fact{{"set", settingFact(p, h)}, {"lift it", deref(h.Fix)}})
}

func settingFact(p *program, h *gateway.ExplainHold) string {
	if h.Setting == nil {
		return ""
	}
	if h.Seq == nil {
		return *h.Setting + " was never set: this is the default"
	}
	text := *h.Setting
	if h.Field != nil {
		text += " " + *h.Field
	}
	text += by(h.Actor)
	if h.At != nil {
		text += ", " + relative(p.Now(), *h.At)
	}
	if h.Reason != nil {
		text += ": " + *h.Reason
	}
	return text
}

func placeFact(x *gateway.Explanation) string {
	switch {
	case x.Place == nil:
		return ""
	case x.Place.More:
		return fmt.Sprintf("behind more than %s jobs like it", thousands(uint64(x.Place.Ahead)))
	case x.Place.Ahead == 0:
		return "first of the jobs like it"
	}
	if x.Place.Ahead == 1 {
		return "behind one job like it"
	}
	return fmt.Sprintf("behind %s jobs like it", thousands(uint64(x.Place.Ahead)))
}

func workersFact(x *gateway.Explanation) string {
	if x.State.Finished() || x.State == schemas.StateRunning {
		return ""
	}
	return fmt.Sprintf("%d serve it, %d of %d slots free", x.Workers.Serving, x.Workers.FreeSlots, x.Workers.Slots)
}

// explainMax bounds the look that a record takes at what holds a waiting job.
const explainMax = time.Second

// holdsFact says in a record what holds a waiting job; empty where nothing does, or nobody says.
func (p *program) holdsFact(ctx context.Context, c *gateway.Client, id schemas.JobID) string {
	ctx, cancel := context.WithTimeout(ctx, explainMax)
	defer cancel()
	x, err := c.Explain(ctx, id)
	if err != nil || len(x.Holds) == 0 {
		return ""
	}
	lines := make([]string, 0, len(x.Holds)+1)
	for i := range x.Holds {
		lines = append(lines, x.Holds[i].Message)
	}
	return strings.Join(append(lines, "more: jobledger job explain "+string(id)), "\n")
}
