package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/schemas"
)

// Progress in LIVE. It shares no stream, lock or connection with the events of jobs, so that no flood of it
// delays one, and may be lost at any time: it is written again (DESIGN D2).
const (
	// ProgressTTL is how long the progress of an attempt stays readable when its worker writes no more.
	ProgressTTL = 30 * time.Second
	// ProgressRefresh is how often a worker writes it again although nothing changed: after an older attempt's
	// worker wrote over it, or LIVE was lost, it is right again so soon.
	ProgressRefresh = 10 * time.Second
	// liveAnswerMax is how long a read of LIVE may take: nobody waits for a courtesy.
	liveAnswerMax = 500 * time.Millisecond
)

const (
	progressPrefix = "$KV." + BucketLive + ".progress."
	headerTTL      = "Nats-TTL"
)

// LiveProgress is the value under progress.<org>.<job> in BucketLive: the latest that an attempt reported. It is
// published without waiting for an answer, so whoever listens on its subject hears it at once, also while LIVE
// is away. Org and Job stand in the subject.
type LiveProgress struct {
	Org        schemas.OrgID    `json:"-"`
	Job        schemas.JobID    `json:"-"`
	Type       schemas.TypeName `json:"type"`
	Generation int              `json:"generation"`
	Attempt    int              `json:"attempt"`
	// Fence is the attempt's. That of a later attempt of the job has a greater sequence; what an earlier one
	// says is to be ignored.
	Fence schemas.Fence `json:"fence"`
	// N rises with each change that is written of an attempt, from 1; a refresh repeats it.
	N uint64 `json:"n"`
	schemas.Progress
}

// Of reports whether p tells of the attempt that runs in j.
func (p *LiveProgress) Of(j *Job) bool { return j.State == schemas.StateRunning && p.Fence == j.Fence }

// Record returns the progress in the form of a Record, with steps.
func (p *LiveProgress) Record() *RecordProgress {
	return &RecordProgress{Percent: p.Percent, Message: opt(p.Message), Steps: append([]schemas.Step{}, p.Steps...)}
}

// Encode returns what to publish, without a reply subject.
func (p *LiveProgress) Encode() (*nats.Msg, error) {
	body, err := schemas.EncodeBody(p)
	if err != nil {
		return nil, err
	}
	return &nats.Msg{Subject: ProgressSubject(p.Org, p.Job), Data: body,
		Header: nats.Header{headerTTL: {ProgressTTL.String()}}}, nil
}

// ProgressSubject is where the progress of a job is published; job may be "*".
func ProgressSubject(org schemas.OrgID, job schemas.JobID) string {
	return progressPrefix + string(org) + "." + string(job)
}

// DecodeProgress reads a message of LIVE.
func DecodeProgress(subject string, body []byte) (*LiveProgress, error) {
	org, job, ok := strings.Cut(strings.TrimPrefix(subject, progressPrefix), ".")
	if !ok || schemas.CheckToken("org", org) != nil || schemas.CheckToken("job", job) != nil {
		return nil, fmt.Errorf("%q is no subject of progress", subject)
	}
	p := &LiveProgress{}
	if err := json.Unmarshal(body, p); err != nil {
		return nil, fmt.Errorf("progress of %s.%s: %w", org, job, err)
	}
	p.Org, p.Job = schemas.OrgID(org), schemas.JobID(job)
	return p, nil
}

// Progress reads the progress of a job's attempt from LIVE; ErrNotFound if there is none. The caller asks
// whether it is Of the job. It takes liveAnswerMax at most.
func (l *Ledger) Progress(ctx context.Context, org schemas.OrgID, job schemas.JobID) (*LiveProgress, error) {
	if err := errors.Join(schemas.CheckToken("org", string(org)), schemas.CheckToken("job", string(job))); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, liveAnswerMax)
	defer cancel()
	subject := ProgressSubject(org, job)
	m, err := l.nc.RequestWithContext(ctx, "$JS.API.DIRECT.GET."+StreamLive+"."+subject, nil)
	if err != nil {
		return nil, fmt.Errorf("progress of %s.%s: %w", org, job, err)
	}
	if m.Header.Get(headerStatus) == statusNotFound {
		return nil, ErrNotFound
	}
	return DecodeProgress(subject, m.Data)
}

// AttemptOf is the attempt that an event begins or ends, by the sequence of its running; 0 for neither.
func AttemptOf(e *schemas.Event) (fence schemas.Seq, ended bool) {
	switch d := e.Data.(type) {
	case *schemas.Running:
		return e.Seq, false
	case *schemas.CancelRequested, *schemas.Checkpointed, *schemas.LateResult:
		return 0, false
	case *schemas.Canceled:
		return d.Fence.Seq, true
	case *schemas.DeadLettered:
		return d.Fence.Seq, true
	case interface{ Named() *schemas.AttemptHead }:
		return d.Named().Fence.Seq, true
	}
	return 0, false
}
