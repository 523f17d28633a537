package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/choria-io/fisk"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
)

func (p *program) addWorkerLs(worker *fisk.CmdClause) {
	var format string
	var all bool
	cmd := p.command(worker, "ls", "List workers, and how busy they are", func(ctx context.Context) error { return p.listWorkers(ctx, format, all) })
	cmd.HelpLong(`What the leader knows from each worker's latest beat, which comes every 5 s. A worker
that has missed three is silent; what it runs is given to others when its lease ends.
A hung handler is one whose attempt has ended, by a timeout for instance, and that has
not returned: it keeps its slot until it does.`)
	cmd.Flag("format", "table or csv").EnumVar(&format, "table", "csv")
	cmd.Flag("all", "List the servers' own workers, too, which run batches").UnNegatableBoolVar(&all)
}

func (p *program) listWorkers(ctx context.Context, format string, everyone bool) error {
	c, err := p.openClient("worker ls")
	if err != nil {
		return err
	}
	defer c.Conn.Close()
	all, err := c.AllWorkers(ctx, gateway.WorkersRequest{All: everyone})
	if err != nil {
		return err
	}
	if p.flags.JSON {
		return p.document(all)
	}
	when := func(t time.Time) string { return p.listTime(t) }
	if format == "csv" {
		when = func(t time.Time) string { return csvTime(&t) }
	}
	g := &grid{Title: fmt.Sprintf("%d workers", len(all.Items)),
		Columns: []string{"id", "name", "host", "queues", "types", "busy", "slots", "hung", "state", "last beat", "started", "version"}}
	for i := range all.Items {
		w := &all.Items[i]
		g.add(string(w.ID), w.Name, w.Host, tokens(w.Queues), tokens(w.Types), fmt.Sprint(w.Busy), fmt.Sprint(w.Slots), fmt.Sprint(w.Hung),
			w.State, when(w.SeenAt), when(w.StartedAt), deref(w.Version))
	}
	if format == "csv" {
		return outputError(g.writeCSV(p.Stdout))
	}
	return p.list(g)
}

// tokens prints names in a cell.
func tokens[T ~string](names []T) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = string(n)
	}
	return strings.Join(out, ",")
}

func (p *program) addWorkerInfo(worker *fisk.CmdClause) {
	var id string
	cmd := p.command(worker, "info", "Show one worker and what it runs", func(ctx context.Context) error { return p.workerInfo(ctx, id) })
	cmd.Arg("id", "The worker's id, or its name if no other has it").Required().StringVar(&id)
}

func (p *program) workerInfo(ctx context.Context, id string) error {
	c, err := p.openClient("worker info")
	if err != nil {
		return err
	}
	defer c.Conn.Close()
	w, err := findWorker(ctx, c, id)
	if err != nil {
		return err
	}
	if p.flags.JSON {
		return p.document(w)
	}
	facts := []fact{
		{"Worker", string(w.ID)},
		{"Name", w.Name},
		{"Host", w.Host},
		{"State", w.State},
		{"Queues", tokens(w.Queues)},
		{"Types", tokens(w.Types)},
		{"Slots", fmt.Sprintf("%d of %d busy", w.Busy, w.Slots)},
		{"Last beat", p.since(&w.SeenAt)},
		{"Started", p.since(&w.StartedAt)},
		{"Version", deref(w.Version)},
	}
	for _, f := range facts {
		if f.value == "" {
			continue
		}
		if err := p.printf("%12s: %s\n", f.name, quiet(oneLine.Replace(f.value))); err != nil {
			return err
		}
	}
	return p.printWorkerAttempts(w)
}

func (p *program) printWorkerAttempts(w *gateway.Worker) error {
	if w.Others > 0 {
		p.talkf("and %d attempts of other orgs", w.Others)
	}
	if len(w.Running) == 0 {
		return nil
	}
	g := &grid{Title: "Running", Columns: []string{"job", "type", "attempt", "since", "handler"}}
	for i := range w.Running {
		a := &w.Running[i]
		typ, since, handler := "", "", "runs"
		if a.Type != nil {
			typ = string(*a.Type)
		}
		if a.Since != nil {
			since = p.listTime(*a.Since)
		}
		if a.Hung {
			handler = "hung: its attempt has ended"
		}
		g.add(string(a.ID), typ, fmt.Sprint(a.Attempt), since, handler)
	}
	if err := p.printf("\n"); err != nil {
		return err
	}
	return p.list(g)
}

// findWorker returns the worker with this id, or the only one of this name.
func findWorker(ctx context.Context, c *gateway.Client, id string) (*gateway.Worker, error) {
	all, err := c.AllWorkers(ctx, gateway.WorkersRequest{All: true})
	if err != nil {
		return nil, err
	}
	var named []*gateway.Worker
	var ids []string
	for i := range all.Items {
		w := &all.Items[i]
		if string(w.ID) == id {
			return w, nil
		}
		if w.Name == id {
			named, ids = append(named, w), append(ids, string(w.ID))
		}
	}
	switch len(named) {
	case 0:
		return nil, failf(ledger.CodeNotFound, "there is no worker %s: `jobledger worker ls` shows those that there are", id)
	case 1:
		return named[0], nil
	}
	return nil, failf(ledger.CodeInvalidArgument, "%d workers have the name %s: give one of the ids %s", len(named), id, strings.Join(ids, ", "))
}

func (p *program) addWorkerDrain(worker *fisk.CmdClause) {
	var id string
	cmd := p.command(worker, "drain", "Have a worker finish what it runs and end", func(ctx context.Context) error { return p.drainWorker(ctx, id) })
	cmd.HelpLong(`The worker claims nothing more, lets its handlers finish within its own grace, hands
back what has not, and ends with exit code 0, as if it had been sent SIGTERM. No
attempt is consumed. The command returns when the worker has begun.

Example:

	jobledger worker drain build-7 --reason "new kernel"`)
	cmd.Arg("id", "The worker's id, or its name if no other has it").Required().StringVar(&id)
}

// drainedWorker is what `worker drain --json` prints.
type drainedWorker struct {
	gateway.Worker
	GraceS float64 `json:"grace_s"`
}

func (p *program) drainWorker(ctx context.Context, id string) error {
	reason := p.flags.Reason.Value
	if !p.flags.DryRun {
		var err error
		if reason, err = p.reason(); err != nil {
			return err
		}
	}
	c, err := p.openClient("worker drain")
	if err != nil {
		return err
	}
	defer c.Conn.Close()
	w, err := findWorker(ctx, c, id)
	if err != nil {
		return err
	}
	if p.flags.DryRun {
		p.talkf("%s (%s): is %s and would be drained; %d handlers run", w.ID, w.Name, w.State, w.Busy)
		return nil
	}
	reply, err := c.DrainWorker(ctx, w.ID, reason)
	if err != nil {
		return err
	}
	w.State, w.Busy = gateway.WorkerDraining, reply.Busy
	if p.flags.JSON {
		return p.document(drainedWorker{Worker: *w, GraceS: reply.GraceS})
	}
	p.talkf("%s (%s): drains; %d handlers have %s to finish", w.ID, w.Name, reply.Busy, time.Duration(reply.GraceS*float64(time.Second)))
	return nil
}
