package gateway

import (
	"encoding/json"
	"errors"

	"github.com/dartwing/jobledger/schemas"
)

// AddOrgRequest adds an org over HTTP.
type AddOrgRequest struct {
	Name schemas.OrgID `json:"name"`
	// Set are the settings that are not the defaults, as in SetRequest.
	Set    json.RawMessage `json:"set,omitempty"`
	Reason string          `json:"reason"` // required
}

// fillOrg turns an AddOrgRequest into a SetRequest about that org.
func fillOrg(in *httpRequest) (err error) {
	b := in.taken.(*AddOrgRequest)
	if b.Name == "" {
		return badField("name", errors.New("a name is required"))
	}
	in.org = b.Name
	in.body, err = json.Marshal(SetRequest{Set: b.Set, New: true, Reason: b.Reason})
	return err
}

// fillState turns a reason into the change of one setting. Where the body names no reason the endpoint says so.
func fillState(field string, value any) func(in *httpRequest) error {
	return func(in *httpRequest) error {
		set, err := json.Marshal(map[string]any{field: value})
		if err != nil {
			return err
		}
		in.body, err = json.Marshal(SetRequest{Set: set, Upsert: value == schemas.OrgSuspended, Reason: in.taken.(*ReasonRequest).Reason})
		if err != nil {
			return err
		}
		return fillIfMatch(in)
	}
}
