// Package rest serves a gRPC API as REST, in the same process and through the same interceptors.
//
//	gateway, err := rest.New(rest.Config{Chain: chain, OpenAPI: employeev1.OpenAPI, Logger: log})
//	employeev1.RegisterEmployeeServiceServer(gateway, service) // or rpc.Registrars{grpcServer, gateway}
//	err = employeev1.RegisterEmployeeServiceHandlerClient(ctx, gateway.Mux(), employeev1.NewEmployeeServiceClient(gateway.Conn()))
//	httpServer, err := serve.NewHTTP(serve.HTTPConfig{Handler: gateway, …})
//
// The routes are grpc-gateway's. Around it:
//
//   - The key comes first: without one that may call the method, nothing is read of the body and nothing said about the rest.
//   - A body is one JSON object in UTF-8 of type application/json: no unknown or repeated name at any depth, nothing after
//     it, nothing nested deeper than 64. A query parameter is a field of the request that neither the path nor the body sets.
//   - Names are snake_case, enums are names, unset fields are there.
//   - An error is a google.rpc.Status as JSON, {"code":3,"message":"…","details":[…]}, with the fields at fault in
//     google.rpc.BadRequest and an HTTP status that says the same (FAILED_PRECONDITION is 412, UNAVAILABLE 503 with
//     Retry-After).
//   - The header Idempotency-Key is the field request_id of requests that have one.
//   - Authorization, X-Request-Id and traceparent go along; X-Request-Id comes back.
//   - A server stream answers with one {"result":…} a line.
//
// Unary handlers run on the HTTP request's goroutine, without a copy of the answer or a socket between; a client that goes
// away cancels them.
package rest
