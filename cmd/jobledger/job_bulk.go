package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// bulkTries is how often a bulk is asked for until it is answered: asking twice
// is safe, for each job is acted upon as its own events say, and a detached bulk
// is begun once under its id.
const bulkTries = 3

// followEvery is the time between two looks at a bulk that is followed.
const followEvery = 250 * time.Millisecond

// actOnMatches counts, asks, and acts: at once where it is little, else as a job
// that the servers run, which is followed.
func (p *program) actOnMatches(ctx context.Context, c *gateway.Client, a *action, r *gateway.BulkRequest) error {
	if a.rate.Set && (a.rate.Value < 1 || a.rate.Value > ledger.BulkRateMax) {
		return usagef("--rate must be 1 to %d", ledger.BulkRateMax)
	}
	look := *r
	look.DryRun = true
	for _, id := range a.ids { // of a retry with cascade
		look.IDs = append(look.IDs, schemas.JobID(id))
	}
	chosen, err := c.Bulk(ctx, look)
	if err != nil {
		return err
	}
	if len(look.IDs) > 0 || a.cascade && a.verb == gateway.ActionRetry {
		r.Filter = nil // it chose the first of them only
	}
	id := uuid.Must(uuid.NewV7()).String()
	report := bulkReport{BulkID: &id, DryRun: r.DryRun, Matched: chosen.Matched, Eligible: chosen.Eligible, Skipped: chosen.Skipped, Items: []bulkItem{}}
	p.talkMatches(chosen)
	if !r.DryRun && len(chosen.IDs) > 0 {
		if err := p.confirm(fmt.Sprintf("%s %s?", capital(a.verb), jobsText(len(chosen.IDs)))); err != nil {
			return err
		}
		r.BulkID, r.IDs = id, chosen.IDs
		show := &bulkProgress{p: p, total: len(chosen.IDs), on: !p.flags.JSON && p.IsTerminal(p.Stderr) && p.Getenv("TERM") != "dumb"}
		if !a.detach && !a.rate.Set && len(chosen.IDs) <= gateway.BulkChunk {
			err = actAtOnce(ctx, c, r, &report, show)
		} else {
			r.Detach, r.Rate, report.Detached = true, a.rate.Value, true
			err = p.actAsJob(ctx, c, a, r, &report, show)
		}
		show.clear()
		if err != nil {
			return err
		}
	}
	if p.flags.JSON {
		if err := p.document(report); err != nil {
			return err
		}
	} else if !r.DryRun && len(chosen.IDs) > 0 && !a.detach {
		p.talkReport(a, &report)
	}
	if report.Failed > 0 || report.Left > 0 && !a.detach {
		return exitRequest{exitError}
	}
	return nil
}

// actAtOnce has the chosen jobs acted upon by one request.
func actAtOnce(ctx context.Context, c *gateway.Client, r *gateway.BulkRequest, report *bulkReport, show *bulkProgress) error {
	reply, err := askBulk(ctx, c, r)
	if err != nil {
		return err
	}
	report.Done += reply.Done
	report.Skipped += reply.Skipped
	report.Failed += reply.Failed
	report.why = map[string]int{}
	for i := range reply.Items {
		item := &reply.Items[i]
		report.Items = append(report.Items, itemOf(item))
		switch {
		case item.Skipped != "":
			report.why[item.Skipped]++
		case item.Error != nil:
			report.why[fmt.Sprintf("%s [%s]", gateway.NormalError(item.Error.Message), item.Error.Code)]++
		}
	}
	show.draw(len(r.IDs), report.Failed)
	return nil
}

// actAsJob begins the bulk and follows it to its end, unless it is to be left alone. Who interrupts that stops looking, not
// the bulk.
func (p *program) actAsJob(ctx context.Context, c *gateway.Client, a *action, r *gateway.BulkRequest, report *bulkReport, show *bulkProgress) error {
	if _, err := askBulk(ctx, c, r); err != nil {
		return err
	}
	goesOn := func(how string) {
		p.talkf("%s: \"jobledger job watch %s\" shows how far it is, \"jobledger job cancel %s\" stops it", how, r.BulkID, r.BulkID)
	}
	if a.detach {
		report.Left = len(r.IDs)
		if !p.flags.JSON {
			fmt.Fprintln(p.Stdout, r.BulkID)
			goesOn("the servers do it")
		}
		return nil
	}
	status, err := followBulk(ctx, c, schemas.JobID(r.BulkID), show)
	if err != nil {
		show.clear()
		goesOn("it goes on without you")
		return err
	}
	report.Done += status.Done
	report.Skipped += status.Skipped
	report.Failed += status.Failed
	report.Left, report.why = status.Left, status.Why
	for _, e := range status.Errors {
		item := bulkItem{ID: e.ID, Skipped: e.Skipped}
		if e.Skipped == "" {
			item.Error = &cliError{Code: e.Code, Message: e.Message, exit: exitError}
		}
		report.Items = append(report.Items, item)
	}
	if status.State != schemas.StateCompleted {
		p.talkf("the bulk was not ended: its job %s is %s", r.BulkID, status.State)
	}
	return nil
}

// followBulk draws how far a bulk is until it has ended.
func followBulk(ctx context.Context, c *gateway.Client, id schemas.JobID, show *bulkProgress) (*gateway.BulkStatus, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := c.Wait(ctx, id)
		ended <- err
	}()
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			if err != nil {
				return nil, err
			}
			status, err := c.BulkInfo(ctx, id)
			if err == nil {
				show.draw(status.Jobs-status.Left, status.Failed)
			}
			return status, err
		case <-tick.C:
			if !show.on {
				continue
			}
			if status, err := c.BulkInfo(ctx, id); err == nil { // else the next look tells
				show.draw(throughOf(status), status.Failed)
			}
		}
	}
}

// throughOf is how many jobs a bulk has come to: the latest of what it tells.
func throughOf(s *gateway.BulkStatus) int {
	through := s.Jobs - s.Left
	if s.Progress != nil {
		through = max(through, s.Jobs*s.Progress.Percent/100)
	}
	return through
}

func askBulk(ctx context.Context, c *gateway.Client, r *gateway.BulkRequest) (*gateway.BulkReply, error) {
	for try := 1; ; try++ {
		reply, err := c.Bulk(ctx, *r)
		if err == nil || ctx.Err() != nil || try == bulkTries || ledger.AsError(err).Code != ledger.CodeUnavailable {
			return reply, err
		}
	}
}

func (p *program) talkMatches(chosen *gateway.BulkReply) {
	p.talkf("%s match, %s eligible", jobsText(chosen.Matched), thousands(uint64(chosen.Eligible)))
	if more := chosen.Eligible - len(chosen.IDs); more > 0 {
		p.talkf("the oldest %s are taken; the same command again takes the other %s", thousands(uint64(len(chosen.IDs))), thousands(uint64(more)))
	}
}

// talkReport tells a person how a bulk went, and why jobs were left as they were.
func (p *program) talkReport(a *action, r *bulkReport) {
	p.talkf("%s %s", jobsText(r.Done), a.past)
	for _, why := range slices.SortedFunc(maps.Keys(r.why), func(x, y string) int {
		return cmp.Or(cmp.Compare(r.why[y], r.why[x]), cmp.Compare(x, y))
	}) {
		switch why {
		case gateway.SkippedGone, gateway.SkippedChanged:
			p.talkf("%s left alone: %s", jobsText(r.why[why]), strings.ReplaceAll(why, "_", " "))
		default:
			p.talkf("%s refused: %s", jobsText(r.why[why]), why)
		}
	}
	if r.Detached { // else the refusals were told whole
		for i := range r.Items {
			if e := r.Items[i].Error; e != nil {
				p.talkf("  %s: %s", r.Items[i].ID, e.Message)
			}
		}
	}
	if r.Left > 0 {
		p.talkf("%s to go: the same command again does the rest", jobsText(r.Left))
	}
}

func jobsText(n int) string {
	if n == 1 {
		return "1 job"
	}
	return thousands(uint64(n)) + " jobs"
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// bulkProgress is the bar that tells how far a bulk is, on a terminal.
type bulkProgress struct {
	p     *program
	on    bool
	total int
}

// barWidth is the width of the bar, in letters.
const barWidth = 30

func (b *bulkProgress) draw(done, failed int) {
	if !b.on {
		return
	}
	full := barWidth * done / b.total
	text := fmt.Sprintf("  [%s%s] %s of %s", strings.Repeat("=", full), strings.Repeat(" ", barWidth-full), thousands(uint64(done)), thousands(uint64(b.total)))
	if failed > 0 {
		text += fmt.Sprintf(", %s refused", thousands(uint64(failed)))
	}
	fmt.Fprint(b.p.Stderr, eraseLine+text)
}

func (b *bulkProgress) clear() {
	if b.on {
		fmt.Fprint(b.p.Stderr, eraseLine)
	}
}
