package natsd

import "fmt"

// Durability says what must have happened to an event before it is
// acknowledged.
type Durability string

const (
	// Standard acknowledges after the write(2) and syncs the files every
	// [Config.SyncInterval]: acknowledged events survive a crash of the
	// process; up to one interval of them may be lost when the power or the
	// operating system fails.
	Standard Durability = "standard"

	// Strict acknowledges after the fsync. On one server this costs about
	// 0.2 ms an append and caps the stream near 4,500 single appends a second
	// (ENGINE 8); batches share the sync.
	Strict Durability = "strict"
)

// ParseDurability reads "standard" or "strict"; anything else is an error that
// names both.
func ParseDurability(s string) (Durability, error) {
	switch d := Durability(s); d {
	case Standard, Strict:
		return d, nil
	default:
		return "", fmt.Errorf("durability %q is not known: use %s or %s", s, Standard, Strict)
	}
}

// Promise states in one or two sentences what an acknowledged event survives
// with this durability on a stream of that many replicas. It is ENGINE 8's
// statement, cut to the case at hand.
func (d Durability) Promise(replicas int) string {
	switch {
	case replicas >= 3 && d == Strict:
		return "an acknowledged event is fsynced on a majority of servers: it survives the loss of any one node, and no correlated power loss is known to lose it"
	case replicas >= 3:
		return "an acknowledged event survives the loss of any one node; a correlated power loss, or one operating system crash combined with partitions, may lose acknowledged events"
	case d == Strict:
		return "an acknowledged event has been fsynced: it survives a crash of the process, of the operating system and a power loss, but not the loss of the disk"
	default:
		return "an acknowledged event survives a crash of the process; up to 1 s of acknowledged events may be lost on power or operating system failure"
	}
}
