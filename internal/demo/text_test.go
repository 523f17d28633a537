package demo_test

import (
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/dartwing/jobledger/internal/demo"
	demodata "github.com/dartwing/jobledger/testdata/demo"
)

// Checksums, lines, words and bytes are those of sha256sum and wc; the top words were counted with Python 3.
func TestCountRealTexts(t *testing.T) {
	want := map[string]demo.CountResult{
		"texts/newton-opticks.txt": {SHA256: "d4a9ac22462b35e7821a4f2706c211093da678620a8f9997989ee7cf8d507bbd", Bytes: 567198, Lines: 9285, Words: 100801,
			Top: []demo.WordCount{{Word: "the", Count: 9825}, {Word: "of", Count: 5241}, {Word: "and", Count: 4183}, {Word: "to", Count: 2074}, {Word: "in", Count: 2014}}},
		"texts/iso3166.tab": {SHA256: "837c80785080c8433fd9d4ea87e78f161ac7a40389301c5153d4f90198baeb2a", Bytes: 4841, Lines: 279, Words: 838,
			Top: []demo.WordCount{{Word: "islands", Count: 14}, {Word: "st", Count: 9}, {Word: "the", Count: 9}, {Word: "of", Count: 8}, {Word: "country", Count: 6}}},
		"texts/zone1970.tab": {SHA256: "5f23781702bf51408ff1581daa109ab3b9257fb433b1554e579d92172892c0cf", Bytes: 17592, Lines: 375, Words: 2092,
			Top: []demo.WordCount{{Word: "us", Count: 31}, {Word: "most", Count: 29}, {Word: "ru", Count: 28}, {Word: "the", Count: 24}, {Word: "areas", Count: 21}}},
		"texts/leap-seconds.list": {SHA256: "db5a895f16853b03bfc865e8d68f9fc8710ef1740e3400c701cd46a5bbbc3433", Bytes: 5065, Lines: 120, Words: 901,
			Top: []demo.WordCount{{Word: "the", Count: 55}, {Word: "of", Count: 36}, {Word: "1", Count: 30}, {Word: "to", Count: 24}, {Word: "in", Count: 18}}},
		"broken/empty.txt": {SHA256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", Top: []demo.WordCount{}},
	}
	for name, want := range want {
		t.Run(name, func(t *testing.T) {
			ts, _ := tasks(t, demodata.Files)
			got, err := ts.CountText(t.Context(), call(), demo.CountArgs{Path: name, Top: 5})
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("\n got %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestCountHostileTexts(t *testing.T) {
	files := fstest.MapFS{
		"binary.txt": {Data: []byte("\xff\xfe\x00ok\x00 \xc3( ok")},
		"long.txt":   {Data: []byte(strings.Repeat("x", 1<<20) + " short --- short")},
	}
	ts, _ := tasks(t, files)
	got, err := ts.CountText(t.Context(), call(), demo.CountArgs{Path: "binary.txt"})
	if err != nil || got.Words != 3 || len(got.Top) != 1 || got.Top[0] != (demo.WordCount{Word: "ok", Count: 2}) {
		t.Errorf("binary: %+v, %v", got, err)
	}
	got, err = ts.CountText(t.Context(), call(), demo.CountArgs{Path: "long.txt"})
	if err != nil || got.Words != 4 || len(got.Top) != 1 || got.Top[0] != (demo.WordCount{Word: "short", Count: 2}) {
		t.Errorf("a word of a megabyte: %d words, %v, %v", got.Words, len(got.Top), err)
	}
	for _, top := range []int{-1, 101} {
		_, err := ts.CountText(t.Context(), call(), demo.CountArgs{Path: "long.txt", Top: top})
		wantPermanent(t, err, "outside 1 to 100")
	}
}
