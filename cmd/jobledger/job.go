package main

import (
	"slices"
	"strings"

	"github.com/choria-io/fisk"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

func (p *program) addJob(app *fisk.Application) {
	job := group(app, "job", "Submit jobs and look after them")
	p.addJobSubmit(job)
	p.addJobLs(job)
	p.addJobInfo(job)
	p.addJobExplain(job)
	p.addJobHistory(job)
	p.addJobExport(job)
	p.addJobWatch(job)
	p.addJobWait(job)
	p.addJobResult(job)
	p.addJobCancel(job)
	p.addJobRetry(job)
	p.addJobResolve(job)
	p.addJobResubmit(job)
	p.addJobUnmask(job)
	p.addJobCount(job)
}

// jobFilters are the shorthands of `job ls`, each repeatable or a comma list.
// The filter --reason is the common flag: a command that only reads needs no
// reason of its own.
type jobFilters struct {
	state, typ, queue, priority []string
}

func (f *jobFilters) declare(cmd flagOwner) {
	cmd.Flag("state", "Only jobs in these states: "+joined(stateNames())).PlaceHolder("STATE").StringsVar(&f.state)
	f.declarePlace(cmd)
}

// declarePlace leaves out the state, for commands about one.
func (f *jobFilters) declarePlace(cmd flagOwner) {
	cmd.Flag("type", "Only jobs of these types").PlaceHolder("TYPE").StringsVar(&f.typ)
	cmd.Flag("queue", "Only jobs of these queues").PlaceHolder("QUEUE").StringsVar(&f.queue)
	cmd.Flag("priority", "Only jobs of these priorities").PlaceHolder("PRIORITY").StringsVar(&f.priority)
}

func stateNames() []string {
	names := make([]string, 0, len(schemas.States()))
	for _, s := range schemas.States() {
		names = append(names, string(s))
	}
	return names
}

// check finds a state that is none; other values may name what is not there.
func (f *jobFilters) check() error {
	known := stateNames()
	for _, s := range split[string](f.state) {
		if !slices.Contains(known, s) {
			return usagef("--state: unknown state %q%s", s, didYouMean("", s, known))
		}
	}
	return nil
}

// split reads values given one by one, by comma, or both.
func split[T ~string](values []string) []T {
	var out []T
	for _, v := range values {
		for part := range strings.SplitSeq(v, ",") {
			if part = strings.TrimSpace(part); part != "" {
				out = append(out, T(part))
			}
		}
	}
	return out
}

// standing says in few words where a job stands and why.
func standing(r *ledger.Record) string {
	text := string(r.State)
	if r.Reason != nil && *r.Reason != "" && *r.Reason != text {
		text += " (" + *r.Reason + ")"
	}
	for _, flag := range r.Flags {
		text += " [" + flag + "]"
	}
	return text
}

// explained is standing with the error that led there.
func explained(r *ledger.Record) string {
	text := standing(r)
	if r.Error != nil && r.State != schemas.StateCompleted {
		text += ": " + r.Error.Message
	}
	return quiet(oneLine.Replace(text))
}
