package projector

import (
	"reflect"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

func plainJob() *ledger.Job {
	at := time.Date(2026, 11, 23, 14, 0, 0, 123456789, time.UTC)
	return &ledger.Job{
		Org: "acme", ID: "j1", Generation: 2, State: schemas.StateSubmitted,
		Spec: schemas.Submitted{From: schemas.StateCompleted, Type: "echo", Queue: "default", Priority: schemas.PriorityHigh, Generation: 2,
			Hash: "abc", Dedup: schemas.DedupStrict, WindowMS: 300_000},
		SubmittedSeq: 7, SubmittedID: "e7", SubmittedAt: at, SubmittedBy: schemas.Actor{Type: "user", ID: "ada"},
		LastSeq: 7, LastID: "e7", LastAt: at,
	}
}

// A packed job comes back as it was; a job with anything else in any field, also one that a later version
// adds, is not packed.
func TestPackIsExact(t *testing.T) {
	if !repacked(t, plainJob()) {
		t.Error("a plain job is not packed")
	}
	unusual := 0
	var vary func(path string, field func(*ledger.Job) reflect.Value, typ reflect.Type)
	vary = func(path string, field func(*ledger.Job) reflect.Value, typ reflect.Type) {
		if typ.Kind() == reflect.Struct && typ != reflect.TypeFor[time.Time]() {
			for i := range typ.NumField() {
				vary(path+"."+typ.Field(i).Name, func(j *ledger.Job) reflect.Value { return field(j).Field(i) }, typ.Field(i).Type)
			}
			return
		}
		j := plainJob()
		other(t, path, field(j))
		if !repacked(t, j) {
			unusual++
		}
	}
	vary("Job", func(j *ledger.Job) reflect.Value { return reflect.ValueOf(j).Elem() }, reflect.TypeFor[ledger.Job]())
	if unusual < 40 {
		t.Errorf("only %d changed fields keep a job from being packed", unusual)
	}
}

// repacked reports whether j is packable, and checks that it comes back the same.
func repacked(t *testing.T, j *ledger.Job) bool {
	t.Helper()
	p := newPacker()
	e := &jobEntry{slot: slot{rev: 9, seq: j.LastSeq, known: true}, key: jobKey{j.Org, j.ID}, job: j}
	if !p.put(e) {
		return false
	}
	back := p.take(e.key)
	if back == nil || !reflect.DeepEqual(back.job, j) || back.slot != e.slot {
		t.Errorf("packed\n%+v\nand got back\n%+v", j, back.job)
	}
	if p.take(e.key) != nil {
		t.Error("a job is packed twice")
	}
	return true
}

// other gives a field another value than it has.
func other(t *testing.T, path string, f reflect.Value) {
	t.Helper()
	switch f.Kind() {
	case reflect.String:
		f.SetString(f.String() + "x")
	case reflect.Bool:
		f.SetBool(!f.Bool())
	case reflect.Int, reflect.Int64:
		f.SetInt(f.Int() + 1)
	case reflect.Uint64:
		f.SetUint(f.Uint() + 1)
	case reflect.Float64:
		f.SetFloat(f.Float() + 1)
	case reflect.Pointer:
		f.Set(reflect.New(f.Type().Elem()))
	case reflect.Slice:
		f.Set(reflect.MakeSlice(f.Type(), 1, 1))
	case reflect.Map:
		f.Set(reflect.MakeMap(f.Type()))
	case reflect.Struct:
		f.Set(reflect.ValueOf(time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)))
	default:
		t.Fatalf("%s is of a kind this test does not know: %s", path, f.Kind())
	}
}
