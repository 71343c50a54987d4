// Package rpc is the chain of interceptors that every gRPC call and every REST call passes through.
//
// In order: recovery, request id, metrics, trace, deadline, authentication, authorisation, validation, the handler, and on the
// way back the mapping of errors. A [Chain] refuses everything but health until [Chain.Check] has seen the registered
// services, so a method that no policy names cannot be served by mistake.
//
//	keys, err := rpc.ParseStaticKeys("hr:writer:…,bank-a:reader:…")
//	chain, err := rpc.New(rpc.Config{
//		Logger:        log,
//		Metrics:       registry,
//		Authenticator: keys,
//		Policy: rpc.Policy{
//			employeev1.EmployeeService_CreateEmployee_FullMethodName: {"writer"},
//			employeev1.EmployeeService_GetEmployee_FullMethodName:    {"writer", "reader"},
//		},
//		Errors: func(err error) *status.Status { // the domain's table; nil: not mine
//			if invalid, ok := errors.AsType[*employee.InvalidError](err); ok {
//				return rpc.Invalid(rpc.Violation{Field: invalid.Field, Reason: invalid.Reason})
//			}
//			if errors.Is(err, employee.ErrNotFound) {
//				return status.New(codes.NotFound, "employee not found")
//			}
//			return nil
//		},
//	})
//	grpcServer, err := serve.NewGRPC(serve.GRPCConfig{Addr: addr, Unary: chain.Unary, Stream: chain.Stream, …})
//	gateway, err := rest.New(rest.Config{Chain: chain, …})
//	employeev1.RegisterEmployeeServiceServer(rpc.Registrars{grpcServer, gateway}, service)
//	err = chain.Check(grpcServer.GetServiceInfo()) // after all are registered, before anything is served
//
// In a handler, [IdentityFrom] says who calls and [RequestID] names the call in logs.
package rpc
