package serve_test

import (
	"context"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"

	"hirewire.dev/platform/internal/testpb"
	"hirewire.dev/platform/rpc"
	"hirewire.dev/platform/serve"
)

// BenchmarkUnary is a small call from 64 clients on one connection, through the server and the whole chain.
func BenchmarkUnary(b *testing.B) {
	const key = "writer-key-writer-key-writer"
	policy := rpc.Policy{}
	for _, m := range testpb.ThingService_ServiceDesc.Methods {
		policy["/"+testpb.ThingService_ServiceDesc.ServiceName+"/"+m.MethodName] = rpc.Roles{"writer"}
	}
	for _, m := range testpb.ThingService_ServiceDesc.Streams {
		policy["/"+testpb.ThingService_ServiceDesc.ServiceName+"/"+m.StreamName] = rpc.Roles{"writer"}
	}
	chain, err := rpc.New(rpc.Config{Authenticator: rpc.StaticKey(rpc.Identity{Name: "w", Role: "writer"}, key), Policy: policy})
	if err != nil {
		b.Fatal(err)
	}
	g, err := serve.NewGRPC(serve.GRPCConfig{Addr: "127.0.0.1:0", Logger: quiet, Unary: chain.Unary, Stream: chain.Stream})
	if err != nil {
		b.Fatal(err)
	}
	testpb.RegisterThingServiceServer(g, &things{})
	if err := chain.Check(g.GetServiceInfo()); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	conn, err := serve.DialGRPC(serve.ClientConfig{Addr: g.Addr(), Key: key})
	if err != nil {
		b.Fatal(err)
	}
	c := testpb.NewThingServiceClient(conn)
	b.ReportAllocs()
	before := cpu(b)
	b.SetParallelism(max(1, 64/runtime.GOMAXPROCS(0)))
	b.RunParallel(func(pb *testing.PB) {
		in := &testpb.GetThingRequest{Id: "abc"}
		for pb.Next() {
			if _, err := c.GetThing(ctx, in); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer()
	b.ReportMetric(float64((cpu(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op") // both sides; steadier than time
	_ = conn.Close()
	cancel()
	if err := <-done; err != nil {
		b.Error(err)
	}
}

func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

var _ grpc.ServiceRegistrar = (*serve.GRPC)(nil)

// BenchmarkHTTP is a small POST on a kept connection, through the server and its guard.
func BenchmarkHTTP(b *testing.B) {
	h, err := serve.NewHTTP(serve.HTTPConfig{Addr: "127.0.0.1:0", Logger: quiet, Handler: echoBody})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	conn, err := net.Dial("tcp", h.Addr())
	if err != nil {
		b.Fatal(err)
	}
	raw := []byte("POST /webhooks/employees HTTP/1.1\r\nHost: bank\r\nContent-Type: application/json\r\nWebhook-Id: msg_1\r\n" +
		"Webhook-Timestamp: 1614265330\r\nUser-Agent: Hirewire/1\r\nContent-Length: 500\r\n\r\n" + strings.Repeat("a", 500))
	answer := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := conn.Write(raw); err != nil {
			b.Fatal(err)
		}
		if _, err := conn.Read(answer); err != nil {
			b.Fatal(err)
		}
	}
	_ = conn.Close()
	cancel()
	if err := <-done; err != nil {
		b.Error(err)
	}
}
