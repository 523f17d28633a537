package dispatcher

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// TestSavedFoldGoesOnAlike saves cores in the middle of random stories, leading ones with decisions in flight among
// them, and goes on with what was loaded beside the one that was saved: every decision, answer and number is the same
// for ever after (DESIGN D6).
func TestSavedFoldGoesOnAlike(t *testing.T) {
	for _, seed := range seeds(t, 15) {
		t.Run(fmt.Sprint("SEED=", seed), func(t *testing.T) {
			s := &savedStory{story: &story{player: &player{newWorld()}, rnd: rand.New(rand.NewPCG(seed, 6)), t: t}}
			s.core.fail = t.Fatalf
			s.auto = false
			s.run([]string{"lead"})
			for i := range 400 {
				switch {
				case seed%3 == 0 && i == 150:
					s.run([]string{"set", "org", "o1", "state=deleted"})
				case s.rnd.IntN(25) == 0:
					s.rules()
				case s.rnd.IntN(8) == 0:
					s.submitOdd()
				case s.rnd.IntN(50) == 0:
					s.part(seed)
				}
				s.step()
				s.explainAny()
			}
			s.part(seed)
			s.rest()
			s.unruly()
			s.workOn()
			s.judgeImages()
		})
	}
}

// savedStory is a story under rules.
type savedStory struct {
	*story
	open [][]string // holds
	kept []keptImage
}

// keptImage is an image that was taken in the middle, and what would have been written at once.
type keptImage struct {
	m    *image
	want []byte
}

// part goes on with a loaded core too; every other time as a server that starts and leads, else as one that follows.
func (s *savedStory) part(seed uint64) {
	s.kept = append(s.kept, keptImage{s.core.image(), bytesOf(s.core.Core)})
	if err := s.core.part(); err != nil {
		s.t.Fatal(err)
	}
	s.air = nil
	if s.rnd.IntN(4) > 0 {
		s.feed(len(s.log))
		s.run([]string{"lead"})
	}
}

// judgeImages writes the images now: what the core did meanwhile has changed none of them.
func (s *savedStory) judgeImages() {
	for i, k := range s.kept {
		var out bytes.Buffer
		if err := k.m.write(&out); err != nil || !bytes.Equal(out.Bytes(), k.want) {
			s.t.Errorf("image %d is another one after a while (%v)", i, err)
		}
	}
}

// rules sets limits, rates, breakers and schedules, and lays and lifts holds.
func (s *savedStory) rules() {
	n := s.rnd.IntN(4)
	switch s.rnd.IntN(8) {
	case 7:
		s.run([]string{"set", "resource", fmt.Sprint("r", n%2), fmt.Sprint("running=", n)})
	case 0:
		s.run([]string{"set", "org", "o0", fmt.Sprint("running=", n), fmt.Sprint("weight=", n)})
	case 1:
		s.run([]string{"set", "queue", "q", fmt.Sprintf("rate=%d/5s", n+1), fmt.Sprint("per-org=", n)})
	case 2:
		s.run([]string{"set", "type", "u", fmt.Sprint("running=", n)})
	case 3:
		s.run([]string{"set", "type", "t", "breaker=50/2/30s"})
	case 4, 5:
		words := [][]string{{"org=o2"}, {"type=u"}, {"queue=q", "type=t"}, {"org=o0", "for=9s"}}[n]
		s.run(append([]string{"hold"}, words...))
		s.open = append(s.open, words)
	case 6:
		s.run([]string{"schedule", "o0/tick", "every=7s", fmt.Sprint("overlap=", []string{"allow", "skip", "replace", "skip"}[n])})
	}
}

// submitOdd submits a job with a resource, or one that may be a duplicate.
func (s *savedStory) submitOdd() {
	words := []string{"submit", fmt.Sprintf("o%d/%d", s.jobs%3, s.jobs), "type=" + string("tu"[s.rnd.IntN(2)]), "priority=" + string(priorities[s.rnd.IntN(levels)])}
	if s.rnd.IntN(2) == 0 {
		words = append(words, fmt.Sprint("resource=r", s.rnd.IntN(2)))
	}
	if s.rnd.IntN(2) == 0 {
		words = append(words, fmt.Sprint("key=k", s.rnd.IntN(3)), "window=20s", "dedup="+[]string{"strict", "in_flight"}[s.rnd.IntN(2)])
	}
	s.jobs++
	s.run(words)
}

// unruly takes all rules back.
func (s *savedStory) unruly() {
	for _, words := range s.open {
		s.run(append([]string{"lift"}, words...))
	}
	for _, words := range []string{"queue q", "type t", "type u", "resource r0", "resource r1", "org o0"} {
		s.run(append([]string{"set"}, strings.Fields(words)...))
	}
	s.run([]string{"unschedule", "o0/tick"})
}

// workOn has one good worker do what there is.
func (s *savedStory) workOn() {
	s.auto = true
	for range 30 {
		s.run([]string{"beat", "good", "slots=9", "serves=q/t,q/u"})
		s.run([]string{"pass", "10s"})
		s.run([]string{"dispatch"})
		for key, j := range s.player.jobs {
			if j.State == schemas.StateQueued {
				s.run([]string{"claim", key, "session=good"})
				s.run([]string{"complete", key})
			}
		}
	}
}

// explainAny asks about a job.
func (s *savedStory) explainAny() {
	if key := s.anyJob(); s.player.jobs[key] != nil {
		s.run([]string{"explain", key})
	}
}

// TestTranscriptsWithSavedFolds plays the transcripts once more. After each step the fold is saved and loaded, and so
// is that of a server that only follows, which goes on from there; in the end it leads as one does that was never
// saved.
func TestTranscriptsWithSavedFolds(t *testing.T) {
	files, err := filepath.Glob("../testdata/dispatcher/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			shadow := newShadow(t)
			for line := range strings.Lines(string(text)) {
				switch words := strings.Fields(line); {
				case strings.HasPrefix(line, "  "), strings.HasPrefix(line, "#"), len(words) == 0:
				case strings.HasPrefix(line, "==="):
					shadow.lead()
					shadow = newShadow(t)
				default:
					shadow.step(words)
				}
			}
			shadow.lead()
		})
	}
}

// shadow is a player whose ledger is folded by two more cores that only follow, of which one is saved and loaded after
// each step.
type shadow struct {
	*player
	t            *testing.T
	still, saved *Core
	seen         int
}

func newShadow(t *testing.T) *shadow {
	return &shadow{&player{world: newWorld()}, t, NewCore(DefaultTimes()), NewCore(DefaultTimes()), 0}
}

func (s *shadow) step(words []string) {
	s.t.Helper()
	s.run(words)
	if words[0] == "purge" {
		s.still, s.saved = NewCore(DefaultTimes()), NewCore(DefaultTimes())
		s.seen, _ = strconv.Atoi(words[1])
	}
	live, err := saveAndLoad(s.core.Core)
	if err != nil {
		s.t.Fatalf("%s: %v", words, err)
	}
	if again, err := saveAndLoad(live); err != nil || !bytes.Equal(bytesOf(again), bytesOf(live)) {
		s.t.Fatalf("%s: saved and loaded twice is another fold (%v)", words, err)
	}
	for ; s.seen < len(s.log); s.seen++ {
		s.still.Apply(s.log[s.seen])
		s.saved.Apply(s.log[s.seen])
	}
	s.still.Decide(s.now, 0, 0)
	s.saved.Decide(s.now, 0, 0)
	if s.saved, err = saveAndLoad(s.saved); err != nil {
		s.t.Fatalf("%s: %v", words, err)
	}
}

// lead has both lead, one as the other.
func (s *shadow) lead() {
	s.t.Helper()
	s.core, s.fed, s.air, s.auto = &twins{Core: s.still, other: s.saved, fail: s.t.Fatalf}, len(s.log), nil, true
	s.core.bare()
	s.run([]string{"lead"})
	for range 5 {
		s.run([]string{"beat", "last", "slots=9", "serves=q/t,q/u,q/a,q/b,default/t"})
		s.run([]string{"dispatch"})
		for key, j := range s.jobs {
			if j.State == schemas.StateQueued {
				s.run([]string{"claim", key, "session=last"})
				s.run([]string{"complete", key})
			}
		}
		s.run([]string{"pass", "15s"})
	}
}

// TestDamagedFoldIsRefused: a saved fold that was cut off anywhere, or has one bit changed, is not loaded, and one of
// another form is told apart.
func TestDamagedFoldIsRefused(t *testing.T) {
	c := NewCore(DefaultTimes())
	for _, e := range keptEvents(t) {
		c.Apply(e)
	}
	good := bytesOf(c)
	for i := range good {
		if _, err := LoadCore(bytes.NewReader(good[:i]), c.times); err == nil {
			t.Fatalf("the first %d of %d bytes are loaded", i, len(good))
		}
		bad := bytes.Clone(good)
		bad[i] ^= 1 << (i % 8)
		_, err := LoadCore(bytes.NewReader(bad), c.times)
		if of := i == len(savedMagic); err == nil || errors.Is(err, ErrSavedForm) != of {
			t.Fatalf("with byte %d changed: %v", i, err)
		}
	}
	if _, err := LoadCore(bytes.NewReader(append(good, 0)), c.times); err == nil {
		t.Fatal("one byte too many is loaded")
	}
}

// BenchmarkSavedFold saves and loads a million jobs that wait in lanes and a million that wait for a time: what stops
// the loop is the image.
func BenchmarkSavedFold(b *testing.B) {
	c := NewCore(DefaultTimes())
	const n = 2_000_000
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range schemas.Seq(n) {
		d := &schemas.Submitted{Type: "t", Queue: "q", Priority: schemas.PriorityNormal, Generation: 1}
		if i%2 == 1 {
			d.DelayMS = schemas.Millis(1000 + i*7919%3_600_000)
		}
		c.Apply(&schemas.Event{Seq: i + 1, Time: at.Add(time.Duration(i) * 100 * time.Microsecond), Subject: schemas.JobSubject(schemas.OrgID(fmt.Sprint("o", i%100)), "j"), Data: d})
	}
	b.Run("image", func(b *testing.B) {
		for range b.N {
			c.image()
		}
	})
	var out bytes.Buffer
	b.Run("write", func(b *testing.B) {
		for range b.N {
			out.Reset()
			if err := c.Save(&out); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(out.Len())/n, "bytes/job")
	})
	b.Run("load", func(b *testing.B) {
		for range b.N {
			if _, err := LoadCore(bytes.NewReader(out.Bytes()), c.times); err != nil {
				b.Fatal(err)
			}
		}
	})
}
