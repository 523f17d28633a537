package cell

import (
	"context"
	"errors"
	"fmt"
)

// part is a component: run blocks until its ctx ends.
type part struct {
	name string
	run  func(context.Context) error
}

// ended tells how a part did.
type ended struct {
	part int
	err  error
}

// runParts runs all parts until ctx ends or the first of them does, then stops them one after the other,
// the last first, each before the next, and returns why the first one ended on its own; nil if none did.
func runParts(ctx context.Context, parts []part) error {
	ends := make(chan ended, len(parts))
	stop := make([]context.CancelFunc, len(parts))
	for i, p := range parts {
		var own context.Context
		own, stop[i] = context.WithCancel(context.WithoutCancel(ctx))
		defer stop[i]()
		go func() { ends <- ended{i, p.run(own)} }()
	}
	gone := make([]bool, len(parts))
	var first error
	select {
	case <-ctx.Done():
	case e := <-ends:
		gone[e.part] = true
		if first = e.err; first == nil {
			first = errors.New("it ended by itself")
		}
		first = fmt.Errorf("%s: %w", parts[e.part].name, first)
	}
	for i := len(parts) - 1; i >= 0; i-- {
		stop[i]()
		for !gone[i] {
			e := <-ends
			gone[e.part] = true
			if first == nil && e.err != nil && !errors.Is(e.err, context.Canceled) {
				first = fmt.Errorf("%s: %w", parts[e.part].name, e.err)
			}
		}
	}
	return first
}
