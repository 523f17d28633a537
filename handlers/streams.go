package handlers

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/schemas"
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

// control reads fd 3: one JSON object per line (INTERFACE 2.6). Only its reading goroutine uses it until that
// goroutine has ended.
type control struct {
	attempt    *Attempt
	log        *zap.Logger
	merged     schemas.Progress
	retryAfter time.Duration // of the last line, if that asked for a retry
	warned     bool
}

// controlLine is one line of fd 3. A missing field leaves what an earlier line said.
type controlLine struct {
	Percent    *float64        `json:"percent"`
	Message    *string         `json:"message"`
	Step       string          `json:"step"`
	Steps      []stepLine      `json:"steps"`
	Checkpoint json.RawMessage `json:"checkpoint"`
	RetryAfter *float64        `json:"retry_after_s"`
}

// stepLine is a step as {"name","state"} or as a bare name.
type stepLine schemas.Step

// UnmarshalJSON implements json.Unmarshaler.
func (s *stepLine) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		s.State = stepPending
		return json.Unmarshal(b, &s.Name)
	}
	return json.Unmarshal(b, (*schemas.Step)(s))
}

// States of a step.
const (
	stepPending    = "pending"
	stepInProgress = "in_progress"
	stepDone       = "done"
)

// read takes lines until r ends. ctx bounds the saving of checkpoints.
func (c *control) read(ctx context.Context, r io.Reader) {
	in := bufio.NewReaderSize(r, 4<<10)
	for {
		line, err := readLine(in, fd3LineMax)
		if len(line) > 0 {
			c.take(ctx, line)
		}
		if errors.Is(err, errLongLine) {
			c.warn("line is too long", err)
			continue
		}
		if err != nil {
			return
		}
	}
}

var errLongLine = errors.New("line is over its limit")

// readLine returns the next line without its end; a line over limit is skipped as a whole.
func readLine(in *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	long := false
	for {
		part, err := in.ReadSlice('\n')
		if !long && len(line)+len(part) > limit {
			line, long = nil, true
		}
		if !long {
			line = append(line, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if long && err == nil {
			err = errLongLine
		}
		return bytes.TrimSpace(line), err
	}
}

func (c *control) take(ctx context.Context, line []byte) {
	var l controlLine
	if err := json.Unmarshal(line, &l); err != nil {
		c.warn("line is not a JSON object of ours", err)
		return
	}
	c.retryAfter = 0
	if l.RetryAfter != nil && *l.RetryAfter > 0 {
		c.retryAfter = secondsOf(*l.RetryAfter)
	}
	if len(l.Checkpoint) > 0 && string(l.Checkpoint) != "null" {
		if err := c.attempt.SaveCheckpoint(ctx, l.Checkpoint); err != nil {
			c.warn("checkpoint was not stored", err)
		}
	}
	if c.merge(&l) {
		c.attempt.Progress(c.merged)
	}
}

// merge folds a line into the progress and reports whether it said anything about it.
func (c *control) merge(l *controlLine) bool {
	if l.Percent == nil && l.Message == nil && l.Step == "" && l.Steps == nil {
		return false
	}
	if l.Percent != nil {
		c.merged.Percent = int(min(max(*l.Percent, 0), 100))
	}
	if l.Message != nil {
		c.merged.Message = *l.Message
	}
	if l.Steps != nil {
		c.merged.Steps = c.merged.Steps[:0]
		for _, s := range l.Steps[:min(len(l.Steps), progressStepsMax)] {
			if s.State != stepInProgress && s.State != stepDone {
				s.State = stepPending
			}
			c.merged.Steps = append(c.merged.Steps, schemas.Step(s))
		}
	}
	if l.Step != "" {
		c.enter(l.Step)
	}
	return true
}

// enter makes name the step in progress; the one before it is done.
func (c *control) enter(name string) {
	found := false
	for i := range c.merged.Steps {
		s := &c.merged.Steps[i]
		switch {
		case s.Name == name:
			s.State, found = stepInProgress, true
		case s.State == stepInProgress:
			s.State = stepDone
		}
	}
	if !found && len(c.merged.Steps) < progressStepsMax {
		c.merged.Steps = append(c.merged.Steps, schemas.Step{Name: name, State: stepInProgress})
	}
}

// warn logs the first bad line of an attempt; the others are ignored in silence.
func (c *control) warn(msg string, err error) {
	if !c.warned {
		c.warned = true
		c.log.Warn("fd 3: further lines like this are ignored in silence", zap.String("what", msg), zap.Error(err))
	}
}

// secondsOf converts a number of seconds that a remote side gave, bounded by R-303.
func secondsOf(s float64) time.Duration {
	return time.Duration(min(s, schemas.RetryAfterMax.Seconds()) * float64(time.Second))
}
