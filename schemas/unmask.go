package schemas

import (
	"errors"
	"fmt"
)

const (
	// UnmaskFieldsMax is how many marked fields an Unmasked names, UnmaskFieldBytes how much of each.
	UnmaskFieldsMax  = 100
	UnmaskFieldBytes = 256
)

// Unmasked notes that somebody is shown what a schema redacts in the args of one job: who is the event's actor.
// Subject control.<org>.unmask.<job>: to look at a job moves it nowhere, and no fold of it changes.
type Unmasked struct {
	Org  OrgID    `json:"org"`
	Job  JobID    `json:"job"`
	Type TypeName `json:"type"`
	// Fields are the paths that the type marked then, UnmaskFieldsMax of them at most; an empty one is all of the args.
	Fields []string `json:"fields,omitempty"`
	Reason string   `json:"reason"`
}

// Name implements Data.
func (*Unmasked) Name() EventName { return EventUnmasked }

// UnmaskPlace is the subject of all unmaskings of one job.
func UnmaskPlace(org OrgID, job JobID) Subject {
	return ControlSubject(string(org), "unmask", string(job))
}

// Place is the subject of the event.
func (u *Unmasked) Place() Subject { return UnmaskPlace(u.Org, u.Job) }

func (u *Unmasked) wellFormed() error {
	return firstError(CheckToken("org", string(u.Org)), CheckToken("job", string(u.Job)), CheckToken("type", string(u.Type)))
}

// Validate implements Data.
func (u *Unmasked) Validate() error {
	switch {
	case u.Reason == "":
		return errors.New("a reason is required")
	case len(u.Fields) > UnmaskFieldsMax:
		return fmt.Errorf("%d fields: at most %d are named", len(u.Fields), UnmaskFieldsMax)
	}
	for _, f := range u.Fields {
		if err := checkText("field", f, UnmaskFieldBytes); err != nil {
			return err
		}
	}
	return validateReason(u.wellFormed(), u.Reason)
}
