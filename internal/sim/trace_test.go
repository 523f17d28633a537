package sim_test

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"
)

// trace keeps the latest messages, and on demand all of them with a sum, which repeats with the seed. What nobody reads
// is not formatted.
type trace struct {
	lines []traceLine
	keep  int
	sum   uint64
	all   []string // every message, if wanted
	full  bool
}

type traceLine struct {
	at     time.Time
	format string
	args   []any
}

const traceKept = 400

func (t *trace) add(dir, conn, class, subject, what string, f fate) {
	if t.full {
		line := fmt.Sprintf("%d %s %s %s %s %s", time.Now().UnixNano(), dir, conn, class, what, f.kind)
		h := fnv.New64a()
		h.Write([]byte(line))
		t.sum = t.sum*31 + h.Sum64()
		t.all = append(t.all, line)
	}
	if t.keep == 0 || what == "" && f.kind == faultNone && class != classBeat && class != classOffer && class != classTail {
		return
	}
	t.note("%s %s %s %s %s %s", dir, conn, class, subject, what, f.kind)
}

// note keeps a line. Its args must not change any more.
func (t *trace) note(format string, args ...any) {
	if t.keep == 0 {
		return
	}
	t.lines = append(t.lines, traceLine{time.Now(), format, args})
	if len(t.lines) > 2*t.keep {
		t.lines = slices.Delete(t.lines, 0, t.keep)
	}
}

func (t *trace) tail(n int) string {
	var b strings.Builder
	for _, l := range t.lines[max(0, len(t.lines)-n):] {
		fmt.Fprintf(&b, l.at.Format("15:04:05.000000 ")+l.format+"\n", l.args...)
	}
	return b.String()
}
