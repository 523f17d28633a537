package ledger

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// Servers' query indexes are held to the fold by sums: a server tells the sum of the rows of each stretch of sequences,
// all true at one position; at that position of the fold the same is made of the folds. That costs 24 bytes a stretch,
// however many jobs there are. Only of stretches that differ are rows read, and their jobs folded again one by one, to
// say which is wrong.

// indexStretchesNamed is how many stretches of an index that differ are looked into; of those behind it is said that they
// differ.
const indexStretchesNamed = 50

// indexAsks is how often servers are asked who keeps an index: one that is slow to answer may be missed once, and an index
// that is not known is not missed in the verdict.
const indexAsks = 3

// IndexVerdict is what Verify did with one server's index.
type IndexVerdict struct {
	Server  string      `json:"server"`
	Checked bool        `json:"checked"`
	Seq     schemas.Seq `json:"seq"`  // where it was checked: behind the ledger's end it is no problem
	Rows    int         `json:"rows"` // of the org that was asked for, or all
	Message *string     `json:"message"`
}

// indexCheck is one server's index, as it said that it is.
type indexCheck struct {
	verdict *IndexVerdict
	at      schemas.Position
	sums    map[uint64]IndexSum
}

// indexes are the indexes that are compared.
type indexes struct {
	checks []indexCheck // by position
	next   int          // those before it are compared
	// settled are the sums of the jobs that are no longer held.
	settled map[uint64]IndexSum
}

// read asks the servers: before the ledger's end is noted, so that the fold comes past every position.
func (x *indexes) read(ctx context.Context, v *verifier) error {
	x.settled = make(map[uint64]IndexSum)
	states, err := v.l.servingIndexes(ctx)
	if err != nil {
		return err
	}
	v.verdict.Indexes = make([]*IndexVerdict, 0, len(states))
	for _, s := range states {
		verdict := &IndexVerdict{Server: s.Server, Seq: s.Seq}
		v.verdict.Indexes = append(v.verdict.Indexes, verdict)
		if !s.Serves {
			verdict.Message = opt("it is being folded, and was waited for in vain for " + viewPatience.String())
			continue
		}
		if err := x.ask(ctx, v, verdict); errors.Is(err, errIndexSilent) {
			verdict.Message = opt(err.Error())
		} else if err != nil {
			return err
		}
	}
	slices.SortFunc(x.checks, func(a, b indexCheck) int { return cmp.Compare(a.at.Seq, b.at.Seq) })
	return nil
}

// servingIndexes are the indexes of all servers that answered one of indexAsks questions, as each said last, by name; once
// all can be read, or viewPatience is over.
func (l *Ledger) servingIndexes(ctx context.Context) ([]IndexState, error) {
	known := make(map[string]IndexState)
	for n, wait := 1, time.Now().Add(viewPatience); ; n++ {
		states, err := l.Indexes(ctx, IndexAsk{})
		if err != nil {
			return nil, err
		}
		folding := false
		for _, s := range states {
			known[s.Server] = s
		}
		for _, s := range known {
			folding = folding || !s.Serves
		}
		if n >= indexAsks && (!folding || time.Now().After(wait)) {
			return slices.SortedFunc(maps.Values(known), func(a, b IndexState) int { return cmp.Compare(a.Server, b.Server) }), nil
		}
		if folding && !sleep(ctx, livePoll) {
			return nil, ctx.Err()
		}
	}
}

// judge says of the indexes as a whole that they were not checked if one was not, unless there are problems.
func (x *indexes) judge(v *verifier) {
	problems := &v.verdict.Problems.Index
	unchecked := slices.ContainsFunc(v.verdict.Indexes, func(i *IndexVerdict) bool { return !i.Checked })
	if *problems != nil && **problems == 0 && unchecked {
		*problems = nil
	}
}

func (x *indexes) ask(ctx context.Context, v *verifier, verdict *IndexVerdict) error {
	c := indexCheck{verdict: verdict, sums: make(map[uint64]IndexSum)}
	var damages []IndexRow
	damaged := 0
	err := v.l.indexRows(ctx, verdict.Server, IndexRows{Org: v.cfg.Org, Full: v.cfg.Full}, func(p *IndexPart) error {
		c.at = p.Position
		for _, s := range p.Sums {
			c.sums[s.Stretch] = s
			verdict.Rows += s.Rows
		}
		damages, damaged = append(damages, p.Damages...), damaged+p.Damaged
		return nil
	})
	if err != nil {
		verdict.Rows = 0
		return err
	}
	if len(x.checks) == 0 {
		v.checks(ProblemIndex)
	}
	x.checks = append(x.checks, c)
	verdict.Checked, verdict.Seq = true, c.at.Seq
	for _, d := range damages {
		v.indexProblem(&c, d.Seq, d.Org, d.ID, d.Message)
	}
	if more := damaged - len(damages); more > 0 {
		v.total += more
		*v.verdict.Problems.Index += more
	}
	return nil
}

func (v *verifier) indexProblem(c *indexCheck, seq schemas.Seq, org schemas.OrgID, id schemas.JobID, message string) {
	v.problem(ProblemIndex, seq, org, id, "the index of server %s: %s", c.verdict.Server, message)
}

// settle adds a job that is let go to the sums, or takes one out that is held again.
func (x *indexes) settle(vj *verifiedJob, n int) error {
	if x.next == len(x.checks) {
		return nil
	}
	return addRow(x.settled, vj.job, n)
}

func addRow(to map[uint64]IndexSum, j *Job, n int) error {
	if !j.Exists() {
		return nil
	}
	row, err := IndexRowOf(j)
	if err != nil {
		return err
	}
	at := uint64(j.SubmittedSeq) >> IndexStretchBits
	s := to[at]
	s.Stretch = at
	s.Add(row.Sum, n)
	to[at] = s
	return nil
}

// reach compares the indexes that are true before a sequence, which is folded next.
func (x *indexes) reach(ctx context.Context, v *verifier, next schemas.Seq) error {
	for x.next < len(x.checks) && x.checks[x.next].at.Seq < next {
		c := &x.checks[x.next]
		sums := maps.Clone(x.settled)
		for _, vj := range v.jobs {
			if err := addRow(sums, vj.job, 1); err != nil {
				return err
			}
		}
		if err := x.compare(ctx, v, c, sums); err != nil {
			return err
		}
		x.next++
	}
	return nil
}

// passed holds the event that an index says it is at to the one that is there.
func (x *indexes) passed(v *verifier, e *Entry) {
	for i := x.next; i < len(x.checks) && x.checks[i].at.Seq == e.Seq; i++ {
		if c := &x.checks[i]; c.at.ID != e.ID {
			v.indexProblem(c, e.Seq, e.Org, e.Job, "it is at this sequence with event "+string(c.at.ID)+", the ledger holds "+string(e.ID))
		}
	}
}

// end compares what is left: of an index that is behind the ledger's end nothing is true.
func (x *indexes) end(ctx context.Context, v *verifier) error {
	if err := x.reach(ctx, v, v.verdict.LastSeq+1); err != nil {
		return err
	}
	for ; x.next < len(x.checks); x.next++ {
		v.indexProblem(&x.checks[x.next], x.checks[x.next].at.Seq, "", "", "it is behind the ledger's last sequence, "+v.verdict.LastSeq.String())
	}
	return nil
}

func (x *indexes) compare(ctx context.Context, v *verifier, c *indexCheck, sums map[uint64]IndexSum) error {
	var differ []uint64
	for at, want := range sums {
		if have := c.sums[at]; have.Rows != want.Rows || have.Sum != want.Sum {
			differ = append(differ, at)
		}
	}
	for at := range c.sums {
		if _, known := sums[at]; !known {
			differ = append(differ, at)
		}
	}
	slices.Sort(differ)
	named := 0
	for _, at := range differ {
		from := schemas.Seq(at << IndexStretchBits)
		to := from + 1<<IndexStretchBits - 1
		if v.tallies.lost(max(from, 1)-1, to+1) {
			continue // rows may be of jobs whose history was removed, until the index has followed that
		}
		found := indexStretch{x: x, v: v, c: c, at: at, from: from, to: to}
		if named++; named <= indexStretchesNamed {
			if err := found.name(ctx); errors.Is(err, errIndexSilent) {
				found.wrong = 0
			} else if err != nil {
				return err
			}
		}
		if found.wrong == 0 && !found.doubtful {
			v.indexProblem(c, from, "", "", "the rows of jobs submitted in sequences "+from.String()+" to "+to.String()+" are not what the ledger says at sequence "+c.at.Seq.String())
		}
	}
	return nil
}

// indexStretch is a look into a stretch that differs.
type indexStretch struct {
	x        *indexes
	v        *verifier
	c        *indexCheck
	at       uint64
	from, to schemas.Seq
	wrong    int  // rows that were reported
	doubtful bool // some are of jobs of whose history a part was removed: what they should be is not known
}

// name reads the rows of the stretch as they are now, and holds each to its job's own messages.
func (s *indexStretch) name(ctx context.Context) error {
	var rows []IndexRow
	var now schemas.Position
	err := s.v.l.indexRows(ctx, s.c.verdict.Server, IndexRows{Org: s.v.cfg.Org, Stretch: &s.at}, func(p *IndexPart) error {
		rows, now = append(rows, p.Rows...), p.Position
		return nil
	})
	if err != nil {
		return err
	}
	wanted, err := s.wanted(ctx, now.Seq)
	if err != nil {
		return err
	}
	for _, r := range rows {
		key := JobKey(r.Org, r.ID)
		delete(wanted, key)
		want, err := s.fold(ctx, r.Org, r.ID, now.Seq)
		if err != nil {
			return err
		}
		switch {
		case s.v.tallies.lost(r.SubmittedSeq-1, r.Seq+1):
			s.doubtful = true
		case want.SubmittedSeq != r.SubmittedSeq:
			s.tell(r.Seq, r.Org, r.ID, "there is a row of a job that the ledger does not have, submitted at sequence "+r.SubmittedSeq.String())
		case want.Seq != r.Seq || want.EventID != r.EventID:
			s.tell(want.Seq, r.Org, r.ID, "the row is at sequence "+r.Seq.String()+", the job was at "+want.Seq.String())
		case want.Sum != r.Sum:
			s.tell(r.Seq, r.Org, r.ID, "the row is not what the ledger says at this sequence")
		}
	}
	for _, row := range wanted {
		s.tell(row.Seq, row.Org, row.ID, "there is no row")
	}
	return nil
}

func (s *indexStretch) tell(seq schemas.Seq, org schemas.OrgID, id schemas.JobID, message string) {
	s.wrong++
	s.v.indexProblem(s.c, seq, org, id, message)
}

// wanted are the rows that the stretch should have at a sequence, by JobKey: of the jobs that are held, and of those
// that the stretch's own messages tell of.
func (s *indexStretch) wanted(ctx context.Context, at schemas.Seq) (map[string]IndexRow, error) {
	jobs := make(map[schemas.Subject]bool)
	for _, vj := range s.v.jobs {
		if j := vj.job; j.SubmittedSeq >= s.from && j.SubmittedSeq <= s.to {
			jobs[schemas.JobSubject(j.Org, j.ID)] = true
		}
	}
	read := &stretch{l: s.v.l, org: s.v.cfg.Org, next: max(s.from, 1), until: min(s.to, s.v.verdict.LastSeq), pace: s.v.pace}
	err := read.run(ctx, func(entries []*Entry) error {
		for _, e := range entries {
			if e.Job != "" && (s.v.cfg.Org == "" || s.v.cfg.Org == e.Org) {
				jobs[schemas.JobSubject(e.Org, e.Job)] = true
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	wanted := make(map[string]IndexRow)
	for of := range jobs {
		row, err := s.fold(ctx, of.Org, of.Job, at)
		if err != nil {
			return nil, err
		}
		if row.SubmittedSeq >= s.from && row.SubmittedSeq <= s.to && row.SubmittedSeq > 0 && !s.v.tallies.lost(row.SubmittedSeq-1, row.Seq+1) {
			wanted[JobKey(of.Org, of.Job)] = row
		}
	}
	return wanted, nil
}

// fold is a job's row at a sequence, from its own messages; zero if there is no such job.
func (s *indexStretch) fold(ctx context.Context, org schemas.OrgID, id schemas.JobID, at schemas.Seq) (IndexRow, error) {
	story, err := s.v.l.wholeStory(ctx, org, id)
	if err != nil {
		return IndexRow{}, err
	}
	j := &Job{Org: org, ID: id}
	for _, e := range before(story.entries, at+1) {
		Counted(j, e.Event, e.Err)
	}
	if !j.Exists() {
		return IndexRow{}, nil
	}
	slim(j)
	return IndexRowOf(j)
}
