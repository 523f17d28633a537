package gateway

import (
	"context"
	"encoding/json"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// AddSchedule adds a schedule, or changes it; the reply is what is in force.
func (c *Client) AddSchedule(ctx context.Context, s AddSchedule) (*Schedule, error) {
	return ask[Schedule](ctx, c, "schedule.add."+s.Name, s)
}

// Schedule returns a schedule; not_found if there is none.
func (c *Client) Schedule(ctx context.Context, name string) (*Schedule, error) {
	return ask[Schedule](ctx, c, "schedule.info."+name, nil)
}

// Schedules returns all schedules of the org, without args.
func (c *Client) Schedules(ctx context.Context) (*Schedules, error) {
	return ask[Schedules](ctx, c, "schedule.ls", nil)
}

// RemoveSchedule removes a schedule. Jobs that it has made stay.
func (c *Client) RemoveSchedule(ctx context.Context, name, reason string) (*Schedule, error) {
	return ask[Schedule](ctx, c, "schedule.rm."+name, ReasonRequest{Reason: reason})
}

// PauseSchedule lets the ticks of a schedule pass; they are not made up.
func (c *Client) PauseSchedule(ctx context.Context, name, reason string) (*Schedule, error) {
	return ask[Schedule](ctx, c, "schedule.pause."+name, ReasonRequest{Reason: reason})
}

// ResumeSchedule has a paused schedule go on, from now.
func (c *Client) ResumeSchedule(ctx context.Context, name, reason string) (*Schedule, error) {
	return ask[Schedule](ctx, c, "schedule.resume."+name, ReasonRequest{Reason: reason})
}

// TriggerSchedule submits a job as a schedule would make it, now. What Submit says about answers that do not come
// holds here too.
func (c *Client) TriggerSchedule(ctx context.Context, name, reason string) (*SubmitReply, error) {
	body, err := json.Marshal(ReasonRequest{Reason: reason})
	if err != nil {
		return nil, ledger.Errorf(ledger.CodeInvalidArgument, "%v", err)
	}
	request := uuid.UUID(uuid.Must(uuid.NewV7()))
	var reply SubmitReply
	err = c.store(ctx, storing{subject: "schedule.trigger." + name, headers: nats.Header{}, body: body, request: request,
		id: schemas.JobID(request.String())}, &reply)
	if err != nil {
		return nil, err
	}
	return &reply, nil
}

// NextTicks returns the ticks of a schedule that are to come, NextDefault if count is 0.
func (c *Client) NextTicks(ctx context.Context, name string, count int) (*NextReply, error) {
	return ask[NextReply](ctx, c, "schedule.next."+name, NextRequest{Count: count})
}

// Backfill submits the jobs of past ticks that have none. To give it again is harmless.
func (c *Client) Backfill(ctx context.Context, name string, r BackfillRequest) (*BackfillReply, error) {
	return ask[BackfillReply](ctx, c, "schedule.backfill."+name, r)
}
