package handlers

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/schemas"
)

// Bounds of what a process may say on fd 3, or a service in its answer. Who says more is not refused but read
// more slowly: its writes wait.
const (
	// LineMax is how many bytes a line may have: room for a checkpoint and its envelope. A longer one is ignored.
	LineMax = 128 << 10
	// LinesPerSecond is how many lines of an attempt are read in a second.
	LinesPerSecond = 1_000
	// LineBytesPerSecond is how many bytes of them.
	LineBytesPerSecond = 1 << 20

	// lastBytesMax is how much is read, without a pace, of what a process left in its pipe.
	lastBytesMax = 1 << 20
)

// control reads what an attempt's process says on fd 3, or its service in the answer: one JSON object per line
// (INTERFACE 2.6). Only its reading goroutine uses it until that goroutine has ended.
type control struct {
	attempt    *Attempt
	source     string // for the log
	warnings   *warnOnce
	saver      *checkpointer
	merged     schemas.Progress
	retryAfter time.Duration // of the last line, if that asked for a retry
	long       bool          // the last line was over its limit, and ignored
	// checkpointMax is the greatest size in bytes of a checkpoint from here.
	checkpointMax int
	// last takes a line that ends the attempt; nil where lines cannot. It reports whether l was one.
	last func(l *controlLine) bool
}

func newControl(a *Attempt, source string, log *zap.Logger) *control {
	c := &control{attempt: a, source: source, warnings: &warnOnce{log: log}, checkpointMax: CheckpointMax}
	c.saver = newCheckpointer(a, c.warn)
	return c
}

// controlLine is one line. A missing field leaves what an earlier line said. Result and Error are for services.
type controlLine struct {
	Percent    *float64        `json:"percent"`
	Message    *string         `json:"message"`
	Step       string          `json:"step"`
	Steps      []stepLine      `json:"steps"`
	Checkpoint json.RawMessage `json:"checkpoint"`
	RetryAfter *float64        `json:"retry_after_s"`
	Result     json.RawMessage `json:"result"`
	Error      *errorLine      `json:"error"`
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

// read takes lines until r ends, or a line that ends the attempt. Once gone is closed, who wrote them lives no
// more: the rest is read at once, up to lastBytesMax.
func (c *control) read(ctx context.Context, r io.Reader, gone <-chan struct{}) error {
	lines := pacer{rate: LinesPerSecond}
	in := bufio.NewReaderSize(&pacedReader{r: r, pace: pacer{rate: LineBytesPerSecond}, gone: gone, left: lastBytesMax}, 4<<10)
	for {
		line, err := readLine(in, LineMax)
		if len(line) > 0 {
			c.long = false
			if c.take(ctx, line) {
				return nil
			}
			lines.wait(1, gone)
		}
		if errors.Is(err, errLongLine) {
			c.long = true
			c.warn("line is too long", err)
			continue
		}
		if err != nil {
			return err
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

// take obeys one line and reports whether it ended the attempt.
func (c *control) take(ctx context.Context, line []byte) bool {
	var l controlLine
	if err := json.Unmarshal(line, &l); err != nil {
		c.warn("line is not a JSON object of ours", err)
		return false
	}
	c.retryAfter = 0
	if l.RetryAfter != nil && *l.RetryAfter > 0 {
		c.retryAfter = secondsOf(*l.RetryAfter)
	}
	switch n := len(l.Checkpoint); {
	case n == 0, string(l.Checkpoint) == "null": // a field without a value says nothing, like the others
	case n > c.checkpointMax:
		c.warn("checkpoint was not stored", fmt.Errorf("it is %d bytes: at most %d are kept", n, c.checkpointMax))
	default:
		c.saver.put(ctx, l.Checkpoint)
	}
	if c.merge(&l) {
		c.attempt.Progress(c.merged)
	}
	return c.last != nil && c.last(&l)
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
		for _, s := range l.Steps[:min(len(l.Steps), ProgressStepsMax)] {
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
	if !found && len(c.merged.Steps) < ProgressStepsMax {
		c.merged.Steps = append(c.merged.Steps, schemas.Step{Name: name, State: stepInProgress})
	}
}

// warn logs the first bad line of an attempt.
func (c *control) warn(what string, err error) { c.warnings.warn(c.source, what, err) }

// pacer spreads what is taken: rate units in a second, and those of one second at once.
type pacer struct {
	rate float64
	free time.Time // when all that was taken has been paid for
}

// wait takes n units and returns when they are due, or gone is closed.
func (p *pacer) wait(n int, gone <-chan struct{}) {
	now := time.Now()
	if p.free.Before(now) {
		p.free = now
	}
	p.free = p.free.Add(time.Duration(float64(n) / p.rate * float64(time.Second)))
	waitUntil(gone, p.free.Add(-time.Second))
}

// pacedReader reads at a pace until gone is closed, and then at most left bytes more.
type pacedReader struct {
	r    io.Reader
	pace pacer
	gone <-chan struct{}
	left int
}

// Read implements io.Reader.
func (p *pacedReader) Read(b []byte) (int, error) {
	select {
	case <-p.gone:
		if p.left <= 0 {
			return 0, io.EOF
		}
		n, err := p.r.Read(b[:min(len(b), p.left)])
		p.left -= n
		return n, err
	default:
	}
	n, err := p.r.Read(b)
	p.pace.wait(n, p.gone)
	return n, err
}

// secondsOf converts a number of seconds that a remote side gave, bounded by R-303.
func secondsOf(s float64) time.Duration {
	return time.Duration(min(s, schemas.RetryAfterMax.Seconds()) * float64(time.Second))
}
