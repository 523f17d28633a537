package schemas

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Ranges of a schedule.
const (
	TickResolution   = time.Second      // every tick is a whole second
	MissedGrace      = 10 * time.Second // a tick later than this was missed; a fail-over takes less (DESIGN D6)
	MissedMaxDefault = 100              // ticks that MissedAll makes up at most
	MissedMaxMost    = 1000             // what MissedMax may be set to
	JitterMax        = time.Hour
	// ScheduleArgsMax is the most bytes of args in a schedule: every server holds the settings of all of them.
	ScheduleArgsMax = 64 << 10
	cronMax         = 256 // bytes of a cron expression
	zoneMax         = 64  // bytes of a zone's name
)

// MissedPolicy says what becomes of ticks at whose time no leader was there to fire them.
type MissedPolicy string

// The policies. The zero value is MissedOnce.
const (
	MissedOnce MissedPolicy = "once" // one job, for the latest of them
	MissedSkip MissedPolicy = "skip" // none
	MissedAll  MissedPolicy = "all"  // a job for each of the latest MissedMax
)

// OverlapPolicy says what becomes of a tick that is due while the job of the tick before it has not ended.
type OverlapPolicy string

// The policies. The zero value is OverlapSkip, but for MissedAll, which needs OverlapAllow.
const (
	OverlapSkip    OverlapPolicy = "skip"    // it makes no job, nor does it later
	OverlapAllow   OverlapPolicy = "allow"   // both run
	OverlapReplace OverlapPolicy = "replace" // the earlier job is canceled first
)

// ScheduleSettings say when jobs are made of a template. Each schedule_set event carries all of it. A
// schedule has exactly one of Cron, EveryMS and At.
type ScheduleSettings struct {
	Org        OrgID  `json:"org"`
	Name       string `json:"name"`       // one token, the org's own
	Generation int    `json:"generation"` // from 1; the next one begins when the name is used again after a removal

	Description string     `json:"description,omitempty"`
	Cron        string     `json:"cron,omitempty"`      // five fields, six with seconds first, or one such as @daily
	Zone        string     `json:"zone,omitempty"`      // IANA name of the zone that Cron is read in; empty: UTC
	EveryMS     Millis     `json:"every_ms,omitempty"`  // whole seconds; ticks are its multiples since 1970, plus OffsetMS
	OffsetMS    Millis     `json:"offset_ms,omitempty"` // whole seconds, less than EveryMS
	At          *time.Time `json:"at,omitempty"`        // one tick alone

	Missed    MissedPolicy  `json:"missed,omitempty"`
	MissedMax int           `json:"missed_max,omitempty"` // 0: MissedMaxDefault
	Overlap   OverlapPolicy `json:"overlap,omitempty"`
	JitterMS  Millis        `json:"jitter_ms,omitempty"` // ticks fire later by one amount below it, which org and name decide

	Paused  bool `json:"paused,omitempty"`
	Removed bool `json:"removed,omitempty"`

	Job JobTemplate `json:"job"`
}

// JobTemplate is what every job of a schedule is made from; empty fields take the type's setting.
type JobTemplate struct {
	Type       TypeName          `json:"type"`
	Queue      QueueName         `json:"queue,omitempty"`
	Priority   Priority          `json:"priority,omitempty"`
	Resource   string            `json:"resource,omitempty"`
	Principal  string            `json:"principal,omitempty"`   // whom the jobs run as; empty: who set the schedule
	DeadlineMS Millis            `json:"deadline_ms,omitempty"` // latest start, from the submit
	Tags       map[string]string `json:"tags,omitempty"`
	Override   *Override         `json:"override,omitempty"`
	Args       json.RawMessage   `json:"args,omitempty"` // any JSON; empty: {}
}

// MissedPolicy returns the policy in force.
func (s *ScheduleSettings) MissedPolicy() MissedPolicy {
	if s.Missed == "" {
		return MissedOnce
	}
	return s.Missed
}

// MadeUp is how many missed ticks are made up at most.
func (s *ScheduleSettings) MadeUp() int {
	switch {
	case s.MissedPolicy() != MissedAll:
		return 1
	case s.MissedMax == 0:
		return MissedMaxDefault
	}
	return s.MissedMax
}

// OverlapPolicy returns the policy in force.
func (s *ScheduleSettings) OverlapPolicy() OverlapPolicy {
	switch {
	case s.Overlap != "":
		return s.Overlap
	case s.Missed == MissedAll:
		return OverlapAllow
	}
	return OverlapSkip
}

// Delay is how much later than its time a tick fires: the same for every tick of one schedule, on every server.
func (s *ScheduleSettings) Delay() time.Duration {
	if s.JitterMS <= 0 {
		return 0
	}
	sum := sha256.Sum256([]byte(string(s.Org) + "." + s.Name))
	var n uint64
	for _, b := range sum[:8] {
		n = n<<8 | uint64(b)
	}
	return time.Duration(n % uint64(s.JitterMS.Duration()))
}

// SameTimes reports whether both have the same ticks, and are paused alike.
func (s *ScheduleSettings) SameTimes(o *ScheduleSettings) bool {
	sameAt := s.At == nil && o.At == nil || s.At != nil && o.At != nil && s.At.Equal(*o.At)
	return s.Generation == o.Generation && s.Cron == o.Cron && s.Zone == o.Zone && s.EveryMS == o.EveryMS &&
		s.OffsetMS == o.OffsetMS && sameAt && s.Paused == o.Paused && s.Removed == o.Removed
}

// ScheduleSet adds, changes or removes a schedule. Subject control.<org>.schedule.<name>.
type ScheduleSet struct {
	Settings ScheduleSettings `json:"settings"`
	Reason   string           `json:"reason,omitempty"`
	// Carried makes it a repetition of the settings in force, so that older events may leave the hot ledger. It changes
	// nothing for a fold that has seen those; another one begins with it.
	Carried *ScheduleCarried `json:"carried,omitempty"`
}

// ScheduleCarried is how a schedule stands, told with a repetition of its settings (DESIGN D13): a fold that begins there
// fires no tick twice and loses none. Its ticks may already be in the ledger behind what it says: the later tick holds.
type ScheduleCarried struct {
	Over time.Time `json:"over"` // ticks at or before it are over
	// The latest tick that has a job; Last is zero if there is none. Open: the job has not ended.
	Last time.Time `json:"last,omitzero"`
	Job  JobID     `json:"job,omitempty"`
	ID   Seq       `json:"id,omitempty"` // sequence of that job's submitted
	Open bool      `json:"open,omitempty"`
}

// SchedulePlace is where the settings of an org's schedule stand.
func SchedulePlace(org OrgID, name string) Subject {
	return ControlSubject(string(org), "schedule", name)
}

// Place implements Setting.
func (s *ScheduleSet) Place() Subject { return SchedulePlace(s.Settings.Org, s.Settings.Name) }

// Key implements Setting.
func (s *ScheduleSet) Key() string {
	return "schedule." + string(s.Settings.Org) + "." + s.Settings.Name
}

// Stored implements Setting.
func (s *ScheduleSet) Stored() any { return &s.Settings }

// Why implements Setting.
func (s *ScheduleSet) Why() string { return s.Reason }

func (s *ScheduleSet) wellFormed() error {
	if s.Settings.Generation < 1 {
		return errors.New("generation must be above 0")
	}
	return firstError(CheckToken("org", string(s.Settings.Org)), CheckToken("schedule", s.Settings.Name))
}

// Validate implements Data.
func (s *ScheduleSet) Validate() error {
	return validateReason(firstError(s.wellFormed(), s.Settings.Validate()), s.Reason)
}

// Validate reports settings out of range. It does not read the cron expression, nor the zone: that takes a
// library and the zones' data.
func (s *ScheduleSettings) Validate() error {
	if err := s.validateTimes(); err != nil {
		return err
	}
	switch s.Missed {
	case "", MissedOnce, MissedSkip, MissedAll:
	default:
		return fmt.Errorf("missed policy %q is unknown: use once, skip or all", s.Missed)
	}
	switch s.Overlap {
	case "", OverlapSkip, OverlapAllow, OverlapReplace:
	default:
		return fmt.Errorf("overlap policy %q is unknown: use skip, allow or replace", s.Overlap)
	}
	switch {
	case s.Missed == MissedAll && s.OverlapPolicy() != OverlapAllow:
		return fmt.Errorf("missed all makes up several ticks at once, of which overlap %s leaves one: use overlap allow", s.Overlap)
	case s.MissedMax != 0 && s.Missed != MissedAll:
		return errors.New("a number of missed ticks goes with missed all only")
	case s.MissedMax < 0 || s.MissedMax > MissedMaxMost:
		return fmt.Errorf("%d missed ticks are outside 1 to %d", s.MissedMax, MissedMaxMost)
	case s.JitterMS < 0 || s.JitterMS.Duration() > JitterMax:
		return fmt.Errorf("jitter %s is outside 0 to %s", s.JitterMS.Duration(), JitterMax)
	}
	return firstError(checkText("description", s.Description, textMax), s.Job.Validate())
}

func (s *ScheduleSettings) validateTimes() error {
	given := 0
	for _, g := range []bool{s.Cron != "", s.EveryMS != 0, s.At != nil} {
		if g {
			given++
		}
	}
	every := s.EveryMS.Duration()
	switch {
	case given != 1:
		return errors.New("a schedule has one of a cron expression, an interval and a time")
	case s.Zone != "" && s.Cron == "":
		return errors.New("a time zone goes with a cron expression only")
	case s.EveryMS != 0 && (every < TickResolution || every > NotBeforeMax):
		return fmt.Errorf("interval %s is outside %s to %s", every, TickResolution, NotBeforeMax)
	case s.OffsetMS < 0 || s.OffsetMS > 0 && s.OffsetMS >= s.EveryMS:
		return fmt.Errorf("offset %s is outside 0 to below the interval", s.OffsetMS.Duration())
	case every%TickResolution != 0 || s.OffsetMS.Duration()%TickResolution != 0:
		return errors.New("interval and offset are whole seconds")
	case s.At != nil && !s.At.Equal(s.At.Truncate(TickResolution)):
		return fmt.Errorf("time %s is no whole second", s.At.Format(time.RFC3339Nano))
	}
	return firstError(checkText("cron expression", s.Cron, cronMax), checkText("time zone", s.Zone, zoneMax))
}

// Validate reports a template that no job can be made from. It says nothing about the type's schema.
func (t *JobTemplate) Validate() error {
	if len(t.Args) > ScheduleArgsMax {
		return fmt.Errorf("args of a schedule are %d bytes: at most %d are allowed", len(t.Args), ScheduleArgsMax)
	}
	if len(bytes.TrimSpace(t.Args)) > 0 {
		if err := CheckJSON("args", t.Args); err != nil {
			return err
		}
	}
	s := Submitted{Type: t.Type, Queue: QueueDefault, Priority: PriorityNormal, Generation: 1, Resource: t.Resource,
		Principal: t.Principal, DeadlineMS: t.DeadlineMS, Tags: t.Tags, Override: t.Override}
	set(&s.Queue, t.Queue)
	set(&s.Priority, t.Priority)
	return s.Validate()
}

// tickForm is the time in a tick's job id, in UTC.
const tickForm = "20060102T150405Z"

// tickNameMax is the longest name that stands in a tick's job id as it is; a longer one is hashed.
const tickNameMax = 30

// TickJobID is the id of the one job that a tick makes, used once for ever. It is told apart from other
// derived ids by its first letters, and from other ticks by name, generation and time: neither of the last two
// holds a dash, so that no name can feign them.
func TickJobID(name string, generation int, tick time.Time) JobID {
	kind := "s-"
	if len(name) > tickNameMax {
		sum := sha256.Sum256([]byte(name))
		kind, name = "S-", hex.EncodeToString(sum[:tickNameMax/2])
	}
	return JobID(ReservedPrefix + kind + name + "-" + strconv.Itoa(generation) + "-" + tick.UTC().Format(tickForm))
}
