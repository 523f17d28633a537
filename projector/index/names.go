package index

import (
	"encoding/binary"
	"strconv"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// names gives numbers to texts that repeat. The fold owns it; readers ask the file.
type names struct {
	ids  map[string]int64
	next int64
	more []named // since they were taken last
}

type named struct {
	id   int64
	name string
}

func newNames() *names { return &names{ids: map[string]int64{}, next: 1} }

// known notes what the file holds.
func (n *names) known(id int64, name string) {
	n.ids[name] = id
	n.next = max(n.next, id+1)
}

func (n *names) of(name string) int64 {
	if id, ok := n.ids[name]; ok {
		return id
	}
	id := n.next
	n.known(id, name)
	n.more = append(n.more, named{id, name})
	return id
}

func (n *names) taken() []named {
	more := n.more
	n.more = nil
	return more
}

// hash is a posting's number in an org: of a field, the name behind its dot, and a value. It stands in files, so it may
// change with fileForm only.
func hash(field, key, value string) int64 {
	const offset, prime = 14695981039346656037, 1099511628211 // FNV-1a of 64 bits, as hash/fnv has it, which copies every text
	h := uint64(offset)
	for i, s := range [3]string{field, key, value} {
		if i > 0 {
			h *= prime // a zero between them
		}
		for k := range len(s) {
			h = (h ^ uint64(s[k])) * prime
		}
	}
	return int64(h)
}

// idHash is a job's number in jobs_id. In the high half of that of a UUIDv7 stands when it was made, so that new jobs
// are neighbours in the index, and a batch of them touches few pages.
func idHash(org schemas.OrgID, id schemas.JobID) int64 {
	h := uint64(hash("id", string(org), string(id)))
	var raw [16]byte
	if uuidBytes(string(id), &raw) && raw[6]>>4 == 7 {
		seconds := binary.BigEndian.Uint64(raw[:8]) >> 16 / uint64(time.Second/time.Millisecond)
		h = seconds<<32 | h&0xffffffff
	}
	return int64(h)
}

// quotedNumbers are numbers of ours as SQL writes them, with commas between.
func quotedNumbers(ids []int64) string {
	var b []byte
	for i, id := range ids {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, id, 10)
	}
	return string(b)
}
