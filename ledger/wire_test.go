package ledger_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// waiting is a job that waits for its first worker.
func waiting() *ledger.Job {
	at := time.Date(2026, 11, 23, 14, 0, 0, 123456789, time.UTC)
	return &ledger.Job{Org: "acme", ID: "job-1", Generation: 1, State: schemas.StateQueued,
		Spec:         schemas.Submitted{Type: "email-send", Queue: "mail", Priority: schemas.PriorityNormal, Generation: 1, Args: json.RawMessage(`{"to":"ada"}`)},
		SubmittedSeq: 7, SubmittedID: "01938d4a-7c00-7abc-8def-0123456789ab", SubmittedAt: at, SubmittedBy: schemas.Actor{Type: "user", ID: "ada"},
		Policy: schemas.DefaultPolicy(), QueuedAt: at, LastSeq: 8, LastID: "01938d4a-7c00-7abc-8def-0123456789ac", LastAt: at}
}

// TestOfferKeepsTheJob: a worker reads of an offer the very job that the leader folded, with args and
// without, plain or not (DESIGN D1).
func TestOfferKeepsTheJob(t *testing.T) {
	for name, change := range map[string]func(*ledger.Job){
		"fresh":      func(*ledger.Job) {},
		"no args":    func(j *ledger.Job) { j.Spec.Args = nil },
		"large args": func(j *ledger.Job) { j.Spec.Args = bytes.Repeat([]byte("1"), ledger.OfferArgsMax+1) },
		"odd text":   func(j *ledger.Job) { j.Spec.Key = "<ü>" },
		"retried":    func(j *ledger.Job) { j.Attempt, j.Used = 2, 1; j.LastFence = schemas.Fence{Seq: 4, ID: "x"} },
		"backoff":    func(j *ledger.Job) { j.Policy.Backoff.Factor = 1.5 },
		"tags":       func(j *ledger.Job) { j.Spec.Tags = map[string]string{"a": "b"} },
	} {
		t.Run(name, func(t *testing.T) {
			j := waiting()
			change(j)
			args := len(j.Spec.Args)
			body, err := (&ledger.Offer{Epoch: 3, Cell: "c", Job: j}).Encode()
			if err != nil {
				t.Fatal(err)
			}
			got, err := ledger.DecodeOffer(body)
			if err != nil {
				t.Fatal(err)
			}
			if omitted := args > ledger.OfferArgsMax; got.ArgsOmitted != omitted {
				t.Errorf("args omitted: %t", got.ArgsOmitted)
			} else if omitted {
				j.Spec.Args = nil
			}
			if got.Epoch != 3 || got.Cell != "c" || !reflect.DeepEqual(got.Job, j) {
				t.Errorf("read %+v\nof %s", got.Job, body)
			}
			var judge ledger.Offer
			if err := json.Unmarshal(body, &judge); err != nil {
				t.Fatal(err)
			}
			judge.Job.Spec.Args, judge.Args = judge.Args, nil
			if !reflect.DeepEqual(got, &judge) {
				t.Errorf("read %+v\nencoding/json %+v", got, judge)
			}
		})
	}
	for _, bad := range []string{``, `{}`, `{"epoch":1}`, `{"epoch":1,"cell":"c","job":null}`, `{"job":{"org":1}}`, `[]`} {
		if o, err := ledger.DecodeOffer([]byte(bad)); err == nil {
			t.Errorf("%q: %+v", bad, o)
		}
	}
}

// BenchmarkOffer is the making and reading of one offer.
func BenchmarkOffer(b *testing.B) {
	o := &ledger.Offer{Epoch: 3, Cell: "01938d4a-7c00-7abc-8def-0123456789ab", Job: waiting()}
	b.ReportAllocs()
	for b.Loop() {
		body, err := o.Encode()
		if err != nil {
			b.Fatal(err)
		}
		if _, err := ledger.DecodeOffer(body); err != nil {
			b.Fatal(err)
		}
	}
}
