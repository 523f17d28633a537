package schemas

import "errors"

// VerifyResult is what `log verify` found of the whole ledger and its views; who asked, and when, stands in its event.
type VerifyResult struct {
	// Full says that each event was encoded again, and Limits that what ran at once was counted anew.
	Full   bool `json:"full"`
	Limits bool `json:"limits"`
	// FirstSeq and LastSeq are what was read: what came behind it is not judged.
	FirstSeq   Seq            `json:"first_seq"`
	LastSeq    Seq            `json:"last_seq"`
	Events     int            `json:"events"`
	Jobs       int            `json:"jobs"`
	Problems   map[string]int `json:"problems"` // how many of each kind were found, kinds without any left out; empty: all is well
	DurationMS Millis         `json:"duration_ms"`
}

// Verified notes what a check of the whole ledger found, so that who was not there can read it. Subject control.cell.verify.ledger.
type Verified struct {
	Settings VerifyResult `json:"settings"`
}

// Name implements Data.
func (*Verified) Name() EventName { return EventVerified }

// Place implements Setting.
func (*Verified) Place() Subject { return settingPlace("verify", "ledger") }

// Key implements Setting.
func (*Verified) Key() string { return "verify.ledger" }

// Stored implements Setting.
func (v *Verified) Stored() any { return &v.Settings }

// Why implements Setting.
func (*Verified) Why() string { return "" }

func (*Verified) wellFormed() error { return nil }

// Validate implements Data.
func (v *Verified) Validate() error {
	for kind, n := range v.Settings.Problems {
		if err := CheckToken("kind of problem", kind); err != nil {
			return err
		}
		if n < 1 {
			return errors.New("a kind of problem that was not found is left out")
		}
	}
	if v.Settings.LastSeq < v.Settings.FirstSeq {
		return errors.New("last_seq is before first_seq")
	}
	return nil
}
