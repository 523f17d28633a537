package ledger

import (
	"context"
	"errors"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// LastVerified is what the latest noted check of the whole ledger found, who asked for it, and when it ended.
type LastVerified struct {
	At    time.Time `json:"at"` // the ledger's clock
	Actor string    `json:"actor"`
	OK    bool      `json:"ok"`
	schemas.VerifyResult
}

// NoteVerified notes what Verify found of the whole ledger, as a verified event: Verify itself writes nothing. A verdict on one
// org is refused, it says nothing of the others.
func (l *Ledger) NoteVerified(ctx context.Context, v *Verdict, m Meta) error {
	if v.Org != nil {
		return Errorf(CodeInvalidArgument, "the verdict on one org is not one on the ledger")
	}
	set := &schemas.Verified{Settings: schemas.VerifyResult{Full: v.Problems.Payload != nil, Limits: v.Problems.Limit != nil,
		FirstSeq: v.FirstSeq, LastSeq: v.LastSeq, Events: v.Events, Jobs: v.Jobs, Problems: v.Problems.found(), DurationMS: schemas.Millis(v.DurationMS)}}
	_, err := l.Put(ctx, m, set.Place(), func(schemas.Setting) (schemas.Setting, error) { return set, nil })
	return err
}

// found counts the problems by kind, those that there are.
func (p *Problems) found() map[string]int {
	all := make(map[string]int)
	for _, kind := range []string{ProblemGap, ProblemDecode, ProblemIllegal, ProblemChain, ProblemDuplicateID, ProblemView, ProblemCount, ProblemIndex,
		ProblemPayload, ProblemLimit, ProblemOffer, ProblemArchive, ProblemCarried} {
		if n := *p.of(kind); n != nil && *n > 0 {
			all[kind] = *n
		}
	}
	return all
}

// LastVerified returns the latest noted check; nil if none ever was, or if only a newer version can read it.
func (l *Ledger) LastVerified(ctx context.Context) (*LastVerified, error) {
	e, err := l.Setting(ctx, KindVerify, "ledger")
	if errors.Is(err, ErrUnreadable) {
		return nil, nil
	}
	if err != nil || e == nil {
		return nil, err
	}
	found := e.Data.(*schemas.Verified).Settings
	return &LastVerified{At: e.Time.UTC(), Actor: e.Actor.String(), OK: len(found.Problems) == 0, VerifyResult: found}, nil
}
