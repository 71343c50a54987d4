// Package telemetry is what a service tells about itself: logs, metrics and
// traces, and the types that keep secrets and personal data out of them.
package telemetry

import (
	"context"
	"errors"
	"io"
	"log/slog"
)

// Start starts the log and the traces of a process in which one service runs,
// such as "notifier"; its name is in every line and span. The log never blocks:
// while out is not read, lines are dropped and counted in
// hirewire_log_dropped_total.
//
// end sends what is still to be sent, and gives up when its context ends: that
// nobody takes it any more does not make a clean stop fail.
func Start(ctx context.Context, service string, cfg LogConfig, out io.Writer) (log *slog.Logger, end func(context.Context), err error) {
	sink := NewSink(out)
	log, err = NewLogger(sink, cfg)
	if err != nil {
		return nil, nil, errors.Join(err, sink.Close(ctx))
	}
	log = log.With("service", service)
	_, endTracing, err := StartTracing(ctx, service, log)
	if err != nil {
		return nil, nil, errors.Join(err, sink.Close(ctx))
	}
	return log, func(ctx context.Context) {
		if err := endTracing(ctx); err != nil {
			log.WarnContext(ctx, "the last spans are lost", "error", err)
		}
		_ = sink.Close(ctx)
	}, nil
}
