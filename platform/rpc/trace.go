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
	md, _ := metadata.FromIncomingContext(ctx)
	ctx = propagation.TraceContext{}.Extract(ctx, carrier(md))
	ctx, cl.span = c.tracer.Start(ctx, cl.name[1:], trace.WithSpanKind(trace.SpanKindServer), //nolint:spancheck // finish ends it.
		trace.WithAttributes(attribute.String("rpc.system", "grpc"), attribute.String("rpc.method", cl.name)))
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

// carrier reads traceparent and tracestate from metadata.
type carrier metadata.MD

func (c carrier) Get(key string) string {
	if v := metadata.MD(c).Get(key); len(v) > 0 {
		return v[0]
	}
	return ""
}

func (c carrier) Set(key, value string) { metadata.MD(c).Set(key, value) }

func (c carrier) Keys() []string {
	keys := make([]string, 0, len(c))
	for k := range c {
		keys = append(keys, k)
	}
	return keys
}

func withDetail(st *status.Status, detail protoadapt.MessageV1) *status.Status {
	detailed, err := st.WithDetails(detail)
	if err != nil { // a message of our own always packs
		return st
	}
	return detailed
}
