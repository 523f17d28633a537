package main

import (
	"context"

	"github.com/choria-io/fisk"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

func (p *program) addJobCancel(job *fisk.CmdClause) {
	var ids []string
	var wait bool
	cmd := p.command(job, "cancel", "Cancel jobs", func(ctx context.Context) error {
		return p.cancelJobs(ctx, ids, wait)
	})
	cmd.HelpLong(`A waiting job is canceled at once; the worker of a running one is told to stop
and has its grace to do so. Canceling a canceled job again is no error; one that
completed or is dead-lettered cannot be canceled (exit code 1).

Example:

	jobledger job cancel 0193f0c2-... --reason "wrong customer" --wait`)
	cmd.Arg("id", "Jobs to cancel").Required().StringsVar(&ids)
	cmd.Flag("wait", "Wait until they have ended").UnNegatableBoolVar(&wait)
}

// bulkReport is what a command on several jobs prints with --json.
type bulkReport struct {
	BulkID   *string    `json:"bulk_id"` // null: carried out by this process
	DryRun   bool       `json:"dry_run"`
	Matched  int        `json:"matched"`
	Eligible int        `json:"eligible"`
	Done     int        `json:"done"`
	Skipped  int        `json:"skipped"`
	Failed   int        `json:"failed"`
	Items    []bulkItem `json:"items"`
}

// bulkItem is what became of one job.
type bulkItem struct {
	ID    schemas.JobID `json:"id"`
	OK    bool          `json:"ok"`
	State schemas.State `json:"state,omitzero"`
	Seq   *schemas.Seq  `json:"seq"`
	Error *cliError     `json:"error"`
}

func (p *program) cancelJobs(ctx context.Context, ids []string, wait bool) error {
	if err := checkJobIDs(ids); err != nil {
		return err
	}
	c, err := p.openClient("job cancel")
	if err != nil {
		return err
	}
	defer c.Conn.Close()
	report := bulkReport{DryRun: p.flags.DryRun, Items: make([]bulkItem, 0, len(ids))}
	for _, id := range ids {
		item, err := p.cancelOne(ctx, c, schemas.JobID(id), wait)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			item.Error = asCLIError(err)
		}
		report.add(item)
	}
	if p.flags.JSON {
		if err := p.document(report); err != nil {
			return err
		}
	}
	for i := range report.Items {
		p.printCanceled(&report.Items[i])
	}
	if report.Failed > 0 {
		return exitRequest{exitError}
	}
	return nil
}

func (r *bulkReport) add(item bulkItem) {
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
	r.Items = append(r.Items, item)
}

// cancelOne cancels a job, or with --dry-run says whether that would work.
func (p *program) cancelOne(ctx context.Context, c *gateway.Client, id schemas.JobID, wait bool) (bulkItem, error) {
	item := bulkItem{ID: id}
	if p.flags.DryRun {
		r, err := c.Get(ctx, id)
		if err != nil {
			return item, err
		}
		item.State, item.Seq = r.State, &r.Seq
		if r.State == schemas.StateCompleted || r.State == schemas.StateDeadLettered {
			return item, failf(ledger.CodeInvalidState, "job %s is %s: it cannot be canceled", id, r.State)
		}
		return item, nil
	}
	reply, err := c.Cancel(ctx, id, p.flags.Reason.Value)
	if err != nil {
		return item, err
	}
	item.State, item.Seq = reply.State, &reply.Seq
	if !wait || reply.State.Finished() {
		return item, nil
	}
	r, err := c.Wait(ctx, id)
	if err != nil {
		return item, err
	}
	item.State, item.Seq = r.State, &r.Seq
	return item, nil
}

// printCanceled tells a person what became of one job.
func (p *program) printCanceled(item *bulkItem) {
	switch {
	case p.flags.JSON:
	case item.Error != nil:
		p.talkf("%s: %s [%s]", item.ID, item.Error.Message, item.Error.Code)
	case p.flags.DryRun:
		p.talkf("%s: is %s and would be canceled", item.ID, item.State)
	case item.State == schemas.StateCanceled:
		p.talkf("%s: canceled", item.ID)
	default:
		p.talkf("%s: is %s and was told to stop", item.ID, item.State)
	}
}
