package employeesvc_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"

	"hirewire.dev/platform/serve"
	"hirewire.dev/platform/sqldb/sqldbtest"
	employeev1 "hirewire.dev/proto/employee/v1"
)

// BenchmarkCreateEmployee is 64 gRPC clients on 8 connections; client, service, relay and a notifier that does nothing are all
// in this process.
func BenchmarkCreateEmployee(b *testing.B) {
	for engine, url := range map[string]func(testing.TB) string{"sqlite": sqldbtest.SQLiteURL, "postgres": sqldbtest.PostgresURL} {
		b.Run(engine, func(b *testing.B) {
			s := startService(b, url(b), startNotifier(b, "").addr)
			var clients []employeev1.EmployeeServiceClient
			for range 8 {
				conn, err := serve.DialGRPC(serve.ClientConfig{Addr: s.GRPCAddr(), Key: writerKey, Options: []grpc.DialOption{}})
				if err != nil {
					b.Fatal(err)
				}
				defer conn.Close()
				clients = append(clients, employeev1.NewEmployeeServiceClient(conn))
			}
			var n atomic.Int64
			b.SetParallelism(32)
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					i := int(n.Add(1))
					_, err := clients[i%len(clients)].CreateEmployee(b.Context(), &employeev1.CreateEmployeeRequest{
						Employee: person(i), RequestId: fmt.Sprintf("request-%d", i),
					})
					if err != nil {
						b.Error(err)
					}
				}
			})
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "creates/s")
		})
	}
}
