package schemas_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/schemas"
)

// A message whose headers are read where they stand is read as the client reads it, whatever the block looks like: one
// decoder judges both (DESIGN D8).
func TestDecodeBlockEqualsDecode(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(eventsDir, "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden events: %v", err)
	}
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	blocks, plain := 0, 0
	for _, path := range files {
		golden, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		m := parse(t, golden)
		block := blockOf(m.Header)
		for n := range 300 {
			b := block
			if n > 0 {
				b = spoil(r, block)
			}
			var h nats.Header
			if have, err := nats.DecodeHeadersMsg([]byte(b)); err == nil {
				h = have
			}
			want, wantErr := schemas.Decode(m.Subject, h, m.Data, 7, aTime)
			got, gotHeader, gotErr := schemas.DecodeBlock(m.Subject, []byte(b), m.Data, 7, aTime)
			if !reflect.DeepEqual(got, want) || fmt.Sprint(gotErr) != fmt.Sprint(wantErr) {
				t.Fatalf("seed %d: %q is read as %+v, %v; want %+v, %v", seed, b, got, gotErr, want, wantErr)
			}
			if gotErr != nil && !reflect.DeepEqual(gotHeader, h) {
				t.Fatalf("seed %d: %q has the headers %v, want %v", seed, b, gotHeader, h)
			}
			on, err := schemas.ParseSubject(m.Subject)
			quick := &schemas.Event{Subject: on, Seq: 7, Time: aTime}
			if err == nil && quick.DecodePlain([]byte(b), m.Data) && (wantErr != nil || !reflect.DeepEqual(quick, want)) {
				t.Fatalf("seed %d: %q is read as %+v on a subject that is known; want %+v, %v", seed, b, quick, want, wantErr)
			}
			blocks++
			if gotErr == nil {
				plain++
			}
		}
	}
	if plain < blocks/20 {
		t.Errorf("only %d of %d blocks were events: the comparison says little", plain, blocks)
	}
}

// blockOf writes headers as the client does.
func blockOf(h nats.Header) string {
	var b strings.Builder
	b.WriteString("NATS/1.0\r\n")
	for k, values := range h {
		for _, v := range values {
			b.WriteString(k + ": " + v + "\r\n")
		}
	}
	return b.String() + "\r\n"
}

// spoil changes a block a little.
func spoil(r *rand.Rand, block string) string {
	lines := strings.SplitAfter(block, "\r\n")
	i := r.IntN(len(lines))
	line := &lines[i]
	switch r.IntN(9) {
	case 0:
		*line = ""
	case 1:
		*line += *line
	case 2:
		*line = strings.ToUpper(*line)
	case 3:
		*line = strings.Replace(*line, ": ", []string{":", ":\t ", "", " : ", "::"}[r.IntN(5)], 1)
	case 4:
		*line = strings.Replace(*line, "\r\n", []string{"\n", "\r\r\n", "", " \r\n"}[r.IntN(4)], 1)
	case 5:
		*line = "Nats-Other: 1\r\n" + *line
	case 6:
		*line += []string{": empty\r\n", "ce-id: two\r\n", "CE-ID: two\r\n", "x\r\n", "\r\n", "Nats-Msg-Id: m\r\n", "Nats-Expected-Last-Subject-Sequence: 0\r\n"}[r.IntN(7)]
	case 7:
		at := r.IntN(len(block))
		return block[:at] + string(rune(r.IntN(128))) + block[at+1:]
	default:
		return block[:r.IntN(len(block))]
	}
	return strings.Join(lines, "")
}
