package ledger

import (
	"strconv"
	"time"

	"github.com/dartwing/jobledger/internal/plainjson"
	"github.com/dartwing/jobledger/schemas"
)

// documentRoom is about what a document without unusual fields needs.
const documentRoom = 1280

// Document is what BucketJobs holds under JobKey: the record without args, result, checkpoint_bytes, steps and attempts. It
// is a pure function of the fold, so whoever folds the subject up to Record.Seq gets the same bytes.
//
// It writes by hand what the JSON encoder makes of the record, byte for byte: the leader makes one for every
// job, and this costs a quarter.
func Document(j *Job) ([]byte, error) {
	w := documentWriter{b: make([]byte, 0, documentRoom)}
	w.names(j)
	w.progress(j)
	w.times(j)
	w.origin(j)
	w.ends(j)
	return append(w.b, '}'), w.err
}

func (w *documentWriter) names(j *Job) {
	s := &j.Spec
	w.text(`{"id":`, string(j.ID))
	w.text(`,"org":`, string(j.Org))
	w.text(`,"type":`, string(s.Type))
	w.text(`,"queue":`, string(s.Queue))
	w.text(`,"state":`, string(j.State))
	w.optional(`,"reason":`, StoredReason(j))
	w.text(`,"priority":`, string(s.Priority))
	w.number(`,"attempt":`, uint64(j.Attempt))
	attempts, timeout := policyOf(j)
	if attempts == nil {
		w.null(`,"max_attempts":`)
	} else {
		w.key(`,"max_attempts":`)
		w.b = strconv.AppendInt(w.b, int64(*attempts), 10)
	}
	w.timeout = timeout
}

func (w *documentWriter) progress(j *Job) {
	w.any(`,"progress":`, progressOf(j), j.Progress != nil)
	w.any(`,"error":`, errorOf(j.Error), j.Error != nil)
}

func (w *documentWriter) times(j *Job) {
	w.key(`,"submitted_at":`)
	w.instant(j.SubmittedAt)
	w.time(`,"queued_at":`, j.QueuedAt)
	w.time(`,"started_at":`, j.StartedAt)
	w.time(`,"finished_at":`, j.FinishedAt)
	w.time(`,"retry_at":`, j.RetryAt)
}

func (w *documentWriter) origin(j *Job) {
	w.optional(`,"submitted_by":`, j.SubmittedBy.String())
	if len(j.Spec.Parents) == 0 {
		w.key(`,"parents":[]`)
	} else {
		w.any(`,"parents":`, j.Spec.Parents, true)
	}
	w.number(`,"seq":`, uint64(j.LastSeq))
	w.text(`,"event_id":`, string(j.LastID))
	w.number(`,"generation":`, uint64(j.Generation))
	w.number(`,"submitted_seq":`, uint64(j.SubmittedSeq))
	w.number(`,"attempts_used":`, uint64(j.Used))
	if w.timeout > 0 && w.timeout%1000 == 0 {
		w.number(`,"run_timeout_s":`, uint64(w.timeout/1000))
	} else {
		w.any(`,"run_timeout_s":`, w.timeout.Duration().Seconds(), w.timeout != 0)
	}
	if f := flags(j); len(f) == 0 {
		w.key(`,"flags":[]`)
	} else {
		w.any(`,"flags":`, f, true)
	}
	w.optional(`,"owner":`, j.Principal())
	w.any(`,"tags":`, j.Spec.Tags, j.Spec.Tags != nil)
	w.optional(`,"batch":`, j.Spec.Batch)
	w.optional(`,"key":`, j.Spec.Key)
}

func (w *documentWriter) ends(j *Job) {
	w.time(`,"not_before":`, j.NotBefore)
	w.time(`,"deadline":`, j.Deadline)
	w.optional(`,"worker":`, j.Worker)
	cancel := cancelOf(j)
	w.any(`,"cancel":`, cancel, cancel != nil)
	canceled := time.Time{}
	if j.State == schemas.StateCanceled {
		canceled = j.FinishedAt
	}
	w.time(`,"canceled_at":`, canceled)
	resolution := resolutionOf(j)
	w.any(`,"resolution":`, resolution, resolution != nil)
	w.any(`,"args_ref":`, j.Spec.ArgsRef, j.Spec.ArgsRef != nil)
	w.any(`,"result_ref":`, j.ResultRef, j.ResultRef != nil)
	w.null(`,"children":`)
	w.optional(`,"correlation_id":`, j.CorrelationID)
	w.optional(`,"causation_id":`, j.CausationID)
}

// documentWriter appends members to a JSON object; keys come with the comma or brace before them.
type documentWriter struct {
	b       []byte
	timeout schemas.Millis
	err     error // the first value that cannot be encoded
}

func (w *documentWriter) key(key string) { w.b = append(w.b, key...) }

func (w *documentWriter) null(key string) {
	w.key(key)
	w.key("null")
}

func (w *documentWriter) number(key string, n uint64) {
	w.key(key)
	w.b = strconv.AppendUint(w.b, n, 10)
}

func (w *documentWriter) text(key, s string) {
	w.key(key)
	w.b = plainjson.AppendText(w.b, s)
}

func (w *documentWriter) optional(key, s string) {
	if s == "" {
		w.null(key)
		return
	}
	w.text(key, s)
}

func (w *documentWriter) time(key string, t time.Time) {
	if t.IsZero() {
		w.null(key)
		return
	}
	w.key(key)
	w.instant(t)
}

func (w *documentWriter) instant(t time.Time) {
	w.b = append(w.b, '"')
	w.b = t.UTC().AppendFormat(w.b, time.RFC3339Nano)
	w.b = append(w.b, '"')
}

// any leaves a value that is rare, or not of the forms above, to the encoder.
func (w *documentWriter) any(key string, v any, given bool) {
	if !given {
		w.null(key)
		return
	}
	w.key(key)
	body, err := schemas.SpliceJSON(v)
	if err != nil && w.err == nil {
		w.err = err
	}
	w.b = append(w.b, body...)
}
