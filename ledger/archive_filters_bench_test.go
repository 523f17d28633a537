package ledger

import (
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/dartwing/jobledger/schemas"
)

// BenchmarkAbsentID looks for ids that callers drew at random in an archive of 1,258 segments, those of 20 million jobs, whose ids
// tell their time or do not.
func BenchmarkAbsentID(b *testing.B) {
	for name, others := range map[string]int{"ids tell their time": 4, "ids tell nothing": 16_000} {
		b.Run(name, func(b *testing.B) {
			a := archive{ArchiveCache: NewArchiveCache()}
			c := &catalog{}
			for i := range 1258 {
				var hashes []uint64
				for n := range others {
					hashes = append(hashes, keyOf(fmt.Sprint(i, n)))
				}
				f := newFilter(hashes, otherBits)
				s := &archiveSegment{ID: uuid.NewString(), Other: len(f), Filter: schemas.Seq(i + 1)}
				c.chunks, c.segments = append(c.chunks, &chunk{segments: []*archiveSegment{s}}), c.segments+1
				a.keepFilter(sortOther, s, f)
				a.keepIndex(s.ID, &segmentIndex{})
			}
			wants := make([]archivedJob, 4096)
			for i := range wants {
				wants[i] = lookFor(schemas.JobSubject("acme", schemas.JobID(uuid.NewString())))
			}
			for i := 0; b.Loop(); i++ {
				if got, err := a.findIn(b.Context(), c, wants[i%len(wants)]); len(got) > 0 || err != nil {
					b.Fatal(got, err)
				}
			}
		})
	}
}
