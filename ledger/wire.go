package ledger

import (
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/dartwing/jobledger/internal/plainjson"
	"github.com/dartwing/jobledger/schemas"
)

// Leases (R-305, DESIGN D7). The leader judges by its own monotonic clock.
const (
	BeatEvery       = 5 * time.Second  // a worker's sign of life
	Lease           = 20 * time.Second // silence after which an attempt is lost; BeatEvery is below a third of it
	BeatCutoff      = 15 * time.Second // without an answer for so long a worker claims nothing
	OfferArgsMax    = 64 << 10         // bytes of args and checkpoint that travel inside an offer; larger ones are read by the worker
	AckWait         = 5 * time.Second  // an offer that was not acked is delivered again
	BeatAttemptsMax = 10_000           // attempts named by one beat
)

// Offer is a message in WORK: it wakes a worker and saves it a read. It is a hint, never the truth: the
// claim's append decides (DESIGN D1). Job is the fold at queued, LastSeq the sequence to expect; Args and
// Checkpoint stand beside it byte for byte, or are read from the ledger when ArgsOmitted.
type Offer struct {
	Epoch       schemas.Seq     `json:"epoch"` // of the leader that offers
	Cell        string          `json:"cell"`
	Job         *Job            `json:"job"`
	Alone       bool            `json:"alone,omitempty"` // under a limit of one: a cut-off worker stops it (DESIGN D7)
	ArgsOmitted bool            `json:"args_omitted,omitempty"`
	Args        json.RawMessage `json:"args,omitempty"`
	Checkpoint  json.RawMessage `json:"checkpoint,omitempty"`
}

// offerJobs are what offers' jobs are copied to while they are encoded, without what stands beside them.
var offerJobs = sync.Pool{New: func() any { return new(Job) }}

// Encode returns the message body of an offer of j. It does not change j.
func (o *Offer) Encode() ([]byte, error) {
	j, c := offerJobs.Get().(*Job), *o
	defer func() {
		*j = Job{}
		offerJobs.Put(j)
	}()
	*j = *o.Job
	args, checkpoint := j.Spec.Args, j.Checkpoint
	j.Spec.Args, j.Checkpoint, j.Result = nil, nil, nil
	c.Job, c.Args, c.Checkpoint = j, nil, nil
	if len(args)+len(checkpoint) > OfferArgsMax {
		c.ArgsOmitted, args, checkpoint = true, nil, nil
	}
	if len(checkpoint) == 0 {
		if body, ok := c.plain(args); ok {
			return body, nil
		}
	}
	return schemas.SpliceJSON(&c, schemas.RawField{Name: "args", Value: args}, schemas.RawField{Name: "checkpoint", Value: checkpoint})
}

// offerRoom is about what an offer needs without args.
const offerRoom = 1024

// plain is what SpliceJSON makes of an offer of a job that waits for its first worker, without reflection;
// false for any other. The args stand in the ledger, so they are JSON.
func (o *Offer) plain(args json.RawMessage) ([]byte, bool) {
	w := plainjson.NewWriter(offerRoom + len(args))
	w.Uint("epoch", uint64(o.Epoch))
	w.Text("cell", o.Cell)
	ok := true
	w.Object("job", func(w *plainjson.Writer) { ok = o.Job.WritePlain(w) })
	w.TrueIf("alone", o.Alone)
	w.TrueIf("args_omitted", o.ArgsOmitted)
	if len(args) > 0 {
		w.Raw("args", args)
	}
	return w.End(), ok
}

func (o *Offer) readPlain(r *plainjson.Reader, name []byte) {
	switch string(name) {
	case "epoch":
		o.Epoch = schemas.Seq(r.Whole())
	case "cell":
		o.Cell = r.Text()
	case "job":
		o.Job = new(Job)
		r.Object(o.Job.ReadPlain)
	case "alone":
		o.Alone = r.Bool()
	case "args_omitted":
		o.ArgsOmitted = r.Bool()
	case "args":
		o.Args = r.LastRaw()
	default:
		r.Fail()
	}
}

// DecodeOffer reads an offer; its Job.Spec.Args and Job.Checkpoint are set unless ArgsOmitted.
func DecodeOffer(body []byte) (*Offer, error) {
	var o Offer
	if !plainjson.Read(body, o.readPlain) {
		o = Offer{} // what was read so far is void
		if err := json.Unmarshal(body, &o); err != nil {
			return nil, err
		}
	}
	if o.Job == nil {
		return nil, errors.New("offer names no job")
	}
	o.Job.Spec.Args, o.Args = o.Args, nil
	if o.Checkpoint != nil { // a server of an earlier version left it in the job
		o.Job.Checkpoint, o.Checkpoint = o.Checkpoint, nil
	}
	return &o, nil
}

// AttemptRef names one attempt in a beat.
type AttemptRef struct {
	Org     schemas.OrgID `json:"org"`
	Job     schemas.JobID `json:"job"`
	Attempt int           `json:"attempt"`
	Fence   schemas.Fence `json:"fence"`
	// Hung: the attempt has ended in the ledger, its handler has not returned; it still holds limits. Then the
	// reference says which: those of its queue, type and resource.
	Hung     bool              `json:"hung,omitempty"`
	Queue    schemas.QueueName `json:"queue,omitempty"`
	Type     schemas.TypeName  `json:"type,omitempty"`
	Resource string            `json:"resource,omitempty"`
}

// Serves names a pair that a worker pulls.
type Serves struct {
	Queue schemas.QueueName `json:"queue"`
	Type  schemas.TypeName  `json:"type"`
}

// Beat is one process's sign of life, sent as a request every BeatEvery. It names every attempt whose
// outcome is not settled, and every handler that outlives its attempt (DESIGN D7).
type Beat struct {
	Session   schemas.SessionID `json:"session"`
	Worker    string            `json:"worker"` // name for people
	Host      string            `json:"host,omitempty"`
	Version   string            `json:"version,omitempty"`
	StartedAt time.Time         `json:"started_at"`
	Serves    []Serves          `json:"serves"`
	Slots     int               `json:"slots"`
	Busy      int               `json:"busy"`
	Draining  bool              `json:"draining,omitempty"`
	Leaving   bool              `json:"leaving,omitempty"` // last beat: all attempts are settled
	Attempts  []AttemptRef      `json:"attempts,omitempty"`
	Epoch     schemas.Seq       `json:"epoch,omitempty"` // newest leader known: offers of earlier ones are dropped
}

// BeatAnswer is the leader's answer. A worker pulls nothing before its first one.
type BeatAnswer struct {
	Cell     string      `json:"cell"`     // id of the cell's start; a changed one makes a worker forget the epoch it knew
	Epoch    schemas.Seq `json:"epoch"`    // of the answering leader
	Position schemas.Seq `json:"position"` // folded by it; fences above are never called invalid
	// Now is the stream's time, as the leader knows it: workers judge deadlines by it, for their own clocks may be
	// wrong. Zero from leaders of earlier versions.
	Now time.Time `json:"now,omitzero"`
	// Canceled and Invalid name fences of the beat: cancel was requested; the attempt is no longer current.
	Canceled []schemas.Seq `json:"canceled,omitempty"`
	Invalid  []schemas.Seq `json:"invalid,omitempty"`
}

// CancelSignal wakes a session: the attempt's cancel_requested is stored.
type CancelSignal struct {
	Org   schemas.OrgID `json:"org"`
	Job   schemas.JobID `json:"job"`
	Fence schemas.Fence `json:"fence"`
}
