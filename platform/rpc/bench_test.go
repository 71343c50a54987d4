package rpc_test

import (
	"context"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"hirewire.dev/platform/internal/testpb"
	"hirewire.dev/platform/rpc"
)

// BenchmarkChain is what the chain alone adds to a call.
func BenchmarkChain(b *testing.B) {
	keys, err := rpc.ParseStaticKeys("w:writer:" + writerKey + ",r:reader:" + readerKey)
	if err != nil {
		b.Fatal(err)
	}
	chain, err := rpc.New(rpc.Config{Authenticator: keys, Policy: policy(), Metrics: prometheus.NewRegistry()})
	if err != nil {
		b.Fatal(err)
	}
	srv := grpc.NewServer()
	testpb.RegisterThingServiceServer(srv, &things{})
	if err := chain.Check(srv.GetServiceInfo()); err != nil {
		b.Fatal(err)
	}
	info := &grpc.UnaryServerInfo{FullMethod: testpb.ThingService_CreateThing_FullMethodName}
	ctx := metadata.NewIncomingContext(b.Context(), metadata.Pairs("authorization", "Bearer "+writerKey, "user-agent", "bench"))
	handler := func(_ context.Context, req any) (any, error) { return req, nil }
	req := valid()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := chain.Unary(ctx, req, info, handler); err != nil {
			b.Fatal(err)
		}
	}
}
