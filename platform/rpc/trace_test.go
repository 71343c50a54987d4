package rpc_test

import (
	"context"
	"testing"

	otelcodes "go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/metadata"

	"hirewire.dev/platform/internal/testpb"
	"hirewire.dev/platform/rpc"
)

func TestSpanContinuesTheCallersTrace(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	var inside trace.SpanContext
	h := start(t, &things{create: func(ctx context.Context, _ *testpb.CreateThingRequest) (*testpb.Thing, error) {
		inside = trace.SpanContextFromContext(ctx)
		return nil, errTaken
	}}, func(c *rpc.Config) {
		c.Tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("test")
	})
	const id = "0af7651916cd43dd8448eb211c80319c"
	ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", "00-"+id+"-b7ad6b7169203331-01")
	_, _ = h.CreateThing(as(ctx, writerKey), valid())
	ended := spans.Ended()
	if len(ended) != 1 || ended[0].SpanContext().TraceID().String() != id || ended[0].Status().Code != otelcodes.Error {
		t.Fatalf("%v", ended)
	}
	if inside.TraceID().String() != id || ended[0].SpanKind() != trace.SpanKindServer {
		t.Errorf("%v %v", inside, ended[0].SpanKind())
	}
}
