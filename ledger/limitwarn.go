package ledger

import (
	"encoding/json"
	"strings"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/schemas"
)

// SubjectLimits takes a LimitWarning from whoever's door refuses submits, under jl.limit.<org>. It is core NATS, and may be lost:
// nothing is recorded of what was refused.
const SubjectLimits = subjectLimit + "*"

const subjectLimit = "jl.limit."

// LimitWarning says that an org has crossed a limit at the door.
type LimitWarning struct {
	Org   schemas.OrgID     `json:"org"`
	Queue schemas.QueueName `json:"queue,omitempty"` // of a limit of a queue
	Code  Code              `json:"code"`            // queue_full or rate_limited
	Used  int64             `json:"used"`            // jobs that wait; of a rate what it allows
	Limit int64             `json:"limit"`
}

// warnOf tells servers, once for each crossing of a process's door.
func (l *Ledger) warnOf(org schemas.OrgID, err *Error) {
	w := LimitWarning{Org: org, Code: err.Code}
	if q, ok := err.Details["queue"].(schemas.QueueName); ok {
		w.Queue = q
	}
	if n, ok := err.Details["limit"].(int); ok {
		w.Limit, w.Used = int64(n), int64(n)
	}
	if n, ok := err.Details["count"].(int64); ok {
		w.Used = n
	}
	body, bad := json.Marshal(&w)
	if bad == nil {
		bad = l.nc.Publish(subjectLimit+string(org), body)
	}
	if bad != nil {
		l.log.Debug("nobody is told that an org is at its limit", zap.String("org", string(org)), zap.Error(bad))
	}
}

// DecodeLimitWarning reads one; false for what is none.
func DecodeLimitWarning(subject string, body []byte) (w LimitWarning, ok bool) {
	org, _ := strings.CutPrefix(subject, subjectLimit)
	err := json.Unmarshal(body, &w)
	return w, err == nil && schemas.CheckToken("org", org) == nil && string(w.Org) == org
}
