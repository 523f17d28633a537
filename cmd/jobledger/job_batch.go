package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// declareBatch declares what makes a batch of the submit.
func (f *submitFlags) declareBatch(cmd flagOwner) {
	cmd.Flag("batch", "Submit a batch: one item a line, its arguments as JSON; - for stdin").PlaceHolder("FILE").StringVar(&f.batch)
	cmd.Flag("pace", "Of a batch: at most so many items in such a time, such as 50/1m").PlaceHolder("N/D").StringVar(&f.pace)
	cmd.Flag("parallel", "Of a batch: at most so many items unfinished at once, 100 by default").PlaceHolder("N").StringVar(&f.parallel)
	cmd.Flag("then", "Of a batch: run a job of this type when it has ended, whichever way; it is given the batch's result").PlaceHolder("TYPE").StringVar(&f.then)
	cmd.Flag("then-args", "The arguments of the job of --then; {} when absent").PlaceHolder("JSON").StringVar(&f.thenArgs)
}

func (f *submitFlags) checkBatch() error {
	switch {
	case f.batch == "" && (f.pace != "" || f.parallel != "" || f.then != ""):
		return usagef("--pace, --parallel and --then are of a batch: give --batch FILE")
	case f.then == "" && f.thenArgs != "":
		return usagef("--then-args are those of the job that --then names")
	case f.batch == "":
		return nil
	case f.args != "" || f.file != "":
		return usagef("the items of a batch bring their arguments: give --batch or arguments, not both")
	case f.count.Set || f.noDedup:
		return usagef("--batch goes neither with --count nor with --no-dedup: its items run as often as they stand in the file")
	}
	return nil
}

// batchOf is the batch that the flags ask for. What they say of queue, priority, resource, tags, limits of attempts and
// whom to run as is its items'; when to start, what to wait for, id and key stay with r, which is the batch.
func (f *submitFlags) batchOf(p *program, r *ledger.SubmitRequest) (*ledger.BatchSpec, error) {
	spec := &ledger.BatchSpec{Each: ledger.BatchItem{Type: r.Type, Queue: r.Queue, Priority: r.Priority, Resource: r.Resource,
		Principal: r.Principal, Tags: r.Tags, Override: r.Override}}
	*r = ledger.SubmitRequest{ID: r.ID, Key: r.Key, OnDuplicate: r.OnDuplicate, NotBefore: r.NotBefore, Delay: r.Delay,
		Deadline: r.Deadline, DeadlineIn: r.DeadlineIn, Parents: r.Parents, Reason: r.Reason}
	if f.pace != "" {
		rate, err := parseRate(f.pace)
		if err != nil {
			return nil, usagef("--pace: %w", err)
		}
		if rate, ok := rate.(schemas.Rate); ok {
			spec.Pace = &rate
		}
	}
	if f.parallel != "" {
		n, err := parseInt(f.parallel)
		if err != nil || n < 1 || n > ledger.BatchItemsMax {
			return nil, usagef("--parallel must be 1 to %d", ledger.BatchItemsMax)
		}
		spec.Parallel = n
	}
	if f.then != "" {
		spec.Then = &ledger.BatchItem{Type: schemas.TypeName(f.then), Args: []byte(f.thenArgs)}
		if err := schemas.CheckToken("type", f.then); err != nil {
			return nil, usagef("--then: %w", err)
		}
		if err := schemas.CheckJSON("the arguments", spec.Then.Args); f.thenArgs != "" && err != nil {
			return nil, usagef("--then-args: %w", err)
		}
	}
	var from io.Reader = p.Stdin
	if f.batch != stdinArg {
		file, err := os.Open(f.batch)
		if err != nil {
			return nil, usagef("--batch: %w", err)
		}
		defer file.Close()
		from = file
	}
	items, err := readItems(from)
	if err != nil {
		return nil, usagef("--batch: %w", err)
	}
	spec.Items = items
	return spec, nil
}

// readItems reads the arguments of an item a line, byte for byte; empty lines are left out. The error names the line.
func readItems(from io.Reader) ([]ledger.BatchItem, error) {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, schemas.PayloadMax)
	var items []ledger.BatchItem
	n, size := 0, 0
	for lines.Scan() {
		n++
		args := bytes.Clone(bytes.TrimSpace(lines.Bytes()))
		if len(args) == 0 {
			continue
		}
		if err := schemas.CheckJSON("the arguments", args); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if len(items) == ledger.BatchItemsMax {
			return nil, fmt.Errorf("line %d: a batch has at most %d items", n, ledger.BatchItemsMax)
		}
		if size += len(args); size > schemas.PayloadMax {
			return nil, fmt.Errorf("line %d: the items have more than %d bytes together", n, schemas.PayloadMax)
		}
		items = append(items, ledger.BatchItem{Args: args})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", n+1, err)
	}
	if len(items) == 0 {
		return nil, errors.New("there is no item")
	}
	return items, nil
}

// store submits the job, or the batch, that the flags ask for.
func (f *submitFlags) store(ctx context.Context, c *gateway.Client, r ledger.SubmitRequest, spec *ledger.BatchSpec) (*gateway.SubmitReply, error) {
	if spec != nil {
		return c.SubmitBatch(ctx, r, spec)
	}
	return c.Submit(ctx, r)
}
