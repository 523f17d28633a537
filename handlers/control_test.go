package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/dartwing/jobledger/schemas"
)

// endless repeats a text for ever and counts the bytes that are read.
type endless struct {
	text string
	at   int
	mu   sync.Mutex
	read int
}

func (e *endless) Read(b []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for n < len(b) {
		c := copy(b[n:], e.text[e.at:])
		n += c
		e.at = (e.at + c) % len(e.text)
	}
	e.read += n
	return n, nil
}

// TestControlFlood shows that who floods fd 3, with lines, with garbage or with one endless line, is read at
// the pace of the limits and held in the memory of one line; it costs one warning.
func TestControlFlood(t *testing.T) {
	for name, text := range map[string]string{
		"short lines": `{"percent":1}` + "\n",
		"empty lines": "\n",
		"garbage":     "\x00\xff{[}",
		"bad lines":   `{"percent":"x"` + "\n",
		"deep":        strings.Repeat("[", 100_000) + "\n",
		"checkpoints": `{"checkpoint":"` + strings.Repeat("x", 1000) + `"}` + "\n",
		"long ones":   `{"checkpoint":"` + strings.Repeat("x", CheckpointMax) + `"}` + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			core, logs := observer.New(zapcore.WarnLevel)
			a := testAttempt()
			var saves, reports int
			a.host = host{progressed: func() { reports++ }, save: func(context.Context, json.RawMessage) error { saves++; return nil }}
			c := newControl(a, "fd 3", zap.New(core))
			in := &endless{text: text}
			gone := make(chan struct{})
			begun := time.Now()
			time.AfterFunc(2500*time.Millisecond, func() { close(gone) })
			if err := c.read(t.Context(), in, gone); !errors.Is(err, io.EOF) {
				t.Errorf("ended with %v", err)
			}
			took := time.Since(begun).Seconds() + 1 // what one second allows is read at once
			c.saver.close()
			if most := int(took*LineBytesPerSecond) + lastBytesMax + 64<<10; in.read > most {
				t.Errorf("%d bytes were read in %.1f s, at most %d are allowed", in.read, took-1, most)
			}
			if saves > int(took)+3 {
				t.Errorf("%d checkpoints were saved in %.1f s", saves, took-1)
			}
			if n := logs.Len(); n > 1 {
				t.Errorf("%d warnings", n)
			}
		})
	}
}

// TestControlPace shows that lines are not lost to the pace: all that a process has said by its end is read.
func TestControlPace(t *testing.T) {
	const lines = 60 * LinesPerSecond // a minute at the pace
	a := testAttempt()
	n := 0
	a.host = host{progressed: func() { n++ }}
	gone := make(chan struct{})
	close(gone)
	begun := time.Now()
	err := newControl(a, "fd 3", zap.NewNop()).read(t.Context(), strings.NewReader(strings.Repeat(`{"percent":1}`+"\n", lines)), gone)
	if !errors.Is(err, io.EOF) || n != lines {
		t.Errorf("%d of %d lines, %v", n, lines, err)
	}
	if took := time.Since(begun); took > 50*time.Second {
		t.Errorf("what a dead process left was read in %s", took)
	}
}

// TestCheckpointBudget shows the bounds of what one attempt saves, and that what an exec or http handler sends
// is paced so that it lasts until the timeout.
func TestCheckpointBudget(t *testing.T) {
	c := newCheckpoints()
	save := func(size int) error {
		if err := c.begin(t.Context(), size); err != nil {
			return err
		}
		c.end(size, true)
		return nil
	}
	begun := time.Now()
	for range 3 {
		if err := save(10); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(begun); took < 2*CheckpointPause {
		t.Errorf("three checkpoints in %s", took)
	}
	c.bytes = CheckpointBytesMax - 5
	if err := save(6); !errors.Is(err, ErrCheckpointBudget) {
		t.Errorf("over the bytes: %v", err)
	}
	c.n = CheckpointsMax
	if err := save(1); !errors.Is(err, ErrCheckpointBudget) {
		t.Errorf("over the number: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errTestCancel)
	c = newCheckpoints()
	c.last = time.Now()
	if err := c.begin(ctx, 1); !errors.Is(err, errTestCancel) {
		t.Errorf("with an ended context: %v", err)
	}
	if err := c.begin(t.Context(), 1); err != nil {
		t.Errorf("the turn was not given back: %v", err)
	}
	for _, timeout := range []time.Duration{time.Second, time.Hour, schemas.TimeoutMax} {
		for _, size := range []int{1, 1000, CheckpointMax} {
			a := testAttempt()
			a.Timeout = timeout
			n := int(timeout/newCheckpointer(a, nil).pause(size)) + 2
			if n > CheckpointsMax || n*size > CheckpointBytesMax {
				t.Errorf("timeout %s, %d bytes: %d checkpoints, %d bytes", timeout, size, n, n*size)
			}
		}
	}
}
