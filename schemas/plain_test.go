package schemas

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/dartwing/jobledger/internal/plainjson"
)

// filler makes records of any values, so that no field is forgotten by the plain reader and writer.
type filler struct{ *rand.Rand }

var (
	fillTexts = []string{"", "a", "email-send", "order 4711 <&> ü", "quote\"back\\slash", "tab\t", "\x7f", "bad\xffutf8", "\u2028", "normal", "queued", "null"}
	fillRaws  = []string{``, `{}`, `{"a":[1,2],"b":"}"}`, `"text \" with"`, `null`, `12.50`, ` [1] `, `true`}
	fillTimes = []time.Time{{}, time.Date(2026, 11, 23, 14, 0, 0, 123456789, time.UTC), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(2026, 1, 1, 0, 0, 0, 0, time.FixedZone("", 3600))}
	fillInts   = []int64{0, 1, 7, 1 << 40, -1, 1<<53 + 1}
	fillFloats = []float64{0, 1, 1.5, 2, 1e21}
)

// fill sets about one field in odds of them to something; it returns how many are not zero.
func (f filler) fill(v reflect.Value, odds int) {
	switch v.Type() {
	case reflect.TypeFor[json.RawMessage]():
		if f.IntN(odds) == 0 {
			v.SetBytes([]byte(fillRaws[f.IntN(len(fillRaws))]))
		}
		return
	case reflect.TypeFor[time.Time]():
		if f.IntN(odds) == 0 {
			v.Set(reflect.ValueOf(fillTimes[f.IntN(len(fillTimes))]))
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			f.fill(v.Field(i), odds)
		}
		return
	case reflect.Pointer:
		if f.IntN(odds) == 0 {
			v.Set(reflect.New(v.Type().Elem()))
			f.fill(v.Elem(), odds)
		}
		return
	}
	if f.IntN(odds) != 0 {
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(fillTexts[f.IntN(len(fillTexts))])
	case reflect.Int, reflect.Int64:
		v.SetInt(fillInts[f.IntN(len(fillInts))])
	case reflect.Uint64:
		v.SetUint(uint64(fillInts[f.IntN(len(fillInts))]))
	case reflect.Float64:
		v.SetFloat(fillFloats[f.IntN(len(fillFloats))])
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1+f.IntN(2), 2))
		for i := range v.Len() {
			f.fill(v.Index(i), odds)
		}
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		key.SetString("k")
		f.fill(value, odds)
		v.Set(reflect.MakeMapWithSize(v.Type(), 1))
		v.SetMapIndex(key, value)
	default:
		panic("fill: " + v.Type().String())
	}
}

// judgeEncode is what encoding/json alone writes of a record without raw fields.
func judgeEncode(t *testing.T, v any) []byte {
	t.Helper()
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}

// withoutRaws clears the raw fields, which both ways leave to SpliceJSON.
func withoutRaws(d any) any {
	if r, ok := d.(rawBody); ok {
		d, _ = r.split()
	}
	return d
}

// TestPlainEqualsTheJudge: for every event and any values of its fields, the plain writer writes what
// encoding/json writes, and the plain reader reads what encoding/json reads, also of damaged text.
func TestPlainEqualsTheJudge(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	f := filler{rand.New(rand.NewPCG(seed, 1))}
	written, read := map[EventName]int{}, map[EventName]int{}
	for _, name := range append(JobEvents(), ControlEvents()...) {
		for round := range 2000 {
			data := newData(name)
			f.fill(reflect.ValueOf(data).Elem(), []int{1, 2, 4, 30}[round%4])
			want := judgeEncode(t, withoutRaws(data))
			if got, ok := encodePlain(withoutRaws(data), nil); ok {
				written[name]++
				if !bytes.Equal(got, want) {
					t.Fatalf("seed %d, %s: wrote\n%s\nencoding/json\n%s", seed, name, got, want)
				}
			}
			body, err := EncodeBody(data)
			if err != nil {
				continue // a text is not UTF-8, or the like
			}
			if _, ok := newData(name).(plainData); !ok {
				continue
			}
			read[name] += comparePlainRead(t, name, body)
			for range 3 {
				comparePlainRead(t, name, damage(f, body))
			}
		}
	}
	for _, name := range []EventName{EventSubmitted, EventQueued, EventRunning, EventCompleted} {
		if written[name] < 50 || read[name] < 50 {
			t.Errorf("%s: written plainly %d times, read %d times: the comparison says nothing", name, written[name], read[name])
		}
	}
}

// damage returns body with one byte changed, dropped or doubled, or a member repeated.
func damage(f filler, body []byte) []byte {
	b, i := bytes.Clone(body), f.IntN(len(body))
	switch f.IntN(4) {
	case 0:
		b[i] = ` 0123456789-.eE"\,:{}[]ntfx`[f.IntN(27)]
		return b
	case 1:
		return append(b[:i], body[i+1:]...)
	case 2:
		return append(b[:i+1], body[i:]...)
	}
	return append(append(b[:len(b)-1], ','), body[1:]...)
}

// comparePlainRead fails unless both ways agree on body; it returns 1 if the plain reader sufficed.
func comparePlainRead(t *testing.T, name EventName, body []byte) int {
	t.Helper()
	want := newData(name)
	wantErr := json.Unmarshal(body, want)
	got, gotErr := decodeBody(name, newData(name), body)
	if (gotErr == nil) != (wantErr == nil) || gotErr == nil && !reflect.DeepEqual(got, want) {
		t.Fatalf("%s: read\n%+v, %v\nencoding/json\n%+v, %v\nof %s", name, got, gotErr, want, wantErr, body)
	}
	if plainjson.Read(body, newData(name).(plainData).readPlain) {
		return 1
	}
	return 0
}

// TestPlainJobEqualsTheJudge is the same for the job in an offer.
func TestPlainJobEqualsTheJudge(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	f := filler{rand.New(rand.NewPCG(seed, 1))}
	plain := 0
	for round := range 20_000 {
		j := &Job{}
		if round%2 == 0 { // one that waits, with at most a few odd fields
			j.QueuedAt, j.LastAt, j.Policy = fillTimes[1], fillTimes[2], DefaultPolicy()
			f.fill(reflect.ValueOf(j).Elem(), []int{30, 300}[round/2%2])
		} else {
			f.fill(reflect.ValueOf(j).Elem(), 3)
		}
		j.Spec.Args, j.Result, j.Checkpoint = nil, nil, nil
		want := judgeEncode(t, j)
		w := plainjson.NewWriter(0)
		if !j.WritePlain(w) {
			continue
		}
		plain++
		body := w.End()
		if !bytes.Equal(body, want) {
			t.Fatalf("seed %d: wrote\n%s\nencoding/json\n%s", seed, body, want)
		}
		for range 4 {
			var got, judge Job
			if plainjson.Read(body, got.ReadPlain) {
				if err := json.Unmarshal(body, &judge); err != nil || !reflect.DeepEqual(got, judge) {
					t.Fatalf("seed %d: read\n%+v\nencoding/json\n%+v, %v\nof %s", seed, got, judge, err, body)
				}
			}
			body = damage(f, body)
		}
	}
	if plain < 500 {
		t.Errorf("only %d jobs were plain: the comparison says nothing", plain)
	}
}

// BenchmarkDecode and BenchmarkEncode are one event of each of a job's four, plainly and by encoding/json.
func BenchmarkDecode(b *testing.B) {
	for _, d := range benchData() {
		body, err := EncodeBody(d)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(string(d.Name())+"/plain", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := decodeBody(d.Name(), newData(d.Name()), body); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(string(d.Name())+"/json", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := json.Unmarshal(body, newData(d.Name())); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, d := range benchData() {
		b.Run(string(d.Name()), func(b *testing.B) {
			e := NewEvent(JobSubject("acme", "job-1"), d)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := e.Encode(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func benchData() []Data {
	h := Head{From: StateQueued, Type: "email-send", Queue: "mail", Priority: PriorityNormal, Generation: 1, Submitted: 123456}
	named := AttemptHead{Head: h, Attempt: 1, Fence: Fence{Seq: 123460, ID: "01938d4a-7c00-7abc-8def-0123456789ab"}}
	args := append(append([]byte(`"`), bytes.Repeat([]byte("x"), 254)...), '"')
	return []Data{
		&Submitted{Type: "email-send", Queue: "mail", Priority: PriorityNormal, Generation: 1, Args: args},
		&Queued{Head: h, Policy: DefaultPolicy(), Epoch: 12},
		&Running{Head: h, Attempt: 1, Session: "01938d4a-0000-7000-8000-0000000000aa", Worker: "w-7"},
		&Completed{AttemptHead: named, DurationMS: 12},
	}
}
