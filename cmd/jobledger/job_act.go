package main

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// actParallel is how many jobs of a command with ids are acted upon at once.
const actParallel = 8

// action is what a command does to jobs: to those named by ids one by one, or
// in bulk to all that match a filter.
type action struct {
	verb string // cancel, retry, resolve
	past string // what has been done to a job then
	ids  []string
	filterFlags
	rate   option[int]
	detach bool
	// operator: only an operator may do it, who must give a reason, also for one
	// job (INTERFACE 1.3).
	operator bool
	note     string
	as       string
	deadline string
	waive    bool
	cascade  bool
	wait     bool
}

// bulkReport is what a command on several jobs prints with --json.
type bulkReport struct {
	BulkID   *string    `json:"bulk_id"` // null: by ids, one by one
	DryRun   bool       `json:"dry_run"`
	Matched  int        `json:"matched"`
	Eligible int        `json:"eligible"`
	Done     int        `json:"done"`
	Skipped  int        `json:"skipped"` // nothing was tried: not eligible, gone, no longer matching
	Failed   int        `json:"failed"`
	Left     int        `json:"left"`     // what a detached bulk has not come to
	Detached bool       `json:"detached"` // the job BulkID does it, or did; Items are those of the first that it left as they were
	Items    []bulkItem `json:"items"`

	why map[string]int // jobs that were left as they were, by the reason
}

// bulkItem is what became of one job.
type bulkItem struct {
	ID      schemas.JobID `json:"id"`
	OK      bool          `json:"ok"`
	State   schemas.State `json:"state,omitzero"`
	Seq     *schemas.Seq  `json:"seq"`
	Skipped string        `json:"skipped,omitempty"`
	Error   *cliError     `json:"error"`
}

// act carries the action out.
func (p *program) act(ctx context.Context, a *action) error {
	switch {
	case len(a.ids) > 0 && a.given():
		return usagef("give ids or a filter, not both")
	case len(a.ids) == 0 && !a.given() && !a.deadLetters:
		return usagef("which jobs? give ids, or a filter such as --type")
	case a.wait && len(a.ids) == 0:
		return usagef("--wait goes with ids")
	case a.detach && len(a.ids) > 0 && !a.cascade:
		return usagef("--detach goes with a filter")
	case a.cascade && a.waive:
		return usagef("--cascade retries jobs after their parents, --waive-parents without them: give one of them")
	}
	if err := checkJobIDs(a.ids); err != nil {
		return err
	}
	r, err := p.actionRequest(a)
	if err != nil {
		return err
	}
	c, err := p.openClient("job " + a.verb)
	if err != nil {
		return err
	}
	defer c.Conn.Close()
	if len(a.ids) == 0 || a.cascade && a.verb == gateway.ActionRetry {
		return p.actOnMatches(ctx, c, a, r)
	}
	return p.actOnIDs(ctx, c, a, r)
}

// actionRequest is what the server is asked for; every mistake is found here.
func (p *program) actionRequest(a *action) (*gateway.BulkRequest, error) {
	r := &gateway.BulkRequest{Action: a.verb, As: a.as, WaiveParents: a.waive, Cascade: a.cascade,
		Reason: p.flags.Reason.Value, DryRun: p.flags.DryRun}
	if len(a.ids) == 0 {
		filter, err := a.filter(p)
		if err != nil {
			return nil, err
		}
		r.Filter = &filter
	}
	if a.deadline != "" {
		at, err := parseTime(a.deadline, p.Now(), p.flags.zone, +1)
		if err != nil {
			return nil, usagef("--deadline: %w", err)
		}
		r.Deadline = &at
	}
	if p.flags.DryRun {
		return r, nil
	}
	var err error
	switch {
	case a.verb == gateway.ActionResolve:
		note := a.note
		if note == "" {
			note = p.flags.Reason.Value
		}
		r.Note, err = p.answer("note", note)
	case a.operator || r.Filter != nil:
		r.Reason, err = p.reason()
	}
	return r, err
}

// actOnIDs does it to each job by its own request and tells what became of each.
func (p *program) actOnIDs(ctx context.Context, c *gateway.Client, a *action, r *gateway.BulkRequest) error {
	report := bulkReport{DryRun: r.DryRun, Items: make([]bulkItem, len(a.ids))}
	var g errgroup.Group
	g.SetLimit(actParallel)
	for i, id := range a.ids {
		g.Go(func() error {
			item, err := actOnOne(ctx, c, a, r, schemas.JobID(id))
			if err != nil {
				item.Error = asCLIError(err)
			}
			report.Items[i] = item
			return nil
		})
	}
	_ = g.Wait() // the items hold the errors
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for i := range report.Items {
		report.count(&report.Items[i])
	}
	if p.flags.JSON {
		if err := p.document(report); err != nil {
			return err
		}
	} else {
		for i := range report.Items {
			p.printActed(a, &report.Items[i])
		}
	}
	if report.Failed > 0 {
		return exitRequest{exitError}
	}
	return nil
}

// count adds one job that was named by its id.
func (r *bulkReport) count(item *bulkItem) {
	item.OK = item.Error == nil
	switch {
	case item.Error != nil && item.Error.Code == ledger.CodeNotFound:
		r.Failed++
	case item.Error != nil:
		r.Matched++
		r.Failed++
	case r.DryRun:
		r.Matched++
		r.Eligible++
	default:
		r.Matched++
		r.Eligible++
		r.Done++
	}
}

// actOnOne acts on a job, or with --dry-run says whether that would work.
func actOnOne(ctx context.Context, c *gateway.Client, a *action, r *gateway.BulkRequest, id schemas.JobID) (bulkItem, error) {
	item := bulkItem{ID: id}
	if r.DryRun {
		one := *r
		one.IDs = []schemas.JobID{id}
		reply, err := c.Bulk(ctx, one)
		if err != nil {
			return item, err
		}
		return itemOf(&reply.Items[0]), nil
	}
	var seq schemas.Seq
	switch a.verb {
	case gateway.ActionRetry:
		reply, err := c.Retry(ctx, id, gateway.RetryRequest{Reason: r.Reason, Deadline: r.Deadline, WaiveParents: r.WaiveParents})
		if err != nil {
			return item, err
		}
		item.State, seq = reply.State, reply.Seq
	case gateway.ActionResolve:
		reply, err := c.Resolve(ctx, id, gateway.ResolveRequest{Note: r.Note, As: r.As})
		if err != nil {
			return item, err
		}
		item.State, seq = reply.State, reply.Seq
	default:
		cancel := c.Cancel
		if r.Cascade {
			cancel = c.CancelCascade
		}
		reply, err := cancel(ctx, id, r.Reason)
		if err != nil {
			return item, err
		}
		item.State, seq = reply.State, reply.Seq
	}
	item.Seq = &seq
	if !a.wait || item.State.Finished() {
		return item, nil
	}
	record, err := c.Wait(ctx, id)
	if err != nil {
		return item, err
	}
	item.State, item.Seq = record.State, &record.Seq
	return item, nil
}

// itemOf is the server's word about one job.
func itemOf(b *gateway.BulkItem) bulkItem {
	item := bulkItem{ID: b.ID, OK: b.OK, State: b.State, Seq: b.Seq, Skipped: b.Skipped}
	if b.Error != nil {
		item.Error = &cliError{Code: b.Error.Code, Message: b.Error.Message, Details: b.Error.Details, exit: exitError}
	}
	return item
}

// printActed tells a person what became of one job.
func (p *program) printActed(a *action, item *bulkItem) {
	switch {
	case item.Error != nil:
		p.talkf("%s: %s [%s]", item.ID, item.Error.Message, item.Error.Code)
	case p.flags.DryRun:
		p.talkf("%s: is %s and would be %s", item.ID, item.State, a.past)
	case item.State == schemas.StateRunning:
		p.talkf("%s: is %s and was told to stop", item.ID, item.State)
	case a.verb == gateway.ActionRetry:
		p.talkf("%s: is %s again", item.ID, item.State)
	case a.verb == gateway.ActionCancel && item.State != schemas.StateCanceled:
		p.talkf("%s: is %s", item.ID, item.State) // it ended before it was stopped
	default:
		p.talkf("%s: %s", item.ID, a.past)
	}
}
