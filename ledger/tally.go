package ledger

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/dartwing/jobledger/schemas"
)

// Move is what one message does to the counts: a job stands elsewhere behind it, or nothing changes. Whoever counts, the
// projector, the checker and the archiver, counts by Moves, so that the rule stands once.
type Move struct {
	Was, Is     Standing
	Quarantined int64 // 1 for a message that no fold can read
	Illegal     int64 // 1 for an event that was not legal where it stands
	Legal       bool
	Sample      Sample // of a legal event
}

// Observed reports whether the statistics of the job's counter take note of the message: it did something to the job.
func (m *Move) Observed() bool {
	return m.Legal && m.Illegal == 0 && m.Quarantined == 0 && (m.Was != m.Is || m.Sample != (Sample{}))
}

// Counted folds a message into j, which is of its subject and may be empty, as Apply and Skip do, and says what that does
// to the counts. bad is what Decode said of it, nil for an event.
//
// A carried event moves nothing, also where j is empty: the job was counted when it was submitted.
func Counted(j *Job, e *schemas.Event, bad error) Move {
	m := Move{Was: StandingBefore(j, e), Legal: true}
	illegal, existed, before := j.Illegal, j.Exists(), sampledOf(j)
	if bad != nil {
		m.Quarantined = 1
		Skip(j, e, errors.Is(bad, schemas.ErrUndecodable))
	} else {
		m.Legal = Apply(j, e)
	}
	m.Is = StandingOf(j)
	if _, carried := e.Data.(*schemas.Carried); carried && bad == nil && !existed {
		m.Was = m.Is
		return m
	}
	if m.Illegal = int64(max(0, j.Illegal-illegal)); m.Illegal == 0 && bad == nil && m.Legal {
		m.Sample = before.sample(e)
	}
	return m
}

// Tally is what a stretch of the ledger does to the counts: added to those at its beginning it makes those at its end
// (DESIGN D13). The archive holds one of each of its steps, so that jobs whose events are gone stay counted.
type Tally struct {
	Counts      Counts // differences, which may be below zero
	Quarantined int64
	Illegal     int64
}

// Count adds what one message does.
func (t *Tally) Count(m Move) {
	if t.Counts == nil {
		t.Counts = make(Counts)
	}
	t.Counts.Apply(m.Was, m.Is)
	t.Quarantined += m.Quarantined
	t.Illegal += m.Illegal
}

// Add adds the tally of another stretch.
func (t *Tally) Add(o *Tally) {
	if t.Counts == nil {
		t.Counts = make(Counts, len(o.Counts))
	}
	for k, n := range o.Counts {
		t.Counts.at(k).Add(*n)
	}
	t.Quarantined += o.Quarantined
	t.Illegal += o.Illegal
}

// tallyVersion is that of the stored form.
const tallyVersion = 1

// storedTally is the content of a tally's messages, as JSON. It names its stretch, so that none stands for another.
type storedTally struct {
	V           int          `json:"v"`
	From        schemas.Seq  `json:"from"` // without it
	Through     schemas.Seq  `json:"through"`
	Quarantined int64        `json:"quarantined,omitempty"`
	Illegal     int64        `json:"illegal,omitempty"`
	Counts      []tallyCount `json:"counts"` // ascending by org, queue, type; none of zeros alone
}

// tallyCount is by how many jobs a counter goes up or down.
type tallyCount struct {
	Org             schemas.OrgID     `json:"org"`
	Queue           schemas.QueueName `json:"queue"`
	Type            schemas.TypeName  `json:"type"`
	Submitted       int64             `json:"submitted,omitempty"`
	Deferred        int64             `json:"deferred,omitempty"`
	Queued          int64             `json:"queued,omitempty"`
	Running         int64             `json:"running,omitempty"`
	Retrying        int64             `json:"retrying,omitempty"`
	Completed       int64             `json:"completed,omitempty"`
	Canceled        int64             `json:"canceled,omitempty"`
	DeadLettered    int64             `json:"dead_lettered,omitempty"`
	DeadLettersOpen int64             `json:"dead_letters_open,omitempty"`
}

func (n *tallyCount) key() CountKey { return CountKey{Org: n.Org, Queue: n.Queue, Type: n.Type} }

func (n *tallyCount) count() *Count {
	return &Count{Submitted: n.Submitted, Deferred: n.Deferred, Queued: n.Queued, Running: n.Running, Retrying: n.Retrying,
		Completed: n.Completed, Canceled: n.Canceled, DeadLettered: n.DeadLettered, DeadLettersOpen: n.DeadLettersOpen}
}

// encodeTally is the stored form; the same counts give the same bytes.
func encodeTally(from, through schemas.Seq, t *Tally) ([]byte, error) {
	s := storedTally{V: tallyVersion, From: from, Through: through, Quarantined: t.Quarantined, Illegal: t.Illegal, Counts: []tallyCount{}}
	for k, n := range t.Counts {
		if *n == (Count{}) {
			continue
		}
		s.Counts = append(s.Counts, tallyCount{Org: k.Org, Queue: k.Queue, Type: k.Type, Submitted: n.Submitted, Deferred: n.Deferred,
			Queued: n.Queued, Running: n.Running, Retrying: n.Retrying, Completed: n.Completed, Canceled: n.Canceled,
			DeadLettered: n.DeadLettered, DeadLettersOpen: n.DeadLettersOpen})
	}
	slices.SortFunc(s.Counts, func(a, b tallyCount) int {
		return cmp.Or(cmp.Compare(a.Org, b.Org), cmp.Compare(a.Queue, b.Queue), cmp.Compare(a.Type, b.Type))
	})
	return json.Marshal(&s)
}

// decodeTally reads a stored tally, which must be of the stretch.
func decodeTally(from, through schemas.Seq, content []byte) (*Tally, error) {
	var s storedTally
	if err := json.Unmarshal(content, &s); err != nil {
		return nil, fmt.Errorf("it is no tally: %w", err)
	}
	if s.V != tallyVersion {
		return nil, fmt.Errorf("it is of version %d, and this program reads %d", s.V, tallyVersion)
	}
	if s.From != from || s.Through != through {
		return nil, fmt.Errorf("it is of the stretch from %d to %d", s.From, s.Through)
	}
	t := &Tally{Counts: make(Counts, len(s.Counts)), Quarantined: s.Quarantined, Illegal: s.Illegal}
	for i := range s.Counts {
		t.Counts.at(s.Counts[i].key()).Add(*s.Counts[i].count())
	}
	return t, nil
}

// differs names the first counter, of one org or of all, in which two tallies differ, but for some; false if they agree.
func (t *Tally) differs(o *Tally, org schemas.OrgID, but map[CountKey]bool) (k CountKey, differ bool) {
	look := func(a, b Counts) bool {
		for key, n := range a {
			m := b[key]
			if m == nil {
				m = new(Count)
			}
			if *n != *m && !but[key] && (org == "" || key.Org == org) {
				k = key
				return true
			}
		}
		return false
	}
	return k, look(t.Counts, o.Counts) || look(o.Counts, t.Counts)
}
