package ledger

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// prepare validates a request in the order of R-01 that is the ledger's own: names, type, then size and
// content of the args, then everything else; and resolves the type's settings into what is stored.
func (l *Ledger) prepare(ctx context.Context, r *SubmitRequest) (*submission, error) {
	if err := r.checkNames(); err != nil {
		return nil, err
	}
	if err := l.Level(ctx); err != nil {
		return nil, err
	}
	t, err := l.typeFor(ctx, r)
	if err != nil {
		return nil, err
	}
	if err := l.borrowArgs(ctx, r); err != nil {
		return nil, err
	}
	s := &submission{l: l, org: r.Org, meta: r.Meta, reuse: t.Reuse, spec: r.spec(t), request: r.RequestID, before: r.before}
	if err := s.checkArgs(t); err != nil {
		return nil, err
	}
	s.dedup(r, t)
	s.refer(r.inline)
	if err := s.parents(ctx, r.ID); err != nil {
		return nil, err
	}
	if err := r.checkTimes(time.Now()); err != nil {
		return nil, err
	}
	return s, s.admit(ctx, r, t) // last: what was let in takes a place
}

// checkNames refuses what cannot be a subject token, before any request is made.
func (r *SubmitRequest) checkNames() error {
	for _, f := range []struct {
		field, value string
		required     bool
	}{
		{"org", string(r.Org), true}, {"type", string(r.Type), true}, {"queue", string(r.Queue), false},
		{"resource", r.Resource, false},
	} {
		if f.value == "" && !f.required {
			continue
		}
		if err := schemas.CheckToken(f.field, f.value); err != nil {
			return badField(f.field, err)
		}
	}
	if err := r.checkReserved(); err != nil {
		return err
	}
	if r.ID != "" && !r.once {
		if err := schemas.CheckCallerJobID(string(r.ID)); err != nil {
			return badField("id", err)
		}
	}
	if r.Priority != "" {
		if err := r.Priority.Validate(); err != nil {
			return badField("priority", err)
		}
	}
	switch r.OnDuplicate {
	case "", DuplicateReturn, DuplicateError:
	default:
		return badField("on_duplicate", fmt.Errorf("%q is unknown: use %s or %s", r.OnDuplicate, DuplicateReturn, DuplicateError))
	}
	if r.NoDedup && r.Key != "" {
		return badField("key", errors.New("a key asks for dedup and no_dedup forbids it: give one of them"))
	}
	return nil
}

// checkReserved refuses the names of what jobledger does itself.
func (r *SubmitRequest) checkReserved() error {
	for _, f := range []struct{ field, value string }{{"type", string(r.Type)}, {"queue", string(r.Queue)}} {
		if !r.system && strings.HasPrefix(f.value, schemas.ReservedPrefix) {
			return badField(f.field, reserved(f.field, f.value))
		}
	}
	return nil
}

func reserved(what, name string) error {
	return fmt.Errorf("%s %q begins with %q, which is reserved for what jobledger does itself", what, name, schemas.ReservedPrefix)
}

func (l *Ledger) typeFor(ctx context.Context, r *SubmitRequest) (*schemas.TypeSettings, error) {
	t, err := l.Type(ctx, r.Type)
	if e := AsError(err); e != nil && e.Code == CodeUnknownType && r.RegisterUnknown {
		t, err = l.registerType(ctx, r.Type, r.Meta)
	}
	if err != nil {
		return nil, err
	}
	if t.Disabled {
		return nil, typeDisabled(fmt.Sprintf("type %s is disabled", r.Type))
	}
	return t, nil
}

// spec is what is stored, without what dedup adds.
func (r *SubmitRequest) spec(t *schemas.TypeSettings) schemas.Submitted {
	spec := schemas.Submitted{
		Type: r.Type, Queue: cmp.Or(r.Queue, t.Queue, schemas.QueueDefault),
		Priority: cmp.Or(r.Priority, t.Priority, schemas.PriorityNormal),
		Resource: r.Resource, Principal: r.Principal, Key: r.Key,
		NotBefore: r.NotBefore, DelayMS: schemas.MillisOf(r.Delay),
		Deadline: r.Deadline, DeadlineMS: schemas.MillisOf(r.DeadlineIn),
		Parents: append([]schemas.ParentRef(nil), r.Parents...), Batch: r.Batch, Tags: r.Tags,
		Override: r.Override, Reason: r.Reason, Schedule: r.schedule, Tick: r.tick, Args: bytes.TrimSpace(r.Args),
	}
	if len(spec.Args) == 0 {
		spec.Args = json.RawMessage("{}")
	}
	return spec
}

// checkArgs refuses args that are no JSON, over the limit or not to the type's schema.
func (s *submission) checkArgs(t *schemas.TypeSettings) (err error) {
	args := s.spec.Args
	if len(args) > schemas.PayloadMax {
		return tooLarge(int64(len(args)))
	}
	if !surelyCanonical(args) {
		if s.sum, err = ContentHash(t.Name, args); err != nil {
			return badField("args", err)
		}
	}
	if s.l.cfg.CheckArgs == nil {
		return nil
	}
	if err := s.l.cfg.CheckArgs(t, args); err != nil {
		var own *Error
		if errors.As(err, &own) {
			return err
		}
		return badField("args", err)
	}
	return nil
}

// content is the ContentHash of the args, which is made when something asks for it: for work without content id nothing
// does, as a rule.
func (s *submission) content() string {
	if s.sum == "" {
		s.sum, _ = ContentHash(s.spec.Type, s.spec.Args) // they have a canonical form: checkArgs
	}
	return s.sum
}

func tooLarge(bytes int64) error {
	e := Errorf(CodePayloadTooLarge, "args are %d bytes: the limit is %d bytes (32 MiB); keep what is larger elsewhere and pass its address",
		bytes, schemas.PayloadMax)
	e.Field = "args"
	return e.with(DetailField, "args").with("limit", schemas.PayloadMax)
}

// dedup gives the spec its content id, if it is to carry one (DESIGN D4). The caller's own id is exact and
// carries none; neither do children and batch items, unless the caller gave a key.
func (s *submission) dedup(r *SubmitRequest, t *schemas.TypeSettings) {
	policy, window := t.DedupFor()
	s.window = window
	s.key = r.Key != "" && r.ID == ""
	content := !r.NoDedup && r.ID == "" && len(r.Parents) == 0 && r.Batch == ""
	switch {
	case s.key && policy == schemas.DedupOff:
		policy, window = schemas.DedupStrict, schemas.DedupWindow
	case !s.key && !content:
		return
	}
	s.spec.Dedup, s.spec.WindowMS = policy, schemas.MillisOf(window)
	if policy != schemas.DedupOff {
		s.spec.Hash = s.content()
	}
}

// parents refuses a parent that does not exist, so that there is no cycle, and fixes the generation
// of each. All of them are of the submission's own org, for no other can be named. One named twice is one
// parent.
func (s *submission) parents(ctx context.Context, self schemas.JobID) error {
	if len(s.spec.Parents) == 0 {
		return nil
	}
	kept := s.spec.Parents[:0]
	for _, p := range s.spec.Parents {
		same := slices.IndexFunc(kept, func(o schemas.ParentRef) bool { return o.ID == p.ID && o.Generation == p.Generation })
		switch {
		case same < 0:
			kept = append(kept, p)
		case cmp.Or(kept[same].OnFailure, schemas.ParentFail) != cmp.Or(p.OnFailure, schemas.ParentFail):
			return badField("parents", fmt.Errorf("parent %s is named twice, with %q and %q", p.ID, kept[same].OnFailure, p.OnFailure))
		}
	}
	s.spec.Parents = kept
	if len(s.spec.Parents) > schemas.ParentsMax {
		return badField("parents", fmt.Errorf("%d parents: at most %d are allowed; use a batch for more", len(s.spec.Parents), schemas.ParentsMax))
	}
	return each(len(kept), func(i int) error { return s.parent(ctx, &kept[i], self) })
}

func (s *submission) parent(ctx context.Context, p *schemas.ParentRef, self schemas.JobID) error {
	if err := schemas.CheckToken("parent", string(p.ID)); err != nil {
		return badField("parents", err)
	}
	switch p.OnFailure {
	case "", schemas.ParentFail, schemas.ParentCancel, schemas.ParentRun:
	default:
		return badField("parents", fmt.Errorf("reaction %q to a failed parent is unknown: use %s, %s or %s", p.OnFailure,
			schemas.ParentFail, schemas.ParentCancel, schemas.ParentRun))
	}
	if p.ID == self {
		return badField("parents", fmt.Errorf("job %s cannot wait for itself", self))
	}
	j, err := s.l.foldAny(ctx, s.org, p.ID)
	if err != nil {
		return err
	}
	if !j.Exists() || p.Generation > j.Generation {
		e := Errorf(CodeNotFound, "parent %s does not exist in org %s: %v", p.ID, s.org, ErrNotFound)
		e.Field = "parents"
		return e.with(DetailField, "parents").with("id", p.ID)
	}
	if p.Generation == 0 {
		p.Generation = j.Generation
	}
	return nil
}

// checkTimes refuses times that lie too far ahead. now is this process's clock: a guard against
// mistakes of years needs no better.
func (r *SubmitRequest) checkTimes(now time.Time) error {
	if r.Delay < 0 || r.DeadlineIn < 0 {
		return badField("delay", errors.New("delay and deadline may not be negative"))
	}
	if r.NotBefore != nil && r.NotBefore.Sub(now) > schemas.NotBeforeMax {
		return badField("not_before", fmt.Errorf("%s is more than %s ahead", r.NotBefore.Format(time.RFC3339), schemas.NotBeforeMax))
	}
	return nil
}
