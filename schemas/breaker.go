package schemas

// BreakerClosed closes the circuit breaker of one (type, org) by hand: the window of attempts begins anew.
// Subject control.<org>.breaker.<type>.
type BreakerClosed struct {
	Org    OrgID    `json:"org"`
	Type   TypeName `json:"type"`
	Reason string   `json:"reason,omitempty"`
}

// Place is the subject of all closings of one breaker.
func (b *BreakerClosed) Place() Subject {
	return ControlSubject(string(b.Org), "breaker", string(b.Type))
}

func (b *BreakerClosed) wellFormed() error {
	return firstError(CheckToken("org", string(b.Org)), CheckToken("type", string(b.Type)))
}

// Validate implements Data.
func (b *BreakerClosed) Validate() error { return validateReason(b.wellFormed(), b.Reason) }
