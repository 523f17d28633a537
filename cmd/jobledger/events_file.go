package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// A file of events has one line for each, in ledger order, so what is in it says where it ends: nothing else is kept. Of
// a program that was killed the last line may be a part of one, which is cut off. Whether the rest is of this ledger, this
// format and these filters, the last whole line tells: it must be what the ledger's event at its sequence is written as.

// openEvents opens where events are written to. To go on in a file sets where q begins.
func (p *program) openEvents(ctx context.Context, l *ledger.Ledger, form *eventForm, name string, resume bool, q *ledger.ReplayQuery) (eventSink, error) {
	if name == "" {
		return newLineSink(form, p.Stdout, nil, false)
	}
	if !resume {
		f, err := p.newFile(name)
		if err != nil {
			return nil, err
		}
		return newLineSink(form, f, f, false)
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, usagef("--output: %w", err)
	}
	begun, err := form.resume(ctx, l, f, q)
	if err != nil {
		_ = f.Close() // it is as it was
		return nil, err
	}
	return newLineSink(form, f, f, begun)
}

// newFile creates a file. One that holds something is written over with --force only.
func (p *program) newFile(name string) (*os.File, error) {
	if err := p.mayWrite(name, "go on in it with --resume, or write over it with --force"); err != nil {
		return nil, err
	}
	f, err := os.Create(name)
	if err != nil {
		return nil, usagef("--output: %w", err)
	}
	return f, nil
}

// mayWrite refuses a file that holds something; instead says what to do.
func (p *program) mayWrite(name, instead string) error {
	if s, err := os.Stat(name); err == nil && s.Size() > 0 && !p.flags.Force {
		return usagef("--output: %s exists: %s", name, instead)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return usagef("--output: %w", err)
	}
	return nil
}

// resume cuts what is no whole line off, and has q begin behind the last event in f. begun: f has its heading.
func (f *eventForm) resume(ctx context.Context, l *ledger.Ledger, file *os.File, q *ledger.ReplayQuery) (begun bool, err error) {
	line, size, err := lastLine(file)
	if err != nil {
		return false, failf(ledger.CodeInternal, "read %s: %w", file.Name(), err)
	}
	if begun = size > 0; begun && string(line) != f.heading() {
		if q.Behind, err = f.check(ctx, l, line, q); err != nil {
			return false, usagef("--resume: %s does not end with an event of this replay: %w", file.Name(), err)
		}
	}
	if err := file.Truncate(size); err != nil {
		return false, outputError(err)
	}
	_, err = file.Seek(size, io.SeekStart)
	return begun, outputError(err)
}

var errOther = errors.New("it is of other flags, or of another ledger")

// check returns the sequence of the event that a line was written for.
func (f *eventForm) check(ctx context.Context, l *ledger.Ledger, line []byte, q *ledger.ReplayQuery) (schemas.Seq, error) {
	seq, err := f.seqOf(line)
	if err != nil {
		return 0, err
	}
	e, err := l.EventAt(ctx, seq)
	if err != nil {
		return 0, err
	}
	if !q.Matches(e) {
		return 0, errOther
	}
	if want, err := f.append(nil, e); err != nil || !bytes.Equal(want, line) {
		return 0, errOther
	}
	return seq, nil
}

// seqOf reads the sequence in a line.
func (f *eventForm) seqOf(line []byte) (schemas.Seq, error) {
	var text string
	switch f.format {
	case formatNDJSON, formatCloud:
		var in struct {
			Seq      uint64
			Sequence string
		}
		if err := json.Unmarshal(line, &in); err != nil {
			return 0, err
		}
		if text = in.Sequence; f.format == formatNDJSON {
			text = strconv.FormatUint(in.Seq, 10)
		}
	case formatCSV:
		first, _, _ := bytes.Cut(line, []byte{','})
		text = string(first)
	default:
		return 0, errors.New("a table is for people: another format can be resumed")
	}
	n, err := strconv.ParseUint(text, 10, 64)
	return schemas.Seq(n), err
}

// lastLine returns the last whole line of a file, with its newline, and where it ends.
func lastLine(f *os.File) (line []byte, size int64, err error) {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, 0, err
	}
	for room := int64(64 << 10); ; room *= 4 {
		from := max(end-room, 0)
		tail := make([]byte, end-from)
		if _, err := f.ReadAt(tail, from); err != nil && !errors.Is(err, io.EOF) {
			return nil, 0, err
		}
		whole := tail[:bytes.LastIndexByte(tail, '\n')+1]
		begins := bytes.LastIndexByte(whole[:max(len(whole)-1, 0)], '\n') + 1
		if begins > 0 || from == 0 {
			return whole[begins:], from + int64(len(whole)), nil
		}
	}
}
