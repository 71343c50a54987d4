package banksvc

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"hirewire.dev/platform/id"
	"hirewire.dev/platform/serve"
	bankv1 "hirewire.dev/proto/bank/v1"
	"hirewire.dev/webhook"
)

// mac is a v1 signature, made by hand.
func mac(key []byte, id, timestamp, body string) string {
	h := hmac.New(sha256.New, key)
	_, _ = fmt.Fprintf(h, "%s.%s.%s", id, timestamp, body)
	return "v1," + base64.StdEncoding.EncodeToString(h.Sum(nil))
}

func rawKey(t *testing.T, s webhook.Secret) []byte {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(s.Reveal(), "whsec_"))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// letter is a webhook whose parts can be spoilt.
type letter struct {
	method, path, contentType string
	ids, timestamps, sigs     []string
	body                      string
	more                      http.Header
}

// good is a letter that is taken.
func good(t *testing.T, b *bank) letter {
	t.Helper()
	f := created(person("Ada Byron"))
	now := fmt.Sprint(time.Now().Unix())
	body := string(f.body())
	return letter{
		method: http.MethodPost, path: WebhookPath, contentType: "application/json", body: body,
		ids: []string{f.id}, timestamps: []string{now}, sigs: []string{mac(rawKey(t, b.secret), f.id, now, body)},
	}
}

// sentAt is the letter's timestamp.
func (l letter) sentAt() time.Time {
	unix, _ := strconv.ParseInt(l.timestamps[0], 10, 64)
	return time.Unix(unix, 0)
}

func (l letter) request(t *testing.T, b *bank) *http.Request {
	t.Helper()
	req := b.request(t, l.method, l.path, "", l.body)
	req.Header = http.Header{}
	if l.contentType != "" {
		req.Header.Set("Content-Type", l.contentType)
	}
	for name, values := range map[string][]string{"Webhook-Id": l.ids, "Webhook-Timestamp": l.timestamps, "Webhook-Signature": l.sigs} {
		if values != nil {
			req.Header[name] = values
		}
	}
	maps.Copy(req.Header, l.more)
	return req
}

// stored counts what the bank has stored.
func stored(t *testing.T, b *bank) int {
	t.Helper()
	res, err := b.api.ListInboxEvents(t.Context(), &bankv1.ListInboxEventsRequest{PageSize: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return len(res.InboxEvents) + len(b.accounts(t))
}

// The receiver's part of what must be refused, over the bank's own TLS listener. Whatever the reason, the answer's body is the
// same, and nothing is stored.
func TestReceiverRefuses(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		private := webhook.NewPrivateKey()
		b := start(t, url, func(c *Config) { alone(nil)(c); c.WebhookPublicKeys = PublicKeys{private.Public()} })
		key, other := rawKey(t, b.secret), rawKey(t, webhook.NewSecret())
		now := time.Now()
		resign := func(l *letter) { l.sigs = []string{mac(key, l.ids[0], l.timestamps[0], l.body)} }
		at := func(d time.Duration) func(*letter) {
			return func(l *letter) { l.timestamps = []string{fmt.Sprint(time.Now().Add(d).Unix())}; resign(l) }
		}
		timestamp := func(s string) func(*letter) {
			return func(l *letter) { l.timestamps = []string{s}; resign(l) }
		}
		eventID := func(s string) func(*letter) { return func(l *letter) { l.ids = []string{s}; resign(l) } }
		sig := func(f func(valid string, l *letter) string) func(*letter) {
			return func(l *letter) { l.sigs = []string{f(l.sigs[0], l)} }
		}
		body := func(f func(string) string) func(*letter) { return func(l *letter) { l.body = f(l.body) } }
		public, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(private.Public().String(), "whpk_"))
		if err != nil {
			t.Fatal(err)
		}
		foreign, err := webhook.NewSigner(webhook.NewPrivateKey())
		if err != nil {
			t.Fatal(err)
		}
		for _, tc := range []struct {
			name   string
			status int
			spoil  func(*letter)
		}{
			{"GET", 405, func(l *letter) { l.method = http.MethodGet }},
			{"PUT", 405, func(l *letter) { l.method = http.MethodPut }},
			{"DELETE", 405, func(l *letter) { l.method = http.MethodDelete }},
			{"OPTIONS", 405, func(l *letter) { l.method = http.MethodOptions }},
			{"TRACE", 405, func(l *letter) { l.method, l.body = http.MethodTrace, "" }},
			{"wrong path", 404, func(l *letter) { l.path = "/webhooks/employee" }},
			{"path below", 404, func(l *letter) { l.path += "/" }},
			{"text/plain", 415, func(l *letter) { l.contentType = "text/plain" }},
			{"multipart", 415, func(l *letter) { l.contentType = "multipart/form-data; boundary=x" }},
			{"no content type", 415, func(l *letter) { l.contentType = "" }},
			{"gzip", 415, func(l *letter) { l.more = http.Header{"Content-Encoding": {"gzip"}} }},
			{"nothing at all", 401, func(l *letter) { l.ids, l.timestamps, l.sigs, l.body = nil, nil, nil, "" }},
			{"empty body, signed", 400, func(l *letter) { l.body = ""; resign(l) }},
			{"no id", 401, func(l *letter) { l.ids = nil }},
			{"no timestamp", 401, func(l *letter) { l.timestamps = nil }},
			{"no signature", 401, func(l *letter) { l.sigs = nil }},
			{"empty id", 401, eventID("")},
			{"id of 65", 401, eventID(strings.Repeat("a", 65))},
			{"id with space", 401, eventID("a b")},
			{"id with quote", 401, eventID("a'b")},
			{"id with angle", 401, eventID("a<b")},
			{"id with dot", 401, eventID("a.b")},
			{"id with umlaut", 401, eventID("aüb")},
			{"two ids", 401, func(l *letter) { l.ids = append(l.ids, l.ids[0]) }},
			{"two timestamps", 401, func(l *letter) { l.timestamps = append(l.timestamps, l.timestamps[0]) }},
			{"two signatures", 401, func(l *letter) { l.sigs = append(l.sigs, l.sigs[0]) }},
			{"id changed", 401, func(l *letter) { l.ids = []string{id.New("evt")} }},
			{"timestamp float", 401, timestamp(fmt.Sprint(now.Unix()) + ".0")},
			{"timestamp in ms", 401, timestamp(fmt.Sprint(now.UnixMilli()))},
			{"timestamp with zeros", 401, timestamp("000" + fmt.Sprint(now.Unix()))},
			{"timestamp negative", 401, timestamp("-" + fmt.Sprint(now.Unix()))},
			{"timestamp hexadecimal", 401, timestamp(fmt.Sprintf("0x%x", now.Unix()))},
			{"timestamp in Arabic digits", 401, timestamp("١٦١٤٢٦٥٣٣٠")},
			{"timestamp a word", 401, timestamp("now")},
			{"too old", 401, at(-303 * time.Second)},
			{"too new", 401, at(303 * time.Second)},
			{"one bit flipped", 401, body(func(s string) string { return strings.Replace(s, "Ada", "Ad`", 1) })},
			{"escaped otherwise", 401, body(func(s string) string { return strings.Replace(s, "Ada", `\u0041da`, 1) })},
			{"keys in another order", 401, body(func(s string) string {
				return strings.Replace(s, `"currency":"EUR","family_name":"Byron"`, `"family_name":"Byron","currency":"EUR"`, 1)
			})},
			{"trailing newline", 401, body(func(s string) string { return s + "\n" })},
			{"another endpoint's secret", 401, sig(func(_ string, l *letter) string { return mac(other, l.ids[0], l.timestamps[0], l.body) })},
			{"empty secret", 401, sig(func(_ string, l *letter) string { return mac(nil, l.ids[0], l.timestamps[0], l.body) })},
			{"HMAC by the public key", 401, sig(func(_ string, l *letter) string { return mac(public, l.ids[0], l.timestamps[0], l.body) })},
			{"Ed25519 by a key not on the list", 401, sig(func(_ string, l *letter) string { return foreign.Sign(l.ids[0], l.sentAt(), []byte(l.body)) })},
			{"all zero", 401, sig(func(string, *letter) string { return "v1," + base64.StdEncoding.EncodeToString(make([]byte, 32)) })},
			{"empty entry", 401, sig(func(string, *letter) string { return "v1," })},
			{"hexadecimal", 401, sig(func(v string, _ *letter) string {
				raw, _ := base64.StdEncoding.DecodeString(v[3:])
				return "v1," + hex.EncodeToString(raw)
			})},
			{"V1", 401, sig(func(v string, _ *letter) string { return "V1," + v[3:] })},
			{"v2", 401, sig(func(v string, _ *letter) string { return "v2," + v[3:] })},
			{"v1=", 401, sig(func(v string, _ *letter) string { return "v1=" + v[3:] })},
			{"v1a garbage", 401, sig(func(string, *letter) string { return "v1a,AAAA" })},
			{"comma-separated", 401, sig(func(v string, _ *letter) string { return "v1,AAAA," + v })},
			{"tab-separated", 401, sig(func(v string, _ *letter) string { return "v1,AAAA\t" + v })},
			{"valid as the 17th", 401, sig(func(v string, _ *letter) string { return strings.Repeat("v1,AAAA ", 16) + v })},
			{"1,500 signatures", 401, sig(func(v string, _ *letter) string { return strings.Repeat("v1,AAAA ", 1500) + v })},
		} {
			t.Run(tc.name, func(t *testing.T) {
				l := good(t, b)
				tc.spoil(&l)
				a := b.do(t, l.request(t, b))
				if a.status != tc.status {
					t.Errorf("%d, want %d: %s", a.status, tc.status, a.body)
				}
				if tc.status == 401 && a.body != `{"status":"refused"}` {
					t.Errorf("the answer says %s", a.body)
				}
				if a.header.Get("Strict-Transport-Security") == "" {
					t.Error("no HSTS")
				}
			})
		}
		if n := stored(t, b); n != 0 {
			t.Fatalf("%d rows after all of that", n)
		}
		for _, tc := range []struct {
			name  string
			spoil func(*letter)
		}{
			{"as it is", func(*letter) {}},
			{"299 s old", at(-299 * time.Second)},
			{"299 s ahead", at(298 * time.Second)},
			{"with an unknown version beside", sig(func(v string, _ *letter) string { return v + " v2,x" })},
			{"with a wrong one before", sig(func(v string, _ *letter) string { return "v1,AAAA " + v })},
			{"charset", func(l *letter) { l.contentType = "application/json; charset=utf-8" }},
			{"Ed25519", sig(func(_ string, l *letter) string {
				signer, _ := webhook.NewSigner(private)
				return signer.Sign(l.ids[0], l.sentAt(), []byte(l.body))
			})},
			{"another Host", func(l *letter) { l.more = http.Header{"X-Forwarded-Host": {"evil"}} }},
		} {
			t.Run("takes it "+tc.name, func(t *testing.T) {
				l := good(t, b)
				tc.spoil(&l)
				if a := b.do(t, l.request(t, b)); a.status != http.StatusOK {
					t.Errorf("%d %s", a.status, a.body)
				}
			})
		}
	})
}

// raw opens a TLS connection and writes bytes that no client of the library would.
func raw(t *testing.T, b *bank, protocols ...string) *tls.Conn {
	t.Helper()
	conf := certs().client()
	conf.NextProtos = protocols
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", b.HTTPAddr(), conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// answerTo sends a request head as it stands and gives the status; 0 when the connection was closed without an answer.
func answerTo(t *testing.T, b *bank, head string) int {
	t.Helper()
	conn := raw(t, b)
	_ = conn.SetDeadline(time.Now().Add(8 * time.Second))
	_, _ = io.WriteString(conn, head)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	return res.StatusCode
}

func TestMalformedRequestsOverTLS(t *testing.T) {
	b := start(t, "sqlite:"+t.TempDir()+"/bank.db", alone(nil))
	head := "POST " + WebhookPath + " HTTP/1.1\r\nHost: bank\r\nContent-Type: application/json\r\n"
	for _, tc := range []struct {
		name   string
		status int
		text   string
	}{
		{"10 GiB declared", 413, head + "Content-Length: 10737418240\r\n\r\n"},
		{"a header line of 1 MiB", 431, head + "X-Long: " + strings.Repeat("a", 1<<20) + "\r\n\r\n"},
		{"1,000 headers", 431, head + strings.Repeat("X-A: b\r\n", 1000) + "Content-Length: 2\r\n\r\n{}"},
		{"two content lengths", 400, head + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"},
		{"content length and chunks", 400, head + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"},
		{"folded header", 400, head + "X-A: b\r\n c\r\nContent-Length: 2\r\n\r\n{}"},
		{"NUL in a header", 400, head + "X-A: b\x00c\r\nContent-Length: 2\r\n\r\n{}"},
		{"no Host", 400, "POST " + WebhookPath + " HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"},
		{"two Hosts", 400, head + "Host: evil\r\nContent-Length: 2\r\n\r\n{}"},
		{"CONNECT", 405, "CONNECT bank:443 HTTP/1.1\r\nHost: bank\r\n\r\n"},
		{"path with dots", 404, "POST /x/.." + WebhookPath + " HTTP/1.1\r\nHost: bank\r\nContent-Length: 0\r\n\r\n"},
		{"double slash", 404, "POST /" + WebhookPath + " HTTP/1.1\r\nHost: bank\r\nContent-Length: 0\r\n\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := answerTo(t, b, tc.text); got != tc.status {
				t.Errorf("%d, want %d", got, tc.status)
			}
		})
	}
	t.Run("400 KiB", func(t *testing.T) {
		l := good(t, b)
		l.body += strings.Repeat(" ", 400<<10)
		for range 5 {
			res, err := b.client.Do(l.request(t, b))
			if err != nil {
				continue // the answer came while the client was still sending, and the connection ended
			}
			_ = res.Body.Close()
			if res.StatusCode != http.StatusRequestEntityTooLarge {
				t.Errorf("%d", res.StatusCode)
			}
			return
		}
	})
	t.Run("endless chunks", func(t *testing.T) {
		l := good(t, b)
		pr, pw := io.Pipe()
		go func() {
			chunk := []byte(strings.Repeat("a", 64<<10))
			for range 1000 {
				if _, err := pw.Write(chunk); err != nil {
					return
				}
			}
			_ = pw.Close()
		}()
		req := l.request(t, b)
		req.Body, req.ContentLength = pr, -1
		res, err := b.client.Do(req)
		if err != nil {
			return // cut off while sending
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("%d", res.StatusCode)
		}
	})
	if n := stored(t, b); n != 0 {
		t.Errorf("%d rows", n)
	}
	b.mustSend(t, created(person("Ada Byron")))
}

func TestPlaintextAndHTTP2AreNotSpoken(t *testing.T) {
	b := start(t, "sqlite:"+t.TempDir()+"/bank.db", alone(nil))
	conn, err := net.Dial("tcp", b.HTTPAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	_, _ = io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: bank\r\n\r\n")
	text, _ := io.ReadAll(conn)
	if strings.Contains(string(text), "200 OK") || strings.Contains(string(text), "alive") {
		t.Errorf("plaintext is answered: %s", text)
	}
	if proto := raw(t, b, "h2", "http/1.1").ConnectionState().NegotiatedProtocol; proto != "http/1.1" {
		t.Errorf("negotiated %q", proto)
	}
	if got := answerTo(t, b, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"); got >= 200 && got < 300 {
		t.Errorf("HTTP/2's preface: %d", got)
	}
	conf := certs().client()
	conf.MinVersion, conf.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 // to see it refused
	if old, err := tls.Dial("tcp", b.HTTPAddr(), conf); err == nil {
		_ = old.Close()
		t.Error("TLS 1.1 is spoken")
	}
}

func TestClientCertificate(t *testing.T) {
	for _, tc := range []struct {
		name   string
		names  Names
		with   bool
		status int // 0: the handshake fails
	}{
		{"its name is allowed", Names{"notifier.test"}, true, http.StatusOK},
		{"its name is not", Names{"other.test"}, true, http.StatusForbidden},
		{"there is none", Names{"notifier.test"}, false, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := config("sqlite:"+t.TempDir()+"/bank.db", webhook.NewSecret())
			alone(nil)(&cfg)
			cfg.ClientCA, cfg.ClientNames = cfg.TLSCert, tc.names
			b := startUnready(t, cfg)
			if tc.with {
				c, err := tls.LoadX509KeyPair(certs().cert, certs().key)
				if err != nil {
					t.Fatal(err)
				}
				b.client.Transport.(*http.Transport).TLSClientConfig.Certificates = []tls.Certificate{c}
			}
			f := created(person("Ada Byron"))
			res, err := b.client.Do(b.signed(t, f.id, f.body()))
			if (err != nil) != (tc.status == 0) {
				t.Fatal(err)
			}
			if err == nil {
				defer res.Body.Close()
				if res.StatusCode != tc.status {
					t.Errorf("%d", res.StatusCode)
				}
			}
		})
	}
}

func TestGRPCOverTLS(t *testing.T) {
	b := start(t, "sqlite:"+t.TempDir()+"/bank.db", func(c *Config) {
		alone(nil)(c)
		c.GRPCCert, c.GRPCKey = c.TLSCert, c.TLSKey
	})
	conn, err := serve.DialGRPC(serve.ClientConfig{Addr: b.GRPCAddr(), Key: viewerKey, CAFile: certs().cert})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := bankv1.NewBankServiceClient(conn).ListAccounts(t.Context(), &bankv1.ListAccountsRequest{}); err != nil {
		t.Error(err)
	}
	if _, err := b.api.ListAccounts(t.Context(), &bankv1.ListAccountsRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("plaintext: %v", err)
	}
}
