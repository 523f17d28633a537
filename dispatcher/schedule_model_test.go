package dispatcher

import (
	"fmt"
	"slices"
	"testing"
	"time"

	cron "github.com/netresearch/go-cron"
	"pgregory.net/rapid"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// scheduleModel fires a schedule the dumb way: it looks at every second that has passed.
type scheduleModel struct {
	s      schemas.ScheduleSettings
	over   time.Time
	open   bool
	parked bool // the org is suspended
	fired  []string
}

// ticks are those after over, up to now.
func (m *scheduleModel) ticks(t *rapid.T, now time.Time) (out []time.Time) {
	for at := m.over.Truncate(time.Second).Add(time.Second); !at.After(now); at = at.Add(time.Second) {
		meant := m.s.EveryMS > 0 && at.Unix()%int64(m.s.EveryMS/1000) == 0
		if m.s.Cron != "" {
			spec, err := cron.FullParser().Parse(m.s.Cron)
			if err != nil {
				t.Fatal(err)
			}
			meant = spec.Next(at.Add(-time.Second)).Equal(at)
		}
		if meant {
			out = append(out, at)
		}
	}
	return out
}

// decide fires what is due, one after the other.
func (m *scheduleModel) decide(t *rapid.T, now time.Time) {
	for m.s.Generation > 0 && !m.parked && !m.s.Removed && !m.s.Paused && !(m.open && m.s.OverlapPolicy() == schemas.OverlapSkip) {
		due := m.ticks(t, now)
		due = due[max(0, len(due)-m.s.MadeUp()):]
		if len(due) == 0 {
			return
		}
		if m.s.Missed == schemas.MissedSkip && now.Sub(due[0]) > schemas.MissedGrace {
			m.over = now
			return
		}
		m.fired = append(m.fired, string(schemas.TickJobID("n", m.s.Generation, due[0])))
		m.over, m.open = due[0], true
	}
}

func (m *scheduleModel) set(s schemas.ScheduleSettings, now time.Time) {
	if s.Generation != m.s.Generation {
		m.open = false
	}
	if !s.SameTimes(&m.s) {
		m.over = now
	}
	m.s = s
}

// end ends the latest job.
func (m *scheduleModel) end(now time.Time) {
	if m.open && m.s.OverlapPolicy() == schemas.OverlapSkip && now.After(m.over) {
		m.over = now
	}
	m.open = false
}

// draws are settings that a schedule may get.
func drawSchedule(t *rapid.T, s *schemas.ScheduleSettings) {
	s.Cron = rapid.SampledFrom([]string{"", "* * * * * *", "*/7 * * * * *", "0 * * * * *", "30 */2 * * * *", "0 0 * * * *"}).Draw(t, "cron")
	s.EveryMS = 0
	if s.Cron == "" {
		s.EveryMS = rapid.SampledFrom([]schemas.Millis{3_000, 40_000, 3_600_000}).Draw(t, "every")
	}
}

func drawPolicies(t *rapid.T, s *schemas.ScheduleSettings) {
	s.Missed = rapid.SampledFrom([]schemas.MissedPolicy{schemas.MissedOnce, schemas.MissedSkip, schemas.MissedAll}).Draw(t, "missed")
	s.MissedMax, s.Overlap = 0, schemas.OverlapAllow
	if s.Missed == schemas.MissedAll {
		s.MissedMax = rapid.IntRange(1, 9).Draw(t, "max")
	} else {
		s.Overlap = rapid.SampledFrom([]schemas.OverlapPolicy{schemas.OverlapSkip, schemas.OverlapAllow, schemas.OverlapReplace}).Draw(t, "overlap")
	}
}

// TestTicksLikeTheModel compares the ticks that are fired with those of the dumb model, over random downtimes,
// changes of leader, edits, pauses, removals and ends of jobs.
func TestTicksLikeTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		p := &player{w}
		m := &scheduleModel{}
		p.run([]string{"lead"})
		change := func(how func(s *schemas.ScheduleSettings)) {
			e := w.setSchedule("acme", "n", how)
			m.set(e.Data.(*schemas.ScheduleSet).Settings, w.now)
		}
		change(func(s *schemas.ScheduleSettings) { drawSchedule(t, s); drawPolicies(t, s) })
		latest := func() string {
			s, _ := w.core.Schedule("acme", "n")
			return "acme/" + string(s.LastJob)
		}
		for range rapid.IntRange(20, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 12).Draw(t, "step") {
			case 0:
				change(func(s *schemas.ScheduleSettings) { drawSchedule(t, s) })
			case 1:
				change(func(s *schemas.ScheduleSettings) { drawPolicies(t, s) })
			case 2:
				change(func(s *schemas.ScheduleSettings) { s.Paused = !s.Paused })
			case 3:
				if !m.s.Removed {
					change(func(s *schemas.ScheduleSettings) { s.Removed = true })
				} else {
					change(func(s *schemas.ScheduleSettings) {})
				}
			case 4, 5: // the latest job ends
				if _, err := w.do(latest(), &ledger.Cancel{Reason: "over"}); err == nil {
					m.end(w.now)
				}
			case 6: // or lives again
				if e, err := w.do(latest(), &ledger.Retry{Reason: "again", Now: w.now}); err == nil && e != nil {
					m.open = true
				}
			case 7: // nobody leads for a while
				p.run([]string{"follow"})
				w.now = w.now.Add(rapid.SampledFrom([]time.Duration{time.Second, 5 * time.Second, 11 * time.Second, 300 * time.Second, 4000 * time.Second}).Draw(t, "away"))
				p.run([]string{"lead"})
			case 12: // the org is suspended, or resumed
				m.parked = !m.parked
				p.run([]string{"set", "org", "acme", map[bool]string{true: "state=suspended", false: "state=active"}[m.parked]})
			case 8: // another leads, who folds the ledger
				p.run([]string{"takeover"})
			default:
				w.now = w.now.Add(rapid.SampledFrom([]time.Duration{0, 400 * time.Millisecond, time.Second, 2500 * time.Millisecond, 7 * time.Second, 40 * time.Second, 70 * time.Second}).Draw(t, "pass"))
			}
			p.run([]string{"dispatch"})
			m.decide(t, w.now)
			var fired []string
			for _, e := range w.log {
				if d, ok := e.Data.(*schemas.Submitted); ok && d.Tick != nil {
					fired = append(fired, string(e.Job))
				}
			}
			if !slices.Equal(fired, m.fired) {
				t.Fatalf("fired %v\n model %v", fired, m.fired)
			}
			if twice := len(fired) - len(slices.Compact(slices.Sorted(slices.Values(fired)))); twice > 0 {
				t.Fatalf("%d ticks fired twice: %v", twice, fired)
			}
		}
	})
}

// Thousands of schedules: what one tick costs does not grow with their number, nor with the jobs that wait.
func BenchmarkTick(b *testing.B) {
	for _, n := range []int{10, 1_000, 10_000} {
		b.Run(fmt.Sprint("schedules=", n), func(b *testing.B) {
			c := NewCore(DefaultTimes())
			now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			seq := schemas.Seq(0)
			apply := func(e *schemas.Event) {
				seq++
				e.Seq, e.Time = seq, now
				c.Apply(e)
			}
			for i := range n {
				set := &schemas.ScheduleSet{Settings: schemas.ScheduleSettings{Org: "o", Name: fmt.Sprint(i), Generation: 1, Cron: "* * * * * *",
					Zone: "Europe/Berlin", Overlap: schemas.OverlapAllow, Job: schemas.JobTemplate{Type: "t"}}}
				apply(schemas.NewEvent(set.Place(), set))
			}
			c.Lead(1, 0)
			b.ResetTimer()
			for range b.N {
				ds := c.Decide(now, 0, 1)
				if len(ds) == 0 {
					now = now.Add(time.Second)
					continue
				}
				c.Settle(ds[0], Result{Outcome: Stored})
				apply(schemas.NewEvent(schemas.JobSubject("o", schemas.TickJobID(ds[0].Schedule, 1, ds[0].Tick)),
					&schemas.Submitted{Type: "t", Queue: "q", Priority: schemas.PriorityNormal, Generation: 1, Schedule: ds[0].Schedule, Tick: &ds[0].Tick}))
			}
		})
	}
}
