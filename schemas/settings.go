package schemas

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// Ranges of what an operator may set (REQUIREMENTS 5).
const (
	OrgRunningDefault = 100            // jobs of an org that run at once
	WeightDefault     = 1              // share of an org in the turns of a queue
	WeightMax         = 1000           // of an org
	LimitMax          = 10_000_000     // of every number of jobs
	RateMax           = 10_000         // starts or submits in a window
	RateWindowMin     = time.Second
	RateWindowMax     = 24 * time.Hour
	// QueueWeightsMax is how many orgs a queue may weigh differently from their own weight.
	QueueWeightsMax = 1000
	// DisabledOrgsMax is how many orgs a type may be closed to.
	DisabledOrgsMax = 1000
	textMax         = 1000 // bytes of a description or a display name
)

// Ranges of a circuit breaker.
const (
	BreakerPercentDefault  = 50
	BreakerAttemptsDefault = 10
	BreakerWindowDefault   = 30 * time.Minute
	BreakerCooldownDefault = 15 * time.Minute
	BreakerReopenDefault   = 10 * time.Minute // after a failed probe
)

// Setting is the data of a control event that holds all settings of one thing: of a type, an org, a queue. The
// latest one on its subject is in force (DESIGN D11).
type Setting interface {
	Data
	// Place is the one subject of the thing's settings.
	Place() Subject
	// Key names the thing in the view CONFIG, such as "type.email-send".
	Key() string
	// Stored is what the view shows of it.
	Stored() any
	// Why is the reason that whoever set it gave; empty if none.
	Why() string
}

// settingPlace is where the settings of a thing of the whole cell stand.
func settingPlace(kind, name string) Subject { return ControlSubject("cell", kind, name) }

// Place implements Setting.
func (t *TypeSet) Place() Subject { return settingPlace("type", string(t.Settings.Name)) }

// Key implements Setting.
func (t *TypeSet) Key() string { return "type." + string(t.Settings.Name) }

// Stored implements Setting.
func (t *TypeSet) Stored() any { return &t.Settings }

// Why implements Setting.
func (t *TypeSet) Why() string { return t.Reason }

// Rate allows Count things in any window of PerMS, as a token bucket that holds Count.
type Rate struct {
	Count int    `json:"count"`
	PerMS Millis `json:"per_ms"`
}

// Validate reports a rate outside R-309; a nil one allows everything.
func (r *Rate) Validate() error {
	if r == nil {
		return nil
	}
	if r.Count < 1 || r.Count > RateMax {
		return fmt.Errorf("rate of %d is outside 1 to %d", r.Count, RateMax)
	}
	if d := r.PerMS.Duration(); d < RateWindowMin || d > RateWindowMax {
		return fmt.Errorf("rate's window %s is outside %s to %s", d, RateWindowMin, RateWindowMax)
	}
	return nil
}

// String returns such as "50/1m0s".
func (r Rate) String() string { return fmt.Sprintf("%d/%s", r.Count, r.PerMS.Duration()) }

// Breaker parks the starts of one (type, org) when too many of its attempts failed. Zero fields
// mean the default.
type Breaker struct {
	Percent     int    `json:"percent,omitempty"`      // failed attempts of all in the window that open it
	MinAttempts int    `json:"min_attempts,omitempty"` // below which it stays closed
	WindowMS    Millis `json:"window_ms,omitempty"`
	CooldownMS  Millis `json:"cooldown_ms,omitempty"` // before the first probe
	ReopenMS    Millis `json:"reopen_ms,omitempty"`   // before the next probe, after one failed
}

// Effective returns b with the defaults filled in.
func (b Breaker) Effective() Breaker {
	e := Breaker{BreakerPercentDefault, BreakerAttemptsDefault, MillisOf(BreakerWindowDefault), MillisOf(BreakerCooldownDefault), MillisOf(BreakerReopenDefault)}
	set(&e.Percent, b.Percent)
	set(&e.MinAttempts, b.MinAttempts)
	set(&e.WindowMS, b.WindowMS)
	set(&e.CooldownMS, b.CooldownMS)
	set(&e.ReopenMS, b.ReopenMS)
	return e
}

// Validate reports values that no breaker can work by; nil is no breaker.
func (b *Breaker) Validate() error {
	if b == nil {
		return nil
	}
	e := b.Effective()
	if e.Percent < 1 || e.Percent > 100 {
		return fmt.Errorf("breaker opens at %d percent: use 1 to 100", e.Percent)
	}
	if e.MinAttempts < 1 || e.MinAttempts > RateMax {
		return fmt.Errorf("breaker looks at %d attempts: use 1 to %d", e.MinAttempts, RateMax)
	}
	for _, d := range []Millis{e.WindowMS, e.CooldownMS, e.ReopenMS} {
		if d.Duration() < RateWindowMin || d.Duration() > RateWindowMax {
			return fmt.Errorf("breaker's time %s is outside %s to %s", d.Duration(), RateWindowMin, RateWindowMax)
		}
	}
	return nil
}

// OrgState says whether an org's jobs may start.
type OrgState string

// The states of an org. The zero value is OrgActive.
const (
	OrgActive    OrgState = "active"
	OrgSuspended OrgState = "suspended" // waiting jobs park, running ones end, results are withheld
	OrgDeleted   OrgState = "deleted"   // unfinished jobs are dead-lettered; the id is never given out again
)

// OrgSettings are a tenant's share and limits. Each org_set event carries all of it. An org that was
// never set is active and has the defaults.
type OrgSettings struct {
	Name        OrgID    `json:"name"`
	DisplayName string   `json:"display_name,omitempty"`
	State       OrgState `json:"state,omitempty"`       // empty: active
	Weight      int      `json:"weight,omitempty"`      // 0: WeightDefault
	MaxRunning  *int     `json:"max_running,omitempty"` // nil: OrgRunningDefault; 0: unlimited
	MaxWaiting  int      `json:"max_waiting,omitempty"` // unfinished jobs beside the running ones, over all queues; 0: unlimited
	SubmitRate  *Rate    `json:"submit_rate,omitempty"`
	StartRate   *Rate    `json:"start_rate,omitempty"`
	// RetentionDays is how long history is kept behind the finish of its job; 0: as the type says, else the cell.
	RetentionDays int `json:"retention_days,omitempty"`
}

// Running is how many jobs of the org may run at once; 0 is no limit. A nil receiver has the default.
func (o *OrgSettings) Running() int {
	if o == nil || o.MaxRunning == nil {
		return OrgRunningDefault
	}
	return *o.MaxRunning
}

// Parked reports whether the org's jobs do not start, whatever else is set. A nil receiver is active.
func (o *OrgSettings) Parked() bool {
	return o != nil && (o.State == OrgSuspended || o.State == OrgDeleted)
}

// OrgSet adds or changes an org. Subject control.cell.org.<name>.
type OrgSet struct {
	Settings OrgSettings `json:"settings"`
	Reason   string      `json:"reason,omitempty"`
}

// Place implements Setting.
func (o *OrgSet) Place() Subject { return settingPlace("org", string(o.Settings.Name)) }

// Key implements Setting.
func (o *OrgSet) Key() string { return "org." + string(o.Settings.Name) }

// Stored implements Setting.
func (o *OrgSet) Stored() any { return &o.Settings }

// Why implements Setting.
func (o *OrgSet) Why() string { return o.Reason }

func (o *OrgSet) wellFormed() error { return CheckToken("org", string(o.Settings.Name)) }

// Validate implements Data.
func (o *OrgSet) Validate() error { return validateReason(o.Settings.Validate(), o.Reason) }

// Validate reports settings out of range.
func (o *OrgSettings) Validate() error {
	switch o.State {
	case "", OrgActive, OrgSuspended, OrgDeleted:
	default:
		return fmt.Errorf("org state %q is unknown: use active, suspended or deleted", o.State)
	}
	running := 0
	if o.MaxRunning != nil {
		running = *o.MaxRunning
	}
	return firstError(
		CheckToken("org", string(o.Name)), checkText("display name", o.DisplayName, textMax),
		checkWeight(o.Weight), checkLimit("max running", running), checkLimit("max waiting", o.MaxWaiting),
		o.SubmitRate.Validate(), o.StartRate.Validate(), CheckRetentionDays(o.RetentionDays),
	)
}

// QueueSettings are the limits of an isolation class (R-331..R-334). Each queue_set event carries all of it; 0 is
// no limit. A queue that was never set has none.
type QueueSettings struct {
	Name             QueueName     `json:"name"`
	Description      string        `json:"description,omitempty"`
	Owner            OrgID         `json:"owner,omitempty"` // the one org that may use it; empty: all
	MaxRunning       int           `json:"max_running,omitempty"`
	MaxRunningPerOrg int           `json:"max_running_per_org,omitempty"`
	MaxWaitingPerOrg int           `json:"max_waiting_per_org,omitempty"` // unfinished jobs, but for the scheduled and those that wait for parents
	StartRatePerOrg  *Rate         `json:"start_rate_per_org,omitempty"`
	Weights          map[OrgID]int `json:"weights,omitempty"`             // of orgs whose share here differs from their own weight
}

// QueueSet adds or changes a queue. Subject control.cell.queue.<name>.
type QueueSet struct {
	Settings QueueSettings `json:"settings"`
	Reason   string        `json:"reason,omitempty"`
}

// Place implements Setting.
func (q *QueueSet) Place() Subject { return settingPlace("queue", string(q.Settings.Name)) }

// Key implements Setting.
func (q *QueueSet) Key() string { return "queue." + string(q.Settings.Name) }

// Stored implements Setting.
func (q *QueueSet) Stored() any { return &q.Settings }

// Why implements Setting.
func (q *QueueSet) Why() string { return q.Reason }

func (q *QueueSet) wellFormed() error { return CheckToken("queue", string(q.Settings.Name)) }

// Validate implements Data.
func (q *QueueSet) Validate() error { return validateReason(q.Settings.Validate(), q.Reason) }

// Validate reports settings out of range.
func (q *QueueSettings) Validate() error {
	if q.Owner != "" {
		if err := CheckToken("owner", string(q.Owner)); err != nil {
			return err
		}
	}
	if len(q.Weights) > QueueWeightsMax {
		return fmt.Errorf("queue %s weighs %d orgs: at most %d are allowed", q.Name, len(q.Weights), QueueWeightsMax)
	}
	for org, w := range q.Weights {
		if err := firstError(CheckToken("org", string(org)), checkWeight(w)); err != nil {
			return err
		}
	}
	return firstError(
		CheckToken("queue", string(q.Name)), checkText("description", q.Description, textMax),
		checkLimit("max running", q.MaxRunning), checkLimit("max running per org", q.MaxRunningPerOrg),
		checkLimit("max waiting per org", q.MaxWaitingPerOrg), q.StartRatePerOrg.Validate(),
	)
}

// ResourceSettings limit the jobs that name a resource, such as a carrier or an endpoint. 0 is no limit; a
// MaxRunning of 1 is strict order.
type ResourceSettings struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	PerOrg      bool   `json:"per_org,omitempty"` // each org has the limits to itself; else all orgs share them
	MaxRunning  int    `json:"max_running,omitempty"`
	StartRate   *Rate  `json:"start_rate,omitempty"`
}

// ResourceSet adds or changes a resource. Subject control.cell.resource.<name>.
type ResourceSet struct {
	Settings ResourceSettings `json:"settings"`
	Reason   string           `json:"reason,omitempty"`
}

// Place implements Setting.
func (r *ResourceSet) Place() Subject { return settingPlace("resource", r.Settings.Name) }

// Key implements Setting.
func (r *ResourceSet) Key() string { return "resource." + r.Settings.Name }

// Stored implements Setting.
func (r *ResourceSet) Stored() any { return &r.Settings }

// Why implements Setting.
func (r *ResourceSet) Why() string { return r.Reason }

func (r *ResourceSet) wellFormed() error { return CheckToken("resource", r.Settings.Name) }

// Validate implements Data.
func (r *ResourceSet) Validate() error { return validateReason(r.Settings.Validate(), r.Reason) }

// Validate reports settings out of range.
func (r *ResourceSettings) Validate() error {
	return firstError(
		CheckToken("resource", r.Name), checkText("description", r.Description, textMax),
		checkLimit("max running", r.MaxRunning), r.StartRate.Validate(),
	)
}

// HoldScope names what a hold stands on: the jobs that match every field given. The zero value stands on
// everything.
type HoldScope struct {
	Queue    QueueName `json:"queue,omitempty"`
	Type     TypeName  `json:"type,omitempty"`
	Org      OrgID     `json:"org,omitempty"`
	Batch    string    `json:"batch,omitempty"`
	Resource string    `json:"resource,omitempty"`
}

// String returns such as "org acme, type email-send"; it is the same for the same scope.
func (s HoldScope) String() string {
	if s == (HoldScope{}) {
		return "everything"
	}
	var parts []string
	for _, p := range [][2]string{{"queue", string(s.Queue)}, {"org", string(s.Org)}, {"type", string(s.Type)}, {"batch", s.Batch}, {"resource", s.Resource}} {
		if p[1] != "" {
			parts = append(parts, p[0]+" "+p[1])
		}
	}
	return strings.Join(parts, ", ")
}

// ID names the scope's one hold, so that to pause twice is to pause once: a token made from the scope.
func (s HoldScope) ID() string {
	sum := sha256.Sum256([]byte(s.String()))
	return hex.EncodeToString(sum[:8])
}

// Validate reports a scope that no hold may have.
func (s HoldScope) Validate() error {
	for _, p := range [][2]string{{"queue", string(s.Queue)}, {"org", string(s.Org)}, {"type", string(s.Type)}, {"batch", s.Batch}, {"resource", s.Resource}} {
		if p[1] != "" {
			if err := CheckToken(p[0], p[1]); err != nil {
				return err
			}
		}
	}
	return nil
}

// Matches reports whether the scope covers a job.
func (s HoldScope) Matches(org OrgID, queue QueueName, typ TypeName, resource, batch string) bool {
	return (s.Queue == "" || s.Queue == queue) && (s.Type == "" || s.Type == typ) && (s.Org == "" || s.Org == org) &&
		(s.Resource == "" || s.Resource == resource) && (s.Batch == "" || s.Batch == batch)
}

// HoldSettings are one hold: while it is on, jobs of its scope keep their place and are not started; what runs
// runs on.
type HoldSettings struct {
	Scope HoldScope  `json:"scope"`
	On    bool       `json:"on"`
	Until *time.Time `json:"until,omitempty"` // stream time at which it ends by itself
}

// InForce reports whether the hold is on at a stream time.
func (h *HoldSettings) InForce(now time.Time) bool {
	return h.On && (h.Until == nil || now.Before(*h.Until))
}

// HoldSet lays a hold on a scope or lifts it. Subject control.cell.hold.<id>.
type HoldSet struct {
	Settings HoldSettings `json:"settings"`
	Reason   string       `json:"reason,omitempty"`
}

// Place implements Setting.
func (h *HoldSet) Place() Subject { return settingPlace("hold", h.Settings.Scope.ID()) }

// Key implements Setting.
func (h *HoldSet) Key() string { return "hold." + h.Settings.Scope.ID() }

// Stored implements Setting.
func (h *HoldSet) Stored() any { return &h.Settings }

// Why implements Setting.
func (h *HoldSet) Why() string { return h.Reason }

func (h *HoldSet) wellFormed() error { return h.Settings.Scope.Validate() }

// Validate implements Data.
func (h *HoldSet) Validate() error { return validateReason(h.wellFormed(), h.Reason) }

func checkWeight(w int) error {
	if w < 0 || w > WeightMax {
		return fmt.Errorf("weight %d is outside 1 to %d", w, WeightMax)
	}
	return nil
}

func checkLimit(what string, n int) error {
	if n < 0 || n > LimitMax {
		return fmt.Errorf("%s %d is outside 0 (unlimited) to %d", what, n, LimitMax)
	}
	return nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
