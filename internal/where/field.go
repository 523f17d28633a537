package where

import (
	"slices"
	"strings"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Field is what a term is about.
type Field string

// The fields. FieldTag has the tag's name as its key.
const (
	FieldState      Field = "state"
	FieldReason     Field = "reason"
	FieldType       Field = "type"
	FieldQueue      Field = "queue"
	FieldPriority   Field = "priority"
	FieldOwner      Field = "owner"
	FieldTag        Field = "tag"
	FieldBatch      Field = "batch"
	FieldParent     Field = "parent" // a job that it waits for, or waited for, by id; or its batch
	FieldError      Field = "error"  // a part of the latest error's message, in any case
	FieldClass      Field = "class"  // of the latest error
	FieldGroup      Field = "group"  // of a dead letter: GroupKey
	FieldResolution Field = "resolution"
	FieldID         Field = "id"
	FieldAttempt    Field = "attempt"
	FieldSubmitted  Field = "submitted"
	FieldFinished   Field = "finished"
	FieldOrg        Field = "org"
)

// kind is how a field's values are read and compared.
type kind int

const (
	kindName   kind = iota // equal, or begins with
	kindText               // contains, or begins with, in any case
	kindNumber             // equal, or within bounds
	kindTime               // within bounds
)

// fieldForm is what there is to know about a field.
type fieldForm struct {
	field Field
	kind  kind
	known []string // the only values there are; nil: any
	// costly: looking it up costs more than all the other comparisons.
	costly bool
}

func named[T ~string](values ...T) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = string(v)
	}
	return out
}

// forms are all fields in the order in which they are told.
var forms = []fieldForm{
	{field: FieldState, known: named(schemas.States()...)},
	{field: FieldReason, known: append(named(schemas.DeadPermanentError, schemas.DeadRetriesExhausted, schemas.DeadDependencyFailed,
		schemas.DeadExpired, schemas.DeadRejected, schemas.DeadOrgDeleted, schemas.DeadPoison),
		ledger.ReasonScheduled, ledger.ReasonWaitingOnParent, ledger.ReasonReady, ledger.ReasonDuplicate, ledger.ReasonCanceled)},
	{field: FieldType},
	{field: FieldQueue},
	{field: FieldPriority, known: named(schemas.PriorityLow, schemas.PriorityNormal, schemas.PriorityHigh, schemas.PriorityCritical)},
	{field: FieldOwner},
	{field: FieldTag},
	{field: FieldBatch},
	{field: FieldParent},
	{field: FieldError, kind: kindText, costly: true},
	{field: FieldClass, known: named(schemas.ClassTransient, schemas.ClassPermanent, schemas.ClassUnclassified, schemas.ClassTimeout, schemas.ClassLost)},
	{field: FieldGroup, costly: true},
	{field: FieldResolution, known: named(schemas.ResolutionOpen, schemas.ResolutionResolved, schemas.ResolutionIgnored)},
	{field: FieldID},
	{field: FieldAttempt, kind: kindNumber},
	{field: FieldSubmitted, kind: kindTime},
	{field: FieldFinished, kind: kindTime},
	{field: FieldArgs, costly: true},
	{field: FieldResult, costly: true},
	{field: FieldOrg},
}

func formOf(f Field) *fieldForm {
	i := slices.IndexFunc(forms, func(form fieldForm) bool { return form.field == f })
	if i < 0 {
		return nil
	}
	return &forms[i]
}

// otherNames are fields as they are called elsewhere, too far from ours to be taken for slips.
var otherNames = map[string]string{
	"status": "state", "dead": "state:dead_lettered", "name": "type", "job": "id", "tags": "tag.NAME", "label": "tag.NAME", "labels": "tag.NAME",
	"message": "error", "msg": "error", "error_class": "class", "error.class": "class", "created": "submitted",
	"age": "submitted:>1h", "time": "submitted", "since": "submitted:<1h", "until": "submitted:>1h", "ended": "finished", "completed": "finished",
	"tries": "attempt", "attempts": "attempt", "user": "owner", "principal": "owner", "tenant": "org", "prio": "priority",
}

// text is a job's value of a field of names or text; false where it has none.
func (t *Term) text(r *ledger.Record, now time.Time) (string, bool) {
	switch t.Field {
	case FieldState:
		return string(r.State), true
	case FieldReason:
		reason := r.ReasonAt(now, false)
		return reason, reason != ""
	case FieldType:
		return string(r.Type), true
	case FieldQueue:
		return string(r.Queue), true
	case FieldPriority:
		return string(r.Priority), true
	case FieldOwner:
		return opt(r.Owner)
	case FieldTag:
		v, ok := r.Tags[t.Key]
		return v, ok
	case FieldBatch:
		return opt(r.Batch)
	case FieldResolution:
		if r.Resolution != nil {
			return string(r.Resolution.State), true
		}
	case FieldID:
		return string(r.ID), true
	case FieldOrg:
		return string(r.Org), true
	case FieldGroup:
		if r.State == schemas.StateDeadLettered {
			return GroupOf(r).Key(), true
		}
	case FieldError:
		if r.Error != nil {
			return strings.ToLower(r.Error.Message), true
		}
	case FieldClass:
		if r.Error != nil {
			return string(r.Error.Class), r.Error.Class != ""
		}
	}
	return "", false
}

func opt(s *string) (string, bool) {
	if s == nil {
		return "", false
	}
	return *s, true
}

// instant is a job's value of a field of times; nil where it has none.
func (t *Term) instant(r *ledger.Record) *time.Time {
	if t.Field == FieldFinished {
		return r.FinishedAt
	}
	return &r.SubmittedAt
}
