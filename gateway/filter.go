package gateway

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/dartwing/jobledger/internal/where"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Filter chooses jobs. Of each list that is not empty one value must match, of Tags all; the zero value
// chooses every job.
type Filter struct {
	State    []schemas.State     `json:"state,omitempty"`
	Reason   []string            `json:"reason,omitempty"`
	Type     []schemas.TypeName  `json:"type,omitempty"`
	Queue    []schemas.QueueName `json:"queue,omitempty"`
	Priority []schemas.Priority  `json:"priority,omitempty"`
	Owner    []string            `json:"owner,omitempty"`
	Batch    []string            `json:"batch,omitempty"`
	Tags     map[string]string   `json:"tags,omitempty"`
	// Error is a part of the latest error's message, in any case.
	Error string `json:"error,omitempty"`
	// Group is the key of a group of ErrorGroups by error.
	Group string `json:"group,omitempty"`
	// Resolution of dead letters; ResolutionAll or nothing asks for every one.
	Resolution string     `json:"resolution,omitempty"`
	Since      *time.Time `json:"since,omitempty"` // submitted at or after
	Until      *time.Time `json:"until,omitempty"` // submitted at or before
	// Where is a text of the filter grammar (docs/SEARCH.md), which must hold, too.
	Where string `json:"where,omitempty"`

	where where.Where // Where, as check read it
}

// ResolutionAll asks for dead letters whatever became of them.
const ResolutionAll = "all"

// stateWhere stands in State of a request with Where, where a server of a version before Where refuses it: it would
// not see Where, and a bulk reach every job.
const stateWhere schemas.State = "where"

// sent is the filter as a client sends it.
func (f Filter) sent() Filter {
	if f.Where != "" {
		f.State = append(slices.Clone(f.State), stateWhere)
	}
	return f
}

// check reads Where, and refuses values that no job can have, so that a slip is no empty answer.
func (f *Filter) check() (err error) {
	f.State = slices.DeleteFunc(f.State, func(s schemas.State) bool { return f.Where != "" && s == stateWhere })
	if f.where, err = parseWhere(f.Where); err != nil {
		return err
	}
	for _, s := range f.State {
		if !slices.Contains(schemas.States(), s) {
			return badField("state", unknownValue(s, schemas.States()))
		}
	}
	known := []string{ResolutionAll, string(schemas.ResolutionOpen), string(schemas.ResolutionResolved), string(schemas.ResolutionIgnored)}
	if f.Resolution != "" && !slices.Contains(known, f.Resolution) {
		return badField("resolution", unknownValue(f.Resolution, known))
	}
	return nil
}

// parseWhere reads a text of the grammar for one org's jobs.
func parseWhere(text string) (where.Where, error) {
	w, err := where.Parse(text)
	if err != nil {
		return w, badField("where", err)
	}
	if text != "" && len(w.Terms) == 0 {
		return w, badField("where", errors.New("it is blank: leave it out to choose every job"))
	}
	if w.Uses(where.FieldOrg) {
		return w, badField("where", errors.New("org: the jobs of one org are asked for, the one that is given with the request (--org)"))
	}
	return w, nil
}

// matches reports whether a record passes every test at now. It gives a record that waits the reason why.
func (f *Filter) matches(r *ledger.Record, now time.Time) bool {
	say(r, now)
	for k, v := range f.Tags {
		if have, ok := r.Tags[k]; !ok || have != v {
			return false
		}
	}
	return anyOf(f.State, r.State) && anyOf(f.Type, r.Type) && anyOf(f.Queue, r.Queue) && anyOf(f.Priority, r.Priority) &&
		anyOfOpt(f.Reason, r.Reason) && anyOfOpt(f.Owner, r.Owner) && anyOfOpt(f.Batch, r.Batch) && f.resolved(r) &&
		(f.Since == nil || !r.SubmittedAt.Before(*f.Since)) && (f.Until == nil || !r.SubmittedAt.After(*f.Until)) &&
		f.failed(r) && f.where.Match(r, now)
}

func (f *Filter) resolved(r *ledger.Record) bool {
	if f.Resolution == "" || f.Resolution == ResolutionAll {
		return true
	}
	return r.Resolution != nil && string(r.Resolution.State) == f.Resolution
}

// failed comes last: it is the one test that costs more than a comparison.
func (f *Filter) failed(r *ledger.Record) bool {
	if f.Error != "" && (r.Error == nil || !strings.Contains(strings.ToLower(r.Error.Message), strings.ToLower(f.Error))) {
		return false
	}
	return f.Group == "" || r.State == schemas.StateDeadLettered && f.Group == where.GroupOf(r).Key()
}

func anyOf[T comparable](want []T, have T) bool { return len(want) == 0 || slices.Contains(want, have) }

func anyOfOpt(want []string, have *string) bool {
	return len(want) == 0 || have != nil && slices.Contains(want, *have)
}
