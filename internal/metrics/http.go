package metrics

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// HTTP counts a request that was answered. Routes, methods and codes are few.
func (m *Metrics) HTTP(route, method string, status int, took time.Duration) {
	m.http.WithLabelValues(route, method, strconv.Itoa(status)).Observe(took.Seconds())
}

func newHTTP(r prometheus.Registerer) *prometheus.HistogramVec {
	return histogram(r, "http_request_duration_seconds", "HTTP requests by route, method and status; streams are not in it.", durationBuckets, "route", "method", "code")
}
