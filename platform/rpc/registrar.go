package rpc

import "google.golang.org/grpc"

// Registrars registers one implementation with several transports, such as a gRPC server and a REST gateway.
type Registrars []grpc.ServiceRegistrar

// RegisterService implements grpc.ServiceRegistrar.
func (rs Registrars) RegisterService(desc *grpc.ServiceDesc, impl any) {
	for _, r := range rs {
		r.RegisterService(desc, impl)
	}
}
