package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

const (
	// verifyExamples is how many problems a verdict names.
	verifyExamples = 20
	// verifyProgressEvery is how many messages pass between two calls of VerifyConfig.Progress.
	verifyProgressEvery = 10_000
)

// VerifyConfig says what Verify checks.
type VerifyConfig struct {
	// Ledger to check. Required. Give it a connection of its own beside a running system (ENGINE 10).
	Ledger *Ledger
	// Org narrows the check to one org's jobs; empty checks all, and what belongs to none. Gaps are looked
	// for in the whole ledger either way.
	Org schemas.OrgID
	// Full encodes each event again and compares it with what is stored, byte for byte, and holds the object
	// stores to the payloads that events name.
	Full bool
	// Limits counts anew, from the events alone, how many jobs ran at once under each limit in force. The
	// counts are of all orgs, so it goes with no Org.
	Limits bool
	// FullSpeed reads as fast as it goes. Otherwise it is so while nobody appends, and slow while someone does.
	FullSpeed bool
	// Progress, if set, is called now and then with the sequence reached and the last one.
	Progress func(done, last schemas.Seq)

	held   int    // verifyHeld, but in tests
	pace   *pacer // nil, but in tests
	begins func() // in tests: what ARCHIVE holds was looked up, and is about to be read
}

// verifyTries is how often a check is made at most while history is removed beside it.
const verifyTries = 3

// Kinds of problems, as a Verdict counts them (INTERFACE 2.5).
const (
	ProblemGap         = "gap"          // a sequence inside the ledger that holds no message
	ProblemDecode      = "decode"       // an event of ours that this version cannot read
	ProblemIllegal     = "illegal"      // an event that was not legal where it stands, or an attempt with two outcomes
	ProblemChain       = "chain"        // a break in the hash chain
	ProblemDuplicateID = "duplicate_id" // an event id that stands twice
	ProblemView        = "view"         // a document of JOBS or CONFIG that is not what the ledger says
	ProblemCount       = "count"        // a document of COUNTS that is not what the ledger says
	ProblemIndex       = "index"        // a row of the index that is not what the ledger says
	ProblemPayload     = "payload"      // args or a result by reference that are not there, or not what their event says
	ProblemLimit       = "limit"        // more jobs ran at once than a limit in force allowed
	ProblemOffer       = "offer"        // a Queued job without an offer, or an offer without one
	ProblemArchive     = "archive"      // what is in ARCHIVE is not what its catalogue says, or not what LEDGER still holds of it
	ProblemCarried     = "carried"      // a carried event that does not hold the state folded so far
)

// Problems counts what is wrong, by kind. nil means that this part was not checked: not built yet, or not
// there (no views were ever written, or by a server of another version; nobody leads; one server's index could not be read).
type Problems struct {
	Gap         *int `json:"gap"`
	Decode      *int `json:"decode"`
	Illegal     *int `json:"illegal"`
	Chain       *int `json:"chain"`
	DuplicateID *int `json:"duplicate_id"`
	View        *int `json:"view"`
	Count       *int `json:"count"`
	Index       *int `json:"index"`
	Offer       *int `json:"offer"`
	Payload     *int `json:"payload"`
	Limit       *int `json:"limit"`
	Archive     *int `json:"archive"`
	Carried     *int `json:"carried"`
}

// of returns the place of a kind.
func (p *Problems) of(kind string) **int {
	switch kind {
	case ProblemGap:
		return &p.Gap
	case ProblemDecode:
		return &p.Decode
	case ProblemIllegal:
		return &p.Illegal
	case ProblemChain:
		return &p.Chain
	case ProblemDuplicateID:
		return &p.DuplicateID
	case ProblemView:
		return &p.View
	case ProblemCount:
		return &p.Count
	case ProblemIndex:
		return &p.Index
	case ProblemPayload:
		return &p.Payload
	case ProblemLimit:
		return &p.Limit
	case ProblemArchive:
		return &p.Archive
	case ProblemCarried:
		return &p.Carried
	}
	return &p.Offer
}

// Example is one problem.
type Example struct {
	Kind    string         `json:"kind"`
	Seq     schemas.Seq    `json:"seq"` // where; 0 if at no message
	Org     *schemas.OrgID `json:"org"`
	ID      *schemas.JobID `json:"id"`
	Message string         `json:"message"`
}

// Verdict is what Verify found.
type Verdict struct {
	OK          bool            `json:"ok"`
	Org         *schemas.OrgID  `json:"org"`
	FirstSeq    schemas.Seq     `json:"first_seq"`
	LastSeq     schemas.Seq     `json:"last_seq"`
	Events      int             `json:"events"`      // checked; quarantined messages are none
	Jobs        int             `json:"jobs"`        // checked
	Quarantined int             `json:"quarantined"` // messages that no fold can read: foreign ones, and those counted as decode
	Orphans     *int            `json:"orphans"`     // objects that no event names, uploads under way among them; null if not looked for
	Archive     ArchiveState    `json:"archive"`     // what of it is in ARCHIVE
	Indexes     []*IndexVerdict `json:"indexes"`     // of the servers that answered
	Problems    Problems        `json:"problems"`
	Examples    []Example       `json:"examples"` // the first 20
	DurationMS  int64           `json:"duration_ms"`
}

// Verify folds the ledger anew from its beginning, up to the end it has when Verify starts, and compares
// everything that is derived from it: each KV document at its own sequence, the counters, the offers. It is
// the checker behind `log verify` and at the end of every test (STYLE 22).
//
// Of servers' query indexes it compares the sums of their rows at the position that each says it is at (verify_index.go).
//
// It is safe beside a running system: it writes nothing, and what may only look wrong because things move on
// is read again before it is called a problem. Where segments of the archive are removed meanwhile, because their time is
// over, and something looks wrong, all is checked anew, up to verifyTries times.
//
// ARCHIVE and LEDGER are one ledger to it: what is in the first is read with its sums, and what stands in both is
// compared (DESIGN D13). It holds the fold of every unfinished job, and of at least verifyHeld others, without args and results:
// about 2 kB a job; finished ones beyond that are folded again when an event of them comes. Of every event it holds 16
// bytes, for ids that stand twice.
//
// The error says why it could not be checked; ErrPositionExpired if the ledger went back to older data
// meanwhile. What it finds wrong is in the verdict.
func Verify(ctx context.Context, cfg VerifyConfig) (*Verdict, error) {
	if cfg.Ledger == nil {
		return nil, errors.New("ledger: VerifyConfig.Ledger is required")
	}
	if cfg.Org != "" {
		if err := schemas.CheckToken("org", string(cfg.Org)); err != nil {
			return nil, badField("org", err)
		}
		if cfg.Limits {
			return nil, badField("org", errors.New("limits are counted over all orgs: leave the org out"))
		}
	}
	begin := time.Now()
	for try := 1; ; try++ {
		v := &verifier{cfg: cfg, l: cfg.Ledger, verdict: &Verdict{Org: opt(cfg.Org), Examples: []Example{}}, jobs: make(map[string]*verifiedJob),
			payloads: make(payloadRefs)}
		if err := v.run(ctx); err != nil {
			return nil, fmt.Errorf("verify the ledger: %w", err)
		}
		v.indexes.judge(v)
		if v.total > 0 && try < verifyTries {
			if now, err := v.l.Archived(ctx); err == nil && now.Removed != v.verdict.Archive.Removed {
				continue
			}
		}
		v.verdict.OK = v.total == 0
		v.verdict.DurationMS = time.Since(begin).Milliseconds()
		return v.verdict, nil
	}
}

// verifier is one run of Verify.
type verifier struct {
	cfg     VerifyConfig
	l       *Ledger
	verdict *Verdict
	total   int // problems of all kinds

	jobs map[string]*verifiedJob // by JobKey
	// evicted jobs were checked and are no longer held; the next look for some is at evictAt held ones.
	evicted, evictAt int
	ids              []idAt
	views            views
	indexes          indexes

	removed  bool // segments of the archive were removed, whose time was over
	tallies  talliesVerified
	payloads payloadRefs
	limits   *limitBooks // nil if not asked for
	pace     *pacer      // of all that is read in order; nil: at full speed
}

// run reads the views first and the ledger's end next, so that every document is of an event that the fold
// will meet.
func (v *verifier) run(ctx context.Context) error {
	if v.pace = v.cfg.pace; v.pace == nil && !v.cfg.FullSpeed {
		v.pace = v.l.pace(ctx)
		defer v.pace.close()
	}
	if err := v.views.read(ctx, v.l, v.cfg.Org); err != nil {
		return err
	}
	if err := v.indexes.read(ctx, v); err != nil {
		return err
	}
	state, err := v.l.state(ctx)
	if err != nil {
		return err
	}
	v.verdict.FirstSeq, v.verdict.LastSeq = schemas.Seq(state.FirstSeq), schemas.Seq(state.LastSeq)
	v.checks(ProblemArchive)
	intact, err := v.archive(ctx)
	if err != nil || !intact {
		return err
	}
	for _, kind := range []string{ProblemGap, ProblemDecode, ProblemIllegal, ProblemDuplicateID, ProblemCarried} {
		v.checks(kind)
	}
	if v.cfg.Full {
		v.checks(ProblemPayload)
	}
	if v.cfg.Limits {
		v.checks(ProblemLimit)
		v.limits = newLimitBooks()
	}
	if v.views.jobs != nil {
		v.checks(ProblemView)
	}
	if v.views.counts != nil {
		v.checks(ProblemCount)
	}
	if intact, err := v.fold(ctx); err != nil || !intact {
		return err
	}
	if err := v.checkIDs(ctx); err != nil {
		return err
	}
	if err := v.checkPayloads(ctx); err != nil {
		return err
	}
	if err := v.checkViews(ctx); err != nil {
		return err
	}
	return v.checkLive(ctx)
}

// checks notes that a kind is looked for.
func (v *verifier) checks(kind string) { *v.verdict.Problems.of(kind) = new(int) }

// problem counts one, and keeps it as an example while there is room.
func (v *verifier) problem(kind string, seq schemas.Seq, org schemas.OrgID, id schemas.JobID, format string, args ...any) {
	v.total++
	**v.verdict.Problems.of(kind)++
	if len(v.verdict.Examples) < verifyExamples {
		v.verdict.Examples = append(v.verdict.Examples, Example{Kind: kind, Seq: seq, Org: opt(org), ID: opt(id), Message: fmt.Sprintf(format, args...)})
	}
}

// fold reads the ledger from its first to its last message; false if a part of the archive cannot be read: what
// follows would be judged by half a story.
func (v *verifier) fold(ctx context.Context) (intact bool, err error) {
	first, last := v.verdict.FirstSeq, v.verdict.LastSeq
	expected := first
	if expected > last || last == 0 {
		return true, errors.Join(v.passCommits(ctx, last+1), v.indexes.end(ctx, v)) // empty, or purged to its end
	}
	read := &stretch{l: v.l, next: first, until: last, pace: v.pace}
	err = read.run(ctx, func(entries []*Entry) error {
		for _, e := range entries {
			v.gap(expected, e.Seq)
			expected = e.Seq + 1
			if err := v.passCommits(ctx, e.Seq); err != nil {
				return err
			}
			if err := v.indexes.reach(ctx, v, e.Seq); err != nil {
				return err
			}
			v.indexes.passed(v, e)
			if err := v.entry(ctx, e); err != nil {
				return err
			}
			if v.cfg.Progress != nil && e.Seq%verifyProgressEvery == 0 {
				v.cfg.Progress(e.Seq, last)
			}
		}
		return v.evict(ctx)
	})
	var damage *damageError
	if errors.As(err, &damage) {
		v.problem(ProblemArchive, expected, "", "", "%v", damage)
		return false, nil
	}
	if err != nil {
		return false, err
	}
	v.gap(expected, last+1)
	return true, errors.Join(v.passCommits(ctx, last+1), v.indexes.end(ctx, v))
}

// gap counts the missing sequences from expected up to, and without, next, but for those that may have left with segments
// that were removed.
func (v *verifier) gap(expected, next schemas.Seq) {
	at, missing := expected, 0
	for _, h := range v.tallies.outside(expected, next) {
		if missing == 0 {
			at = h.from
		}
		missing += int(h.to-h.from) + 1
	}
	if missing == 0 {
		return
	}
	v.problem(ProblemGap, at, "", "", "%d messages are missing from sequence %d on", missing, at)
	*v.verdict.Problems.Gap += missing - 1
	v.total += missing - 1
}
