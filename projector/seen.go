package projector

import "hash/maphash"

const (
	seenBits   = 1 << 25 // 4 MiB: below one false answer in a hundred up to 3 million jobs
	seenHashes = 4
)

// seen answers "was this job never folded?" while a fold from zero has met every job so far. A yes is
// certain; a wrong no costs one read of the job's subject, never a wrong view.
type seen struct {
	seed maphash.Seed
	bits []uint64
}

func newSeen() *seen { return &seen{seed: maphash.MakeSeed(), bits: make([]uint64, seenBits/64)} }

// add marks k and reports whether it was certainly not marked before.
func (s *seen) add(k jobKey) (fresh bool) {
	h := maphash.Comparable(s.seed, k)
	step := h>>32 | 1
	for range seenHashes {
		word, bit := h%seenBits/64, uint64(1)<<(h%64)
		if s.bits[word]&bit == 0 {
			s.bits[word] |= bit
			fresh = true
		}
		h += step
	}
	return fresh
}
