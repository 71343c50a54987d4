package rest

import (
	"context"
	"log/slog"
	"net/http"
	"strings"

	"github.com/fullstorydev/grpchan/inprocgrpc"
	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"hirewire.dev/platform/rpc"
	"hirewire.dev/platform/serve"
)

// DefaultMaxBody is the largest body in bytes when Config names no other.
const DefaultMaxBody = 1 << 20

// Config is what a Gateway is made of.
type Config struct {
	// Chain intercepts every call, the same as the gRPC server's. Required.
	Chain *rpc.Chain
	// TLS is the gRPC server's. What that demands of a client's certificate, calls over REST need too: on a listener with the
	// same ClientCAFile, and never without TLS. nil: nothing.
	TLS *serve.TLS
	// OpenAPI is served at /openapi.json. Empty: 404.
	OpenAPI []byte
	// MaxBody is the largest request body in bytes. 0: DefaultMaxBody.
	MaxBody int64
	// Logger receives answers that could not be encoded. nil: slog.Default().
	Logger *slog.Logger
}

// Gateway is the REST side of a service: an http.Handler, and a grpc.ServiceRegistrar for what is behind it.
type Gateway struct {
	mux     *runtime.ServeMux
	chain   *rpc.Chain
	tls     serve.TLS
	conn    *conn
	routes  map[route]*binding
	paths   []path
	openAPI []byte
	maxBody int64
	log     *slog.Logger
}

// New makes an empty gateway. Register services and their handlers before serving.
func New(cfg Config) (*Gateway, error) {
	g := &Gateway{
		chain:   cfg.Chain,
		routes:  make(map[route]*binding),
		openAPI: cfg.OpenAPI,
		maxBody: cfg.MaxBody,
		log:     cfg.Logger,
	}
	if g.maxBody <= 0 {
		g.maxBody = DefaultMaxBody
	}
	if cfg.TLS != nil {
		g.tls = *cfg.TLS
	}
	if g.log == nil {
		g.log = slog.Default()
	}
	g.conn = &conn{
		unary:   cfg.Chain.Unary,
		methods: make(map[string]handler),
		streams: (&inprocgrpc.Channel{}).WithServerStreamInterceptor(tracked(cfg.Chain.Stream)),
	}
	g.mux = runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, codec{}),
		runtime.WithIncomingHeaderMatcher(incoming),
		runtime.WithOutgoingHeaderMatcher(func(string) (string, bool) { return "", false }),
		runtime.WithOutgoingTrailerMatcher(func(string) (string, bool) { return "", false }),
		runtime.WithMetadata(g.annotate),
		runtime.WithErrorHandler(g.writeError),
		runtime.WithStreamErrorHandler(streamError),
		runtime.WithRoutingErrorHandler(g.writeRoutingError),
		runtime.WithDisablePathLengthFallback(),
		runtime.WithDisableHTTPMethodOverride(),
		runtime.WithUnescapingMode(runtime.UnescapingModeAllExceptSlash),
		runtime.WithWriteContentLength(),
	)
	return g, nil
}

// Mux takes the generated Register…HandlerClient functions.
func (g *Gateway) Mux() *runtime.ServeMux { return g.mux }

// Conn calls the registered services inside the process, through the interceptors: for the generated clients that the
// handlers need. Outside of an HTTP request the context's outgoing metadata carries the key.
func (g *Gateway) Conn() grpc.ClientConnInterface { return g.conn }

// RegisterService implements grpc.ServiceRegistrar. It panics like grpc.Server when the service is registered twice.
func (g *Gateway) RegisterService(desc *grpc.ServiceDesc, impl any) {
	g.conn.register(desc, impl)
	g.bind(desc)
}

// ServeHTTP implements http.Handler.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/openapi.json" && len(g.openAPI) > 0 {
		g.serveOpenAPI(w, r)
		return
	}
	ex := &exchange{writer: w, requestID: requestID(r)}
	w.Header().Set("X-Request-Id", ex.requestID)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	ctx, cancel := context.WithCancel(context.WithValue(r.Context(), exchangeKey{}, ex))
	defer ex.running.Wait() // a stream's handler ends before the request does
	defer cancel()
	r = r.WithContext(ctx)
	escaped := *r.URL
	escaped.RawPath = r.URL.EscapedPath() // without it grpc-gateway would unescape what net/url has unescaped
	r.URL = &escaped
	g.mux.ServeHTTP(ex, r)
}

func (g *Gateway) serveOpenAPI(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		g.writeRoutingError(r.Context(), g.mux, codec{}, w, r, http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(g.openAPI)
}

func requestID(r *http.Request) string {
	if id := r.Header.Get(rpc.RequestIDKey); rpc.ValidRequestID(id) {
		return id
	}
	return rpc.NewRequestID()
}

// incoming names the headers that become metadata, besides Authorization, which grpc-gateway always takes along.
func incoming(key string) (string, bool) {
	switch key {
	case "Traceparent", "Tracestate":
		return strings.ToLower(key), true
	}
	return "", false
}

// annotate runs once the route is known and before the body is read.
func (g *Gateway) annotate(ctx context.Context, r *http.Request) metadata.MD {
	ex, ok := ctx.Value(exchangeKey{}).(*exchange)
	if !ok {
		return nil
	}
	method, _ := runtime.RPCMethod(ctx)
	pattern, _ := runtime.HTTPPathPattern(ctx)
	md := metadata.MD{rpc.RequestIDKey: {ex.requestID}}
	if b := g.routes[route{method, r.Method, pattern}]; b != nil {
		body := r.Body
		r.Body = http.NoBody // until it is read and checked
		if ex.err = g.admit(ctx, method, r, md); ex.err == nil {
			ex.err = ex.prepare(b, r, body, g.maxBody)
		}
	}
	return md
}

// admit authenticates the caller, so that no body is read and no fault is explained for one who may not call.
func (g *Gateway) admit(ctx context.Context, method string, r *http.Request, md metadata.MD) error {
	if !g.tls.Admits(r.TLS) {
		return errNoCertificate
	}
	md = metadata.Join(md, metadata.MD{
		"authorization": r.Header["Authorization"], "traceparent": r.Header["Traceparent"], "tracestate": r.Header["Tracestate"],
	})
	return g.chain.Admit(metadata.NewIncomingContext(ctx, md), method)
}
