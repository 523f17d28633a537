package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/schemas"
)

// payloadPace is the least that a payload is expected to travel in a second.
const payloadPace = 1 << 20

// withPayloadTimeout is withSettleTimeout for calls that carry n bytes besides.
func withPayloadTimeout(ctx context.Context, n int) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, SettleTimeout+time.Duration(n/payloadPace)*time.Second)
}

// largeArgs are args on their way into the object store. nil stands for args inside the event.
type largeArgs struct {
	args []byte
	sum  string // of these very bytes, in hex

	name string    // object that was uploaded; empty before
	at   time.Time // when that began
}

// borrowArgs replaces a reference that the caller gave by the args themselves: the new job gets an object of its
// own, so that each lives as long as its job. A reference to another org's is refused.
func (l *Ledger) borrowArgs(ctx context.Context, r *SubmitRequest) error {
	if r.ArgsRef == nil {
		return nil
	}
	if len(r.Args) > 0 {
		return badField("args", errors.New("args are given inline and by reference: give one of them"))
	}
	org, id, _ := parsePayloadName(r.ArgsRef.Name)
	if org != r.Org {
		return badField("args", fmt.Errorf("%w: it is not of org %s", ErrPayloadForeign, r.Org))
	}
	args, err := l.payload(ctx, StoreArgs, org, id, r.ArgsRef)
	if errors.Is(err, ErrPayloadMissing) || errors.Is(err, ErrPayloadCorrupt) || errors.Is(err, ErrPayloadForeign) {
		return badField("args", err)
	}
	r.Args = args
	return err
}

// refer takes args that are too large for the event out of it. Their content hash then always stands in it, for
// whoever compares content later should not have to read them. limit, if it is not 0, is a lower one of the request's own.
func (s *submission) refer(limit int) {
	if most := s.l.inlineArgs(); limit == 0 || most < limit {
		limit = most
	}
	if len(s.spec.Args) <= limit {
		return
	}
	content := s.content() // of the args, while they are there
	s.large = &largeArgs{args: s.spec.Args}
	s.large.sum = newRef(StoreArgs, "", s.large.args).SHA256
	s.spec.Args, s.spec.Hash = nil, content
}

// referBy makes a submitted event name the args as they will be stored for it.
func (a *largeArgs) referBy(e *schemas.Event) {
	if a == nil {
		return
	}
	e.Data.(*schemas.Submitted).ArgsRef = &schemas.ObjectRef{Bucket: StoreArgs, Name: payloadName(e.Org, e.Job, e.ID),
		Bytes: int64(len(a.args)), SHA256: a.sum}
}

// append stores the args first, if they are kept by reference, and the event second. If this process dies between
// the two, an object is left that no event names.
func (s *submission) append(ctx context.Context, e *schemas.Event, expect schemas.Seq) error {
	if s.large == nil {
		return s.l.Append(ctx, e, expect)
	}
	if err := s.upload(ctx, e.Data.(*schemas.Submitted).ArgsRef.Name); err != nil {
		return err
	}
	// The event must not come so late that the collector takes its object for an orphan.
	limited, cancel := context.WithDeadline(ctx, s.large.at.Add(2*PayloadFresh))
	defer cancel()
	err := s.l.Append(limited, e, expect)
	if err != nil || s.l.IsFresh(s.large.at) {
		return err
	}
	// This process was suspended between the two, perhaps for longer than the grace: what the collector may have
	// taken is stored again, under the name that the event holds.
	if err := s.upload(ctx, s.large.name); err != nil {
		s.l.log.Error("the args of a stored job could not be stored again", zap.String("object", s.large.name), zap.Error(err))
	}
	return nil
}

func (s *submission) upload(ctx context.Context, name string) error {
	a := s.large
	if a.name == name && s.l.IsFresh(a.at) {
		return nil
	}
	if a.name != "" && a.name != name {
		s.discard(ctx) // the id that it was for was taken
	}
	a.name, a.at = name, time.Now()
	err := s.l.objects(StoreArgs).put(ctx, name, a.args)
	if err == nil {
		return nil
	}
	e := Errorf(CodeUnavailable, "the args could not be stored: %v", err)
	return e.with(DetailReason, ReasonPayloadNotStored)
}

// settle removes args that were uploaded in vain, as for work that is there already. Where the event may be
// stored, or a repetition of the request may be about to name the same object, they are the collector's.
func (s *submission) settle(ctx context.Context, receipt Receipt, err error) {
	vain := err == nil && receipt.Duplicate || err != nil && !errors.Is(err, ErrUnknown)
	if s.large != nil && s.large.name != "" && vain && s.request == uuid.Nil {
		s.discard(ctx)
	}
}

// discard removes what was uploaded, as well as it can in a moment.
func (s *submission) discard(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyTimeout)
	defer cancel()
	store := s.l.objects(StoreArgs)
	there, err := store.stat(ctx, s.large.name)
	if err == nil {
		err = store.remove(ctx, there)
	}
	if err != nil && !errors.Is(err, errNoMessage) {
		s.l.log.Debug("args that no job needs stay for the collector", zap.String("object", s.large.name), zap.Error(err))
	}
	s.large.name = ""
}
