package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/dartwing/jobledger/internal/where"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// groupsMax is how many groups one answer holds, the largest ones.
	groupsMax = 200
	// groupsCounted bounds the groups counted; what comes when there are so many is counted in Ungrouped.
	groupsCounted = 10_000
	// sampleMax is how much of an example's message is shown, in letters.
	sampleMax = 200
)

// Ways to group errors, beside ByType and ByQueue.
const (
	ByError = "error" // type, reason and the message without what differs from job to job
	ByOrg   = "org"
)

// ErrorsRequest asks for the dead letters of an org in groups. Without another filter only open ones are
// counted.
type ErrorsRequest struct {
	By string `json:"by,omitempty"` // ByError if empty
	Filter
	MinSeq schemas.Seq `json:"min_seq,omitempty"`
}

// ErrorGroups are the largest groups, the largest first.
type ErrorGroups struct {
	By     string       `json:"by"`
	Total  int          `json:"total"` // dead letters that match
	Groups []ErrorGroup `json:"groups"`
	// Ungrouped are those of groups that are not listed.
	Ungrouped int         `json:"ungrouped"`
	AsOfSeq   schemas.Seq `json:"as_of_seq"`
}

// ErrorGroup is a group of dead letters. By error all of it is the same for all of them; by something else
// class, reason, message and type are those of the example.
type ErrorGroup struct {
	Key     string             `json:"key"` // for Filter.Group, by error; else the type, queue or org
	Class   schemas.ErrorClass `json:"class"`
	Reason  string             `json:"reason"`
	Message string             `json:"message"` // without numbers and ids
	Type    schemas.TypeName   `json:"type"`
	Count   int                `json:"count"`
	FirstAt time.Time          `json:"first_at"` // when the first of them was dead-lettered
	LastAt  time.Time          `json:"last_at"`
	Orgs    []schemas.OrgID    `json:"orgs"`
	// SampleID is the latest of them; SampleError its message as it was.
	SampleID    schemas.JobID `json:"sample_id"`
	SampleError string        `json:"sample_error"`
}

// NormalError is an error message without what differs from job to job: ids become <id>, hexadecimal numbers
// <hex>, other numbers <n>; white space is one blank; only the beginning counts.
func NormalError(message string) string { return where.NormalError(message) }

// errors answers what jobs died of.
func (g *Gateway) deadLetters(ctx context.Context, r *request) ([]byte, error) {
	req := ErrorsRequest{}
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	req.By = cmp.Or(req.By, ByError)
	if by := []string{ByError, ByType, ByOrg, ByQueue}; !slices.Contains(by, req.By) {
		return nil, badField("by", unknownValue(req.By, by))
	}
	if err := errors.Join(req.check(), g.narrow(ctx, r.org, &req.Filter)); err != nil {
		return nil, err
	}
	if !req.where.Uses(where.FieldResolution) {
		req.Resolution = cmp.Or(req.Resolution, string(schemas.ResolutionOpen))
	}
	req.State = []schemas.State{schemas.StateDeadLettered}
	v, err := g.viewsAt(ctx, req.MinSeq, req.where.Payload())
	if err != nil {
		return nil, err
	}
	if err := searchable(v, &req.where); err != nil {
		return nil, err
	}
	groups := errorGroups{by: req.By, byKey: map[string]*ErrorGroup{}}
	seq, err := v.jobs(ctx, r.org, &req.Filter, time.Now(), 0, func(record ledger.Record) { groups.add(&record) })
	if err != nil {
		return nil, err
	}
	reply := groups.largest()
	reply.AsOfSeq = seq
	return json.Marshal(reply)
}

// errorGroups counts.
type errorGroups struct {
	by          string
	byKey       map[string]*ErrorGroup // at most groupsCounted
	total, left int
}

func (s *errorGroups) add(r *ledger.Record) {
	s.total++
	common := where.GroupOf(r)
	key := common.Key()
	switch s.by {
	case ByType:
		key = string(r.Type)
	case ByQueue:
		key = string(r.Queue)
	case ByOrg:
		key = string(r.Org)
	}
	at := r.SubmittedAt
	if r.FinishedAt != nil {
		at = *r.FinishedAt
	}
	g := s.byKey[key]
	if g == nil {
		if len(s.byKey) >= groupsCounted {
			s.left++
			return
		}
		g = &ErrorGroup{Key: key, FirstAt: at, Orgs: []schemas.OrgID{r.Org}}
		s.byKey[key] = g
	}
	g.Count++
	if at.Before(g.FirstAt) {
		g.FirstAt = at
	}
	if g.Count > 1 && !at.After(g.LastAt) {
		return
	}
	g.LastAt, g.SampleID, g.SampleError = at, r.ID, ""
	g.Class, g.Reason, g.Message, g.Type = common.Class, common.Reason, common.Message, common.Type
	if r.Error != nil {
		g.SampleError = where.Cut(r.Error.Message, sampleMax)
	}
}

func (s *errorGroups) largest() *ErrorGroups {
	out := &ErrorGroups{By: s.by, Total: s.total, Groups: make([]ErrorGroup, 0, len(s.byKey)), Ungrouped: s.left}
	for _, g := range s.byKey {
		out.Groups = append(out.Groups, *g)
	}
	slices.SortFunc(out.Groups, func(a, b ErrorGroup) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), b.LastAt.Compare(a.LastAt), cmp.Compare(a.Key, b.Key))
	})
	for len(out.Groups) > groupsMax {
		last := len(out.Groups) - 1
		out.Ungrouped += out.Groups[last].Count
		out.Groups = out.Groups[:last]
	}
	return out
}
