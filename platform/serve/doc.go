// Package serve runs a service's listeners and workers and stops them in order.
//
// A service binds its listeners, registers its handlers, and hands everything to one [Group]:
//
//	health := serve.NewHealth(log)
//	health.Add("database", db.Ping)
//	grpcServer, err := serve.NewGRPC(serve.GRPCConfig{Addr: cfg.GRPCAddr, Health: health, Unary: chain.Unary, Stream: chain.Stream})
//	httpServer, err := serve.NewHTTP(serve.HTTPConfig{Addr: cfg.HTTPAddr, Health: health, Metrics: registry, Handler: gateway})
//
//	group := serve.NewGroup(log, health)
//	group.AddServer("grpc", grpcServer.Run)
//	group.AddServer("http", httpServer.Run)
//	group.Add("relay", relay.Run)
//	group.AddClose("database", db.Close)
//	return group.Run(ctx)
//
// When ctx ends, or anything in the group fails: readiness goes false, then the listeners stop taking calls and finish those
// in flight, then the workers stop, then the closers run; each stage has its deadline, 10 s in all. Nothing here is global:
// several services run in one process, each with a group. Addresses may end in :0; Addr tells the real one, because the
// listeners are bound when New returns.
//
// A main is
//
//	func main() {
//		var cfg Config
//		serve.Main(serve.Program{Name: "notifier", About: "…", Settings: &cfg, Log: …, Run: …}, os.Args[1:])
//	}
//
// The HTTP server adds /healthz, /readyz and /metrics to its handler, and holds the limits: header time, size and count,
// body time and size, idle time, connections. It speaks HTTP/1.1 only: REST and webhooks need no more, and nothing of
// HTTP/2's attack surface is then there.
package serve
