package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/schemas"
)

const (
	// IndexStretchBits: a stretch of an index is the rows of jobs that were submitted in 4,096 sequences.
	IndexStretchBits = 12
	// indexPatience is how long a server may take for the next part of an answer.
	indexPatience = 30 * time.Second
	// IndexDamages is how many rows that contradict themselves a server names.
	IndexDamages = 20
)

// IndexRows asks a server for what its index holds.
type IndexRows struct {
	// Org narrows it to the rows of one; empty: all.
	Org schemas.OrgID `json:"org,omitempty"`
	// Stretch, if set, asks for every row of one stretch; else each stretch is told as its sum.
	Stretch *uint64 `json:"stretch,omitempty"`
	// Full has the postings of each row looked up, too.
	Full bool `json:"full,omitempty"`
}

// IndexPart is a part of a server's answer to IndexRows. All parts are true at one position.
type IndexPart struct {
	Part int `json:"part"` // from 0
	schemas.Position
	Sums    []IndexSum `json:"sums,omitempty"`
	Rows    []IndexRow `json:"rows,omitempty"`
	Damages []IndexRow `json:"damages,omitempty"` // the first rows that contradict themselves, and counters that are not those of the rows
	Damaged int        `json:"damaged,omitempty"` // how many there are
	Last    bool       `json:"last,omitempty"`
	Error   string     `json:"error,omitempty"` // it could not tell; the last part then
}

// IndexSum is the sum of a stretch's rows. It does not depend on their order.
type IndexSum struct {
	Stretch uint64 `json:"stretch"`
	Rows    int    `json:"rows"`
	Sum     uint64 `json:"sum,string"`
}

// Add adds a row, and takes it out again where n is -1.
func (s *IndexSum) Add(row uint64, n int) {
	s.Rows += n
	if n < 0 {
		row = -row
	}
	s.Sum += row
}

// IndexRow is one row: which job, up to which of its messages, and the sum of what a list shows of it.
type IndexRow struct {
	SubmittedSeq schemas.Seq     `json:"submitted_seq"`
	Org          schemas.OrgID   `json:"org"`
	ID           schemas.JobID   `json:"id"`
	Seq          schemas.Seq     `json:"seq"`
	EventID      schemas.EventID `json:"event_id"`
	Sum          uint64          `json:"sum,string,omitempty"`
	Message      string          `json:"message,omitempty"` // of a damage
}

// IndexRowOf is what an index tells of a job's row: a pure function of the fold.
func IndexRowOf(j *Job) (IndexRow, error) {
	doc, err := Document(j)
	if err != nil {
		return IndexRow{}, fmt.Errorf("document of %s: %w", JobKey(j.Org, j.ID), err)
	}
	return IndexRow{SubmittedSeq: j.SubmittedSeq, Org: j.Org, ID: j.ID, Seq: j.LastSeq, EventID: j.LastID, Sum: hashOf(doc)}, nil
}

// rowsAnswer is a part as it is read. A server that knows of no rows answers IndexRows with its IndexState, and no more.
type rowsAnswer struct {
	IndexPart
	Server string `json:"server"`
}

// errIndexSilent: a server does not tell, or not any more.
var errIndexSilent = errors.New("it does not answer")

// indexRows hands over every part of a server's answer.
func (l *Ledger) indexRows(ctx context.Context, server string, ask IndexRows, take func(*IndexPart) error) error {
	body, err := json.Marshal(IndexAsk{Server: server, Rows: &ask})
	if err != nil {
		return err
	}
	inbox, answers := l.nc.NewInbox(), make(chan *nats.Msg, indexAnswers)
	sub, err := l.nc.ChanSubscribe(inbox, answers)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only when the connection is closed, which ends it too
	if err := l.nc.PublishRequest(SubjectIndex, inbox, body); err != nil {
		return err
	}
	silence := time.NewTimer(indexPatience)
	defer silence.Stop()
	for n := 0; ; n++ {
		select {
		case m := <-answers:
			if lastValue(m.Header, headerStatus) != "" { // no responders
				return errIndexSilent
			}
			var part rowsAnswer
			if err := json.Unmarshal(m.Data, &part); err != nil {
				return fmt.Errorf("answer of server %s about its index: %w", server, err)
			}
			switch {
			case part.Server != "":
				return fmt.Errorf("%w with its rows: it is of an older version", errIndexSilent)
			case part.Error != "":
				return fmt.Errorf("%w: %s", errIndexSilent, part.Error)
			case part.Part != n:
				return fmt.Errorf("%w: a part of the answer is missing", errIndexSilent)
			}
			if err := take(&part.IndexPart); err != nil || part.Last {
				return err
			}
			silence.Reset(indexPatience)
		case <-silence.C:
			return errIndexSilent
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
