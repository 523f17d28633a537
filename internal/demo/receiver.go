package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Paths of the receiver that misbehave; all others take every delivery.
const (
	PathFlaky = "/flaky/" // 500 for the first try of each token, then taken
	PathBusy  = "/busy/"  // 503 with Retry-After: 1 for the first try of each token, then taken
	PathGone  = "/gone/"  // 410, always
)

// Limits of the receiver.
const (
	tokensMax    = 1024    // tokens and deliveries remembered; the oldest are forgotten
	bodyMax      = 1 << 20 // bytes of a delivery
	bodyKept     = 4 << 10 // bytes of it that are remembered
	headersMax   = 16 << 10
	stopGrace    = time.Second
	headerWait   = 5 * time.Second
	retryAfterHi = "1" // seconds the busy paths ask for
)

// Delivery is one webhook that the receiver took.
type Delivery struct {
	Path, Token, Job string
	Attempt          int
	Body             string // its first 4 KiB
	Repeats          int    // later tries with the same token, answered as taken but counted once
}

// Receiver is a local HTTP endpoint for the demo's webhooks. It checks signatures, remembers what it took and, on
// some paths, fails the first time so that retries show. The zero value needs only Secret.
type Receiver struct {
	Secret string // key of the signatures

	mu     sync.Mutex
	order  []string // tokens, oldest first; at most tokensMax
	tokens map[string]*tokenState
}

// tokenState is what the receiver knows of one idempotency token.
type tokenState struct {
	refused bool // a misbehaving path has failed it once
	taken   *Delivery
}

// Run serves l until ctx ends, then lets requests finish for a second. It closes l and returns nil after a stop.
func (r *Receiver) Run(ctx context.Context, l net.Listener) error {
	server := &http.Server{Handler: r, ReadHeaderTimeout: headerWait, ReadTimeout: 2 * headerWait, MaxHeaderBytes: headersMax}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("webhook receiver: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
	defer cancel()
	err := server.Shutdown(grace)
	if err != nil {
		err = server.Close() // a client that will not finish is not waited for
	}
	<-served // ErrServerClosed, and the goroutine is gone
	return err
}

// ServeHTTP takes one delivery.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodPost {
		http.Error(w, "only POST is taken", http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, bodyMax))
	if err != nil {
		status := http.StatusBadRequest
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			status = http.StatusRequestEntityTooLarge
		}
		http.Error(w, "the body cannot be read", status)
		return
	}
	if err := verify(r.Secret, req.Header, body, time.Now()); err != nil {
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	if req.Header.Get(headerToken) == "" {
		http.Error(w, "an idempotency-key is needed", http.StatusBadRequest)
		return
	}
	status, text := r.take(req, body)
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfterHi)
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text) // a client that is gone asks again with the same token
}

// take decides on a delivery whose signature is good.
func (r *Receiver) take(req *http.Request, body []byte) (status int, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	path := req.URL.Path
	if strings.HasPrefix(path, PathGone) {
		return http.StatusGone, "nobody listens here any more"
	}
	s := r.state(req.Header.Get(headerToken))
	if s.taken != nil {
		s.taken.Repeats++
		return http.StatusOK, "had it already"
	}
	if !s.refused {
		switch {
		case strings.HasPrefix(path, PathFlaky):
			s.refused = true
			return http.StatusInternalServerError, "this path fails the first time"
		case strings.HasPrefix(path, PathBusy):
			s.refused = true
			return http.StatusServiceUnavailable, "busy: come again"
		}
	}
	attempt, _ := strconv.Atoi(req.Header.Get(headerAttempt)) // signed, so it is the sender's own number
	s.taken = &Delivery{Path: path, Token: req.Header.Get(headerToken), Job: req.Header.Get(headerJob), Attempt: attempt, Body: string(body[:min(len(body), bodyKept)])}
	return http.StatusOK, "taken"
}

// state returns what is known of token, r.mu held. The oldest token makes room for a new one.
func (r *Receiver) state(token string) *tokenState {
	if s := r.tokens[token]; s != nil {
		return s
	}
	if r.tokens == nil {
		r.tokens = make(map[string]*tokenState)
	}
	if len(r.order) == tokensMax {
		delete(r.tokens, r.order[0])
		r.order = slices.Delete(r.order, 0, 1)
	}
	s := &tokenState{}
	r.tokens[token], r.order = s, append(r.order, token)
	return s
}

// Deliveries returns what was taken, oldest token first: the last 1,024 at most.
func (r *Receiver) Deliveries() []Delivery {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Delivery
	for _, token := range r.order {
		if d := r.tokens[token].taken; d != nil {
			out = append(out, *d)
		}
	}
	return out
}
