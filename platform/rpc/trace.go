package rpc

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
)

// start opens the call's span, if there is a tracer.
func (c *Chain) start(ctx context.Context, cl *call) context.Context {
	if c.tracer == nil {
		return ctx
	}
	ctx = propagation.TraceContext{}.Extract(ctx, carrier{ctx})
	ctx, cl.span = c.tracer.Start(ctx, cl.name[1:], serverSpan...) //nolint:spancheck // finish ends it.
	return ctx
}

// finish counts the call and ends its span.
func (c *Chain) finish(cl *call, err error) {
	if t := c.table.Load(); t != nil {
		if m := t.methods[cl.name]; m != nil {
			m.observer.observe(err, time.Since(cl.started))
		}
	}
	if cl.span == nil {
		return
	}
	if err != nil {
		cl.span.SetStatus(otelcodes.Error, status.Code(err).String())
	}
	cl.span.End()
}

var serverSpan = []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attribute.String("rpc.system", "grpc"))}

// carrier reads traceparent and tracestate from the metadata of a call.
type carrier struct {
	ctx context.Context //nolint:containedctx // It is the metadata that is meant.
}

var _ propagation.TextMapCarrier = carrier{}

// Get implements propagation.TextMapCarrier.
func (c carrier) Get(key string) string {
	if v := metadata.ValueFromIncomingContext(c.ctx, key); len(v) > 0 {
		return v[0]
	}
	return ""
}

// Set implements propagation.TextMapCarrier; nothing is injected here.
func (carrier) Set(string, string) {}

// Keys implements propagation.TextMapCarrier.
func (carrier) Keys() []string { return []string{"traceparent", "tracestate"} }

func withDetail(st *status.Status, detail protoadapt.MessageV1) *status.Status {
	detailed, err := st.WithDetails(detail)
	if err != nil { // a message of our own always packs
		return st
	}
	return detailed
}
