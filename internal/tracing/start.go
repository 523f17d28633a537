//go:build otel

package tracing

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// Start returns a Tracer that exports over OTLP and HTTP to where the environment says, and how to end it: what waits is
// sent then. An exporter that cannot be reached delays and fails nothing; spans are lost.
func Start(ctx context.Context, version string) (*Tracer, func(context.Context) error, error) {
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("traces: %w", err)
	}
	of, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", "jobledger"), attribute.String("service.version", version)),
		resource.WithFromEnv(), resource.WithTelemetrySDK()) // the environment may say another name
	if err != nil {
		return nil, nil, fmt.Errorf("traces: %w", err)
	}
	p := sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(of))
	return New(p), p.Shutdown, nil
}
