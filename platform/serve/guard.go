package serve

import (
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"
)

type connKey struct{}

// The values are shared by all answers: setting or adding another one copies them.
var (
	safeHeader = http.Header{
		"X-Content-Type-Options": {"nosniff"},
		"Cache-Control":          {"no-store"},
		"Referrer-Policy":        {"no-referrer"},
		"X-Frame-Options":        {"DENY"},
	}
	hsts = []string{"max-age=31536000"}
)

// guard stands before the handler: it refuses what no handler should see, bounds the body, and answers the paths that
// every service has.
type guard struct {
	next    http.Handler
	own     map[string]http.Handler
	tls     TLS
	hsts    bool
	maxBody int64
	running sync.RWMutex // held for reading by each request
}

func newGuard(cfg HTTPConfig) *guard {
	g := &guard{next: cfg.Handler, own: map[string]http.Handler{"/healthz": http.HandlerFunc(serveAlive)}, maxBody: cfg.MaxBody}
	if cfg.Health != nil {
		g.own["/readyz"] = http.HandlerFunc(cfg.Health.serveReady)
	}
	if cfg.Metrics != nil {
		g.own["/metrics"] = metricsHandler(cfg.Metrics)
	}
	if cfg.TLS != nil {
		g.tls, g.hsts = *cfg.TLS, cfg.HSTS
	}
	return g
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.running.RLock()
	defer g.running.RUnlock()
	header := w.Header()
	maps.Copy(header, safeHeader)
	if g.hsts {
		header["Strict-Transport-Security"] = hsts
	}
	if c, ok := r.Context().Value(connKey{}).(tracked); ok {
		switch c.track().head.fault() {
		case faultFraming:
			refuse(w, http.StatusBadRequest, codes.InvalidArgument, "malformed request head")
			return
		case faultTooMany:
			refuse(w, http.StatusRequestHeaderFieldsTooLarge, codes.ResourceExhausted, "too many header fields")
			return
		}
	}
	if len(r.TransferEncoding) > 0 {
		// The head reader does not follow chunks, so nothing may come after them on this connection.
		header.Set("Connection", "close")
	}
	switch {
	case r.Method == http.MethodTrace || r.Method == http.MethodConnect:
		refuse(w, http.StatusMethodNotAllowed, codes.Unimplemented, "method not allowed")
	case !canonical(r.URL.EscapedPath()):
		refuse(w, http.StatusNotFound, codes.Unimplemented, "no such path")
	case !g.tls.ClientOptional && !g.tls.Admits(r.TLS):
		refuse(w, http.StatusForbidden, codes.PermissionDenied, "the client certificate's name may not call this service")
	case r.ContentLength > g.maxBody:
		refuse(w, http.StatusRequestEntityTooLarge, codes.ResourceExhausted, "the body is too large")
	default:
		g.serve(w, r)
	}
}

// wait returns when no handler runs: http.Server.Close does not wait, and a handler must not outlive the database.
func (g *guard) wait() {
	g.running.Lock()
	defer g.running.Unlock()
}

func (g *guard) serve(w http.ResponseWriter, r *http.Request) {
	if own := g.own[r.URL.Path]; own != nil {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			refuse(w, http.StatusMethodNotAllowed, codes.Unimplemented, "method not allowed")
			return
		}
		own.ServeHTTP(w, r)
		return
	}
	if g.next == nil {
		refuse(w, http.StatusNotFound, codes.Unimplemented, "no such path")
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, g.maxBody)
	g.next.ServeHTTP(w, r)
}

// canonical reports whether an escaped path is the one spelling of itself: absolute, without empty, "." or ".." segments.
func canonical(path string) bool {
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return false
	}
	for rest != "" {
		var segment string
		segment, rest, _ = strings.Cut(rest, "/")
		switch strings.ToLower(segment) {
		case "", ".", "..", "%2e", "%2e%2e", ".%2e", "%2e.":
			return false
		}
	}
	return !strings.HasSuffix(path, "//")
}

// refuse answers with a google.rpc.Status and closes the connection: what was refused here is not trusted to frame its next
// request.
func refuse(w http.ResponseWriter, status int, code codes.Code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Connection", "close")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(struct { // the client is gone; nobody is left to tell
		Code    codes.Code `json:"code"`
		Message string     `json:"message"`
		Details []string   `json:"details"`
	}{code, message, []string{}})
}
