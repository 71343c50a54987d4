package rest_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"hirewire.dev/platform/internal/testpb"
)

func TestServerStreamIsLines(t *testing.T) {
	impl := &things{}
	h := gateway(t, impl)
	got := do(t, h, "GET", "/v1/things:watch?count=3", "")
	lines := strings.Split(strings.TrimSpace(got.text), "\n")
	if got.code != 200 || len(lines) != 3 || got.header.Get("Content-Type") != "application/x-ndjson" {
		t.Fatalf("%d %v %s", got.code, got.header, got.text)
	}
	var line struct {
		Result map[string]any `json:"result"`
	}
	if err := json.Unmarshal([]byte(lines[2]), &line); err != nil || line.Result["amount"] != 2.0 || line.Result["given_name"] != "" {
		t.Errorf("%v %s", err, lines[2])
	}
	impl.err = status.Error(codes.NotFound, "gone")
	got = do(t, h, "GET", "/v1/things:watch?count=1", "")
	lines = strings.Split(strings.TrimSpace(got.text), "\n")
	if len(lines) != 2 || !strings.Contains(lines[1], `"error"`) || !strings.Contains(lines[1], "gone") {
		t.Errorf("an error at the end: %s", got.text)
	}
	if got := do(t, h, "GET", "/v1/things:watch?count=x", ""); got.code != 400 {
		t.Errorf("%d", got.code)
	}
	if got := do(t, h, "GET", "/v1/things:watch", "", "Authorization", ""); got.code != 401 {
		t.Errorf("%d", got.code)
	}
}

func TestClientStreamIsLines(t *testing.T) {
	h := gateway(t, &things{})
	good := `{"thing":{"given_name":"a"}}` + "\n"
	for _, tt := range []struct {
		name, body string
		code       int
	}{
		{"three", strings.Repeat(good, 3), 200},
		{"blank lines", "\n" + good + "\n\n", 200},
		{"unknown field", good + `{"x":1}`, 400},
		{"duplicate", `{"thing":{"given_name":"a","given_name":"b"}}`, 400},
		{"a rule", `{"thing":{}}`, 400},
		{"two on a line", strings.TrimSpace(good) + good, 400},
		{"too large", strings.Repeat(good, 4_000), 400},
	} {
		if got := do(t, h, "POST", "/v1/things:import", tt.body); got.code != tt.code {
			t.Errorf("%s: %d %s", tt.name, got.code, got.text)
		}
	}
}

func TestClientThatGoesAwayCancels(t *testing.T) {
	for _, tt := range []struct{ name, method, path, body string }{
		{"unary", "POST", "/v1/things", `{"given_name":"a"}`},
		{"stream", "GET", "/v1/things:watch?count=1", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			entered, ended := make(chan struct{}), make(chan error, 1)
			impl := &things{ctx: func(ctx context.Context) {
				close(entered)
				<-ctx.Done()
				ended <- ctx.Err()
			}}
			srv := httptest.NewServer(gateway(t, impl))
			defer srv.Close()
			ctx, cancel := context.WithCancel(t.Context())
			r, _ := http.NewRequestWithContext(ctx, tt.method, srv.URL+tt.path, strings.NewReader(tt.body))
			r.Header.Set("Authorization", "Bearer "+key)
			r.Header.Set("Content-Type", "application/json")
			done := make(chan struct{})
			go func() {
				defer close(done)
				resp, err := srv.Client().Do(r)
				if err != nil {
					return
				}
				defer resp.Body.Close()
				s := bufio.NewScanner(resp.Body)
				for s.Scan() {
				}
			}()
			<-entered
			cancel()
			<-done
			select {
			case err := <-ended:
				if !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			case <-time.After(5 * time.Second):
				t.Fatal("the handler goes on")
			}
		})
	}
}

func BenchmarkCreate(b *testing.B) {
	impl := &discard{}
	h := gateway(b, &impl.things)
	body := `{"given_name":"Zoë","labels":{"a":"b"},"created_at":"2026-11-20T09:00:00Z","amount":12}`
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequestWithContext(b.Context(), "POST", "/v1/things", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+key)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != 200 {
			b.Fatal(w.Body)
		}
		impl.calls = impl.calls[:0]
	}
}

type discard struct{ things }

var _ testpb.ThingServiceServer = (*discard)(nil)
