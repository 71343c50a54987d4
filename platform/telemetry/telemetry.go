// Package telemetry is what a service tells about itself: logs, metrics and
// traces, and the types that keep secrets and personal data out of them.
package telemetry

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
)

// Config says who tells and where to.
type Config struct {
	// Service is the name in metrics, traces and log lines, such as "notifier".
	Service string
	// Log says what is logged and how.
	Log LogConfig
	// Output is where log lines go; default os.Stderr.
	Output io.Writer
}

// Telemetry is a service's log, metrics and traces.
type Telemetry struct {
	// Logger never blocks: when its output is not read, lines are dropped and
	// counted in hirewire_log_dropped_total.
	Logger *slog.Logger
	// Registry has the metrics of the process; add the service's own.
	Registry *prometheus.Registry
	// Tracer makes spans; they cost nothing unless OTEL_* asks for them.
	Tracer trace.TracerProvider

	sink       *Sink
	endTracing func(context.Context) error
}

// Start starts all three. Close ends them.
func Start(ctx context.Context, cfg Config) (*Telemetry, error) {
	if cfg.Output == nil {
		cfg.Output = os.Stderr
	}
	sink := NewSink(cfg.Output)
	t := &Telemetry{sink: sink, Registry: NewRegistry(cfg.Service)}
	logger, err := NewLogger(sink, cfg.Log)
	if err != nil {
		return nil, errors.Join(err, sink.Close(ctx))
	}
	t.Logger = logger.With("service", cfg.Service)
	t.Registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "hirewire_log_dropped_total",
		Help: "Log lines dropped because the output was not read.",
	}, func() float64 { return float64(sink.Dropped()) }))
	t.Tracer, t.endTracing, err = StartTracing(ctx, cfg.Service, t.Logger)
	if err != nil {
		return nil, errors.Join(err, sink.Close(ctx))
	}
	return t, nil
}

// Close sends what is still to be sent, first spans, then log lines. It gives
// up when ctx ends.
func (t *Telemetry) Close(ctx context.Context) error {
	return errors.Join(t.endTracing(ctx), t.sink.Close(ctx))
}
