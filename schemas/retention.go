package schemas

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// Ranges of how long history is kept behind the finish of its job.
const (
	Day                  = 24 * time.Hour
	RetentionDaysMin     = 30
	RetentionDaysMax     = 36_500
	RetentionDaysDefault = 90 // of a cell that says nothing
)

// CheckRetentionDays reports a retention out of range; 0 is not set.
func CheckRetentionDays(days int) error {
	if days != 0 && (days < RetentionDaysMin || days > RetentionDaysMax) {
		return fmt.Errorf("retention of %d days is outside %d to %d", days, RetentionDaysMin, RetentionDaysMax)
	}
	return nil
}

// LegalScope names what a legal hold stands on: an org, an org's jobs of one type, or one job of an org. What is
// given has to match, all of it.
type LegalScope struct {
	Org  OrgID    `json:"org"`
	Type TypeName `json:"type,omitempty"`
	Job  JobID    `json:"job,omitempty"`
}

// String returns such as "org acme, type email-send"; it is the same for the same scope.
func (s LegalScope) String() string {
	parts := []string{"org " + string(s.Org)}
	if s.Type != "" {
		parts = append(parts, "type "+string(s.Type))
	}
	if s.Job != "" {
		parts = append(parts, "job "+string(s.Job))
	}
	return strings.Join(parts, ", ")
}

// ID names the scope's one hold, so that to hold twice is to hold once: a token made from the scope.
func (s LegalScope) ID() string {
	sum := sha256.Sum256([]byte(s.String()))
	return hex.EncodeToString(sum[:8])
}

// Validate reports a scope that no legal hold may have.
func (s LegalScope) Validate() error {
	if err := CheckToken("org", string(s.Org)); err != nil {
		return err
	}
	if s.Type != "" {
		if err := CheckToken("type", string(s.Type)); err != nil {
			return err
		}
	}
	if s.Job != "" {
		return CheckToken("job", string(s.Job))
	}
	return nil
}

// LegalHoldSettings are one legal hold: while it is on, no history of its scope is removed from the archive, however old
// it is.
type LegalHoldSettings struct {
	Scope LegalScope `json:"scope"`
	On    bool       `json:"on"`
}

// LegalHoldSet lays a legal hold on a scope or releases it. Subject control.cell.legal_hold.<id>.
type LegalHoldSet struct {
	Settings LegalHoldSettings `json:"settings"`
	Reason   string            `json:"reason,omitempty"`
}

// Name implements Data.
func (*LegalHoldSet) Name() EventName { return EventLegalHoldSet }

// Place implements Setting.
func (h *LegalHoldSet) Place() Subject { return settingPlace("legal_hold", h.Settings.Scope.ID()) }

// Key implements Setting.
func (h *LegalHoldSet) Key() string { return "legal_hold." + h.Settings.Scope.ID() }

// Stored implements Setting.
func (h *LegalHoldSet) Stored() any { return &h.Settings }

// Why implements Setting.
func (h *LegalHoldSet) Why() string { return h.Reason }

func (h *LegalHoldSet) wellFormed() error { return h.Settings.Scope.Validate() }

// Validate implements Data.
func (h *LegalHoldSet) Validate() error { return validateReason(h.wellFormed(), h.Reason) }
