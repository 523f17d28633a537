package gateway

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestTries: who fills what counts tries keeps nobody out, and is not remembered for longer than he counts.
func TestTries(t *testing.T) {
	tr, now := newTries(), time.Now()
	tr.now = func() time.Time { return now }
	for range loginsMax {
		if !tr.allow("ada") {
			t.Fatal("ada was stopped too soon")
		}
	}
	if tr.allow("ada") {
		t.Error("ada was not stopped")
	}
	for n := range 2 * triesMax {
		if !tr.allow(strconv.Itoa(n)) {
			t.Fatalf("stranger %d was kept out", n)
		}
	}
	if len(tr.by) > triesMax {
		t.Errorf("%d keys are held", len(tr.by))
	}
	now = now.Add(time.Minute - time.Second)
	for range loginsMax { // nearly a minute later most of hers are back
		tr.allow("ada")
	}
	now = now.Add(time.Second) // and what she did a second ago counts also behind the turn
	for tries := 0; tr.allow("ada"); tries++ {
		if tries > 1 {
			t.Fatal("ada was forgotten at the turn")
		}
	}
	if len(tr.by) != 1 {
		t.Errorf("%d keys are held after a minute", len(tr.by))
	}
	now = now.Add(time.Minute)
	tr.allow("bob")
	now = now.Add(time.Minute)
	tr.allow("bob")
	if len(tr.by)+len(tr.was) != 2 {
		t.Errorf("%d keys are held of nobody", len(tr.by)+len(tr.was)-2)
	}
}

// unread is a body that is not to be read.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}

// TestReadAllBound: a body that is said to be above its bound is refused before anything is allocated for it.
func TestReadAllBound(t *testing.T) {
	var tooLarge *http.MaxBytesError
	if b, err := readAll(unread{t}, bodyMax, loginBody); !errors.As(err, &tooLarge) || cap(b) > loginBody {
		t.Errorf("%d bytes, %v", cap(b), err)
	}
	for _, size := range []int64{-1, 5} {
		if b, err := readAll(strings.NewReader("hello"), size, loginBody); err != nil || string(b) != "hello" {
			t.Errorf("of size %d: %q, %v", size, b, err)
		}
	}
}
