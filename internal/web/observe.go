package web

import (
	"net/http"
	"strings"
	"time"
)

// Observe is told of each request that was answered: its route as it was registered, without a name in it, the method,
// the status, and how long it took. A stream is no such request; a long poll has a route of its own, ending in "?wait".
type Observe func(route, method string, status int, took time.Duration)

// observed tells of the requests that h answers.
func observed(h http.Handler, tell Observe) http.Handler {
	if tell == nil {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begin, c := time.Now(), &coded{ResponseWriter: w, status: http.StatusOK}
		h.ServeHTTP(c, r)
		if c.Header().Get("Content-Type") != "text/event-stream" {
			tell(routeOf(r), methodOf(r), c.status, time.Since(begin))
		}
	})
}

// routeOf is what the innermost mux has put into the request.
func routeOf(r *http.Request) string {
	route := r.Pattern
	if _, path, ok := strings.Cut(route, " "); ok {
		route = path
	}
	switch {
	case route == "":
		return "none"
	case r.URL.RawQuery != "" && r.URL.Query().Has("wait"):
		return route + "?wait"
	}
	return route
}

// methodOf bounds what callers may write there.
func methodOf(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return r.Method
	}
	return "other"
}

// coded remembers the status of an answer.
type coded struct {
	http.ResponseWriter
	status int
	said   bool
}

// WriteHeader implements http.ResponseWriter.
func (c *coded) WriteHeader(status int) {
	if !c.said && status >= http.StatusOK { // those below go before the answer
		c.status, c.said = status, true
	}
	c.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (c *coded) Write(b []byte) (int, error) {
	c.said = true
	return c.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController find what c has not.
func (c *coded) Unwrap() http.ResponseWriter { return c.ResponseWriter }
