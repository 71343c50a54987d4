package webhook_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"hirewire.dev/webhook"
)

// bench is a receiver on a real TLS listener, with what it stored and observed.
type bench struct {
	secret   webhook.Secret
	private  webhook.PrivateKey
	receiver *webhook.Receiver
	server   *httptest.Server

	mu       sync.Mutex
	stored   []webhook.Delivery
	observed []webhook.Observation
	storeErr error
}

func (b *bench) Accept(_ context.Context, d webhook.Delivery) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.storeErr != nil {
		return b.storeErr
	}
	b.stored = append(b.stored, d)
	return nil
}

func (b *bench) take() (stored []webhook.Delivery, observed []webhook.Observation) {
	b.mu.Lock()
	defer b.mu.Unlock()
	stored, observed = b.stored, b.observed
	b.stored, b.observed = nil, nil
	return stored, observed
}

func newBench(t *testing.T, change ...func(*webhook.ReceiverConfig)) *bench {
	t.Helper()
	b := &bench{secret: webhook.NewSecret(), private: webhook.NewPrivateKey()}
	config := webhook.ReceiverConfig{
		Secrets:    []webhook.Secret{b.secret},
		PublicKeys: []webhook.PublicKey{b.private.Public()},
		Store:      b,
		Observe: func(_ context.Context, o webhook.Observation) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.observed = append(b.observed, o)
		},
	}
	for _, c := range change {
		c(&config)
	}
	receiver, err := webhook.NewReceiver(config)
	if err != nil {
		t.Fatal(err)
	}
	b.receiver = receiver
	mux := http.NewServeMux()
	mux.Handle("/webhooks/employees", receiver)
	b.server = httptest.NewUnstartedServer(mux)
	b.server.EnableHTTP2 = true
	b.server.Config.ReadHeaderTimeout = 2 * time.Second
	b.server.Config.MaxHeaderBytes = 16 << 10
	b.server.Config.ErrorLog = nil
	b.server.StartTLS()
	t.Cleanup(b.server.Close)
	return b
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
	closed bool
}

// raw sends bytes as they are over a TLS connection of its own and reads one
// answer.
func (b *bench) raw(t *testing.T, text []byte) answer {
	t.Helper()
	conn, err := tls.Dial("tcp", b.server.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	conn.Write(text)                               // the server may have had enough before the end
	method, _, _ := strings.Cut(string(text), " ") // a HEAD is answered without a body
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		return answer{closed: true}
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	return answer{status: res.StatusCode, header: res.Header, body: string(body)}
}

func wire(method, path string, r *request, extra ...string) []byte {
	var buf bytes.Buffer
	fmt.Fprintf(&buf, "%s %s HTTP/1.1\r\nHost: evil.test\r\nContent-Length: %d\r\n", method, path, len(r.body))
	if len(extra) == 0 {
		buf.WriteString("Content-Type: application/json\r\n")
	}
	for _, line := range extra {
		buf.WriteString(line + "\r\n")
	}
	for name, values := range r.header {
		for _, value := range values {
			fmt.Fprintf(&buf, "%s: %s\r\n", name, value)
		}
	}
	buf.WriteString("\r\n")
	buf.Write(r.body)
	return buf.Bytes()
}

const path = "/webhooks/employees"

func TestReceiverAccepts(t *testing.T) {
	b := newBench(t)
	body := []byte(`{"id":"` + goodID + `","type":"employee.created","timestamp":"2026-11-20T09:00:00.123456Z","data":{"employee":{"version":1}}}`)
	for _, key := range []webhook.SigningKey{b.secret, b.private} {
		at := time.Now()
		r := signed(t, at, body, key)
		r.set("webhook-attempt", "3")
		r.set("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
		res := b.raw(t, wire("POST", path, r))
		if res.status != http.StatusOK || res.body != `{"status":"accepted"}` {
			t.Fatalf("answer %+v", res)
		}
		stored, observed := b.take()
		want := []webhook.Delivery{{
			Verification: webhook.Verification{ID: goodID, SentAt: at.UTC().Truncate(time.Second), Kind: observed[0].Kind},
			Body:         body,
			Event: webhook.Event{
				ID: goodID, Type: "employee.created",
				Timestamp: time.Date(2026, 11, 20, 9, 0, 0, 123456000, time.UTC),
				Data:      []byte(`{"employee":{"version":1}}`),
			},
			Attempt:     3,
			Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		}}
		if diff := cmp.Diff(want, stored, cmpopts.IgnoreUnexported(webhook.Verification{}),
			cmpopts.IgnoreFields(webhook.Delivery{}, "ReceivedAt")); diff != "" {
			t.Error(diff)
		}
		if o := observed[0]; o.Outcome != webhook.Accepted || o.ID != goodID || o.Type != "employee.created" || o.Bytes != len(body) {
			t.Errorf("observed %+v", o)
		}
	}
}

func TestReceiverAcceptsOverHTTP2(t *testing.T) {
	b := newBench(t)
	r := signed(t, time.Now(), goodBody, b.secret)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.server.URL+path, bytes.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = r.header
	req.Header.Set("content-type", `application/json; charset="UTF-8"`)
	res, err := b.server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK || res.ProtoMajor != 2 {
		t.Errorf("%s over HTTP/%d", res.Status, res.ProtoMajor)
	}
}

// Every request that is not rightly signed gets the same answer, and nothing
// reaches the store.
func TestReceiverRefusesBadSignatures(t *testing.T) {
	b := newBench(t)
	bads := badRequests(b.secret, b.private)
	for name, tt := range bads {
		t.Run(name, func(t *testing.T) {
			r := signed(t, time.Now(), goodBody, b.secret)
			tt.bend(r)
			start := time.Now()
			res := b.raw(t, wire("POST", path, r))
			took := time.Since(start)
			stored, observed := b.take()
			if len(stored) > 0 {
				t.Errorf("stored %d", len(stored))
			}
			if name == "20,000 signatures" { // more than the server reads of any header
				if res.status != http.StatusRequestHeaderFieldsTooLarge || took > time.Second {
					t.Errorf("answer %+v after %s", res, took)
				}
				return
			}
			if res.status != http.StatusUnauthorized || res.body != `{"status":"refused"}` {
				t.Errorf("answer %+v", res)
			}
			if name == "spaces only" { // net/http trims them away
				tt.reason = webhook.ReasonMissingHeader
			}
			if len(observed) != 1 || observed[0].Reason != tt.reason || observed[0].Outcome != webhook.Refused {
				t.Errorf("observed %+v, want %s", observed, tt.reason)
			}
			if len(observed) == 1 && (observed[0].ID != "" || observed[0].Type != "") {
				t.Errorf("an observer was told what a stranger claims: %+v", observed[0])
			}
		})
	}
}

func TestReceiverRefusesOtherRequests(t *testing.T) {
	b := newBench(t)
	good := func() *request { return signed(t, time.Now(), goodBody, b.secret) }
	empty := signed(t, time.Now(), nil, b.secret)
	chunked := func(r *request, body string) []byte {
		var buf bytes.Buffer
		fmt.Fprintf(&buf, "POST %s HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n", path)
		for name := range r.header {
			fmt.Fprintf(&buf, "%s: %s\r\n", name, r.header.Get(name))
		}
		buf.WriteString("\r\n" + body)
		return buf.Bytes()
	}
	huge := strings.Repeat("4000\r\n"+strings.Repeat("x", 0x4000)+"\r\n", 64) // 1 MiB and no end
	tests := map[string]struct {
		send   []byte
		status int
		reason webhook.Reason
	}{
		"GET":                {wire("GET", path, good()), 405, webhook.ReasonMethod},
		"HEAD":               {wire("HEAD", path, good()), 405, webhook.ReasonMethod},
		"PUT":                {wire("PUT", path, good()), 405, webhook.ReasonMethod},
		"DELETE":             {wire("DELETE", path, good()), 405, webhook.ReasonMethod},
		"OPTIONS":            {wire("OPTIONS", path, good()), 405, webhook.ReasonMethod},
		"TRACE":              {wire("TRACE", path, good()), 405, webhook.ReasonMethod},
		"post in small":      {wire("post", path, good()), 405, webhook.ReasonMethod},
		"another path":       {wire("POST", "/webhooks/other", good()), 404, ""},
		"text/plain":         {wire("POST", path, good(), "Content-Type: text/plain"), 415, webhook.ReasonContentType},
		"multipart":          {wire("POST", path, good(), "Content-Type: multipart/form-data; boundary=x"), 415, webhook.ReasonContentType},
		"no content type":    {wire("POST", path, good(), "X-A: b"), 415, webhook.ReasonContentType},
		"two content types":  {wire("POST", path, good(), "Content-Type: application/json", "Content-Type: application/json"), 415, webhook.ReasonContentType},
		"another charset":    {wire("POST", path, good(), "Content-Type: application/json; charset=utf-16"), 415, webhook.ReasonContentType},
		"JSON lines":         {wire("POST", path, good(), "Content-Type: application/jsonl"), 415, webhook.ReasonContentType},
		"gzip":               {wire("POST", path, good(), "Content-Type: application/json", "Content-Encoding: gzip"), 415, webhook.ReasonContentType},
		"no body, unsigned":  {wire("POST", path, &request{header: http.Header{}}), 401, webhook.ReasonMissingHeader},
		"empty body, signed": {wire("POST", path, empty), 400, webhook.ReasonEmptyBody},
		"10 GiB declared": {bytes.Replace(wire("POST", path, good()),
			[]byte("Content-Length: "+strconv.Itoa(len(goodBody))), []byte("Content-Length: 10737418240"), 1), 413, webhook.ReasonTooLarge},
		"infinite chunks":    {chunked(good(), huge), 413, webhook.ReasonTooLarge},
		"broken chunk":       {chunked(good(), "zz\r\n"), 400, webhook.ReasonBrokenBody},
		"two lengths":        {wire("POST", path, good(), "Content-Type: application/json", "Content-Length: 3"), 400, ""},
		"NUL in a header":    {wire("POST", path, good(), "Content-Type: application/json", "X-A: a\x00b"), 400, ""},
		"CR in the id":       {wire("POST", path, good(), "Content-Type: application/json", "webhook-id: a\rb"), 400, ""},
		"obsolete folding":   {wire("POST", path, good(), "Content-Type: application/json", "X-A: a", " b"), 0, ""},
		"line of 1 MiB":      {wire("POST", path, good(), "Content-Type: application/json", "X-A: "+strings.Repeat("a", 1<<20)), 431, ""},
		"1,000 long headers": {wire("POST", path, good(), strings.TrimSuffix(strings.Repeat("X-A: "+strings.Repeat("a", 60)+"\r\n", 1000), "\r\n")), 431, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			res := b.raw(t, tt.send)
			stored, observed := b.take()
			if name == "obsolete folding" { // net/http unfolds it, as RFC 9112 section 5.2 allows
				if res.status != 200 && res.status != 400 {
					t.Errorf("answer %+v", res)
				}
				return
			}
			if res.status != tt.status || len(stored) > 0 {
				t.Errorf("answer %+v, stored %d; want %d", res, len(stored), tt.status)
			}
			if tt.reason == "" {
				if len(observed) > 0 {
					t.Errorf("the server should have refused it: %+v", observed)
				}
				return
			}
			if len(observed) != 1 || observed[0].Reason != tt.reason || observed[0].Status != tt.status {
				t.Errorf("observed %+v, want %s", observed, tt.reason)
			}
			if tt.status == 405 && res.header.Get("allow") != "POST" {
				t.Error("405 without Allow: POST")
			}
		})
	}
}

// What is rightly signed but makes no sense is kept aside and answered 202:
// sending it again would not make it better.
func TestReceiverQuarantines(t *testing.T) {
	b := newBench(t)
	deep := strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100)
	event := func(members string) string {
		return `{"type":"employee.created","timestamp":"2026-11-20T09:00:00Z",` + members + `}`
	}
	tests := map[string]struct {
		body   string
		reason webhook.Reason
	}{
		"not JSON":                {"hello", webhook.ReasonInvalidJSON},
		"cut JSON":                {string(goodBody[:40]), webhook.ReasonInvalidJSON},
		"two texts":               {string(goodBody) + string(goodBody), webhook.ReasonInvalidJSON},
		"an array":                {"[]", webhook.ReasonInvalidJSON},
		"null":                    {"null", webhook.ReasonInvalidJSON},
		"a byte order mark":       {"\ufeff" + string(goodBody), webhook.ReasonInvalidJSON},
		"invalid UTF-8":           {event("\"data\":{\"a\":\"\xc3\x28\"}"), webhook.ReasonInvalidJSON},
		"half a surrogate pair":   {event(`"data":{"a":"\ud800"}`), webhook.ReasonInvalidJSON},
		"amount 1e400":            {event(`"data":{"amount":1e400}`), webhook.ReasonInvalidJSON},
		"nested 100 deep":         {event(`"data":` + deep), webhook.ReasonInvalidJSON},
		"duplicate key":           {event(`"data":{"a":1,"a":2}`), webhook.ReasonDuplicateKey},
		"duplicate key, escaped":  {event(`"data":{"a":1,"\u0061":2}`), webhook.ReasonDuplicateKey},
		"duplicate data":          {event(`"data":{},"data":{}`), webhook.ReasonDuplicateKey},
		"no data":                 {event(`"x":1`), webhook.ReasonMissingField},
		"data in another case":    {event(`"Data":{}`), webhook.ReasonMissingField},
		"data null":               {event(`"data":null`), webhook.ReasonInvalidField},
		"no timestamp":            {`{"type":"a.b","data":{}}`, webhook.ReasonMissingField},
		"no type":                 {`{"timestamp":"2026-11-20T09:00:00Z","data":{}}`, webhook.ReasonMissingField},
		"type with a space":       {`{"type":"a b","timestamp":"2026-11-20T09:00:00Z","data":{}}`, webhook.ReasonInvalidField},
		"year 9999":               {`{"type":"a.b","timestamp":"9999-11-20T09:00:00Z","data":{}}`, webhook.ReasonInvalidField},
		"second 60":               {`{"type":"a.b","timestamp":"2026-11-20T09:00:60Z","data":{}}`, webhook.ReasonInvalidField},
		"timestamp in small":      {`{"type":"a.b","timestamp":"2026-11-20t09:00:00z","data":{}}`, webhook.ReasonInvalidField},
		"timestamp as number":     {`{"type":"a.b","timestamp":1763629200,"data":{}}`, webhook.ReasonInvalidField},
		"another id":              {event(`"id":"evt_other","data":{}`), webhook.ReasonIDMismatch},
		"id as number":            {event(`"id":1,"data":{}`), webhook.ReasonInvalidField},
		"challenge without text":  {`{"type":"webhook.verification","timestamp":"2026-11-20T09:00:00Z","data":{}}`, webhook.ReasonMissingField},
		"challenge with a dot":    {`{"type":"webhook.verification","timestamp":"2026-11-20T09:00:00Z","data":{"challenge":"msg_1.1614265330.{}"}}`, webhook.ReasonInvalidField},
		"challenge of 300":        {`{"type":"webhook.verification","timestamp":"2026-11-20T09:00:00Z","data":{"challenge":"` + strings.Repeat("a", 300) + `"}}`, webhook.ReasonInvalidField},
		"challenge with a quote":  {`{"type":"webhook.verification","timestamp":"2026-11-20T09:00:00Z","data":{"challenge":"a\"b"}}`, webhook.ReasonInvalidField},
		"challenge, twice a name": {`{"type":"webhook.verification","timestamp":"2026-11-20T09:00:00Z","data":{"challenge":"a","challenge":"b"}}`, webhook.ReasonDuplicateKey},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			res := b.raw(t, wire("POST", path, signed(t, time.Now(), []byte(tt.body), b.secret)))
			if res.status != http.StatusAccepted || res.body != `{"status":"accepted"}` {
				t.Errorf("answer %+v", res)
			}
			stored, observed := b.take()
			if len(stored) != 1 || !errors.Is(stored[0].Problem, tt.reason) || string(stored[0].Body) != tt.body || stored[0].Event.Type != "" {
				t.Errorf("stored %+v, want %s", stored, tt.reason)
			}
			if len(observed) != 1 || observed[0].Outcome != webhook.Quarantined || observed[0].Reason != tt.reason {
				t.Errorf("observed %+v", observed)
			}
		})
	}
}

func TestReceiverAnswersTheChallenge(t *testing.T) {
	b := newBench(t)
	challenge := webhook.NewChallenge()
	body := []byte(`{"id":"` + goodID + `","type":"webhook.verification","timestamp":"2026-11-20T09:00:00Z","data":{"challenge":"` + challenge + `"}}`)
	second := webhook.NewSecret()
	if err := b.receiver.SetSecrets(second, b.secret); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		signWith webhook.SigningKey
		answer   webhook.Secret
	}{
		"the newest secret":                    {second, second},
		"the older secret":                     {b.secret, b.secret},
		"Ed25519, answered with newest secret": {b.private, second},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			res := b.raw(t, wire("POST", path, signed(t, time.Now(), body, tt.signWith)))
			if res.status != http.StatusOK {
				t.Fatalf("answer %+v", res)
			}
			if err := webhook.CheckChallengeResponse(tt.answer, challenge, []byte(res.body)); err != nil {
				t.Errorf("%v: %s", err, res.body)
			}
			if err := webhook.CheckChallengeResponse(webhook.NewSecret(), challenge, []byte(res.body)); err == nil {
				t.Error("fits another secret")
			}
			if err := webhook.CheckChallengeResponse(tt.answer, webhook.NewChallenge(), []byte(res.body)); err == nil {
				t.Error("fits another challenge")
			}
			stored, observed := b.take()
			if len(stored) > 0 || len(observed) != 1 || observed[0].Outcome != webhook.Challenged {
				t.Errorf("stored %v, observed %+v", stored, observed)
			}
		})
	}
}

// The design fixes the answer to a challenge; this is one, worked out with
// another implementation of HMAC.
func TestChallengeResponseVector(t *testing.T) {
	secret, err := webhook.ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	const good = `{"challenge":"chl_test","response":"v1,gqIMuf4b7FIf01HudRwiC+sKUr+fEBWhUZ1HZNLAg6c="}`
	if err := webhook.CheckChallengeResponse(secret, "chl_test", []byte(good)); err != nil {
		t.Error(err)
	}
	for name, body := range map[string]string{
		"empty": "", "not JSON": "ok", "echo only": `{"challenge":"chl_test"}`,
		"no challenge": strings.Replace(good, `"challenge":"chl_test",`, "", 1),
		"twice":        strings.Replace(good, "{", `{"response":"v1,x",`, 1),
		"v2":           strings.Replace(good, "v1,", "v2,", 1),
		"cut":          strings.Replace(good, "=", "", 1),
	} {
		if err := webhook.CheckChallengeResponse(secret, "chl_test", []byte(body)); !errors.Is(err, webhook.ErrChallenge) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReceiverSaysUnavailable(t *testing.T) {
	b := newBench(t, func(c *webhook.ReceiverConfig) { c.RetryAfter = 1500 * time.Millisecond })
	b.storeErr = errors.New("disk full")
	for _, body := range []string{string(goodBody), "not JSON"} {
		res := b.raw(t, wire("POST", path, signed(t, time.Now(), []byte(body), b.secret)))
		if res.status != http.StatusServiceUnavailable || res.header.Get("retry-after") != "2" || res.body != `{"status":"unavailable"}` {
			t.Errorf("answer %+v", res)
		}
		if _, observed := b.take(); observed[0].Outcome != webhook.Unavailable || !errors.Is(observed[0].Err, b.storeErr) {
			t.Errorf("observed %+v", observed)
		}
	}
}

// A store that kept an event without understanding it says so, and the sender
// is answered as if the receiver had found out.
func TestReceiverQuarantinesForTheStore(t *testing.T) {
	b := newBench(t)
	b.storeErr = fmt.Errorf("%w: no employee id", webhook.ErrQuarantined)
	res := b.raw(t, wire("POST", path, signed(t, time.Now(), goodBody, b.secret)))
	if res.status != http.StatusAccepted || res.body != `{"status":"accepted"}` {
		t.Errorf("answer %+v", res)
	}
	_, observed := b.take()
	if o := observed[0]; o.Outcome != webhook.Quarantined || o.Reason != webhook.ReasonNotUnderstood || o.Err == nil {
		t.Errorf("observed %+v", o)
	}
}

func TestReceiverBoundsTheStore(t *testing.T) {
	b := newBench(t, func(c *webhook.ReceiverConfig) {
		c.StoreTimeout = 20 * time.Millisecond
		c.Store = webhook.StoreFunc(func(ctx context.Context, _ webhook.Delivery) error {
			<-ctx.Done()
			return ctx.Err()
		})
	})
	res := b.raw(t, wire("POST", path, signed(t, time.Now(), goodBody, b.secret)))
	if res.status != http.StatusServiceUnavailable {
		t.Errorf("answer %+v", res)
	}
}

// Changing the secrets takes effect with the next request and never in the
// middle of one.
func TestReceiverRotates(t *testing.T) {
	b := newBench(t)
	next := webhook.NewSecret()
	send := func(key webhook.Secret) int {
		return b.raw(t, wire("POST", path, signed(t, time.Now(), goodBody, key))).status
	}
	if got := send(next); got != 401 {
		t.Errorf("the new secret before its time: %d", got)
	}
	b.receiver.SetSecrets(next, b.secret)
	if a, z := send(next), send(b.secret); a != 200 || z != 200 {
		t.Errorf("in the overlap: %d with the new one, %d with the old one", a, z)
	}
	b.receiver.SetSecrets(next)
	if a, z := send(next), send(b.secret); a != 200 || z != 401 {
		t.Errorf("after it: %d with the new one, %d with the old one", a, z)
	}
	b.receiver.SetPublicKeys()
	if got := b.raw(t, wire("POST", path, signed(t, time.Now(), goodBody, b.private))).status; got != 401 {
		t.Errorf("a public key no longer trusted: %d", got)
	}
	if err := b.receiver.SetSecrets(webhook.Secret{}); err == nil {
		t.Error("took an empty secret")
	}
}

func TestSlowBodiesAreDropped(t *testing.T) {
	b := newBench(t, func(c *webhook.ReceiverConfig) { c.BodyTimeout = 150 * time.Millisecond })
	good := signed(t, time.Now(), goodBody, b.secret)
	unsigned := &request{header: http.Header{}, body: goodBody}
	for name, tt := range map[string]struct {
		r      *request
		status int
	}{"signed": {good, http.StatusRequestTimeout}, "unsigned": {unsigned, http.StatusUnauthorized}} {
		t.Run(name, func(t *testing.T) {
			conn, err := tls.Dial("tcp", b.server.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			text := wire("POST", path, tt.r)
			conn.Write(text[:len(text)-len(goodBody)+3]) // and never the rest
			start := time.Now()
			conn.SetDeadline(start.Add(10 * time.Second))
			reader := bufio.NewReader(conn)
			res, err := http.ReadResponse(reader, nil)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != tt.status {
				t.Errorf("answer %s", res.Status)
			}
			if _, err := io.Copy(io.Discard, reader); err != nil {
				var ne net.Error
				if errors.As(err, &ne) && ne.Timeout() {
					t.Error("the connection stays open")
				}
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

// The deadline for the body is over when the body is there: a store that takes
// longer keeps its context, and the connection stays usable.
func TestBodyDeadlineEndsWithTheBody(t *testing.T) {
	b := newBench(t, func(c *webhook.ReceiverConfig) {
		c.BodyTimeout = 50 * time.Millisecond
		c.Store = webhook.StoreFunc(func(ctx context.Context, _ webhook.Delivery) error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(200 * time.Millisecond):
				return nil
			}
		})
	})
	conn, err := tls.Dial("tcp", b.server.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	reader := bufio.NewReader(conn)
	for range 2 {
		conn.Write(wire("POST", path, signed(t, time.Now(), goodBody, b.secret)))
		res, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Fatalf("answer %s", res.Status)
		}
	}
}

func TestNewReceiverRefuses(t *testing.T) {
	store := webhook.StoreFunc(func(context.Context, webhook.Delivery) error { return nil })
	secrets := []webhook.Secret{webhook.NewSecret()}
	for name, config := range map[string]webhook.ReceiverConfig{
		"no store":         {Secrets: secrets},
		"no key":           {Store: store},
		"empty secret":     {Store: store, Secrets: []webhook.Secret{{}}},
		"empty public key": {Store: store, Secrets: secrets, PublicKeys: []webhook.PublicKey{{}}},
		"negative limit":   {Store: store, Secrets: secrets, MaxBody: -1},
	} {
		if _, err := webhook.NewReceiver(config); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
