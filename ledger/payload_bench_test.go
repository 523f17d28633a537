package ledger_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// What args cost by their size: submitted, canonical form and hash included, and read back as a worker does. 1 MiB
// is the most that stands in an event.
//
//	go test -run '^$' -bench Payload ./ledger
func BenchmarkPayload(b *testing.B) {
	env := ledgertest.Start(b)
	for _, n := range []int{1 << 10, schemas.ArgsMax, schemas.ArgsMax + 1, 8 << 20, schemas.PayloadMax} {
		r := ledger.SubmitRequest{Org: sceneOrg, Type: "echo", Args: json.RawMessage(argsOf(n, "bench")), NoDedup: true, RegisterUnknown: true}
		var last ledger.Receipt
		b.Run(fmt.Sprintf("submit/%d", n), func(b *testing.B) {
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				var err error
				if last, err = env.Ledger.Submit(b.Context(), r); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("read/%d", n), func(b *testing.B) {
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				j, err := env.Ledger.Fold(b.Context(), sceneOrg, last.ID)
				if err != nil {
					b.Fatal(err)
				}
				if args, err := env.Ledger.Args(b.Context(), j); err != nil || len(args) != n {
					b.Fatal(len(args), err)
				}
			}
		})
	}
	env.SkipVerify() // minutes of it, and nothing to find
}
