//go:build otel

package main

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/internal/tracing"
)

// tracingStopTimeout bounds the sending of what waits when the process ends.
const tracingStopTimeout = 5 * time.Second

func (p *program) startTracing(ctx context.Context, log *zap.Logger) (tracers, error) {
	if p.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && p.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" {
		return tracers{stop: func() {}}, nil
	}
	t, stop, err := tracing.Start(ctx, version)
	if err != nil {
		return tracers{}, err
	}
	return tracers{submits: t, attempts: t, stop: func() {
		ctx, cancel := context.WithTimeout(context.Background(), tracingStopTimeout)
		defer cancel()
		if err := stop(ctx); err != nil {
			log.Warn("traces could not be sent", zap.Error(err))
		}
	}}, nil
}
