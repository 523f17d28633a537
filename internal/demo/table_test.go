package demo_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/dartwing/jobledger/internal/demo"
	demodata "github.com/dartwing/jobledger/testdata/demo"
)

func numbers(kind, name string, count, missing int, low, high, mean float64) demo.Column {
	return demo.Column{Name: name, Type: kind, Count: count, Missing: missing, Min: &low, Max: &high, Mean: &mean}
}

func words(name string, count, missing, distinct int) demo.Column {
	return demo.Column{Name: name, Type: "text", Count: count, Missing: missing, Distinct: distinct}
}

// The numbers were computed with Python 3's csv and statistics.fmean.
func TestSummariseRealTables(t *testing.T) {
	want := map[string]demo.SummariseResult{
		"tables/penguins.csv": {Rows: 344, Columns: []demo.Column{
			words("species", 344, 0, 3), words("island", 344, 0, 3),
			numbers("number", "bill_length_mm", 342, 2, 32.1, 59.6, 43.9219298245614),
			numbers("number", "bill_depth_mm", 342, 2, 13.1, 21.5, 17.151169590643274),
			numbers("integer", "flipper_length_mm", 342, 2, 172, 231, 200.91520467836258),
			numbers("integer", "body_mass_g", 342, 2, 2700, 6300, 4201.754385964912),
			words("sex", 333, 11, 2),
			numbers("integer", "year", 344, 0, 2007, 2009, 2008.0290697674418),
		}},
		"tables/penguins_raw.csv": {Rows: 344, Columns: []demo.Column{
			words("studyName", 344, 0, 3),
			numbers("integer", "Sample Number", 344, 0, 1, 152, 63.151162790697676),
			words("Species", 344, 0, 3), words("Region", 344, 0, 1), words("Island", 344, 0, 3), words("Stage", 344, 0, 1),
			words("Individual ID", 344, 0, 190), words("Clutch Completion", 344, 0, 2), words("Date Egg", 344, 0, 50),
			numbers("number", "Culmen Length (mm)", 342, 2, 32.1, 59.6, 43.9219298245614),
			numbers("number", "Culmen Depth (mm)", 342, 2, 13.1, 21.5, 17.151169590643274),
			numbers("integer", "Flipper Length (mm)", 342, 2, 172, 231, 200.91520467836258),
			numbers("integer", "Body Mass (g)", 342, 2, 2700, 6300, 4201.754385964912),
			words("Sex", 333, 11, 2),
			numbers("number", "Delta 15 N (o/oo)", 330, 14, 7.6322, 10.02544, 8.733381696969698),
			numbers("number", "Delta 13 C (o/oo)", 331, 13, -27.01854, -23.78767, -25.6862915407855),
			words("Comments", 54, 290, 10),
		}},
		"tables/seattle-weather.csv": {Rows: 1461, Columns: []demo.Column{
			words("date", 1461, 0, 1461),
			numbers("number", "precipitation", 1461, 0, 0, 55.9, 3.02943189596167),
			numbers("number", "temp_max", 1461, 0, -1.6, 35.6, 16.43908281998631),
			numbers("number", "temp_min", 1461, 0, -7.1, 18.3, 8.234770704996578),
			numbers("number", "wind", 1461, 0, 0.4, 9.5, 3.24113620807666),
			words("weather", 1461, 0, 5),
		}},
	}
	for name, want := range want {
		t.Run(name, func(t *testing.T) {
			ts, _ := tasks(t, demodata.Files)
			got, err := ts.SummariseCSV(t.Context(), call(), demo.SummariseArgs{Path: name})
			if err != nil {
				t.Fatal(err)
			}
			if got.Rows != want.Rows || len(got.Columns) != len(want.Columns) {
				t.Fatalf("%d rows, %d columns: want %d, %d", got.Rows, len(got.Columns), want.Rows, len(want.Columns))
			}
			for i := range want.Columns {
				sameColumn(t, got.Columns[i], want.Columns[i])
			}
		})
	}
}

// sameColumn compares means to twelve digits, all else exactly.
func sameColumn(t *testing.T, got, want demo.Column) {
	t.Helper()
	if want.Mean != nil && got.Mean != nil {
		if math.Abs(*got.Mean-*want.Mean) > 1e-12*math.Abs(*want.Mean) {
			t.Errorf("%s: mean %v, want %v", want.Name, *got.Mean, *want.Mean)
		}
		got.Mean = want.Mean
	}
	g, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	w, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(g, w) {
		t.Errorf("column\n got %s\nwant %s", g, w)
	}
}

func TestSummariseHostileTables(t *testing.T) {
	bad := map[string]struct{ data, say string }{
		"empty":   {"", "a header line is needed"},
		"short":   {"a,b\n1,2\n3\n", "line 3: 1 fields, but the header has 2"},
		"long":    {"a,b\n1,2,3\n", "line 2: 3 fields, but the header has 2"},
		"quotes":  {"a,b\n1,\"2\n", `extraneous or missing " in quoted-field`},
		"bare":    {"a\nx\"y\n", `bare "`},
		"columns": {strings.Repeat("c,", 256) + "c\n", "257 columns"},
	}
	for name, c := range bad {
		t.Run(name, func(t *testing.T) {
			ts, _ := tasks(t, fstest.MapFS{"in.csv": {Data: []byte(c.data)}})
			_, err := ts.SummariseCSV(t.Context(), call(), demo.SummariseArgs{Path: "in.csv"})
			wantPermanent(t, err, "in.csv", c.say)
		})
	}
	ts, _ := tasks(t, demodata.Files)
	_, err := ts.SummariseCSV(t.Context(), call(), demo.SummariseArgs{Path: "broken/penguins-ragged.csv"})
	wantPermanent(t, err, "line 7: 3 fields, but the header has 8")
}

func TestSummariseOddTables(t *testing.T) {
	var many strings.Builder
	many.WriteString("word\n")
	for i := range 10_001 {
		_, _ = fmt.Fprintf(&many, "w%d\n", i) // a Builder cannot fail
	}
	atLeast := words("word", 10_001, 0, 10_000)
	atLeast.AtLeast = true
	odd := map[string]struct {
		data string
		want demo.Column
	}{
		"header alone":          {"a\n", demo.Column{Name: "a", Type: "empty"}},
		"all missing":           {"a,b\nNA,1\n,1\n", demo.Column{Name: "a", Type: "empty", Missing: 2}},
		"byte order mark, CRLF": {"\xef\xbb\xbfa\r\n1\r\n2\r\n", numbers("integer", "a", 2, 0, 1, 2, 1.5)},
		"text at the end":       {"a\n1\n2\nx\n1\n", words("a", 4, 0, 3)},
		"no JSON number":        {"a\nNaN\n1\nInf\n", words("a", 3, 0, 3)},
		"a sum would overflow":  {"a\n1e308\n1e308\n-1e308\n1e308\n", numbers("number", "a", 4, 0, -1e308, 1e308, 5e307)},
		"wider than int64":      {"a\n9223372036854775808\n", numbers("number", "a", 1, 0, 9223372036854775808, 9223372036854775808, 9223372036854775808)},
		"many distinct":         {many.String(), atLeast},
	}
	for name, c := range odd {
		t.Run(name, func(t *testing.T) {
			ts, _ := tasks(t, fstest.MapFS{"in.csv": {Data: []byte(c.data)}})
			got, err := ts.SummariseCSV(t.Context(), call(), demo.SummariseArgs{Path: "in.csv"})
			if err != nil {
				t.Fatal(err)
			}
			sameColumn(t, got.Columns[0], c.want)
		})
	}
}

func FuzzSummarise(f *testing.F) {
	f.Add([]byte("a,b\n1,x\n2.5,NA\n"))
	f.Add([]byte("a\n\"1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		ts, _ := tasks(t, fstest.MapFS{"in.csv": {Data: data}})
		got, err := ts.SummariseCSV(t.Context(), call(), demo.SummariseArgs{Path: "in.csv"})
		if err != nil {
			wantPermanent(t, err)
			return
		}
		if _, err := json.Marshal(got); err != nil {
			t.Errorf("the result is no JSON: %v", err)
		}
		for _, c := range got.Columns {
			if c.Count+c.Missing != got.Rows {
				t.Errorf("column %q: %d values and %d missing in %d rows", c.Name, c.Count, c.Missing, got.Rows)
			}
		}
	})
}
