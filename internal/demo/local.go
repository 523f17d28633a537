package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
)

// Local is what the demo runs beside the worker: an output folder and a receiver of webhooks on a free port of
// loopback. Its Tasks are for the worker; Run serves the receiver.
type Local struct {
	Tasks    *Tasks
	Receiver *Receiver
	URL      *url.URL // where the receiver listens

	listener net.Listener
	output   *os.Root
}

// Open makes the folder output, if need be, and listens. The signing secret is made anew each time: sender and
// receiver are this process. Run must follow: it closes what was opened.
func Open(output string) (*Local, error) {
	if err := os.MkdirAll(output, 0o755); err != nil {
		return nil, fmt.Errorf("demo output: %w", err)
	}
	root, err := os.OpenRoot(output)
	if err != nil {
		return nil, fmt.Errorf("demo output: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("demo receiver: %w", err), root.Close())
	}
	secret := rand.Text()
	l := &Local{
		Receiver: &Receiver{Secret: secret},
		URL:      &url.URL{Scheme: "http", Host: listener.Addr().String()},
		listener: listener,
		output:   root,
	}
	l.Tasks = New(Config{Output: root, Receiver: l.URL, Secret: secret})
	return l, nil
}

// Run serves webhooks until ctx ends; the worker should have ended before. It returns nil after a stop.
func (l *Local) Run(ctx context.Context) error {
	return errors.Join(l.Receiver.Run(ctx, l.listener), l.output.Close())
}
