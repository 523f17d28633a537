package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// historyInFile reads a job's history from a file of CloudEvents or NDJSON, or from the files of `log export`. Of the same
// id in several orgs it takes that of --org.
func (p *program) historyInFile(f *historyFlags) ([]toldEvent, error) {
	files := []string{f.file}
	if s, err := os.Stat(f.file); err != nil {
		return nil, usagef("--file: %w", err)
	} else if s.IsDir() {
		if files, err = filepath.Glob(filepath.Join(f.file, "events-*.ndjson")); err != nil || len(files) == 0 {
			return nil, usagef("--file: %s holds no events-*.ndjson: it is no folder of log export", f.file)
		}
		slices.Sort(files)
	}
	r := &historyReader{org: schemas.OrgID(p.flags.Org.Value), id: schemas.JobID(f.id)}
	for _, name := range files {
		if err := r.read(name); err != nil {
			return nil, usagef("--file: %s: %w", name, err)
		}
	}
	return r.told, nil
}

type historyReader struct {
	org  schemas.OrgID // empty: the only one
	id   schemas.JobID
	job  *ledger.Job // the fold of what was told as CloudEvents
	told []toldEvent
}

func (r *historyReader) read(name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	in := bufio.NewReaderSize(file, 256<<10)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil // a last line that is not whole was cut off by whoever wrote it
		}
		if err != nil {
			return err
		}
		if !bytes.Contains(line, []byte(r.id)) {
			continue
		}
		if err := r.take(line); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
}

// take adds a line that is about the job.
func (r *historyReader) take(line []byte) error {
	var kind struct {
		SpecVersion string `json:"specversion"`
		Seq         uint64 `json:"seq"`
	}
	if err := json.Unmarshal(line, &kind); err != nil {
		return err
	}
	var t toldEvent
	switch {
	case kind.SpecVersion != "":
		e, err := ledger.ParseCloudEvent(line)
		if err != nil {
			return err
		}
		t = toldEvent{HistoryLine: ledger.LineOf(e), entry: e}
	case kind.Seq > 0:
		if err := json.Unmarshal(line, &t.HistoryLine); err != nil {
			return err
		}
	default:
		return errors.New("it is no event")
	}
	if t.ID == nil || *t.ID != r.id || t.Org == nil || r.org != "" && *t.Org != r.org {
		return nil
	}
	if r.job == nil {
		r.job = &ledger.Job{Org: *t.Org, ID: r.id}
	}
	if r.job.Org != *t.Org {
		return errors.New("several orgs have a job of this id: give --org")
	}
	if t.entry != nil {
		t.Illegal = !t.entry.ApplyTo(r.job)
	}
	r.told = append(r.told, t)
	return nil
}
