package cell

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// Parts stop in the reverse of their order, each before the next, whoever ended first; and all are waited for.
func TestPartsStopInOrder(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		name  string
		fails int // part that ends by itself; -1: none, the context ends
		with  error
		want  string
		err   string
	}{
		{"stopped", -1, nil, "c b a", ""},
		{"the first fails", 0, broken, "a c b", "a: broken"},
		{"the second fails", 1, broken, "b c a", "b: broken"},
		{"the last ends", 2, nil, "c b a", "c: it ended by itself"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var mu sync.Mutex
			var order []string
			var running sync.WaitGroup
			running.Add(3)
			var parts []part
			for i, name := range []string{"a", "b", "c"} {
				parts = append(parts, part{name, func(ctx context.Context) error {
					running.Done()
					running.Wait()
					var err error
					if i == c.fails {
						err = c.with
					} else {
						<-ctx.Done()
						err = fmt.Errorf("stopped: %w", ctx.Err())
					}
					mu.Lock()
					defer mu.Unlock()
					order = append(order, name)
					return err
				}})
			}
			if c.fails < 0 {
				go func() { running.Wait(); cancel() }()
			}
			err := runParts(ctx, parts)
			if got := strings.Join(order, " "); got != c.want {
				t.Errorf("parts ended in the order %s, want %s", got, c.want)
			}
			if (c.err == "") != (err == nil) || err != nil && err.Error() != c.err {
				t.Errorf("the error is %v, want %q", err, c.err)
			}
		})
	}
}
