package gateway

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// heap is views of records in no order.
type heap struct {
	views
	records []ledger.Record
}

func (h *heap) jobs(_ context.Context, _ schemas.OrgID, _ *Filter, _ time.Time, most int, take func(ledger.Record)) (schemas.Seq, error) {
	if len(h.records) > most {
		return 0, errTooMany
	}
	for _, r := range h.records {
		take(r)
	}
	return 9, nil
}

// a list in any order, page by page, shows each job once, in that order, whatever is submitted meanwhile; jobs without
// what it is sorted by come last.
func TestSortedPages(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	begin := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	job := func(seq int) ledger.Record {
		at := begin.Add(time.Duration(seq) * time.Second)
		j := ledger.Record{SubmittedSeq: schemas.Seq(seq), SubmittedAt: at, Priority: schemas.PriorityHigh, Attempt: r.IntN(3)}
		if j.Attempt > 0 {
			started := at.Add(time.Duration(r.IntN(4)) * time.Minute)
			finished := started.Add(time.Duration(r.IntN(4)) * time.Minute)
			j.StartedAt, j.FinishedAt = &started, &finished
		}
		return j
	}
	for _, name := range Sorts() {
		for _, ascending := range []bool{false, true} {
			text := name
			if ascending {
				text += sortAscending
			}
			o, err := parseOrder(text)
			if err != nil {
				t.Fatal(err)
			}
			v, seen := &heap{}, []ledger.Record{}
			for i := range 40 {
				v.records = append(v.records, job(i+1))
			}
			req := ListRequest{Limit: 1 + r.IntN(7), Sort: text}
			for more := true; more; {
				page, err := (&Gateway{}).sortedPage(t.Context(), v, "acme", &req, o)
				if err != nil {
					t.Fatal(err)
				}
				seen = append(seen, page.Items...)
				if more = page.Next != nil; more {
					req.Cursor = *page.Next
				}
				if len(v.records) < 80 {
					v.records = append(v.records, job(len(v.records)+1)) // it may stand before the cursor or behind it
				}
				if len(seen) > 1000 {
					t.Fatalf("%s: the pages do not end", text)
				}
			}
			if !slices.IsSortedFunc(seen, func(a, b ledger.Record) int {
				if o.place(&a).before(o.place(&b)) {
					return -1
				}
				return 1
			}) {
				t.Errorf("%s: the pages are not in order", text)
			}
			ids := map[schemas.Seq]int{}
			for _, j := range seen {
				ids[j.SubmittedSeq]++
			}
			for seq := schemas.Seq(1); seq <= 40; seq++ {
				if ids[seq] != 1 {
					t.Errorf("%s: job %d is listed %d times", text, seq, ids[seq])
				}
			}
			for i, j := range seen[1:] {
				if o.of(&seen[i]) == nil && o.of(&j) != nil {
					t.Errorf("%s: a job that has none stands before one that has", text)
				}
			}
		}
	}
}

func TestSortRefusals(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"shoe", "finished:desc", ":asc", "finished,run"} {
		if CheckSort(text) == nil {
			t.Errorf("%q is an order", text)
		}
	}
	o, _ := parseOrder("run")
	v := &heap{records: make([]ledger.Record, sortRowsMax+1)}
	if _, err := (&Gateway{}).sortedPage(t.Context(), v, "acme", &ListRequest{Limit: 1, Sort: "run"}, o); ledger.AsError(err).Code != ledger.CodeInvalidArgument {
		t.Errorf("too many: %v", err)
	}
	for _, cursor := range []string{"x", "12", "12.", "-", "a.3"} {
		if _, err := (&Gateway{}).sortedPage(t.Context(), &heap{}, "acme", &ListRequest{Limit: 1, Cursor: cursor}, o); ledger.AsError(err).Code != ledger.CodeInvalidArgument {
			t.Errorf("cursor %q: %v", cursor, fmt.Sprint(err))
		}
	}
}
