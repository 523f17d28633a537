package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/choria-io/fisk"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

func (p *program) addJobInfo(job *fisk.CmdClause) {
	var id, at string
	var children bool
	cmd := p.command(job, "info", "Show everything about one job", func(ctx context.Context) error {
		switch {
		case at != "" && children:
			return usagef("--at and --children do not go together: children are told as they are now")
		case at != "":
			return p.jobInfoAt(ctx, id, at)
		}
		return p.jobInfo(ctx, id, children)
	})
	cmd.HelpLong(`Always current: it reads the job's own events. With --at it shows how the job stood
then.

Examples:

	jobledger job info 0193f0c2-... --json | jq .attempts
	jobledger job info 0193f0c2-... --children
	jobledger job info 0193f0c2-... --at "2026-11-23 14:00" --tz UTC`)
	cmd.Arg("id", "The job").Required().StringVar(&id)
	cmd.Flag("at", "As it stood then: a sequence, a time, or how long ago").PlaceHolder("SEQ|TIME").StringVar(&at)
	cmd.Flag("children", "With the jobs that wait for it, or waited for it, and the items of a batch").UnNegatableBoolVar(&children)
}

// childrenMax bounds the children that are shown with a job.
const childrenMax = 1000

func (p *program) jobInfo(ctx context.Context, id string, children bool) error {
	if err := checkJobID(id); err != nil {
		return err
	}
	c, err := p.openClient("job info")
	if err != nil {
		return err
	}
	defer c.Conn.Close()
	r, err := c.Get(ctx, schemas.JobID(id))
	if err != nil {
		return err
	}
	waits := ""
	if !p.flags.JSON && !r.State.Finished() && r.State != schemas.StateRunning {
		waits = p.holdsFact(ctx, c, r.ID)
	}
	if !children {
		return p.showRecord(r, waits)
	}
	below, more, err := readChildren(ctx, c, r)
	if err != nil {
		return err
	}
	r.Children = make([]schemas.JobRef, len(below))
	for i := range below {
		r.Children[i] = schemas.JobRef{ID: below[i].ID, Generation: below[i].Generation}
	}
	if err := p.showRecord(r, waits); err != nil {
		return err
	}
	if more {
		p.talkf("only the latest %d children are shown: jobledger job ls --where parent:%s lists all", len(below), r.ID)
	}
	if p.flags.JSON || len(below) == 0 {
		return nil
	}
	return p.printChildren(below)
}

// readChildren reads the latest children of a job, true as of the record; more: there are others.
func readChildren(ctx context.Context, c *gateway.Client, r *ledger.Record) (below []ledger.Record, more bool, err error) {
	req := gateway.ListRequest{Limit: gateway.LimitMax, MinSeq: r.Seq}
	for {
		page, err := c.Children(ctx, r.ID, req)
		if err != nil {
			return nil, false, err
		}
		below = append(below, page.Items...)
		if page.Next == nil || len(below) >= childrenMax {
			return below, page.Next != nil, nil
		}
		req.Cursor = *page.Next
	}
}

func (p *program) printChildren(below []ledger.Record) error {
	g := jobsGrid(below, func(t *time.Time) string {
		if t == nil {
			return ""
		}
		return p.listTime(*t)
	})
	g.Title = "Children"
	if err := p.printf("\n"); err != nil {
		return err
	}
	return p.list(g)
}

// jobInfoAt shows a job as it stood at a moment.
func (p *program) jobInfoAt(ctx context.Context, id, at string) error {
	if err := checkJobID(id); err != nil {
		return err
	}
	then, err := p.bound("--at", at)
	if err != nil {
		return err
	}
	c, err := p.openClient("job info")
	if err != nil {
		return err
	}
	defer c.Conn.Close()
	moment := then.Seq.String()
	if then.Seq == 0 {
		moment = then.Time.UTC().Format(time.RFC3339Nano)
	}
	r, err := c.GetAt(ctx, schemas.JobID(id), moment)
	if err != nil {
		return err
	}
	return p.showRecord(r, "")
}

// showRecord prints a record for a program or a person.
func (p *program) showRecord(r *ledger.Record, waits string) error {
	if !p.flags.JSON {
		return p.printRecord(r, waits)
	}
	text, err := r.Encode()
	if err != nil {
		return err
	}
	return p.printf("%s\n", text)
}

// fact is one line of a record; an empty value is not shown.
type fact struct{ name, value string }

func (p *program) printRecord(r *ledger.Record, waits string) error {
	facts := []fact{
		{"Job", string(r.ID)},
		{"Org", string(r.Org)},
		{"Type", string(r.Type)},
		{"Queue", fmt.Sprintf("%s, priority %s", r.Queue, r.Priority)},
		{"State", standing(r)},
		{"Waits", waits},
		{"Attempt", attemptFact(r)},
		{"Worker", deref(r.Worker)},
		{"Progress", progressLines(r.Progress)},
		{"Checkpoint", checkpointFact(r.CheckpointBytes)},
		{"Submitted", p.since(&r.SubmittedAt) + by(r.SubmittedBy)},
		{"Not before", p.since(r.NotBefore)},
		{"Deadline", p.since(r.Deadline)},
		{"Queued", p.since(r.QueuedAt)},
		{"Started", p.since(r.StartedAt)},
		{"Retry", p.since(r.RetryAt)},
		{"Finished", p.since(r.FinishedAt)},
		{"Owner", deref(r.Owner)},
		{"Key", deref(r.Key)},
		{"Batch", deref(r.Batch)},
		{"Trace", deref(r.TraceID)},
		{"Tags", tagsFact(r.Tags)},
		{"Parents", parentsFact(r.Parents)},
		{"Error", errorFact(r.Error)},
		{"Args", argsFact(r)},
		{"Result", resultFact(r)},
		{"Sequence", fmt.Sprintf("%d, generation %d", r.Seq, r.Generation)},
	}
	for _, f := range facts {
		if f.value == "" {
			continue
		}
		if err := p.printf("%12s: %s\n", f.name, quiet(strings.ReplaceAll(f.value, "\n", "\n              "))); err != nil {
			return err
		}
	}
	return p.printAttempts(r.Attempts)
}

func (p *program) printAttempts(attempts []ledger.AttemptRecord) error {
	if len(attempts) == 0 {
		return nil
	}
	g := &grid{Title: "Attempts", Columns: []string{"attempt", "worker", "started", "took", "outcome", "error"}}
	for i := range attempts {
		a := &attempts[i]
		took, outcome, message := "", "running", ""
		if a.FinishedAt != nil {
			took = a.FinishedAt.Sub(a.StartedAt).Round(time.Millisecond).String()
		}
		if a.Outcome != nil {
			outcome = string(*a.Outcome)
		}
		if a.Error != nil {
			message = clip(a.Error.Message, errorCellMax)
		}
		g.add(fmt.Sprint(a.Attempt), a.Worker, p.recordTime(a.StartedAt), took, outcome, message)
	}
	if err := p.printf("\n"); err != nil {
		return err
	}
	return p.list(g)
}

// since is a time in a record, with its distance.
func (p *program) since(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	return p.recordTime(*t) + " (" + relative(p.Now(), *t) + ")"
}

func by(actor *string) string {
	if actor == nil {
		return ""
	}
	return " by " + *actor
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func attemptFact(r *ledger.Record) string {
	text := fmt.Sprint(r.Attempt)
	if r.MaxAttempts != nil {
		text += fmt.Sprintf(", %d of %d used", r.AttemptsUsed, *r.MaxAttempts)
	}
	return text
}

func progressFact(progress *ledger.RecordProgress) string {
	if progress == nil {
		return ""
	}
	text := fmt.Sprintf("%d %%", progress.Percent)
	if progress.Message != nil {
		text += ", " + *progress.Message
	}
	return text
}

// progressLines adds the checklist, a step a line.
func progressLines(progress *ledger.RecordProgress) string {
	if progress == nil {
		return ""
	}
	return strings.Join(append([]string{progressFact(progress)}, checklist(progress.Steps)...), "\n")
}

func checkpointFact(bytes *int) string {
	if bytes == nil || *bytes == 0 {
		return ""
	}
	unit := "bytes"
	if *bytes == 1 {
		unit = "byte"
	}
	return fmt.Sprintf("%d %s, for the next attempt to go on from", *bytes, unit)
}

func tagsFact(tags map[string]string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		parts = append(parts, k+"="+tags[k])
	}
	return strings.Join(parts, " ")
}

// parentsFact names each parent with how it stands, and what its failure means where that is not to fail.
func parentsFact(parents []ledger.RecordParent) string {
	var lines []string
	for _, parent := range parents {
		line := string(parent.ID)
		if parent.State != nil {
			line += "  " + cmp.Or(string(*parent.State), "not in the ledger")
		}
		if on := parent.OnFailure; on != "" && on != schemas.ParentFail {
			line += "  (" + on + " if it fails)"
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func errorFact(e *ledger.RecordError) string {
	if e == nil {
		return ""
	}
	return fmt.Sprintf("%s (%s)", e.Message, e.Class)
}

func argsFact(r *ledger.Record) string {
	if r.ArgsRef != nil {
		return fmt.Sprintf("%d bytes in %s/%s", r.ArgsRef.Bytes, r.ArgsRef.Bucket, r.ArgsRef.Name)
	}
	return string(r.Args)
}

func resultFact(r *ledger.Record) string {
	switch {
	case r.State != schemas.StateCompleted:
		return ""
	case r.ResultRef != nil:
		return fmt.Sprintf("%d bytes in %s/%s", r.ResultRef.Bytes, r.ResultRef.Bucket, r.ResultRef.Name)
	default:
		return string(orNull(r.Result))
	}
}
