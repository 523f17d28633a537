package ledger_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// BenchmarkAppend is one guarded append of a new subject, in-process, to an R1 file store: alone, and by 64
// goroutines at once.
func BenchmarkAppend(b *testing.B) {
	for _, parallel := range []int{1, 32} {
		b.Run(fmt.Sprintf("goroutines=%d", 2*parallel), func(b *testing.B) {
			env := ledgertest.Start(b)
			args := []byte(`"` + strings.Repeat("x", 254) + `"`)
			b.SetParallelism(parallel)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					e := newSubmitted(schemas.NewJobID())
					e.Data.(*schemas.Submitted).Args = args
					if err := env.Ledger.Append(b.Context(), e, 0); err != nil {
						b.Error(err)
					}
				}
			})
			env.SkipVerify()
		})
	}
}

// BenchmarkSubmit is one submit of 256 bytes of args: new work by content, without dedup, and a duplicate.
func BenchmarkSubmit(b *testing.B) {
	for _, mode := range []string{"content", "no dedup", "duplicate"} {
		b.Run(mode, func(b *testing.B) {
			env := ledgertest.Start(b)
			if _, err := env.Ledger.PutType(b.Context(), schemas.TypeSettings{Name: "echo"}, ledger.Meta{}, ""); err != nil {
				b.Fatal(err)
			}
			var n atomic.Int64
			pad := strings.Repeat("x", 230)
			b.SetParallelism(16)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					i := n.Add(1)
					if mode == "duplicate" {
						i = 0
					}
					r := request("echo", fmt.Sprintf(`{"n":%d,"pad":"%s"}`, i, pad))
					r.NoDedup = mode == "no dedup"
					if _, err := env.Ledger.Submit(b.Context(), r); err != nil {
						b.Error(err)
					}
				}
			})
			env.SkipVerify()
		})
	}
}
