package natsd

import (
	"os"
	"path/filepath"
	"testing"
)

// The room of a store is the least of what the disk and the server's own limit leave, and its size the lesser of theirs:
// whichever is nearer at the moment, what a reserve is a part of stays the same, so that a machine with little free space
// is not refused work as soon as another program writes something.
func TestRoomWithinTheServersLimit(t *testing.T) {
	const mib, gib = 1 << 20, 1 << 30
	for _, c := range []struct {
		what                     string
		free, total, limit, used int64
		wantFree, wantTotal      int64
	}{
		{"a disk that others have filled, at the start", 1 * gib, 252 * gib, 768 * mib, 10 * mib, 758 * mib, 768 * mib},
		{"and after others wrote more", 700 * mib, 252 * gib, 768 * mib, 10 * mib, 700 * mib, 768 * mib},
		{"a limit above the disk", 30 * gib, 100 * gib, 500 * gib, 70 * gib, 30 * gib, 100 * gib},
		{"a server without a limit", 30 * gib, 100 * gib, -1, 70 * gib, 30 * gib, 100 * gib},
		{"a system that does not tell", 0, 0, 500 * gib, 70 * gib, 430 * gib, 500 * gib},
		{"neither", 0, 0, 0, 70 * gib, 0, 0},
	} {
		if free, total := within(c.free, c.total, c.limit, c.used); free != c.wantFree || total != c.wantTotal {
			t.Errorf("%s: %d MiB of %d, want %d of %d", c.what, free/mib, total/mib, c.wantFree/mib, c.wantTotal/mib)
		}
	}
}

// The server may store what it holds and nearly all that is free, however much others have stored: what is stored never
// comes to more than it may.
func TestStoreLimit(t *testing.T) {
	dir := t.TempDir()
	const held = 3 << 20
	if err := os.WriteFile(filepath.Join(dir, "1.blk"), make([]byte, held), 0o600); err != nil {
		t.Fatal(err)
	}
	_, total, err := diskRoom(dir)
	if err != nil {
		t.Fatal(err)
	}
	if limit := storeLimit(dir); total > 0 && (limit <= held || limit > total+held) || total == 0 && limit != 0 {
		t.Errorf("a limit of %d bytes on a disk of %d", limit, total)
	}
}
