package handlers

import (
	"bytes"
	"strings"

	"go.uber.org/zap"
)

// capped keeps the first max bytes written to it and counts the rest.
type capped struct {
	max   int64
	buf   bytes.Buffer
	total int64 // bytes written, kept or not
}

// Write implements io.Writer; it never fails, so that the process is not stopped by a broken pipe.
func (c *capped) Write(p []byte) (int, error) {
	if room := c.max - int64(c.buf.Len()); room > 0 {
		c.buf.Write(p[:min(int64(len(p)), room)])
	}
	c.total += int64(len(p))
	return len(p), nil
}

// tail keeps the last max bytes written to it and logs each line.
type tail struct {
	log  *zap.Logger
	max  int
	buf  []byte // at most 2*max bytes
	line []byte // begun, not logged yet; at most logLineMax bytes
}

// Write implements io.Writer; it never fails.
func (t *tail) Write(p []byte) (int, error) {
	n := len(p)
	t.keep(p)
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			t.begin(p)
			return n, nil
		}
		t.begin(p[:i])
		t.flush()
		p = p[i+1:]
	}
}

func (t *tail) keep(p []byte) {
	t.buf = append(t.buf, p[max(0, len(p)-t.max):]...)
	if len(t.buf) > 2*t.max {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-t.max:]...)
	}
}

func (t *tail) begin(p []byte) {
	t.line = append(t.line, p[:min(len(p), logLineMax-len(t.line))]...)
}

// flush logs the line that was begun, also an unfinished last one.
func (t *tail) flush() {
	if line := strings.TrimRight(string(t.line), "\r"); line != "" {
		t.log.Info("stderr", zap.String("line", line))
	}
	t.line = t.line[:0]
}

// String returns the last max bytes without surrounding white space.
func (t *tail) String() string {
	return strings.TrimSpace(strings.ToValidUTF8(string(t.buf[max(0, len(t.buf)-t.max):]), ""))
}
