package httpsend

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"strconv"
	"time"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/egress"
	"hirewire.dev/notifier/internal/render"
	"hirewire.dev/notifier/internal/subscription"
	"hirewire.dev/webhook"
)

// Deadlines and limits of an exchange. The whole of it is bounded by delivery.SendTimeout.
const (
	// ConnectTimeout bounds looking up the name and connecting, together.
	ConnectTimeout = 3 * time.Second
	// TLSTimeout bounds the handshake.
	TLSTimeout = 5 * time.Second
	// MaxHeader bounds the headers of an answer, those of 1xx answers before it included, in bytes.
	MaxHeader = 64 << 10
	// MaxBody is how much of an answer's body is read, in bytes.
	MaxBody = 64 << 10
	// maxInformational is how many 1xx answers may come before the real one.
	maxInformational = 5
)

// Config is what a Sender needs. Its zero value sends to public addresses over HTTPS.
type Config struct {
	// Guard says where may be sent; nil is the strict one.
	Guard *egress.Guard
	// Version goes into the user-agent: Hirewire/<version>. One that no header may carry is left out.
	Version string
	// RootCAs are trusted for receivers' certificates; nil: the system's.
	RootCAs *x509.CertPool
	// ClientCertificate is shown to receivers that ask for one; nil: none.
	ClientCertificate *tls.Certificate
	// Resolver looks names up; nil: by /etc/resolv.conf.
	Resolver *net.Resolver
}

// Sender makes attempts. It is safe for concurrent use; Run looks after its idle connections.
type Sender struct {
	guard     *egress.Guard
	userAgent string
	connect   func(ctx context.Context, network, addr string) (net.Conn, error)
	tls       *tls.Config
	endpoints endpoints
}

var (
	_ delivery.Sender     = (*Sender)(nil)
	_ subscription.Poster = (*Sender)(nil)
)

// New makes a Sender.
func New(cfg Config) *Sender {
	if cfg.Guard == nil {
		cfg.Guard = &egress.Guard{}
	}
	if cfg.Resolver == nil {
		cfg.Resolver = &net.Resolver{PreferGo: true} // the C library's lookups cannot be broken off
	}
	if !isToken(cfg.Version) {
		cfg.Version = "dev"
	}
	dialer := net.Dialer{Timeout: ConnectTimeout, ControlContext: cfg.Guard.Control, Resolver: cfg.Resolver}
	s := &Sender{
		guard:     cfg.Guard,
		userAgent: "Hirewire/" + cfg.Version,
		connect:   dialer.DialContext,
		tls: &tls.Config{
			MinVersion: tls.VersionTLS12,
			RootCAs:    cfg.RootCAs,
			NextProtos: []string{"http/1.1"},
			// A request fits in one record, so it is one packet and one system call.
			DynamicRecordSizingDisabled: true,
		},
	}
	if cfg.ClientCertificate != nil {
		s.tls.Certificates = []tls.Certificate{*cfg.ClientCertificate}
	}
	s.endpoints.init()
	return s
}

// Run closes connections that were idle for too long until ctx ends, then all of them.
func (s *Sender) Run(ctx context.Context) error {
	ticker := time.NewTicker(idleTimeout / 4)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			s.endpoints.shutdown()
			return nil
		case now := <-ticker.C:
			s.endpoints.sweep(now)
		}
	}
}

// Send implements delivery.Sender.
func (s *Sender) Send(ctx context.Context, r delivery.Request) delivery.Attempt {
	began := time.Now()
	a := delivery.Attempt{Number: r.Attempt, StartedAt: began.UTC().Truncate(time.Microsecond)}
	body, contentType, err := render.Body(r.Event, r.Target.Payload, r.Target.Format)
	if err != nil {
		a.Outcome, a.Error = delivery.OutcomeProtocol, printable(err.Error(), maxError)
		return a
	}
	res := s.exchange(ctx, r.Target, message{
		id: r.Event.ID, at: began, contentType: contentType, traceparent: r.Event.Traceparent, attempt: r.Attempt, body: body,
	}, nil)
	a.Duration = time.Since(began)
	a.StatusCode, a.Snippet, a.RetryAfter = res.status, res.snippet, res.retryAfter
	if res.err != nil {
		a.Outcome, a.Error = classify(ctx, res.err)
		return a
	}
	if a.Outcome = delivery.OutcomeOf(res.status); a.Outcome != delivery.OutcomeDelivered {
		a.Error = "the receiver answered with the status " + strconv.Itoa(res.status)
	}
	return a
}

// Post implements subscription.Poster: it answers with the status and at most MaxBody of the body.
func (s *Sender) Post(ctx context.Context, t *subscription.Target, id string, body []byte) (status int, answer []byte, err error) {
	answer = make([]byte, 0, 512)
	res := s.exchange(ctx, t, message{id: id, at: time.Now(), contentType: render.JSON, attempt: 1, body: body}, &answer)
	if res.err != nil {
		_, text := classify(ctx, res.err)
		return 0, nil, &sendError{text, res.err}
	}
	return res.status, answer, nil
}

// sendError is an error for people, with its cause for programs.
type sendError struct {
	text  string
	cause error
}

func (e *sendError) Error() string { return e.text }
func (e *sendError) Unwrap() error { return e.cause }

// message is what is sent in one exchange.
type message struct {
	id          string
	at          time.Time
	contentType string
	traceparent string
	attempt     int
	body        []byte
}

// append writes the request, but for the body, after the endpoint's head.
func (m *message) append(b []byte, signer *webhook.Signer) []byte {
	b = append(b, "content-type: "...)
	b = append(b, m.contentType...)
	b = append(b, "\r\ncontent-length: "...)
	b = strconv.AppendInt(b, int64(len(m.body)), 10)
	b = append(b, "\r\nwebhook-id: "...)
	b = append(b, m.id...)
	b = append(b, "\r\nwebhook-timestamp: "...)
	b = strconv.AppendInt(b, m.at.Unix(), 10)
	b = append(b, "\r\nwebhook-signature: "...)
	b = signer.AppendSign(b, m.id, m.at, m.body)
	b = append(b, "\r\nwebhook-attempt: "...)
	b = strconv.AppendInt(b, int64(m.attempt), 10)
	if isToken(m.traceparent) {
		b = append(b, "\r\ntraceparent: "...)
		b = append(b, m.traceparent...)
	}
	return append(b, "\r\n\r\n"...)
}

// isToken says whether a header may carry s as it is.
func isToken(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return s != ""
}
