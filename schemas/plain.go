package schemas

import (
	"encoding/json"
	"time"

	"github.com/dartwing/jobledger/internal/plainjson"
)

// plainData is data that nearly every job has: read and written without reflection as long as it holds
// nothing unusual.
type plainData interface {
	Data
	// readPlain reads the value of the member called name, or fails r for one it does not know.
	readPlain(r *plainjson.Reader, name []byte)
	// writePlain writes the record without raw fields and reports true, or false for one that
	// encoding/json has to write.
	writePlain(w *plainjson.Writer) bool
}

// plainRoom is about what such a record needs without its raw fields.
const plainRoom = 384

// decodeBody fills data, a fresh record of the named event, from body, and returns the record to use.
func decodeBody(name EventName, data Data, body []byte) (Data, error) {
	if p, ok := data.(plainData); ok {
		if plainjson.Read(body, p.readPlain) {
			return data, nil
		}
		data = newData(name) // what was read so far is void
	}
	return data, json.Unmarshal(body, data)
}

// encodePlain returns the record's JSON, or false for encoding/json to do it.
func encodePlain(v any, raws []RawField) ([]byte, bool) {
	p, ok := v.(plainData)
	if !ok {
		return nil, false
	}
	size := plainRoom
	for _, r := range raws {
		size += len(r.Value)
	}
	w := plainjson.NewWriter(size)
	if !p.writePlain(w) {
		return nil, false
	}
	return w.End(), true
}

// readState and its like return the constant, so that no text is made for each event.
func readState(r *plainjson.Reader) State {
	b := r.Bytes()
	for _, s := range [...]State{StateQueued, StateRunning, StateSubmitted, StateRetrying, StateCompleted, StateCanceled, StateDeadLettered} {
		if string(b) == string(s) {
			return s
		}
	}
	return State(b)
}

func readPriority(r *plainjson.Reader) Priority {
	b := r.Bytes()
	for _, p := range [...]Priority{PriorityNormal, PriorityLow, PriorityHigh, PriorityCritical} {
		if string(b) == string(p) {
			return p
		}
	}
	return Priority(b)
}

// readTime reads a time as encoding/json does.
func readTime(r *plainjson.Reader) *time.Time {
	t := new(time.Time)
	if err := t.UnmarshalText(r.Bytes()); err != nil {
		r.Fail() // encoding/json says what is wrong
	}
	return t
}

// writeTime writes a time, if there is one; false for one that JSON cannot tell.
func writeTime(w *plainjson.Writer, name string, t *time.Time) bool {
	if t == nil {
		return true
	}
	text, err := t.MarshalText()
	if err == nil {
		w.Text(name, string(text))
	}
	return err == nil
}

func readMillis(r *plainjson.Reader) Millis { return Millis(r.Whole()) }

func (f *Fence) readPlain(r *plainjson.Reader, name []byte) {
	switch string(name) {
	case "seq":
		f.Seq = Seq(r.Whole())
	case "id":
		f.ID = EventID(r.Text())
	default:
		r.Fail()
	}
}

func (f *Fence) writePlain(w *plainjson.Writer) {
	w.Uint("seq", uint64(f.Seq))
	w.Text("id", string(f.ID))
}

func (h *Head) readPlain(r *plainjson.Reader, name []byte) {
	switch string(name) {
	case "from":
		h.From = readState(r)
	case "type":
		h.Type = TypeName(r.Text())
	case "queue":
		h.Queue = QueueName(r.Text())
	case "priority":
		h.Priority = readPriority(r)
	case "resource":
		h.Resource = r.Text()
	case "generation":
		h.Generation = int(r.Whole())
	case "submitted":
		h.Submitted = Seq(r.Whole())
	default:
		r.Fail()
	}
}

func (h *Head) writePlain(w *plainjson.Writer) {
	w.Text("from", string(h.From))
	w.Text("type", string(h.Type))
	w.Text("queue", string(h.Queue))
	w.Text("priority", string(h.Priority))
	w.TextIf("resource", h.Resource)
	w.Int("generation", int64(h.Generation))
	w.Uint("submitted", uint64(h.Submitted))
}

func (h *AttemptHead) readPlain(r *plainjson.Reader, name []byte) {
	switch string(name) {
	case "attempt":
		h.Attempt = int(r.Whole())
	case "fence":
		r.Object(h.Fence.readPlain)
	default:
		h.Head.readPlain(r, name)
	}
}

func (h *AttemptHead) writePlain(w *plainjson.Writer) {
	h.Head.writePlain(w)
	w.Int("attempt", int64(h.Attempt))
	w.Object("fence", h.Fence.writePlain)
}

func (s *Submitted) readPlain(r *plainjson.Reader, name []byte) {
	switch string(name) {
	case "from":
		s.From = readState(r)
	case "type":
		s.Type = TypeName(r.Text())
	case "queue":
		s.Queue = QueueName(r.Text())
	case "priority":
		s.Priority = readPriority(r)
	case "resource":
		s.Resource = r.Text()
	case "generation":
		s.Generation = int(r.Whole())
	case "principal":
		s.Principal = r.Text()
	case "hash":
		s.Hash = r.Text()
	case "key":
		s.Key = r.Text()
	case "dedup":
		s.Dedup = DedupPolicy(r.Text())
	case "dedup_window_ms":
		s.WindowMS = readMillis(r)
	case "delay_ms":
		s.DelayMS = readMillis(r)
	case "deadline_ms":
		s.DeadlineMS = readMillis(r)
	case "not_before":
		s.NotBefore = readTime(r)
	case "deadline":
		s.Deadline = readTime(r)
	case "tick":
		s.Tick = readTime(r)
	case "batch":
		s.Batch = r.Text()
	case "schedule":
		s.Schedule = r.Text()
	case "reason":
		s.Reason = r.Text()
	case "args":
		s.Args = r.LastRaw()
	default:
		r.Fail()
	}
}

func (s *Submitted) writePlain(w *plainjson.Writer) bool {
	if len(s.Parents) > 0 || len(s.Tags) > 0 || s.Override != nil || s.Refused != nil || s.ArgsRef != nil || len(s.Args) > 0 {
		return false
	}
	w.TextIf("from", string(s.From))
	w.Text("type", string(s.Type))
	w.Text("queue", string(s.Queue))
	w.Text("priority", string(s.Priority))
	w.TextIf("resource", s.Resource)
	w.Int("generation", int64(s.Generation))
	w.TextIf("principal", s.Principal)
	w.TextIf("hash", s.Hash)
	w.TextIf("key", s.Key)
	w.TextIf("dedup", string(s.Dedup))
	w.IntIf("dedup_window_ms", int64(s.WindowMS))
	ok := writeTime(w, "not_before", s.NotBefore)
	w.IntIf("delay_ms", int64(s.DelayMS))
	ok = writeTime(w, "deadline", s.Deadline) && ok
	w.IntIf("deadline_ms", int64(s.DeadlineMS))
	w.TextIf("batch", s.Batch)
	w.TextIf("schedule", s.Schedule)
	ok = writeTime(w, "tick", s.Tick) && ok
	w.TextIf("reason", s.Reason)
	return ok
}

func (p *Policy) readPlain(r *plainjson.Reader, name []byte) {
	switch string(name) {
	case "timeout_ms":
		p.TimeoutMS = readMillis(r)
	case "grace_ms":
		p.GraceMS = readMillis(r)
	case "max_attempts":
		p.MaxAttempts = int(r.Whole())
	case "poison_limit":
		p.PoisonLimit = int(r.Whole())
	default: // a backoff, which holds fractions
		r.Fail()
	}
}

func (p *Policy) plain() bool {
	return p.Backoff.BaseMS == 0 && p.Backoff.Factor == 0 && p.Backoff.CapMS == 0 && p.Backoff.ListMS == nil
}

func (p *Policy) writePlain(w *plainjson.Writer) {
	w.Int("timeout_ms", int64(p.TimeoutMS))
	w.Int("grace_ms", int64(p.GraceMS))
	w.Int("max_attempts", int64(p.MaxAttempts))
	w.Int("poison_limit", int64(p.PoisonLimit))
}

func (q *Queued) readPlain(r *plainjson.Reader, name []byte) {
	switch string(name) {
	case "policy":
		r.Object(q.Policy.readPlain)
	case "used":
		q.Used = int(r.Whole())
	case "epoch":
		q.Epoch = Seq(r.Whole())
	default:
		q.Head.readPlain(r, name)
	}
}

func (q *Queued) writePlain(w *plainjson.Writer) bool {
	if !q.Policy.plain() {
		return false
	}
	q.Head.writePlain(w)
	w.Object("policy", q.Policy.writePlain)
	w.Int("used", int64(q.Used))
	w.Uint("epoch", uint64(q.Epoch))
	return true
}

func (a *Running) readPlain(r *plainjson.Reader, name []byte) {
	switch string(name) {
	case "attempt":
		a.Attempt = int(r.Whole())
	case "session":
		a.Session = SessionID(r.Text())
	case "worker":
		a.Worker = r.Text()
	default:
		a.Head.readPlain(r, name)
	}
}

func (a *Running) writePlain(w *plainjson.Writer) bool {
	a.Head.writePlain(w)
	w.Int("attempt", int64(a.Attempt))
	w.Text("session", string(a.Session))
	w.Text("worker", a.Worker)
	return true
}

func (c *Completed) readPlain(r *plainjson.Reader, name []byte) {
	switch string(name) {
	case "duration_ms":
		c.DurationMS = readMillis(r)
	case "result":
		c.Result = r.LastRaw()
	default:
		c.AttemptHead.readPlain(r, name)
	}
}

func (c *Completed) writePlain(w *plainjson.Writer) bool {
	if c.Progress != nil || c.ResultRef != nil || len(c.Result) > 0 {
		return false
	}
	c.AttemptHead.writePlain(w)
	w.Int("duration_ms", int64(c.DurationMS))
	return true
}
