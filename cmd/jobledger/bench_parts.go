package main

import (
	"context"

	"github.com/choria-io/fisk"
)

// phase is what of a flow is measured.
type phase int

const (
	phaseFlow   phase = iota // submitting and working at once
	phaseSubmit              // submitting, before any job runs
	phaseWork                // working off what was submitted before
)

func (p phase) String() string { return [...]string{"flow", "submit", "work"}[p] }

func (p *program) addBenchSubmit(bench *fisk.CmdClause) {
	f := flowFlags{phase: phaseSubmit}
	cmd := p.command(bench, "submit", "Submits alone, one by one or many at once", func(ctx context.Context) error { return p.benchFlow(ctx, &f) })
	cmd.HelpLong(`Submits jobs as bench flow does, without a worker, and measures until the last is
acknowledged. Then it works them off, so that nothing waits for ever in the ledger;
that is not measured. submit_ms is a call's wait, be it for one job or for a batch.

Exit code and choice of the cell are those of bench flow.

Examples:

	jobledger bench submit --jobs 100000
	jobledger bench submit --jobs 100000 --batch 1000 --json`)
	f.declare(cmd)
}

func (p *program) addBenchWork(bench *fisk.CmdClause) {
	f := flowFlags{phase: phaseWork}
	cmd := p.command(bench, "work", "Work alone: a backlog, until the last job has finished", func(ctx context.Context) error { return p.benchFlow(ctx, &f) })
	cmd.HelpLong(`Submits jobs that do nothing, then serves them with one worker in this process, and
measures from the first start to the last finish, by the ledger's clock. start_ms and
done_ms are what a job of a backlog waits.

Exit code and choice of the cell are those of bench flow.

Examples:

	jobledger bench work --jobs 100000 --batch 1000
	jobledger bench work --jobs 100000 --slots 256 --json`)
	f.declare(cmd)
}
