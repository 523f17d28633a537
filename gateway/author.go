package gateway

import (
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// SettingAuthor says who set what is in force.
type SettingAuthor struct {
	Seq    *schemas.Seq `json:"seq"` // of the event that set it; null: it was never set, and has the defaults
	Actor  *string      `json:"updated_by"`
	At     *time.Time   `json:"updated_at"`
	Reason *string      `json:"reason"`
}

func authorOf(e *ledger.Entry) SettingAuthor {
	if e == nil {
		return SettingAuthor{}
	}
	a := SettingAuthor{Seq: &e.Seq, At: &e.Time}
	if actor := e.Actor.String(); actor != "" {
		a.Actor = &actor
	}
	if why := e.Data.(schemas.Setting).Why(); why != "" {
		a.Reason = &why
	}
	return a
}
