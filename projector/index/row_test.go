package index_test

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/projector/index"
	"github.com/dartwing/jobledger/schemas"
)

// fill gives every field of v a value of its own.
func fill(v reflect.Value, n *int64) {
	*n++
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(1_790_000_000+*n, *n).UTC()))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[json.RawMessage]() {
			v.SetBytes([]byte(`{"n":1}`))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), n)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("key").Convert(v.Type().Key()), reflect.ValueOf("value").Convert(v.Type().Elem()))
	case reflect.String:
		v.SetString("text-" + string(rune('a'+*n%26)))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float64:
		v.SetFloat(float64(*n))
	case reflect.Uint64:
		v.SetUint(uint64(*n))
	default:
		v.SetInt(*n)
	}
}

// DESIGN D2: a row gives back all that a record shows, whatever a job has or lacks; a field that is new to jobs and shown must
// be stored too.
func TestRowKeepsWhatRecordsShow(t *testing.T) {
	n := int64(0)
	full := new(ledger.Job)
	fill(reflect.ValueOf(full).Elem(), &n)
	bare := &ledger.Job{Org: "o", ID: "0193abcd-0000-7abc-8def-0123456789ab", State: schemas.StateSubmitted, SubmittedSeq: 7, LastSeq: 7, SubmittedAt: time.Unix(5, 6).UTC()}
	jobs := []*ledger.Job{full, bare}
	for i := range reflect.TypeFor[ledger.Job]().NumField() { // full but for one field
		j := *full
		f := reflect.ValueOf(&j).Elem().Field(i)
		f.SetZero()
		j.SubmittedAt = full.SubmittedAt // a job without is none
		jobs = append(jobs, &j)
	}
	for i, j := range jobs {
		again := i%2 == 0
		row, err := index.AppendRow(nil, j, again)
		if err != nil {
			t.Fatal(err)
		}
		if index.RowAgain(row) != again {
			t.Errorf("an earlier life: %t, want %t", !again, again)
		}
		have, err := index.ReadRow(row)
		if err != nil {
			t.Fatal(err)
		}
		if have, want := document(t, have), document(t, j); have != want {
			t.Errorf("%s\nwant %s", have, want)
		}
		if have.Fence != j.Fence || have.CancelRequested != j.CancelRequested || ledger.StandingOf(have) != ledger.StandingOf(j) {
			t.Errorf("%+v\nwant %+v", have, j)
		}
		for cut := range row {
			_, _ = index.ReadRow(row[:cut]) // an error or another job, never a panic
		}
	}
}

func FuzzReadRow(f *testing.F) {
	row, _ := index.AppendRow(nil, &ledger.Job{ID: "a", SubmittedAt: time.Unix(1, 0)}, false)
	f.Add(row)
	f.Fuzz(func(t *testing.T, b []byte) {
		if j, err := index.ReadRow(b); err == nil && j == nil {
			t.Error("neither a fold nor an error")
		}
	})
}
