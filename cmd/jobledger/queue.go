package main

import (
	"context"
	"fmt"
	"time"

	"github.com/choria-io/fisk"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

func (p *program) addQueue(app *fisk.Application) {
	queue := group(app, "queue", "Isolation classes: their load, limits and pauses")
	p.addQueueLs(queue)
	p.addQueueInfo(queue)
	p.addQueueSet(queue, "add", "Add a queue, with its limits")
	p.addQueueSet(queue, "edit", "Change a queue's limits")
	p.addQueueHold(queue, true)
	p.addQueueHold(queue, false)
	p.addQueueHolds(queue)
}

func isNotFound(err error) bool {
	e := ledger.AsError(err)
	return e != nil && e.Code == ledger.CodeNotFound
}

func (p *program) addQueueLs(queue *fisk.CmdClause) {
	var format string
	cmd := p.command(queue, "ls", "List queues, and how busy they are", func(ctx context.Context) error {
		return p.withClient(ctx, "queue ls", func(ctx context.Context, c *gateway.Client) error {
			all, err := c.Queues(ctx)
			if err != nil {
				return err
			}
			if p.flags.JSON {
				return p.document(all)
			}
			g := &grid{Title: fmt.Sprintf("%d queues", len(all.Items)),
				Columns: []string{"queue", "paused", "waiting", "queued", "running", "retrying", "workers", "busy", "slots", "max running", "per org", "waiting per org"}}
			for i := range all.Items {
				q := &all.Items[i]
				g.add(string(q.Name), pausedFact(q), thousands(uint64(q.Waiting)), thousands(uint64(q.Queued)), thousands(uint64(q.Running)), thousands(uint64(q.Retrying)),
					fmt.Sprint(q.Workers), fmt.Sprint(q.Busy), fmt.Sprint(q.Slots), limitText(q.Limits.MaxRunning),
					limitText(q.Limits.MaxRunningPerOrg), limitText(q.Limits.MaxWaitingPerOrg))
			}
			return p.printGrid(g, format)
		})
	})
	cmd.HelpLong(`Every queue that was set, that a type names, that has unfinished jobs or a worker; the
numbers are of all orgs, by the view, which lags by about a second.`)
	formatFlag(cmd, &format)
}

func pausedFact(q *gateway.Queue) string {
	switch {
	case q.Paused:
		return "yes"
	case len(q.Holds) > 0:
		return "in part"
	}
	return "no"
}

func (p *program) addQueueInfo(queue *fisk.CmdClause) {
	var name string
	var history bool
	cmd := p.command(queue, "info", "Show a queue: load, workers, limits, pauses", func(ctx context.Context) error {
		if err := schemas.CheckToken("queue", name); err != nil {
			return usagef("%w", err)
		}
		return p.withClient(ctx, "queue info", func(ctx context.Context, c *gateway.Client) error {
			if history {
				h, err := c.QueueHistory(ctx, schemas.QueueName(name))
				if err != nil {
					return err
				}
				return p.printSettingHistory(h)
			}
			q, err := c.Queue(ctx, schemas.QueueName(name))
			if err != nil {
				return err
			}
			return p.printQueue(q, true)
		})
	})
	cmd.Arg("queue", "The queue").Required().StringVar(&name)
	cmd.Flag("history", "All settings it ever had: who, when, why").UnNegatableBoolVar(&history)
}

func (p *program) printQueue(q *gateway.Queue, load bool) error {
	if p.flags.JSON {
		return p.document(q)
	}
	facts := []fact{{"Queue", string(q.Name)}, {"Description", q.Description}}
	if q.Owner != nil {
		facts = append(facts, fact{"Owner", string(*q.Owner)})
	}
	if load {
		oldest := ""
		if q.OldestAgeS != nil {
			oldest = rough(time.Duration(*q.OldestAgeS * float64(time.Second)))
		}
		facts = append(facts, fact{"Paused", pausedFact(q)},
			fact{"Jobs", fmt.Sprintf("%d waiting, %d queued, %d running, %d retrying", q.Waiting, q.Queued, q.Running, q.Retrying)},
			fact{"Of this org", fmt.Sprintf("%d waiting, %d queued, %d running, %d retrying", q.Mine.Waiting, q.Mine.Queued, q.Mine.Running, q.Mine.Retrying)},
			fact{"Oldest", oldest}, fact{"Depth", depthFact(q.Depth)}, fact{"Workers", fmt.Sprintf("%d, %d of %d slots busy", q.Workers, q.Busy, q.Slots)})
	}
	l := &q.Limits
	facts = append(facts, fact{"Max running", fmt.Sprintf("%s, %s per org", limitText(l.MaxRunning), limitText(l.MaxRunningPerOrg))},
		fact{"Max waiting", limitText(l.MaxWaitingPerOrg) + " per org"}, fact{"Start rate", rateText(l.StartRatePerOrg)}, fact{"Weights", weightsFact(l.Weights)})
	if err := p.printFacts(append(facts, p.authorFacts(&q.SettingAuthor)...)); err != nil {
		return err
	}
	for i := range q.Holds {
		h := &q.Holds[i]
		if err := p.printFacts([]fact{{"Hold", h.Scope.String() + by(h.Actor) + untilFact(p, h.Until) + ": " + deref(h.Reason)}}); err != nil {
			return err
		}
	}
	return nil
}

func untilFact(p *program, until *time.Time) string {
	if until == nil {
		return ""
	}
	return ", until " + p.recordTime(*until)
}

func weightsFact(weights map[schemas.OrgID]int) string {
	tags := map[string]string{}
	for org, w := range weights {
		tags[string(org)] = fmt.Sprint(w)
	}
	return tagsFact(tags)
}

// queueFlags are those of `queue add` and `queue edit`.
type queueFlags struct {
	ifSeq                                                     option[schemas.Seq]
	name                                                      string
	description, owner, running, runningPerOrg, waiting, rate option[any]
	weights                                                   []string
}

func (p *program) addQueueSet(queue *fisk.CmdClause, verb, help string) {
	var f queueFlags
	cmd := p.command(queue, verb, help, func(ctx context.Context) error {
		set, err := f.changes()
		if err != nil {
			return usagef("--weight: %w", err)
		}
		m := &mutation{kind: "queue", name: f.name, isNew: verb == "add", ifSeq: f.ifSeq, changes: set}
		return p.mutate(ctx, m, func(ctx context.Context, c *gateway.Client, r gateway.SetRequest) error {
			q, err := c.SetQueue(ctx, schemas.QueueName(f.name), r)
			if err != nil {
				return err
			}
			return p.printQueue(q, false)
		})
	})
	cmd.HelpLong(fmt.Sprintf(`Only what is given changes. 0 is unlimited. A change acts within a second on every
server; jobs that run are left alone. What is over --max-waiting-per-org is refused
at submit with queue_full: it counts unfinished jobs, but for those that wait for
their time or for parents.

Example:

	jobledger queue %s bulk --max-running-per-org 2 --max-waiting-per-org 100 --rate 50/1m --reason "imports"`, verb))
	cmd.Arg("queue", "The queue").Required().StringVar(&f.name)
	if verb == "edit" {
		ifSeqFlag(cmd, &f.ifSeq)
	}
	optionFlag(cmd, "description", "What it is for", &f.description, parseText).PlaceHolder("TEXT")
	optionFlag(cmd, "owner", "The one org that may use it, or none", &f.owner, parseName).PlaceHolder("ORG")
	optionFlag(cmd, "max-running", "Jobs that may run at once", &f.running, parseLimit).PlaceHolder("N")
	optionFlag(cmd, "max-running-per-org", "Jobs of one org that may run at once", &f.runningPerOrg, parseLimit).PlaceHolder("N")
	optionFlag(cmd, "max-waiting-per-org", "Unfinished jobs of one org", &f.waiting, parseLimit).PlaceHolder("N")
	optionFlag(cmd, "rate", "Jobs of one org that may start in a time, as in 50/1m, or none", &f.rate, parseRate).PlaceHolder("N/D")
	cmd.Flag("weight", "Share of an org here, where it is not its own; ORG=default for that again").PlaceHolder("ORG=N").StringsVar(&f.weights)
}

func (f *queueFlags) changes() (changes, error) {
	c := changes{}
	c.set("description", f.description)
	c.set("owner", f.owner)
	c.set("max_running", f.running)
	c.set("max_running_per_org", f.runningPerOrg)
	c.set("max_waiting_per_org", f.waiting)
	c.set("start_rate_per_org", f.rate)
	if len(f.weights) > 0 {
		weights, err := parseWeights(f.weights)
		if err != nil {
			return nil, err
		}
		c["weights"] = weights
	}
	return c, nil
}
