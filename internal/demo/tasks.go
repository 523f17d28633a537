package demo

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
)

// fileMax is the greatest input in bytes. A task holds its input in memory, and a worker runs several.
const fileMax = 32 << 20

// Config says where the tasks read and write. Input and Output are needed by Thumbnail, SummariseCSV and CountText,
// the others by DeliverWebhook.
type Config struct {
	Input  fs.FS    // for example demodata.Files, or the FS of an os.Root: os.DirFS follows links out of its folder
	Output *os.Root // thumbnails are written below it

	Receiver *url.URL     // where webhooks go, for example http://127.0.0.1:40123
	Secret   []byte       // key of their signature
	Client   *http.Client // nil: a client of its own that follows no redirect
}

// Tasks are the demo's jobs as plain functions. It is safe for use by several goroutines.
type Tasks struct {
	cfg Config
}

// New returns the tasks over cfg.
func New(cfg Config) *Tasks {
	if cfg.Client == nil {
		cfg.Client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	return &Tasks{cfg: cfg}
}

// Call is what a task may know about the attempt that runs it.
type Call struct {
	Org     string
	Job     string
	Attempt int    // from 1, rising
	Token   string // the same for all attempts of a job: what makes an outside effect single

	// Progress reports percent (0 to 100) and what is being done; nil: nobody listens.
	Progress func(percent int, message string)
}

func (c Call) progress(percent int, message string) {
	if c.Progress != nil {
		c.Progress(percent, message)
	}
}

// PermanentError marks an error that no retry can mend.
type PermanentError struct{ Err error }

func (e *PermanentError) Error() string { return e.Err.Error() }
func (e *PermanentError) Unwrap() error { return e.Err }

func permanentf(format string, args ...any) error {
	return &PermanentError{fmt.Errorf(format, args...)}
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
