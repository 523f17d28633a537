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

// chunkTries is how often a chunk is sent until it is answered: doing it twice
// is safe, for each job is acted upon as its own events say.
const chunkTries = 3

// actOnMatches counts, asks, and acts in chunks. It may be interrupted between
// two of them: what is done is done, and the same command again does the rest.
func (p *program) actOnMatches(ctx context.Context, c *gateway.Client, a *action, r *gateway.BulkRequest) error {
	if a.rate.Set && a.rate.Value < 1 {
		return usagef("--rate must be above 0")
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
	id := uuid.NewString()
	report := bulkReport{BulkID: &id, DryRun: r.DryRun, Matched: chosen.Matched, Eligible: chosen.Eligible, Skipped: chosen.Skipped, Items: []bulkItem{}}
	p.talkMatches(chosen)
	if !r.DryRun && len(chosen.IDs) > 0 {
		if err := p.confirm(fmt.Sprintf("%s %s?", capital(a.verb), jobsText(len(chosen.IDs)))); err != nil {
			return err
		}
		r.BulkID = id
		show := &bulkProgress{p: p, total: len(chosen.IDs), on: !p.flags.JSON && p.IsTerminal(p.Stderr) && p.Getenv("TERM") != "dumb"}
		err = a.inChunks(ctx, c, r, chosen, &report, show)
		show.clear()
	}
	if err == nil && p.flags.JSON {
		if err := p.document(report); err != nil {
			return err
		}
	} else if !r.DryRun {
		p.talkReport(a, &report, len(chosen.IDs))
	}
	switch {
	case err != nil:
		return err
	case report.Failed > 0:
		return exitRequest{exitError}
	}
	return nil
}

func (p *program) talkMatches(chosen *gateway.BulkReply) {
	p.talkf("%s match, %s eligible", jobsText(chosen.Matched), thousands(uint64(chosen.Eligible)))
	if more := chosen.Eligible - len(chosen.IDs); more > 0 {
		p.talkf("the oldest %s are taken; the same command again takes the other %s", thousands(uint64(len(chosen.IDs))), thousands(uint64(more)))
	}
}

// inChunks acts on the chosen jobs at the action's pace.
func (a *action) inChunks(ctx context.Context, c *gateway.Client, r *gateway.BulkRequest, chosen *gateway.BulkReply, report *bulkReport, show *bulkProgress) error {
	start := time.Now()
	for done := 0; done < len(chosen.IDs); {
		chunk := *r
		chunk.IDs = chosen.IDs[done:min(done+gateway.BulkChunk, len(chosen.IDs))]
		reply, err := sendChunk(ctx, c, chunk)
		if err != nil {
			return err
		}
		done += len(chunk.IDs)
		report.Done += reply.Done
		report.Skipped += reply.Skipped
		report.Failed += reply.Failed
		for i := range reply.Items {
			report.Items = append(report.Items, itemOf(&reply.Items[i]))
		}
		show.draw(done, report.Failed)
		if done == len(chosen.IDs) {
			break
		}
		rest := time.NewTimer(a.paceOf(done) - time.Since(start))
		select {
		case <-rest.C:
		case <-ctx.Done():
			rest.Stop()
			return ctx.Err()
		}
	}
	return nil
}

func sendChunk(ctx context.Context, c *gateway.Client, chunk gateway.BulkRequest) (*gateway.BulkReply, error) {
	for try := 1; ; try++ {
		reply, err := c.Bulk(ctx, chunk)
		if err == nil || ctx.Err() != nil || try == chunkTries || ledger.AsError(err).Code != ledger.CodeUnavailable {
			return reply, err
		}
	}
}

// talkReport tells a person how a bulk went, and why jobs were left as they were.
func (p *program) talkReport(a *action, r *bulkReport, chosen int) {
	if p.flags.JSON || chosen == 0 {
		return
	}
	skipped := map[string]int{}
	refused := map[string]int{}
	for i := range r.Items {
		switch item := &r.Items[i]; {
		case item.Skipped != "":
			skipped[strings.ReplaceAll(item.Skipped, "_", " ")]++
		case item.Error != nil:
			refused[fmt.Sprintf("%s [%s]", gateway.NormalError(item.Error.Message), item.Error.Code)]++
		}
	}
	p.talkf("%s %s", jobsText(r.Done), a.past)
	for _, part := range []struct {
		what string
		why  map[string]int
	}{{"left alone", skipped}, {"refused", refused}} {
		for _, why := range slices.SortedFunc(maps.Keys(part.why), func(x, y string) int {
			return cmp.Or(cmp.Compare(part.why[y], part.why[x]), cmp.Compare(x, y))
		}) {
			p.talkf("%s %s: %s", jobsText(part.why[why]), part.what, why)
		}
	}
	if left := chosen - len(r.Items); left > 0 {
		p.talkf("%s to go: the same command again does the rest", jobsText(left))
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
