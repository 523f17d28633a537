package schemas

import (
	"encoding/json"
	"fmt"
	"time"
)

// Engine defaults and ranges (REQUIREMENTS 5).
const (
	AttemptsDefault = 6                    // first run + 5 retries
	AttemptsMax     = 11
	TimeoutDefault  = 5 * time.Minute      // R-304, kind standard
	TimeoutMin      = time.Second
	TimeoutMax      = 24 * time.Hour
	GraceDefault    = 30 * time.Second
	PoisonDefault   = 3                    // losses in a row
	CellLossesMax   = 10                   // cell_restart losses in a row that are poison
	BackoffBase     = 60 * time.Second
	BackoffFactor   = 2.0
	BackoffCap      = time.Hour
	BackoffFloor    = time.Second
	RetryAfterMax   = 24 * time.Hour
	DedupWindow     = 5 * time.Minute
	HardLimitMargin = 30 * time.Second     // hard limit = timeout + this
	ArgsMax         = 1 << 20              // bytes of inline args
	ResultMax       = 64 << 10             // bytes of an inline result
	CheckpointMax   = ResultMax            // bytes of a checkpoint: like a result it stands inline in its event
	PayloadMax      = 32 << 20             // bytes of args or a result kept by reference
	ErrorTextMax    = 16 << 10             // bytes of an error's text
	ParentsMax      = 100
	TagsMax         = 64                   // tags per job
	TagMax          = 256                  // bytes of one tag's value
	NotBeforeMax    = 366 * 24 * time.Hour
	QueueDefault    = QueueName("default")
	KeyMax          = 256                  // bytes of an idempotency key
	ReasonMax       = 1000                 // bytes of a person's reason or note
	OrgDefault      = OrgID("default")     // where nobody named an org
	BackoffListMax  = AttemptsMax - 1      // delays in an explicit list
	// BackoffFactorMax bounds the growth of delays; 1 means equal ones.
	BackoffFactorMax = 100
	// DedupWindowMax is the longest window that a cell may be set to.
	DedupWindowMax = time.Hour
)

// Backoff is the wait before retry n: Base*Factor^(n-1), at most Cap; or List, whose last delay repeats
// . A zero Backoff means the engine default.
type Backoff struct {
	BaseMS Millis   `json:"base_ms,omitempty"`
	Factor float64  `json:"factor,omitempty"`
	CapMS  Millis   `json:"cap_ms,omitempty"`
	ListMS []Millis `json:"list_ms,omitempty"`
}

// Policy is what governs a job's attempts. The one in a queued event is effective: job override, then
// type, then engine default, fixed when the job is queued so that later settings never change what
// past events mean.
type Policy struct {
	TimeoutMS   Millis  `json:"timeout_ms"`
	GraceMS     Millis  `json:"grace_ms"`
	MaxAttempts int     `json:"max_attempts"`
	PoisonLimit int     `json:"poison_limit"`
	Backoff     Backoff `json:"backoff,omitzero"`
}

// DefaultPolicy is the engine default (R-301..R-307).
func DefaultPolicy() Policy {
	return Policy{TimeoutMS: MillisOf(TimeoutDefault), GraceMS: MillisOf(GraceDefault), MaxAttempts: AttemptsDefault, PoisonLimit: PoisonDefault}
}

// Override is what one submit changes of its type's policy. A nil field is absent; zero is a value.
type Override struct {
	TimeoutMS   *Millis  `json:"timeout_ms,omitempty"`
	MaxAttempts *int     `json:"max_attempts,omitempty"`
	Backoff     *Backoff `json:"backoff,omitempty"`
}

// TypeSettings is the registered policy of a kind of job. Each type_set event carries all of it.
// Zero fields mean the engine default.
type TypeSettings struct {
	Name        TypeName    `json:"name"`
	DisplayName string      `json:"display_name,omitempty"`
	Description string      `json:"description,omitempty"`
	Disabled    bool        `json:"disabled,omitempty"`
	Queue       QueueName   `json:"queue,omitempty"`
	Priority    Priority    `json:"priority,omitempty"`
	TimeoutMS   Millis      `json:"timeout_ms,omitempty"`
	GraceMS     *Millis     `json:"grace_ms,omitempty"`
	MaxAttempts int         `json:"max_attempts,omitempty"`
	PoisonLimit int         `json:"poison_limit,omitempty"`
	Backoff     Backoff     `json:"backoff,omitzero"`
	Dedup       DedupPolicy `json:"dedup,omitempty"`           // empty: strict, unless the window is 0
	WindowMS    *Millis     `json:"dedup_window_ms,omitempty"` // nil: DedupWindow; 0 disables
	Reuse       ReusePolicy `json:"reuse,omitempty"`
	Exclusive   bool        `json:"exclusive,omitempty"` // a cut-off worker stops its handlers (DESIGN D7)
	Permission  string      `json:"permission,omitempty"`
	// Limits on jobs that are Queued or Running; 0 is no limit, as is a nil rate.
	MaxRunning       int      `json:"max_running,omitempty"`
	MaxRunningPerOrg int      `json:"max_running_per_org,omitempty"`
	StartRate        *Rate    `json:"start_rate,omitempty"`    // of each org
	SubmitRate       *Rate    `json:"submit_rate,omitempty"`   // of each org, judged at the door
	Breaker          *Breaker `json:"breaker,omitempty"`       // nil: none
	DisabledOrgs     []OrgID  `json:"disabled_orgs,omitempty"` // orgs that may not submit it
	// RetentionDays is how long history is kept behind the finish of its job; 0: as the org says, else the cell.
	RetentionDays int             `json:"retention_days,omitempty"`
	Schema        json.RawMessage `json:"schema,omitempty"`
}

// Effective resolves t and o over the engine default (REQUIREMENTS 5, precedence). A list of delays without
// a number of attempts gives one more attempt than it has delays; the cancel grace is never longer
// than the timeout.
func (t *TypeSettings) Effective(o *Override) Policy {
	p := DefaultPolicy()
	if t != nil {
		set(&p.TimeoutMS, t.TimeoutMS)
		set(&p.PoisonLimit, t.PoisonLimit)
		if t.GraceMS != nil {
			p.GraceMS = *t.GraceMS
		}
		p.setBackoff(t.Backoff)
		set(&p.MaxAttempts, t.MaxAttempts)
	}
	if o != nil {
		if o.TimeoutMS != nil {
			p.TimeoutMS = *o.TimeoutMS
		}
		if o.Backoff != nil {
			p.setBackoff(*o.Backoff)
		}
		if o.MaxAttempts != nil {
			p.MaxAttempts = *o.MaxAttempts
		}
	}
	p.GraceMS = min(p.GraceMS, p.TimeoutMS)
	return p
}

func (p *Policy) setBackoff(b Backoff) {
	p.Backoff = b
	if n := len(b.ListMS); n > 0 {
		p.MaxAttempts = n + 1
	}
}

// DedupFor returns the dedup policy and window of t; the window is 0 when dedup is off.
func (t *TypeSettings) DedupFor() (DedupPolicy, time.Duration) {
	policy, window := DedupStrict, DedupWindow
	if t != nil && t.Dedup != DedupOff {
		policy = t.Dedup
	}
	if t != nil && t.WindowMS != nil {
		window = t.WindowMS.Duration()
	}
	if window <= 0 {
		return DedupOff, 0
	}
	return policy, window
}

func set[T comparable](dst *T, v T) {
	var zero T
	if v != zero {
		*dst = v
	}
}

// Validate reports a value outside the ranges of REQUIREMENTS 5.
func (p Policy) Validate() error {
	if d := p.TimeoutMS.Duration(); d < TimeoutMin || d > TimeoutMax {
		return fmt.Errorf("timeout %s is outside %s to %s", d, TimeoutMin, TimeoutMax)
	}
	if p.GraceMS < 0 || p.GraceMS > MillisOf(TimeoutMax) {
		return fmt.Errorf("cancel grace %s is outside 0 to %s", p.GraceMS.Duration(), TimeoutMax)
	}
	if p.MaxAttempts < 1 || p.MaxAttempts > AttemptsMax {
		return fmt.Errorf("max attempts %d is outside 1 to %d", p.MaxAttempts, AttemptsMax)
	}
	if p.PoisonLimit < 1 || p.PoisonLimit > AttemptsMax {
		return fmt.Errorf("poison limit %d is outside 1 to %d", p.PoisonLimit, AttemptsMax)
	}
	return p.Backoff.Validate()
}

// Validate reports delays outside their ranges.
func (b Backoff) Validate() error {
	for _, d := range []Millis{b.BaseMS, b.CapMS} {
		if d < 0 || d.Duration() > RetryAfterMax {
			return fmt.Errorf("backoff base or cap %s is outside 0 to %s", d.Duration(), RetryAfterMax)
		}
	}
	if b.Factor != 0 && !(b.Factor >= 1 && b.Factor <= BackoffFactorMax) {
		return fmt.Errorf("backoff factor %g is outside 1 to %d", b.Factor, BackoffFactorMax)
	}
	if len(b.ListMS) > BackoffListMax {
		return fmt.Errorf("backoff lists %d delays: at most %d can ever be used", len(b.ListMS), BackoffListMax)
	}
	for _, d := range b.ListMS {
		if d < 0 || d.Duration() > RetryAfterMax {
			return fmt.Errorf("backoff delay %s is outside 0 to %s", d.Duration(), RetryAfterMax)
		}
	}
	return nil
}

// validate reports an override outside the ranges of REQUIREMENTS 5; a nil one changes nothing.
func (o *Override) validate() error {
	if o == nil {
		return nil
	}
	return (*TypeSettings)(nil).Effective(o).Validate()
}

func (t *TypeSettings) wellFormed() error { return CheckToken("type", string(t.Name)) }

// Validate reports settings that no job could run under.
func (t *TypeSettings) Validate() error {
	if err := t.wellFormed(); err != nil {
		return err
	}
	if t.Queue != "" {
		if err := CheckToken("queue", string(t.Queue)); err != nil {
			return err
		}
	}
	if t.Priority != "" {
		if err := t.Priority.Validate(); err != nil {
			return err
		}
	}
	if err := t.Dedup.Validate(); err != nil {
		return err
	}
	switch t.Reuse {
	case "", ReuseFinished, ReuseFailed, ReuseNever:
	default:
		return fmt.Errorf("reuse policy %q is unknown: use finished, failed or never", t.Reuse)
	}
	if t.WindowMS != nil && (*t.WindowMS < 0 || t.WindowMS.Duration() > DedupWindowMax) {
		return fmt.Errorf("dedup window %s is outside 0 to %s", t.WindowMS.Duration(), DedupWindowMax)
	}
	p := t.Effective(nil)
	if t.GraceMS != nil && *t.GraceMS > p.TimeoutMS {
		return fmt.Errorf("cancel grace %s is longer than the timeout %s", t.GraceMS.Duration(), p.TimeoutMS.Duration())
	}
	if len(t.DisabledOrgs) > DisabledOrgsMax {
		return fmt.Errorf("type is disabled for %d orgs: at most %d can be listed", len(t.DisabledOrgs), DisabledOrgsMax)
	}
	for _, org := range t.DisabledOrgs {
		if err := CheckToken("disabled org", string(org)); err != nil {
			return err
		}
	}
	if err := firstError(checkLimit("max running", t.MaxRunning), checkLimit("max running per org", t.MaxRunningPerOrg),
		t.StartRate.Validate(), t.SubmitRate.Validate(), t.Breaker.Validate(), CheckRetentionDays(t.RetentionDays)); err != nil {
		return err
	}
	if t.PoisonLimit > p.MaxAttempts {
		return fmt.Errorf("poison limit %d is above the %d attempts", t.PoisonLimit, p.MaxAttempts)
	}
	return p.Validate()
}
