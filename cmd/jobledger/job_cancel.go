package main

import (
	"context"

	"github.com/choria-io/fisk"

	"github.com/dartwing/jobledger/gateway"
)

// declareAction declares what every action takes: ids or filters.
func (a *action) declareAction(cmd *fisk.CmdClause) {
	cmd.Arg("id", "Jobs; a filter chooses them when absent").StringsVar(&a.ids)
	a.filterFlags.declare(cmd)
	a.declareReasons(cmd)
	optionFlag(cmd, "rate", "With a filter: jobs a second, 500 by default", &a.rate, parseInt).PlaceHolder("N")
	cmd.Flag("detach", "With a filter: print the bulk's id and return; the servers do the rest").UnNegatableBoolVar(&a.detach)
}

func (p *program) addJobCancel(job *fisk.CmdClause) {
	a := action{verb: gateway.ActionCancel, past: "canceled"}
	cmd := p.command(job, "cancel", "Cancel jobs", func(ctx context.Context) error { return p.act(ctx, &a) })
	cmd.HelpLong(`A waiting job is canceled at once; the worker of a running one is told to stop
and has its grace to do so. Canceling a canceled job again is no error; one that
completed or is dead-lettered cannot be canceled (exit code 1).

With a filter in place of ids the matching jobs are counted first, then you are
asked (--force answers yes). Over a hundred, or with --rate or --detach, they are
canceled by the servers, as a job of its own that is followed here: Ctrl-C leaves
it running and says how to look at it and how to stop it.

Examples:

	jobledger job cancel 0193f0c2-... --reason "wrong customer" --wait
	jobledger job cancel --type report-build --state submitted,retrying --dry-run
	jobledger job cancel --tag campaign=spring --reason "called off" --force
	jobledger job cancel --where 'type:report-* -owner:user:ada submitted:>7d' --reason "nobody waits" --dry-run`)
	a.declareAction(cmd)
	cmd.Flag("cascade", "Cancel the jobs that wait for them, too, and those that wait for these").UnNegatableBoolVar(&a.cascade)
	cmd.Flag("wait", "Wait until they have ended").UnNegatableBoolVar(&a.wait)
}

func (p *program) addJobRetry(parent *fisk.CmdClause) {
	a := action{verb: gateway.ActionRetry, past: "retried", operator: true}
	cmd := p.command(parent, "retry", "Give jobs that failed or were canceled another budget", func(ctx context.Context) error { return p.act(ctx, &a) })
	cmd.HelpLong(retryHelp + `

Examples:

	jobledger job retry 0193f0c2-... --reason "receiver is back"
	jobledger job retry --state retrying --type mail-send --reason "run now"`)
	a.declareAction(cmd)
	a.declareRetry(cmd)
}

const retryHelp = `A dead-lettered or canceled job starts again under its id, with a fresh budget of
attempts; its history and the numbering of its attempts go on. A job that waits for
a retry runs now. The reason is stored with the job.`

func (a *action) declareRetry(cmd *fisk.CmdClause) {
	cmd.Flag("deadline", "New latest start; needed once the old one has passed").PlaceHolder("TIME|D").StringVar(&a.deadline)
	cmd.Flag("waive-parents", "Run whatever becomes of its parents, now and after later retries").UnNegatableBoolVar(&a.waive)
	cmd.Flag("cascade", "Retry the jobs that ended with them, too, and those that ended with these").UnNegatableBoolVar(&a.cascade)
}

func (p *program) addJobResolve(parent *fisk.CmdClause) {
	a := action{verb: gateway.ActionResolve, operator: true}
	cmd := p.command(parent, "resolve", "Close dead letters with a note", func(ctx context.Context) error { return p.resolve(ctx, &a) })
	cmd.HelpLong(resolveHelp + `

Example:

	jobledger job resolve 0193f0c2-... --note "refunded by hand, ticket 4711"`)
	a.declareAction(cmd)
	a.declareResolve(cmd)
}

const resolveHelp = `The dead letter stays, with its history, and no longer counts as open. --as ignored
says that it was not worth treating. A note is required and stored with the job.`

func (a *action) declareResolve(cmd *fisk.CmdClause) {
	cmd.Flag("note", "What was done about it").PlaceHolder("TEXT").StringVar(&a.note)
	cmd.Flag("as", "resolved or ignored").Default(gateway.AsResolved).EnumVar(&a.as, gateway.AsResolved, gateway.AsIgnored)
}

func (p *program) resolve(ctx context.Context, a *action) error {
	a.past = a.as
	return p.act(ctx, a)
}
