package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/dartwing/jobledger/schemas"
)

// What Submit does when the work is a duplicate; the zero value returns the job that exists.
const (
	DuplicateReturn = "return"
	DuplicateError  = "error" // fails with code duplicate
)

// duplicateHopsMax bounds how many earlier submissions of the same work one Submit follows: each was
// canceled or failed inside one window, and costs two reads.
const duplicateHopsMax = 1000

// SubmitRequest asks for one job. Absent fields take the type's setting, then the engine's default.
type SubmitRequest struct {
	Org  schemas.OrgID    // required
	Type schemas.TypeName // required
	// Args is any JSON value of at most schemas.PayloadMax bytes, stored byte for byte; empty means {}. What is
	// too large for the event is kept by reference.
	Args json.RawMessage
	// ArgsRef, in place of Args, takes them from another job of the org, or from what was staged for this one.
	ArgsRef *schemas.ObjectRef

	// ID is the caller's own job id: exact, and never a duplicate by content. Empty gives a new one.
	ID schemas.JobID
	// Key is an idempotency key within the dedup window: it stands for the content, also where the type
	// has no dedup. It does not go together with NoDedup.
	Key string
	// NoDedup submits without content id: the work runs however often it was submitted.
	NoDedup bool
	// OnDuplicate is DuplicateReturn or DuplicateError.
	OnDuplicate string

	Queue     schemas.QueueName
	Priority  schemas.Priority
	Resource  string
	Principal string // whom the job runs as, when it is not Meta.Actor

	NotBefore  *time.Time    // earliest start
	Delay      time.Duration // earliest start from the submit; rounded up to milliseconds
	Deadline   *time.Time    // latest start
	DeadlineIn time.Duration // latest start from the submit

	// Parents must exist. A Generation of 0 means the current one. Children carry no content id.
	Parents  []schemas.ParentRef
	Batch    string
	Tags     map[string]string
	Override *schemas.Override
	Reason   string
	Meta     Meta

	// RequestID names the request for a caller who may repeat it because no answer came: the repetition finds
	// its own job and is no duplicate, also without content id. Zero names none. A new id for each request.
	RequestID uuid.UUID

	// NoLimits lets the submission in whatever its org's waiting limits and submit rates are: for admins, and
	// for what jobledger submits itself.
	NoLimits bool
	// RegisterUnknown registers an unknown type with the engine's defaults first, as `jobledger dev` does.
	RegisterUnknown bool

	once   bool // ID is one that jobledger derives and uses once for ever: what stands under it stands for the request
	system bool // the type and queue are jobledger's own
	inline int  // args above so many bytes are kept by reference; 0: those that are too large for an event

	schedule string     // that the job is made by
	tick     *time.Time // the time of the schedule that it is for

	// before, if it is not nil, is done once the ledger takes the job and before it is stored. Its error ends the submission.
	before func(context.Context) error
}

// size is about how many bytes of args the request brings.
func (r *SubmitRequest) size() int {
	if r.ArgsRef != nil {
		return int(min(max(r.ArgsRef.Bytes, 0), schemas.PayloadMax))
	}
	return len(r.Args)
}

// Receipt says which job stands for a submission.
type Receipt struct {
	ID         schemas.JobID `json:"id"`
	Org        schemas.OrgID `json:"org"`
	Seq        schemas.Seq   `json:"seq"` // ledger sequence of its submitted event
	Duplicate  bool          `json:"duplicate"`
	State      schemas.State `json:"state"`
	Generation int           `json:"generation"`
}

// Submit stores a job, or finds the one that stands for the same work (DESIGN D4). When it returns without
// error the job is in the ledger and needs no second write to run.
//
// Errors are *Error: invalid_argument, unknown_type, type_disabled, payload_too_large, not_found (a parent),
// duplicate (on request), id_conflict, queue_full, rate_limited, org_not_found, permission_denied (another org's
// queue), and unavailable. Unavailable with ReasonOutcomeUnknown may have stored
// the job: its id is in Receipt.ID and details.id. Submitting again with the same ID or Key, or the same
// content within the dedup window, is safe in any case. With ReasonPayloadNotStored nothing is stored. A ctx
// without deadline is bounded by SettleTimeout, and a second for each MiB of args.
//
// If this process dies in here, the job is stored or not; nothing else needs repair. Args by reference that no
// event names are removed by the collector.
func (l *Ledger) Submit(ctx context.Context, r SubmitRequest) (Receipt, error) {
	ctx, cancel := withPayloadTimeout(ctx, r.size())
	defer cancel()
	s, err := l.prepare(ctx, &r)
	if err != nil {
		return Receipt{}, coded(err)
	}
	s.trace(ctx)
	var receipt Receipt
	switch {
	case r.once:
		receipt, err = s.under(ctx, r.ID, judgeOnce)
	case r.ID != "":
		receipt, err = s.under(ctx, r.ID, s.judgeOwnID)
	case s.spec.Dedup.Exact():
		receipt, err = s.under(ctx, derivedID(&s.spec), s.judgeInFlight)
	default:
		receipt, err = s.fresh(ctx)
	}
	return s.told(ctx, &r, receipt, err)
}

// told ends a submission that has come to something.
func (s *submission) told(ctx context.Context, r *SubmitRequest, receipt Receipt, err error) (Receipt, error) {
	receipt, err = s.outcome(ctx, r, receipt, err)
	return s.endTrace(receipt, err)
}

func (s *submission) outcome(ctx context.Context, r *SubmitRequest, receipt Receipt, err error) (Receipt, error) {
	s.pass.leave(receipt, err)
	s.settle(ctx, receipt, err)
	if err != nil {
		return receipt, coded(err)
	}
	if receipt.Duplicate && r.OnDuplicate == DuplicateError {
		e := Errorf(CodeDuplicate, "job %s stands for the same work already", receipt.ID)
		return receipt, e.with("id", receipt.ID).with("seq", receipt.Seq).with("state", receipt.State)
	}
	return receipt, nil
}

// submission is one validated request on its way.
type submission struct {
	l       *Ledger
	org     schemas.OrgID
	meta    Meta
	spec    schemas.Submitted
	sum     string // see content; empty: not made yet
	key     bool   // the caller's key stands for the content
	request uuid.UUID
	window  time.Duration
	reuse   schemas.ReusePolicy
	large   *largeArgs // nil: they stand in the event
	pass    pass
	before  func(context.Context) error
	traced  func(Receipt, error) // ends its span; nil: it has none
	shut    *Error               // why the door is closed to new work; what stands under its id already is found all the same
}

// fresh stores the job under a new id; the stream's window finds an earlier submission of the same work.
func (s *submission) fresh(ctx context.Context) (Receipt, error) {
	id := s.freshID()
	if s.shut != nil {
		return s.stored(ctx, id)
	}
	e, err := s.beginFresh(id)
	if err != nil {
		return Receipt{}, err
	}
	return s.settleFresh(ctx, e, s.append(ctx, e, 0))
}

func (s *submission) freshID() schemas.JobID {
	if s.request != uuid.Nil {
		return schemas.JobID(s.request.String())
	}
	return schemas.NewJobID()
}

// beginFresh is the submitted event of a job whose id nobody has used.
func (s *submission) beginFresh(id schemas.JobID) (*schemas.Event, error) {
	e, err := s.beginOn(&noJob, id)
	if err == nil {
		e.MsgID = DedupID(s.org, &s.spec)
	}
	return e, err
}

// noJob is what stands under an id that nobody has used: nothing. Deciding changes no job.
var noJob Job

// settleFresh goes on from what the first append of e came to.
func (s *submission) settleFresh(ctx context.Context, e *schemas.Event, err error) (Receipt, error) {
	id := e.Job
	for try := 1; ; try++ {
		if err == nil {
			return s.accepted(e), nil
		}
		var refused *RefusedError
		if !errors.As(err, &refused) {
			return s.failed(id, err)
		}
		if try == duplicateHopsMax {
			break
		}
		if !refused.Duplicate {
			// A foreign message, or a caller's own id, stands on the id we drew: draw another.
			id = schemas.NewJobID()
			again, err := s.begin(&Job{Org: s.org, ID: id})
			if err != nil {
				return Receipt{}, err
			}
			again.MsgID, e = e.MsgID, again
		} else {
			j, err := s.blocking(ctx, refused.found)
			if err != nil || j != nil {
				return s.duplicateOf(j), err
			}
			// The earlier job no longer blocks: all who race extend the id alike, and one of them wins.
			extended := *e // an event is never changed once it was handed to Append
			extended.MsgID = DedupID(s.org, &s.spec) + ":" + refused.At.String()
			e = &extended
		}
		err = s.append(ctx, e, 0)
	}
	return Receipt{}, Errorf(CodeUnavailable, "the same work was submitted and ended without success more than %d times within its window", duplicateHopsMax)
}

// stored returns the receipt of the job that stands for the submission already, or why the door is closed.
func (s *submission) stored(ctx context.Context, id schemas.JobID) (Receipt, error) {
	if s.request != uuid.Nil {
		j, err := s.l.foldAny(ctx, s.org, id)
		switch {
		case err != nil:
			return Receipt{}, err
		case s.repeats(j):
			return s.standsAs(j), nil
		}
	}
	j, err := s.windowed(ctx, id)
	switch {
	case err != nil:
		return Receipt{}, err
	case j == nil:
		return Receipt{}, s.shut
	}
	return s.duplicateOf(j), nil
}

// repeats reports whether this very request has stored j before.
func (s *submission) repeats(j *Job) bool {
	return s.request != uuid.Nil && j.Exists() && j.SubmittedID == s.identity(j.ID, j.Generation)
}

// standsAs is the receipt of a job that is there already.
func (s *submission) standsAs(j *Job) Receipt {
	r := s.duplicateOf(j)
	r.Duplicate = r.Duplicate && !s.repeats(j)
	return r
}

// blocking returns the job that stands for the submission that was found under our message id, or nil if it
// does not stand in our way. One that is neither in LEDGER nor in ARCHIVE was removed: longer ago than any
// window.
func (s *submission) blocking(ctx context.Context, found *Entry) (*Job, error) {
	if found == nil || found.Org != s.org {
		return nil, nil
	}
	earlier, ok := found.Data.(*schemas.Submitted)
	if !ok {
		return nil, nil // a foreign message sits on our id
	}
	if err := s.sameContent(found.Job, earlier); err != nil {
		return nil, err
	}
	j, err := s.follow(ctx, found.Job)
	if err != nil {
		return nil, err
	}
	policy := j.Spec
	if policy.Dedup == schemas.DedupOff { // a later generation under the caller's own id
		policy.Dedup, policy.WindowMS = earlier.Dedup, earlier.WindowMS
	}
	age, err := s.age(ctx, j, found, policy.WindowMS.Duration())
	if err != nil || !Blocks(&policy, j.State, age) {
		return nil, err
	}
	return j, nil
}

// age is how long ago, by the stream's clock, j was submitted. It is 0 where the answer cannot matter: the
// stream itself remembers the message id of what was found, and its window is not the longer one.
func (s *submission) age(ctx context.Context, j *Job, found *Entry, window time.Duration) (time.Duration, error) {
	if j.SubmittedSeq == found.Seq {
		if c, err := s.l.streamConfig(ctx); err == nil && c.window <= window {
			return 0, nil
		}
	}
	now, err := s.l.StreamTime(ctx)
	return now.Sub(j.SubmittedAt), err
}

// follow folds a job, and goes on to the one it names if it was canceled as a duplicate.
func (s *submission) follow(ctx context.Context, id schemas.JobID) (*Job, error) {
	for range duplicateHopsMax {
		j, err := s.l.foldAny(ctx, s.org, id)
		if err != nil {
			return nil, err
		}
		if !j.Exists() {
			return nil, Errorf(CodeUnavailable, "job %s has left the ledger: try again", id)
		}
		switch {
		case repeats(j):
			h, err := s.l.History(ctx, s.org, id)
			if err != nil {
				return nil, err
			}
			return h.StandsFor().Job, nil
		case j.State != schemas.StateCanceled || j.DuplicateOf == nil:
			return j, nil
		}
		id = j.DuplicateOf.ID
	}
	return nil, Errorf(CodeInternal, "job %s is a duplicate of a duplicate without end", id)
}

// sameContent refuses a key that stands for other content.
func (s *submission) sameContent(id schemas.JobID, earlier *schemas.Submitted) error {
	if !s.key {
		return nil // the message id is the content
	}
	if content, err := contentOf(earlier); err == nil && content == s.content() {
		return nil
	}
	e := Errorf(CodeIDConflict, "the idempotency key was used for other content, by job %s", id)
	e.Field = "key"
	return e.with(DetailField, "key").with("id", id)
}

// standing says whether the job that holds the id stands for the submission. false without error: the next
// generation may begin.
type standing func(ctx context.Context, j *Job) (stands bool, err error)

// under stores the job under an exact id, as its first or next generation.
func (s *submission) under(ctx context.Context, id schemas.JobID, judge standing) (Receipt, error) {
	var j *Job
	if s.large != nil || s.shut != nil || s.before != nil { // a read costs less than an upload in vain
		var err error
		if j, err = s.l.foldAny(ctx, s.org, id); err != nil {
			return Receipt{}, err
		}
	} else {
		j = s.l.foldToSubmit(ctx, s.org, id) // mostly the id is new: it costs no read
	}
	for try := 0; ; try++ {
		if j.Exists() {
			stands, err := judge(ctx, j)
			if err != nil {
				return Receipt{}, err
			}
			if stands {
				j, err = s.follow(ctx, j.ID)
				return s.standsAs(j), err
			}
		}
		if s.shut != nil {
			return Receipt{}, s.shut
		}
		if s.before != nil {
			if err := s.before(ctx); err != nil {
				return Receipt{}, err
			}
		}
		e, err := s.appendBegin(ctx, j)
		if err == nil {
			return s.accepted(e), nil
		}
		if !errors.Is(err, ErrRefused) {
			return s.failed(id, err)
		}
		if try > 0 && !pause(ctx, try) { // the first refusal only says that the id is not new
			return Receipt{}, Errorf(CodeUnavailable, "other writers of job %s were always faster: %v", id, err)
		}
		if j, err = s.l.foldAny(ctx, s.org, id); err != nil {
			return Receipt{}, err
		}
	}
}

// appendBegin appends the submitted event behind what j's subject holds, and behind carried where
// the job leaves LEDGER.
func (s *submission) appendBegin(ctx context.Context, j *Job) (*schemas.Event, error) {
	j, err := s.l.carryFirst(ctx, j, s.l.Life())
	if err != nil {
		return nil, err
	}
	e, err := s.begin(j)
	if err != nil {
		return nil, err
	}
	return e, s.append(ctx, e, j.Expect())
}

// judgeOwnID judges the caller's own id: unfinished, or inside the window, equal content is the same
// job and other content a conflict; later the type's policy decides.
func (s *submission) judgeOwnID(ctx context.Context, j *Job) (bool, error) {
	content, err := contentOf(&j.Spec)
	same := err == nil && content == s.content()
	if j.State.Finished() {
		now, err := s.l.StreamTime(ctx)
		if err != nil {
			return false, err
		}
		if now.Sub(j.SubmittedAt) >= s.window && mayReuse(s.reuse, j.State) {
			return false, nil
		}
	}
	if same {
		return true, nil
	}
	e := Errorf(CodeIDConflict, "job id %s is taken by other content (generation %d, %s)", j.ID, j.Generation, j.State)
	e.Field = "id"
	return false, e.with(DetailField, "id").with("state", j.State)
}

// judgeOnce judges an id that is used once for ever (DESIGN, Streams and buckets): whatever stands there is the job.
func judgeOnce(context.Context, *Job) (bool, error) { return true, nil }

// judgeInFlight judges an id derived from the content or the key: the job stands for it while unfinished, a
// singleton's whatever is submitted.
func (s *submission) judgeInFlight(_ context.Context, j *Job) (bool, error) {
	if !Blocks(&s.spec, j.State, 0) {
		return false, nil
	}
	if s.spec.Dedup == schemas.DedupSingleton {
		return true, nil
	}
	return true, s.sameContent(j.ID, &j.Spec)
}

// begin decides the submitted event behind what j's subject holds.
func (s *submission) begin(j *Job) (*schemas.Event, error) { return s.beginOn(j, j.ID) }

func (s *submission) beginOn(j *Job, id schemas.JobID) (*schemas.Event, error) {
	data, err := Decide(j, &Begin{Spec: s.spec})
	if err != nil {
		return nil, err
	}
	e := s.meta.event(schemas.JobSubject(s.org, id), data)
	if s.request != uuid.Nil {
		e.ID = s.identity(id, j.Generation+1)
	}
	e.Meant = s.spec.Tick
	s.large.referBy(e)
	return e, nil
}

// identity is the id of the event that the request makes: the same whoever serves its repetition; another org, id,
// content or generation makes another one.
func (s *submission) identity(id schemas.JobID, generation int) schemas.EventID {
	place := fmt.Sprintf("%s/%s/%d/%s", s.org, id, generation, s.content())
	if s.large != nil {
		place += "/" + s.large.sum // the object holds these very bytes
	}
	return schemas.EventID(uuid.NewSHA1(s.request, []byte(place)).String())
}

func (s *submission) accepted(e *schemas.Event) Receipt {
	return Receipt{ID: e.Job, Org: e.Org, Seq: e.Seq, State: schemas.StateSubmitted,
		Generation: e.Data.(*schemas.Submitted).Generation}
}

func (s *submission) duplicateOf(j *Job) Receipt {
	if j == nil {
		return Receipt{}
	}
	return Receipt{ID: j.ID, Org: j.Org, Seq: j.SubmittedSeq, Duplicate: true, State: j.State, Generation: j.Generation}
}

// failed names the job in an error, so that the caller of a submit whose fate is unknown can ask for it.
func (s *submission) failed(id schemas.JobID, err error) (Receipt, error) {
	if own := AsError(err); errors.Is(err, ErrUnknown) {
		return Receipt{ID: id, Org: s.org}, own.with("id", id)
	}
	return Receipt{}, err
}
