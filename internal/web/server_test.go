package web_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/internal/web"
)

// served is a server under test, whose cell is well until why says otherwise.
type served struct {
	*web.Server
	url string
	why atomic.Pointer[[]string]

	mu   sync.Mutex
	told []string
}

func serve(t *testing.T) *served {
	t.Helper()
	l, err := web.Listen("127.0.0.1", 0, false)
	if err != nil {
		t.Fatal(err)
	}
	x := &served{url: "http://" + l.Addr().String()}
	x.why.Store(&[]string{})
	x.Server, err = web.New(web.Config{Listener: l, Logger: zap.NewNop(), Ready: func(context.Context) []string { return *x.why.Load() }, Observe: x.tell,
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "up 1\n") })})
	if err != nil {
		t.Fatal(err)
	}
	inner := http.NewServeMux()
	inner.HandleFunc("GET /v1/jobs/{name}", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) })
	inner.HandleFunc("GET /v1/events", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		if err := http.NewResponseController(w).Flush(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	x.Handle("/v1/", inner)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- x.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("it ended with %v", err)
		}
	})
	return x
}

func (x *served) tell(route, method string, status int, took time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.told = append(x.told, fmt.Sprint(method, " ", route, " ", status))
	if took < 0 {
		x.told = append(x.told, "no time")
	}
}

func (x *served) get(t *testing.T, method, path string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, x.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return a.StatusCode, strings.TrimSpace(string(body))
}

// Ready or not, with causes; alive in any case.
func TestHealth(t *testing.T) {
	t.Parallel()
	x := serve(t)
	expect := func(when, method, path string, status int, body string) {
		t.Helper()
		if got, text := x.get(t, method, path); got != status || text != body {
			t.Errorf("%s: %s %s is %d %s, want %d %s", when, method, path, got, text, status, body)
		}
	}
	expect("well", "GET", "/healthz", 200, `{"ok":true}`)
	expect("well", "GET", "/readyz", 200, `{"ready":true,"reasons":[]}`)
	expect("well", "GET", "/metrics", 200, "up 1")
	x.why.Store(&[]string{"jetstream: no responders", "jobs: 12 events behind for 31s"})
	expect("not well", "GET", "/readyz", 503, `{"ready":false,"reasons":["jetstream: no responders","jobs: 12 events behind for 31s"]}`)
	expect("not well", "GET", "/healthz", 200, `{"ok":true}`)
	x.Drain()
	expect("stopping", "GET", "/readyz", 503, `{"ready":false,"reasons":["draining: this server is stopping"]}`)
	expect("a verb that changes", "POST", "/metrics", 405, "Method Not Allowed")
	expect("elsewhere", "GET", "/v1/info", 404, "404 page not found")
}

// Each request is told of by its route, and none by what a caller has made up; a stream, which is written through to its
// reader, is told of to nobody.
func TestObserve(t *testing.T) {
	t.Parallel()
	x := serve(t)
	for _, r := range []string{"GET /v1/jobs/a", "GET /v1/jobs/b?wait=1s", "GET /v1/events", "GET /v1/made-up", "BREW /v1/jobs/c", "GET /healthz"} {
		method, path, _ := strings.Cut(r, " ")
		x.get(t, method, path)
	}
	want := []string{"GET /v1/jobs/{name} 202", "GET /v1/jobs/{name}?wait 202", "GET none 404", "other none 405", "GET /healthz 200"}
	for limit := time.Now().Add(time.Minute); time.Now().Before(limit); runtime.Gosched() { // the last may still be on its way
		x.mu.Lock()
		n := len(x.told)
		x.mu.Unlock()
		if n >= len(want) {
			break
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if !slices.Equal(x.told, want) {
		t.Errorf("told is %q, want %q", x.told, want)
	}
}

// A request head beyond every use is refused, and costs no more memory than that.
func TestHugeHead(t *testing.T) {
	t.Parallel()
	x := serve(t)
	c, err := net.Dial("tcp", strings.TrimPrefix(x.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() {
		_, _ = io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\n") // it stops reading at some point
		for range 10_000 {
			if _, err := io.WriteString(c, "X-More: "+strings.Repeat("a", 1000)+"\r\n"); err != nil {
				return
			}
		}
	}()
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil && line == "" {
		return // the connection was cut, which refuses it, too
	}
	if !strings.Contains(line, "431") {
		t.Errorf("the answer is %q", line)
	}
}

// A client that dribbles its request a byte at a time is let go, and others are served meanwhile.
func TestSlowHead(t *testing.T) {
	t.Parallel()
	x := serve(t)
	c, err := net.Dial("tcp", strings.TrimPrefix(x.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	gone := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, c) // until the server ends it
		close(gone)
	}()
	dribble := time.NewTicker(100 * time.Millisecond)
	defer dribble.Stop()
	_, _ = io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ")
	for patience := time.After(time.Minute); ; {
		select {
		case <-gone:
			return
		case <-dribble.C:
			_, _ = io.WriteString(c, "a")
			if status, body := x.get(t, http.MethodGet, "/healthz"); status != http.StatusOK {
				t.Fatalf("others are answered %d %s", status, body)
			}
		case <-patience:
			t.Fatal("it is not let go")
		}
	}
}

// A port that is taken moves to a free one where that is wanted, and is an error where it is not.
func TestListen(t *testing.T) {
	t.Parallel()
	first, err := web.Listen("127.0.0.1", 0, false)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	_, text, _ := net.SplitHostPort(first.Addr().String())
	port, _ := strconv.Atoi(text)
	if l, err := web.Listen("127.0.0.1", port, false); err == nil {
		l.Close()
		t.Error("a port was taken twice")
	} else if !strings.Contains(err.Error(), "taken by another program") {
		t.Errorf("a busy port: %v", err)
	}
	second, err := web.Listen("127.0.0.1", port, true)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if second.Addr().String() == first.Addr().String() {
		t.Error("both listen at one port")
	}
	for addr, want := range map[string]bool{"127.0.0.1:1": true, "[::1]:1": true, "localhost:1": true, "0.0.0.0:1": false, ":1": false, "10.0.0.1:1": false, "box:1": false} {
		if web.Loopback(addr) != want {
			t.Errorf("Loopback(%s) is %v", addr, !want)
		}
	}
}
