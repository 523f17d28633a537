package demo

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/schemas"
	demodata "github.com/dartwing/jobledger/testdata/demo"
)

// fileMax is the greatest input in bytes. A task holds its input in memory, and a worker runs several.
const fileMax = 32 << 20

// Config says where the tasks read and write.
type Config struct {
	// Input holds the files that jobs name. nil: the embedded testdata/demo. For a folder take the FS of an
	// os.Root; os.DirFS follows links out of its folder.
	Input fs.FS
	// Output is where thumbnails are written. Required by Thumbnail.
	Output *os.Root

	// Receiver is where webhooks go, for example http://127.0.0.1:40123. nil: deliveries fail, and may be retried.
	Receiver *url.URL
	// Secret is the key of their signature.
	Secret string
}

// Tasks are the demo's jobs. Each runs for any number of attempts at once.
type Tasks struct {
	cfg    Config
	client *http.Client
}

// New returns the tasks over cfg.
func New(cfg Config) *Tasks {
	if cfg.Input == nil {
		cfg.Input = demodata.Files
	}
	return &Tasks{cfg: cfg, client: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // a redirect is an answer, not an address we chose
	}}}
}

func report(a *handlers.Attempt, percent int, message string) {
	a.Progress(schemas.Progress{Percent: percent, Message: message})
}

func permanentf(format string, args ...any) error {
	return handlers.Permanent(fmt.Errorf(format, args...))
}

// read returns the whole input file name. A name outside the input, a missing file, a folder and a file over
// fileMax are permanent errors.
func (t *Tasks) read(name string) ([]byte, error) {
	if !fs.ValidPath(name) {
		return nil, permanentf("path %q is not inside the input folder: give a relative path without \"..\"", name)
	}
	f, err := t.cfg.Input.Open(name)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) || errors.Is(err, fs.ErrPermission) {
			return nil, permanentf("input: %w", err)
		}
		return nil, fmt.Errorf("input: %w", err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("input: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, permanentf("input %q is not a file", name)
	}
	data, err := io.ReadAll(io.LimitReader(f, fileMax+1)) // the size in info may be a lie or grow
	if err != nil {
		return nil, fmt.Errorf("input: %w", err)
	}
	if len(data) > fileMax {
		return nil, permanentf("input %q is over %d MiB", name, fileMax>>20)
	}
	return data, nil
}
