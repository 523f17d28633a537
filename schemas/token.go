package schemas

import (
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// Role says what its holder may do in an org; the matrix is that of REQUIREMENTS 8, in package gateway/rights.
type Role string

// The roles. RoleAdmin alone is of the whole cell.
const (
	RoleMember    Role = "member"    // submits, and sees and cancels its own jobs
	RoleOperator  Role = "operator"  // works on all jobs of its org
	RoleAuditor   Role = "auditor"   // sees all of its org, changes nothing
	RoleAdmin     Role = "admin"     // everything, of every org
	RolePublisher Role = "publisher" // submits for others, and sees and cancels what it submitted
	RoleWorker    Role = "worker"    // runs jobs
)

// Roles lists all.
func Roles() []Role {
	return []Role{RoleMember, RoleOperator, RoleAuditor, RoleAdmin, RolePublisher, RoleWorker}
}

// Submits reports whether a holder of the role may submit jobs at all: package gateway/rights says which, and a test
// there compares.
func (r Role) Submits() bool {
	return r == RoleMember || r == RoleOperator || r == RoleAdmin || r == RolePublisher
}

// Bulks reports whether a holder of the role may act upon many jobs of an org: as with Submits, package gateway/rights
// says so.
func (r Role) Bulks() bool { return r == RoleOperator || r == RoleAdmin }

// Bounds of a token's settings.
const (
	// TokenHashBytes is the size of a token's stored hash, SHA-256.
	TokenHashBytes = 32
	// TokenPermissionsMax bounds the permissions of one token.
	TokenPermissionsMax = 100
)

// TokenSettings are a credential: who holds it, and what it opens. The secret itself is stored nowhere: Hash is the
// SHA-256 of it, in hex, and as the secret is 256 random bits nothing slower is needed.
type TokenSettings struct {
	ID    string `json:"id"`            // a token of the subject, and the public part of the secret
	Org   OrgID  `json:"org,omitempty"` // the one org it is for; empty: every one
	Title string `json:"title"`         // what a person calls it
	Role  Role   `json:"role"`
	// Actor is who acts with it, as events name it.
	Actor Actor `json:"actor"`
	// Permissions open the types that ask for one by name, to a member.
	Permissions []string   `json:"permissions,omitempty"`
	Hash        string     `json:"hash"`
	ExpiresAt   *time.Time `json:"expires_at,omitempty"`
	Revoked     bool       `json:"revoked,omitempty"` // for good: a token never comes back
}

// Validate reports settings that no token has.
func (t *TokenSettings) Validate() error {
	if err := firstError(CheckToken("token id", t.ID), checkText("title", t.Title, textMax)); err != nil {
		return err
	}
	switch t.Role {
	case RoleMember, RoleOperator, RoleAuditor, RolePublisher, RoleWorker:
		if t.Org == "" {
			return fmt.Errorf("role %s is of one org: name it", t.Role)
		}
	case RoleAdmin:
		if t.Org != "" {
			return errors.New("role admin is of every org, not of one")
		}
	default:
		return fmt.Errorf("role %q is unknown: use one of %v", t.Role, Roles())
	}
	if t.Org != "" {
		if err := CheckToken("org", string(t.Org)); err != nil {
			return err
		}
	}
	if _, err := ParseActor(t.Actor.String()); err != nil {
		return err
	}
	if len(t.Permissions) > TokenPermissionsMax {
		return fmt.Errorf("%d permissions: at most %d are allowed", len(t.Permissions), TokenPermissionsMax)
	}
	for _, p := range t.Permissions {
		if err := checkText("permission", p, textMax); err != nil {
			return err
		}
	}
	if b, err := hex.DecodeString(t.Hash); err != nil || len(b) != TokenHashBytes {
		return fmt.Errorf("hash is not %d bytes in hex", TokenHashBytes)
	}
	return nil
}

// TokenSet adds a token or revokes it. Subject control.cell.token.<id>.
type TokenSet struct {
	Settings TokenSettings `json:"settings"`
	Reason   string        `json:"reason,omitempty"`
}

// Name implements Data.
func (*TokenSet) Name() EventName { return EventTokenSet }

// Place implements Setting.
func (t *TokenSet) Place() Subject { return settingPlace("token", t.Settings.ID) }

// Key implements Setting.
func (t *TokenSet) Key() string { return "token." + t.Settings.ID }

// Stored implements Setting. The view has no use for the hash.
func (t *TokenSet) Stored() any {
	shown := t.Settings
	shown.Hash = ""
	return &shown
}

// Why implements Setting.
func (t *TokenSet) Why() string { return t.Reason }

func (t *TokenSet) wellFormed() error { return CheckToken("token id", t.Settings.ID) }

// Validate implements Data.
func (t *TokenSet) Validate() error { return validateReason(t.Settings.Validate(), t.Reason) }
