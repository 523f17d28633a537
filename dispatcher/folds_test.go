package dispatcher

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// A fold that could not be written to its end, as on a full disk, leaves the former one, and none of its own bytes: they
// are of the space that is kept for the jobs that exist (DESIGN D6, R-08).
func TestFoldFileThatCannotBeWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "folds")
	f := FoldFile(filepath.Join(dir, "dispatcher"))
	write := func(body string, err error) func(io.Writer) error {
		return func(w io.Writer) error {
			_, werr := io.WriteString(w, body)
			return errors.Join(werr, err)
		}
	}
	if err := f.Replace(write("former", nil)); err != nil {
		t.Fatal(err)
	}
	full := errors.New("no space left on device")
	if err := f.Replace(write("half", full)); !errors.Is(err, full) {
		t.Errorf("a fold that cannot be written: %v", err)
	}
	r, err := f.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if body, err := io.ReadAll(r); err != nil || string(body) != "former" {
		t.Errorf("behind it stands %q (%v)", body, err)
	}
	there, err := os.ReadDir(dir)
	if err != nil || len(there) != 1 {
		t.Errorf("the folder holds %v (%v)", there, err)
	}
}
