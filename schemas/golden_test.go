package schemas_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/schemas"
)

var update = flag.Bool("update", false, "write golden events that are missing; those that exist are never rewritten")

const eventsDir = "../testdata/events"

// revised names the events that have grown since their first file: the file of today's form, which gives
// every field, has this suffix. The older files stay, and must decode for ever.
var revised = map[schemas.EventName]string{schemas.EventCanceled: ".cascade", schemas.EventCancelRequested: ".cascade",
	schemas.EventReleased: ".progress", schemas.EventLateResult: ".reference", schemas.EventRetried: ".parents",
	schemas.EventTypeSet: ".retention", schemas.EventOrgSet: ".retention", schemas.EventSubmitted: ".refused", schemas.EventCarried: ".refused",
	schemas.EventCellStarted: ".carried", schemas.EventLeaderElected: ".carried", schemas.EventScheduleSet: ".carried"}

// print is the form of testdata/events: the subject, the headers in order, an empty line, the body.
func print(m *nats.Msg) []byte {
	var b bytes.Buffer
	fmt.Fprintln(&b, m.Subject)
	for _, k := range slices.Sorted(maps.Keys(m.Header)) {
		fmt.Fprintf(&b, "%s: %s\n", k, m.Header[k][0])
	}
	fmt.Fprintln(&b)
	b.Write(m.Data)
	return b.Bytes()
}

func parse(t testing.TB, b []byte) *nats.Msg {
	t.Helper()
	head, body, ok := bytes.Cut(b, []byte("\n\n"))
	if !ok {
		t.Fatal("no empty line between headers and body")
	}
	lines := strings.Split(string(head), "\n")
	m := &nats.Msg{Subject: lines[0], Header: nats.Header{}, Data: body}
	for _, l := range lines[1:] {
		k, v, ok := strings.Cut(l, ": ")
		if !ok {
			t.Fatalf("header %q", l)
		}
		m.Header[k] = []string{v}
	}
	return m
}

// TestGoldenEvents shows that every event ever written still decodes, to the same value, and re-encodes byte
// for byte (INTERFACE 5). The files are the truth: a failure here is a break of the v1 format.
func TestGoldenEvents(t *testing.T) {
	for _, want := range examples() {
		t.Run(string(want.Name()), func(t *testing.T) {
			path := filepath.Join(eventsDir, string(want.Name())+".v1"+revised[want.Name()]+".txt")
			golden, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) && *update {
				m, err := want.Encode()
				if err != nil {
					t.Fatal(err)
				}
				golden = print(m)
				if err := os.WriteFile(path, golden, 0o644); err != nil {
					t.Fatal(err)
				}
			} else if err != nil {
				t.Fatal(err)
			}
			m := parse(t, golden)
			got, err := schemas.Decode(m.Subject, m.Header, m.Data, big, aTime)
			if err != nil {
				t.Fatal(err)
			}
			again, err := got.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if s := print(again); !bytes.Equal(s, golden) {
				t.Errorf("re-encoded:\n%s\nwant:\n%s", s, golden)
			}
			fresh, err := want.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if s := print(fresh); !bytes.Equal(s, golden) {
				t.Errorf("encoded:\n%s\nwant:\n%s", s, golden)
			}
			want.Seq, want.Time = big, aTime
			trim(want.Data)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("decoded:\n%+v\nwant:\n%+v", got, want)
			}
		})
	}
}

// TestOldGoldenEvents shows that what was written in an earlier form of v1, before its event grew, still
// decodes and re-encodes byte for byte.
func TestOldGoldenEvents(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(eventsDir, "*.v1*.txt"))
	if err != nil || len(files) < len(schemas.JobEvents())+len(revised) {
		t.Fatalf("%d files: %v", len(files), err)
	}
	for _, path := range files {
		golden, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		m := parse(t, golden)
		e, err := schemas.Decode(m.Subject, m.Header, m.Data, big, aTime)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		again, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if s := print(again); !bytes.Equal(s, golden) {
			t.Errorf("%s re-encoded:\n%s\nwant:\n%s", path, s, golden)
		}
	}
}

// trim drops the blanks around raw values, which are not stored.
func trim(d schemas.Data) {
	if l, ok := d.(*schemas.LateResult); ok {
		l.Result = json.RawMessage(strings.TrimSpace(string(l.Result)))
	}
}

// TestExamplesAreWhole shows that the examples cover every event of this version, and give every field of it,
// so that a field which is lost on the way is found by TestGoldenEvents.
func TestExamplesAreWhole(t *testing.T) {
	seen := map[schemas.EventName]bool{}
	for _, e := range examples() {
		seen[e.Name()] = true
		for _, field := range zeroFields(reflect.ValueOf(e.Data).Elem(), string(e.Name())) {
			switch {
			case e.Name() == schemas.EventCarried && (strings.HasSuffix(field, "Args") || strings.HasSuffix(field, "Job.Result") || strings.HasSuffix(field, "Job.Checkpoint")):
			case field == "carried.Job.Unreadable": // such a job is never carried
			case field == "carried.Job.Archived", field == "carried.Job.Emptied": // no event holds them
			case field == "schedule_set.Settings.EveryMS", field == "schedule_set.Settings.OffsetMS", field == "schedule_set.Settings.At":
			default:
				t.Errorf("%s is not given", field)
			}
		}
	}
	for _, name := range slices.Concat(schemas.JobEvents(), schemas.ControlEvents()) {
		if !seen[name] {
			t.Errorf("%s has no example", name)
		}
	}
}

func zeroFields(v reflect.Value, path string) []string {
	var zero []string
	for i := range v.NumField() {
		f, name := v.Field(i), path+"."+v.Type().Field(i).Name
		for f.Kind() == reflect.Pointer && !f.IsNil() {
			f = f.Elem()
		}
		switch {
		case f.Kind() == reflect.Struct && f.Type().PkgPath() == reflect.TypeFor[schemas.Job]().PkgPath():
			zero = append(zero, zeroFields(f, name)...)
		case v.Field(i).IsZero():
			zero = append(zero, name)
		}
	}
	return zero
}
