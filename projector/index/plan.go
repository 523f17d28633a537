package index

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dartwing/jobledger/internal/where"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// estimateMax is how far a posting list is counted before it counts as long.
	estimateMax = 4096
	// manyLists is how much shorter several lists are together than what they replace.
	manyLists = 4
	// prefixMax is how many names a beginning may stand for and still narrow the look.
	prefixMax = 200
)

// list is one posting list of an org's jobs, newest first.
type list struct {
	source *source
	value  int64 // what it is the list of, where the source has many
}

// source is where posting lists stand.
type source struct {
	from, cond, seq string // SQL: the tables with jobs as j, the condition, the column of the order
	bare            string // the tables without what only narrowing needs
	one             bool   // of an org there is one list
}

var (
	byOrg   = &source{from: "jobs j INDEXED BY jobs_org", cond: "j.org = ?", seq: "j.seq", one: true}
	byError = &source{from: "jobs j INDEXED BY jobs_error", cond: "j.org = ? AND j.class IS NOT NULL", seq: "j.seq", one: true}
	byType  = &source{from: "jobs j INDEXED BY jobs_type", cond: "j.org = ? AND j.type = ?", seq: "j.seq"}
	byState = &source{from: "jobs j INDEXED BY jobs_state", seq: "j.seq",
		cond: "j.org = ? AND j.state = ? AND j.state <> " + strconv.FormatInt(stateNumber(schemas.StateCompleted), 10)}
	byGroup = &source{from: "jobs j INDEXED BY jobs_group", cond: "j.org = ? AND j.grp = ?", seq: "j.seq"}
	byID    = &source{from: "jobs j INDEXED BY jobs_id", cond: "j.org = ? AND j.idh = ?", seq: "j.seq"}
	byTerm  = &source{from: "terms t CROSS JOIN jobs j ON j.seq = t.seq", bare: "terms t", cond: "t.org = ? AND t.h = ?", seq: "t.seq"}
)

func (l *list) args(org int64, more ...any) []any {
	if l.source.one {
		return append([]any{org}, more...)
	}
	return append([]any{org, l.value}, more...)
}

// stretch is a range of sequences, both ends included.
type stretch struct{ low, high int64 }

// plan is how a filter is looked for: the lists are walked from their newest entries on, in the stretches, and what the
// conditions let through is judged by where.Match.
type plan struct {
	org       int64
	lists     []list
	size      int64 // how long the lists are, or estimateMax if it is more
	cond      strings.Builder
	stretches []stretch
	none      bool // no job can match
	payload   bool
}

// planner makes a plan. It reads in one transaction, in which the look goes on.
type planner struct {
	ctx    context.Context
	q      queryer
	f      *file
	now    time.Time
	counts map[ledger.CountKey]ledger.Count // of the org
	rules  map[schemas.TypeName]*where.Rules
	plan
}

func makePlan(ctx context.Context, q queryer, f *file, org schemas.OrgID, w *where.Where, before schemas.Seq, now time.Time) (*plan, error) {
	p := &planner{ctx: ctx, q: q, f: f, now: now, counts: map[ledger.CountKey]ledger.Count{}}
	p.payload = w.Payload()
	id, err := p.number(string(org))
	if err != nil || id == 0 {
		p.none = true
		return &p.plan, err
	}
	p.org = id
	var total int64
	if err := f.counters(ctx, q, id, func(k ledger.CountKey, n ledger.Count) {
		p.counts[k] = n
		total += n.Total()
	}); err != nil {
		return nil, err
	}
	p.lists, p.size = []list{{source: byOrg}}, total
	for i := range w.Terms {
		if err := p.term(&w.Terms[i]); err != nil {
			return nil, err
		}
	}
	if p.none {
		return &p.plan, nil
	}
	return &p.plan, p.times(w, before)
}

// number is a name's; 0 if the file has none.
func (p *planner) number(name string) (id int64, err error) {
	err = p.q.QueryRowContext(p.ctx, `SELECT id FROM names WHERE name = ?`, name).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return id, err
}

// use takes lists in place of those so far, if they are shorter. Of several lists each is asked for a page, so that they must be
// much shorter than one that has all of them.
func (p *planner) use(lists []list, size int64) {
	if size < p.size && (len(lists) == 1 || size < p.size/manyLists) {
		p.lists, p.size = lists, size
	}
}

// term narrows the plan by one term, where it can.
func (p *planner) term(t *where.Term) error {
	if t.Not {
		return p.not(t)
	}
	switch t.Field {
	case where.FieldState, where.FieldType, where.FieldQueue:
		return p.counted(t)
	case where.FieldPriority, where.FieldClass, where.FieldResolution, where.FieldReason:
		if err := p.column(t); err != nil {
			return err
		}
		if t.Field == where.FieldClass {
			return p.estimate([]list{{source: byError}})
		}
	case where.FieldError:
		p.and("j.class IS NOT NULL")
		return p.estimate([]list{{source: byError}})
	case where.FieldFinished:
		p.and("j.finished IS NOT NULL")
	case where.FieldGroup:
		p.and("j.grp IS NOT NULL")
		return p.postings(t, byGroup, func(v string) int64 { return hash("group", "", v) })
	case where.FieldID:
		return p.postings(t, byID)
	case where.FieldOwner, where.FieldBatch, where.FieldTag:
		return p.postings(t, byTerm, func(v string) int64 { return hash(string(t.Field), t.Key, v) })
	case where.FieldParent: // a batch's items are found by what they have as their batch
		return p.postings(t, byTerm, func(v string) int64 { return hash(string(where.FieldParent), "", v) },
			func(v string) int64 { return hash(string(where.FieldBatch), "", v) })
	case where.FieldArgs:
		p.and("j.args IS NOT NULL")
		if t.Key != "" {
			return p.indexed(t)
		}
	case where.FieldResult:
		p.and("j.result IS NOT NULL")
	}
	return nil
}

func (p *planner) and(cond string) { p.cond.WriteString(" AND " + cond) }

// not narrows by the terms whose columns tell exactly what the fold would.
func (p *planner) not(t *where.Term) error {
	present := len(t.Values) == 1 && t.Values[0].Op == where.OpBegins && t.Values[0].Text == ""
	switch {
	case t.Field == where.FieldFinished && present:
		p.and("j.finished IS NULL")
	case t.Field == where.FieldError && present:
		p.and("j.class IS NULL")
	case t.Field == where.FieldState || t.Field == where.FieldType || t.Field == where.FieldQueue:
		return p.counted(t)
	}
	return nil
}

// counted narrows by what the counters are kept by: they tell which values there are, and how many jobs each has.
func (p *planner) counted(t *where.Term) error {
	chosen := where.Where{Terms: []where.Term{*t}}
	sizes := map[string]int64{}
	all := true
	for k, n := range p.counts {
		for _, s := range schemas.States() {
			have := n.Of(s)
			if have == 0 {
				continue
			}
			if !chosen.Match(&ledger.Record{State: s, Type: k.Type, Queue: k.Queue}, p.now) {
				all = false
				continue
			}
			switch t.Field {
			case where.FieldState:
				sizes[string(s)] += have
			case where.FieldType:
				sizes[string(k.Type)] += have
			default:
				sizes[string(k.Queue)] += have
			}
		}
	}
	if all || len(sizes) == 0 {
		p.none = p.none || len(sizes) == 0
		return nil
	}
	var ids []int64
	var size int64
	for name, n := range sizes {
		id, err := p.number(name)
		if err != nil {
			return err
		}
		ids, size = append(ids, id), size+n
	}
	p.and("j." + string(t.Field) + " IN (" + quotedNumbers(ids) + ")")
	source := map[where.Field]*source{where.FieldState: byState, where.FieldType: byType}[t.Field]
	if source == nil || source == byState && slices.Contains(ids, stateNumber(schemas.StateCompleted)) || len(ids) > prefixMax {
		return nil
	}
	p.use(listsOf(source, ids), size)
	return nil
}

func listsOf(s *source, values []int64) []list {
	out := make([]list, len(values))
	for i, v := range values {
		out[i] = list{s, v}
	}
	return out
}

// column narrows by a column of names. Reasons that depend on the clock are those of jobs that were submitted and wait.
func (p *planner) column(t *where.Term) error {
	var ids []int64
	waiting := false
	for _, v := range t.Values {
		if v.Op == where.OpIs {
			id, err := p.number(v.Text)
			if err != nil {
				return err
			}
			ids = append(ids, id) // 0, which no row has, where there is none
		} else if err := each(p.ctx, p.q, `SELECT id FROM names WHERE name >= ? AND name < ? LIMIT ?`, func(rows *sql.Rows) error {
			var id int64
			err := rows.Scan(&id)
			ids = append(ids, id)
			return err
		}, v.Text, v.Text+"\U0010ffff", prefixMax+1); err != nil {
			return err
		}
		for _, r := range []string{ledger.ReasonScheduled, ledger.ReasonWaitingOnParent, ledger.ReasonReady} {
			waiting = waiting || t.Field == where.FieldReason && (r == v.Text || v.Op == where.OpBegins && strings.HasPrefix(r, v.Text))
		}
	}
	if len(ids) > prefixMax {
		return nil
	}
	cond := "j." + string(t.Field) + " IN (" + quotedNumbers(ids) + ")"
	if waiting {
		cond = "(" + cond + " OR j.state = " + strconv.FormatInt(stateNumber(schemas.StateSubmitted), 10) + ")"
	}
	p.and(cond)
	if t.Field == where.FieldResolution {
		return p.counted(&where.Term{Field: where.FieldState, Values: []where.Value{{Text: string(schemas.StateDeadLettered)}}})
	}
	return nil
}

// postings narrows by lists of the values, where each is one, or several.
func (p *planner) postings(t *where.Term, s *source, hashesOf ...func(string) int64) error {
	var lists []list
	for _, v := range t.Values {
		if v.Op != where.OpIs {
			return nil
		}
		if s == byID {
			org, err := p.orgName()
			if err != nil {
				return err
			}
			lists = append(lists, list{s, idHash(org, schemas.JobID(v.Text))})
			continue
		}
		for _, hashOf := range hashesOf {
			lists = append(lists, list{s, hashOf(v.Text)})
		}
	}
	return p.estimate(lists)
}

func (p *planner) orgName() (org schemas.OrgID, err error) {
	err = p.q.QueryRowContext(p.ctx, `SELECT name FROM names WHERE id = ?`, p.org).Scan(&org)
	return org, err
}

// indexed narrows by an x-index field, where it is one of every type that the org has.
func (p *planner) indexed(t *where.Term) error {
	if p.rules == nil {
		p.rules = map[schemas.TypeName]*where.Rules{}
		if err := each(p.ctx, p.q, `SELECT type, body FROM rules`, func(rows *sql.Rows) error {
			var kind schemas.TypeName
			var body []byte
			if err := rows.Scan(&kind, &body); err != nil {
				return err
			}
			r, err := readRules(body)
			p.rules[kind] = r
			return err
		}); err != nil {
			return err
		}
	}
	for k := range p.counts {
		if r := p.rules[k.Type]; r == nil || !slices.Contains(r.Index, t.Key) {
			return nil
		}
	}
	return p.postings(t, byTerm, func(v string) int64 { return hash(string(where.FieldArgs), t.Key, v) })
}

// estimate takes lists if they are shorter than those so far.
func (p *planner) estimate(lists []list) error {
	size := int64(0)
	for _, l := range lists {
		from := l.source.bare
		if from == "" {
			from = l.source.from
		}
		var n int64
		if err := p.q.QueryRowContext(p.ctx, `SELECT count(*) FROM (SELECT 1 FROM `+from+` WHERE `+l.source.cond+` LIMIT ?)`,
			l.args(p.org, estimateMax)...).Scan(&n); err != nil {
			return err
		}
		size += n
	}
	p.use(lists, size)
	return nil
}

// times narrows to the stretches of sequences in which jobs were submitted, and finished, when the terms say: a stretch
// of no such time is not looked at.
func (p *planner) times(w *where.Where, before schemas.Seq) error {
	high := int64(min(before, 1<<62)) - 1
	if before == 0 {
		high = 1<<62 - 1
	}
	var conds strings.Builder
	for i := range w.Terms {
		t := &w.Terms[i]
		column := map[where.Field]string{where.FieldSubmitted: "s", where.FieldFinished: "f"}[t.Field]
		if column == "" || t.Not {
			continue
		}
		low, top := t.Span(p.now)
		conds.WriteString(" AND " + column + "max >= " + micro(low, 0) + " AND " + column + "min <= " + micro(top, 1))
		if column == "f" {
			p.and("j.finished BETWEEN " + micro(low, 0) + " AND " + micro(top, 1))
		}
	}
	if conds.Len() == 0 {
		p.stretches = []stretch{{0, high}}
		return nil
	}
	return each(p.ctx, p.q, `SELECT zone FROM zones WHERE zone <= ?`+conds.String()+` ORDER BY zone DESC`, func(rows *sql.Rows) error {
		var z int64
		if err := rows.Scan(&z); err != nil {
			return err
		}
		s := stretch{z << zoneBits, min((z+1)<<zoneBits-1, high)}
		if n := len(p.stretches); n > 0 && p.stretches[n-1].low == s.high+1 {
			p.stretches[n-1].low = s.low
		} else {
			p.stretches = append(p.stretches, s)
		}
		return nil
	}, high>>zoneBits)
}

// micro is a time in nanoseconds as microseconds, rounded down, and more.
func micro(nanos, more int64) string {
	us := nanos / 1000
	if nanos < 0 {
		us--
	}
	return strconv.FormatInt(us+more, 10)
}
