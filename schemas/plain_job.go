package schemas

import "github.com/dartwing/jobledger/internal/plainjson"

// ReadPlain reads the value of the member called name of a job that waits for a worker, or fails r for a
// member that such a job rarely has.
func (j *Job) ReadPlain(r *plainjson.Reader, name []byte) {
	switch string(name) {
	case "org":
		j.Org = OrgID(r.Text())
	case "id":
		j.ID = JobID(r.Text())
	case "generation":
		j.Generation = int(r.Whole())
	case "state":
		j.State = readState(r)
	case "spec":
		r.Object(j.Spec.readPlain)
	case "submitted_seq":
		j.SubmittedSeq = Seq(r.Whole())
	case "submitted_id":
		j.SubmittedID = EventID(r.Text())
	case "submitted_at":
		j.SubmittedAt = r.Time()
	case "submitted_by":
		r.Object(j.SubmittedBy.readPlain)
	case "causation_id":
		j.CausationID = r.Text()
	case "correlation_id":
		j.CorrelationID = r.Text()
	case "traceparent":
		j.Traceparent = r.Text()
	case "tracestate":
		j.Tracestate = r.Text()
	case "policy":
		r.Object(j.Policy.readPlain)
	case "attempt":
		j.Attempt = int(r.Whole())
	case "used":
		j.Used = int(r.Whole())
	case "losses":
		j.Losses = int(r.Whole())
	case "cell_losses":
		j.CellLosses = int(r.Whole())
	case "queued_at":
		j.QueuedAt = r.Time()
	case "last_seq":
		j.LastSeq = Seq(r.Whole())
	case "last_id":
		j.LastID = EventID(r.Text())
	case "last_at":
		j.LastAt = r.Time()
	default:
		r.Fail()
	}
}

// WritePlain writes the job and reports true, or false for one that encoding/json has to write: any but one
// that waits for its first worker.
func (j *Job) WritePlain(w *plainjson.Writer) bool {
	if !j.fresh() || !j.Policy.plain() {
		return false
	}
	w.Text("org", string(j.Org))
	w.Text("id", string(j.ID))
	w.Int("generation", int64(j.Generation))
	w.Text("state", string(j.State))
	spec := true
	w.Object("spec", func(w *plainjson.Writer) { spec = j.Spec.writePlain(w) })
	if !spec {
		return false
	}
	w.Uint("submitted_seq", uint64(j.SubmittedSeq))
	w.Text("submitted_id", string(j.SubmittedID))
	w.Time("submitted_at", j.SubmittedAt)
	if j.SubmittedBy != (Actor{}) {
		w.Object("submitted_by", j.SubmittedBy.writePlain)
	}
	w.TextIf("causation_id", j.CausationID)
	w.TextIf("correlation_id", j.CorrelationID)
	w.TextIf("traceparent", j.Traceparent)
	w.TextIf("tracestate", j.Tracestate)
	w.Object("policy", j.Policy.writePlain)
	w.Int("attempt", int64(j.Attempt))
	w.Int("used", int64(j.Used))
	w.IntIf("losses", int64(j.Losses))
	w.IntIf("cell_losses", int64(j.CellLosses))
	w.Time("queued_at", j.QueuedAt)
	w.Uint("last_seq", uint64(j.LastSeq))
	w.TextIf("last_id", string(j.LastID))
	w.Time("last_at", j.LastAt)
	return true
}

// fresh reports whether j is zero in all that WritePlain does not write.
func (j *Job) fresh() bool {
	waits := !j.QueuedAt.IsZero() && !j.LastAt.IsZero() && j.Policy.TimeoutMS != 0
	times := j.NotBefore.IsZero() && j.Deadline.IsZero() && j.StartedAt.IsZero() && j.FinishedAt.IsZero() && j.RetryAt.IsZero()
	attempts := j.Fence.IsZero() && j.Session == "" && j.Worker == "" && j.LastFence.IsZero() && j.LastOutcome == "" && len(j.Late) == 0
	canceled := j.CancelRequested || j.CancelForced || j.CancelBy != (Actor{}) || j.CancelReason != "" || j.DuplicateOf != nil
	dead := j.DeadReason != "" || j.Resolution != "" || j.ResolvedBy != (Actor{}) || !j.ResolvedAt.IsZero() || j.Note != "" || j.ParentsWaived
	left := j.Error != nil || j.Progress != nil || j.ResultRef != nil || len(j.Result) > 0 || len(j.Checkpoint) > 0
	return waits && times && attempts && !canceled && !dead && !left && j.Illegal == 0 && !j.Unreadable
}

func (a *Actor) readPlain(r *plainjson.Reader, name []byte) {
	switch string(name) {
	case "type":
		a.Type = r.Text()
	case "id":
		a.ID = r.Text()
	default:
		r.Fail()
	}
}

func (a *Actor) writePlain(w *plainjson.Writer) {
	w.Text("type", a.Type)
	w.Text("id", a.ID)
}
