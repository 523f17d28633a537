package gateway

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// groupsMax is how many groups one answer holds, the largest ones.
	groupsMax = 200
	// groupsCounted bounds the groups counted; what comes when there are so many is counted in Ungrouped.
	groupsCounted = 10_000
	// normalMax is how much of a message makes a group, in letters: what differs behind it is detail.
	normalMax = 200
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

// errorGroup is what the dead letters of one group by error have in common.
type errorGroup struct {
	typ     schemas.TypeName
	class   schemas.ErrorClass
	reason  string
	message string
}

func errorGroupOf(r *ledger.Record) errorGroup {
	g := errorGroup{typ: r.Type}
	if r.Reason != nil {
		g.reason = *r.Reason
	}
	if r.Error != nil {
		g.class, g.message = r.Error.Class, NormalError(r.Error.Message)
	}
	return g
}

// key names the group on a command line. It is the same on every server and in every version, as long as
// NormalError is.
func (g errorGroup) key() string {
	sum := sha256.Sum256([]byte(strings.Join([]string{string(g.typ), string(g.class), g.reason, g.message}, "\x00")))
	return hex.EncodeToString(sum[:6])
}

var (
	uuidPattern   = regexp.MustCompile(`[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}`)
	hexPattern    = regexp.MustCompile(`\b(0[xX][0-9a-fA-F]+|[0-9a-fA-F]{8,})\b`)
	numberPattern = regexp.MustCompile(`[0-9]+`)
)

// NormalError is an error message without what differs from job to job: ids become <id>, hexadecimal numbers
// <hex>, other numbers <n>; white space is one blank; only the beginning counts.
func NormalError(message string) string {
	// Cut before the search too: a message may be 16 KiB of stack.
	s := strings.Join(strings.Fields(cutLetters(message, 4*normalMax)), " ")
	s = uuidPattern.ReplaceAllString(s, "<id>")
	s = hexPattern.ReplaceAllStringFunc(s, func(word string) string {
		if !strings.ContainsAny(word, "0123456789") {
			return word // letters alone are a word, such as "deadbeef" or "accede"
		}
		if strings.Trim(word, "0123456789") == "" {
			return "<n>"
		}
		return "<hex>"
	})
	return cutLetters(numberPattern.ReplaceAllString(s, "<n>"), normalMax)
}

func cutLetters(s string, max int) string {
	n := 0
	for i := range s {
		if n == max {
			return s[:i]
		}
		n++
	}
	return s
}

// errors answers what jobs died of.
func (g *Gateway) errors(ctx context.Context, r *request) ([]byte, error) {
	req := ErrorsRequest{}
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	req.By = cmp.Or(req.By, ByError)
	if by := []string{ByError, ByType, ByOrg, ByQueue}; !slices.Contains(by, req.By) {
		return nil, badField("by", unknownValue(req.By, by))
	}
	req.Resolution = cmp.Or(req.Resolution, string(schemas.ResolutionOpen))
	if err := req.check(); err != nil {
		return nil, err
	}
	req.State = []schemas.State{schemas.StateDeadLettered}
	if err := g.views.waitFor(ctx, req.MinSeq); err != nil {
		return nil, err
	}
	now := time.Now()
	groups := errorGroups{by: req.By, byKey: map[string]*ErrorGroup{}}
	seq, err := g.views.jobs(ctx, r.org, func(record ledger.Record) {
		if req.matches(&record, now) {
			groups.add(&record)
		}
	})
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
	common := errorGroupOf(r)
	key := common.key()
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
	g.Class, g.Reason, g.Message, g.Type = common.class, common.reason, common.message, common.typ
	if r.Error != nil {
		g.SampleError = cutLetters(r.Error.Message, normalMax)
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
