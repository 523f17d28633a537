package demo

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/dartwing/jobledger/handlers"
)

// Limits of SummariseCSV.
const (
	columnsMax  = 256    // keeps the result below what is stored inline
	distinctMax = 10_000 // values counted exactly per column
	cellCheck   = 1024   // rows between two looks at the context
	nameMax     = 120    // bytes of a column's name in the result
)

// The types of a column.
const (
	columnEmpty   = "empty" // no value at all
	columnInteger = "integer"
	columnNumber  = "number"
	columnText    = "text"
)

// SummariseArgs are the arguments of a summary job.
type SummariseArgs struct {
	Path string `json:"path"` // a CSV file (RFC 4180) with a header line
}

// SummariseResult describes a table.
type SummariseResult struct {
	Rows    int      `json:"rows"` // without the header
	Columns []Column `json:"columns"`
}

// Column describes one column. A value is missing when it is empty or "NA". Min, Max and Mean stand for integer and
// number, Distinct for text.
type Column struct {
	Name     string   `json:"name"`
	Type     string   `json:"type"` // integer, number, text, empty
	Count    int      `json:"count"`
	Missing  int      `json:"missing"`
	Min      *float64 `json:"min,omitempty"`
	Max      *float64 `json:"max,omitempty"`
	Mean     *float64 `json:"mean,omitempty"`
	Distinct int      `json:"distinct,omitempty"`
	AtLeast  bool     `json:"at_least,omitempty"` // more than 10,000 distinct values: Distinct is what was counted
}

// SummariseCSV reads a table and describes each column. A table without a header, with rows of unequal length or
// with broken quotes is a permanent error that names the line.
func (t *Tasks) SummariseCSV(ctx context.Context, a *handlers.Attempt, in SummariseArgs) (SummariseResult, error) {
	data, err := t.read(in.Path)
	if err != nil {
		return SummariseResult{}, err
	}
	report(a, 10, "reading "+in.Path)
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")))) // spreadsheets write a byte order mark
	r.ReuseRecord = true
	header, err := r.Read()
	if errors.Is(err, io.EOF) {
		return SummariseResult{}, permanentf("%s is empty: a header line is needed", in.Path)
	}
	if err != nil {
		return SummariseResult{}, permanentf("%s: %w", in.Path, err)
	}
	if len(header) > columnsMax {
		return SummariseResult{}, permanentf("%s has %d columns: at most %d are allowed", in.Path, len(header), columnsMax)
	}
	stats := make([]columnStats, len(header))
	for i, name := range header {
		stats[i] = newColumnStats(name)
	}
	rows := 0
	for ; ; rows++ {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if errors.Is(err, csv.ErrFieldCount) {
			line, _ := r.FieldPos(0)
			return SummariseResult{}, permanentf("%s, line %d: %d fields, but the header has %d", in.Path, line, len(record), len(header))
		}
		if err != nil {
			return SummariseResult{}, permanentf("%s: %w", in.Path, err)
		}
		if rows%cellCheck == 0 {
			if err := ctx.Err(); err != nil {
				return SummariseResult{}, err
			}
			report(a, 10+int(r.InputOffset()*89/int64(len(data))), "")
		}
		for i, v := range record {
			stats[i].add(v)
		}
	}
	out := SummariseResult{Rows: rows, Columns: make([]Column, len(stats))}
	for i := range stats {
		out.Columns[i] = stats[i].column()
	}
	return out, nil
}

// columnStats folds the values of one column. Until a value is met that is no number, both readings are kept.
type columnStats struct {
	out      Column
	integer  bool // so far every value is one
	number   bool // so far every value is one; integer implies number
	min, max float64
	mean     float64
	distinct map[string]struct{} // at most distinctMax
}

func newColumnStats(name string) columnStats {
	if len(name) > nameMax {
		name = strings.ToValidUTF8(name[:nameMax], "") // the cut may go through a letter
	}
	return columnStats{out: Column{Name: name}, integer: true, number: true, distinct: make(map[string]struct{})}
}

func (s *columnStats) add(v string) {
	if v == "" || v == "NA" {
		s.out.Missing++
		return
	}
	s.out.Count++
	if _, known := s.distinct[v]; !known {
		if len(s.distinct) < distinctMax {
			s.distinct[v] = struct{}{}
		} else {
			s.out.AtLeast = true
		}
	}
	if !s.number {
		return
	}
	x, err := strconv.ParseFloat(v, 64)
	if err != nil || math.IsNaN(x) || math.IsInf(x, 0) { // the latter two are words, and JSON knows neither
		s.number, s.integer = false, false
		return
	}
	if s.integer {
		_, err := strconv.ParseInt(v, 10, 64)
		s.integer = err == nil
	}
	if s.out.Count == 1 {
		s.min, s.max = x, x
	}
	s.min, s.max = min(s.min, x), max(s.max, x)
	n := float64(s.out.Count)
	s.mean += x/n - s.mean/n // a sum could overflow, this cannot
}

func (s *columnStats) column() Column {
	out := s.out
	switch {
	case out.Count == 0:
		out.Type = columnEmpty
	case s.number:
		out.Type, out.Min, out.Max, out.Mean, out.AtLeast = columnNumber, &s.min, &s.max, &s.mean, false
		if s.integer {
			out.Type = columnInteger
		}
	default:
		out.Type, out.Distinct = columnText, len(s.distinct)
	}
	return out
}
