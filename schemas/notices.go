package schemas

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"time"
)

// NoticesMark is how far an owner has read his notices: which are the ends of his jobs, told by the jobs
// themselves.
type NoticesMark struct {
	Org   OrgID  `json:"org"`
	Owner string `json:"owner"` // whom the jobs run as, such as user:ada
	// Through is the ledger's time of the latest end that was read: those up to it are read.
	Through time.Time `json:"through"`
}

// Validate reports a mark that nobody sets.
func (m *NoticesMark) Validate() error {
	if err := firstError(CheckToken("org", string(m.Org)), checkText("owner", m.Owner, textMax)); err != nil {
		return err
	}
	if m.Owner == "" {
		return errors.New("owner is required")
	}
	if m.Through.IsZero() {
		return errors.New("through is required")
	}
	return nil
}

// NoticesPlace is the subject of an owner's mark: names of owners have letters that a subject has not.
func NoticesPlace(org OrgID, owner string) Subject {
	return ControlSubject(string(org), "notices", ownerToken(owner))
}

func ownerToken(owner string) string {
	sum := sha256.Sum256([]byte(owner))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// NoticesRead notes that an owner has read his notices. Subject control.<org>.notices.<hash of the owner>.
type NoticesRead struct {
	Settings NoticesMark `json:"settings"`
}

// Name implements Data.
func (*NoticesRead) Name() EventName { return EventNoticesRead }

// Place implements Setting.
func (n *NoticesRead) Place() Subject { return NoticesPlace(n.Settings.Org, n.Settings.Owner) }

// Key implements Setting.
func (n *NoticesRead) Key() string {
	return "notices." + string(n.Settings.Org) + "." + ownerToken(n.Settings.Owner)
}

// Stored implements Setting.
func (n *NoticesRead) Stored() any { return &n.Settings }

// Why implements Setting.
func (*NoticesRead) Why() string { return "" }

func (n *NoticesRead) wellFormed() error { return CheckToken("org", string(n.Settings.Org)) }

// Validate implements Data.
func (n *NoticesRead) Validate() error { return n.Settings.Validate() }
