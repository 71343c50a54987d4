package rest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"hirewire.dev/platform/internal/testpb"
	"hirewire.dev/platform/rest"
	"hirewire.dev/platform/rpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const key = "writer-key-writer-key-writer"

// things keeps what it was called with.
type things struct {
	testpb.UnimplementedThingServiceServer
	mu    sync.Mutex
	calls []proto.Message
	err   error
	ctx   func(context.Context)
}

func (s *things) took(in proto.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, in)
	return s.err
}

func (s *things) CreateThing(ctx context.Context, in *testpb.CreateThingRequest) (*testpb.Thing, error) {
	if s.ctx != nil {
		s.ctx(ctx)
	}
	return in.GetThing(), s.took(in)
}

func (s *things) BatchCreateThings(_ context.Context, in *testpb.BatchCreateThingsRequest) (*testpb.BatchCreateThingsResponse, error) {
	return &testpb.BatchCreateThingsResponse{}, s.took(in)
}

func (s *things) GetThing(_ context.Context, in *testpb.GetThingRequest) (*testpb.Thing, error) {
	return &testpb.Thing{Id: in.GetId(), GivenName: "n", Status: testpb.Thing_ACTIVE}, s.took(in)
}

func (s *things) ListThings(_ context.Context, in *testpb.ListThingsRequest) (*testpb.ListThingsResponse, error) {
	return &testpb.ListThingsResponse{}, s.took(in)
}

func (s *things) UpdateThing(_ context.Context, in *testpb.UpdateThingRequest) (*testpb.Thing, error) {
	return in.GetThing(), s.took(in)
}

func (s *things) FinishThing(_ context.Context, in *testpb.FinishThingRequest) (*testpb.Thing, error) {
	return &testpb.Thing{Id: in.GetId()}, s.took(in)
}

func (s *things) WatchThings(in *testpb.WatchThingsRequest, out grpc.ServerStreamingServer[testpb.Thing]) error {
	for i := range in.GetCount() {
		if err := out.Send(&testpb.Thing{Amount: i}); err != nil {
			return err
		}
	}
	if s.ctx != nil {
		s.ctx(out.Context())
		return out.Context().Err()
	}
	return s.took(in)
}

func (s *things) ImportThings(in grpc.ClientStreamingServer[testpb.ImportThingsRequest, testpb.ImportThingsResponse]) error {
	n := int32(0)
	for {
		_, err := in.Recv()
		if errors.Is(err, io.EOF) {
			return in.SendAndClose(&testpb.ImportThingsResponse{Imported: n})
		}
		if err != nil {
			return err
		}
		n++
	}
}

func gateway(tb testing.TB, impl *things) http.Handler {
	tb.Helper()
	roles := rpc.Roles{"writer"}
	policy := rpc.Policy{}
	for _, m := range testpb.ThingService_ServiceDesc.Methods {
		policy["/"+testpb.ThingService_ServiceDesc.ServiceName+"/"+m.MethodName] = roles
	}
	for _, m := range testpb.ThingService_ServiceDesc.Streams {
		policy["/"+testpb.ThingService_ServiceDesc.ServiceName+"/"+m.StreamName] = roles
	}
	policy[testpb.ThingService_FinishThing_FullMethodName] = rpc.Roles{"finisher"}
	chain, err := rpc.New(rpc.Config{
		Authenticator: rpc.StaticKey(rpc.Identity{Name: "w", Role: "writer"}, key), Policy: policy,
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		tb.Fatal(err)
	}
	gw, err := rest.New(rest.Config{Chain: chain, OpenAPI: []byte(`{"swagger":"2.0"}`), MaxBody: 64 << 10})
	if err != nil {
		tb.Fatal(err)
	}
	srv := grpc.NewServer()
	testpb.RegisterThingServiceServer(rpc.Registrars{srv, gw}, impl)
	if err := testpb.RegisterThingServiceHandlerClient(tb.Context(), gw.Mux(), testpb.NewThingServiceClient(gw.Conn())); err != nil {
		tb.Fatal(err)
	}
	if err := chain.Check(srv.GetServiceInfo()); err != nil {
		tb.Fatal(err)
	}
	return gw
}

type answer struct {
	code   int
	header http.Header
	text   string
	body   map[string]any
}

func do(t *testing.T, h http.Handler, method, target, body string, headers ...string) answer {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Authorization", "Bearer "+key)
	for i := 0; i < len(headers); i += 2 {
		if headers[i+1] == "" {
			r.Header.Del(headers[i])
			continue
		}
		r.Header[http.CanonicalHeaderKey(headers[i])] = strings.Split(headers[i+1], "|")
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	a := answer{code: w.Code, header: w.Header(), text: w.Body.String()}
	_ = json.Unmarshal(w.Body.Bytes(), &a.body)
	return a
}

// fields are the violated ones.
func (a answer) fields() []string {
	var out []string
	details, _ := a.body["details"].([]any)
	for _, d := range details {
		violations, _ := d.(map[string]any)["field_violations"].([]any)
		for _, v := range violations {
			out = append(out, fmt.Sprint(v.(map[string]any)["field"]))
		}
	}
	return out
}

func TestBodyOfACreateIsTheResource(t *testing.T) {
	impl := &things{}
	h := gateway(t, impl)
	got := do(t, h, "POST", "/v1/things?request_id=r-1", `{"given_name":"Zoë 李","labels":{"a":"b"},"extra":{"anything":[1]},"created_at":"2026-11-20T09:00:00.123456Z"}`)
	if got.code != 200 || got.header.Get("Content-Type") != "application/json" {
		t.Fatalf("%d %s", got.code, got.text)
	}
	want := map[string]any{
		"id": "", "given_name": "Zoë 李", "status": "STATUS_UNSPECIFIED", "amount": 0.0, "ratio": 0.0,
		"created_at": "2026-11-20T09:00:00.123456Z", "labels": map[string]any{"a": "b"}, "parts": []any{},
		"extra": map[string]any{"anything": []any{1.0}},
	}
	if diff := cmp.Diff(want, got.body); diff != "" {
		t.Error(diff)
	}
	if in := impl.calls[0].(*testpb.CreateThingRequest); in.GetRequestId() != "r-1" {
		t.Errorf("request_id %q", in.GetRequestId())
	}
}

func TestStrictBody(t *testing.T) {
	impl := &things{}
	h := gateway(t, impl)
	for _, tt := range []struct {
		name, body string
		code       int
		field      string // named in the violations
	}{
		{"empty", "", 400, ""},
		{"null", "null", 400, ""},
		{"array", "[]", 400, ""},
		{"string", `"a"`, 400, ""},
		{"spaces only", "  \n", 400, ""},
		{"empty object", "{}", 400, "thing.given_name"},
		{"trailing object", `{"given_name":"a"} {}`, 400, ""},
		{"trailing comma", `{"given_name":"a",}`, 400, ""},
		{"trailing garbage", `{"given_name":"a"}x`, 400, ""},
		{"comment", `{"given_name":"a"/**/}`, 400, ""},
		{"single quotes", `{'given_name':'a'}`, 400, ""},
		{"unquoted name", `{given_name:"a"}`, 400, ""},
		{"duplicate name", `{"given_name":"a","given_name":"b"}`, 400, "thing.given_name"},
		{"duplicate by escape", `{"given_name":"a","given\u005fname":"b"}`, 400, "thing.given_name"},
		{"duplicate by JSON name", `{"given_name":"a","givenName":"b"}`, 400, "thing.givenName"},
		{"duplicate deep", `{"given_name":"a","parts":[{"given_name":"a","given_name":"b"}]}`, 400, "thing.parts[0].given_name"},
		{"duplicate map key", `{"given_name":"a","labels":{"k":"1","k":"2"}}`, 400, "thing.labels.k"},
		{"duplicate in free form", `{"given_name":"a","extra":{"x":{"k":1,"k":2}}}`, 400, "thing.extra.x.k"},
		{"unknown field", `{"given_name":"a","salary":1}`, 400, "thing.salary"},
		{"unknown field deep", `{"given_name":"a","parts":[{"given_name":"a"},{"x":1}]}`, 400, "thing.parts[1].x"},
		{"another case", `{"Given_Name":"a"}`, 400, "thing.Given_Name"},
		{"invalid UTF-8", "{\"given_name\":\"\xc3\x28\"}", 400, ""},
		{"invalid UTF-8 in a name", "{\"\xff\":1}", 400, ""},
		{"byte order mark", "\ufeff{\"given_name\":\"a\"}", 400, ""},
		{"UTF-16", "\xff\xfe{\x00}\x00", 400, ""},
		{"UTF-16 without mark", "{\x00}\x00", 400, ""},
		{"lone surrogate", `{"given_name":"\ud800"}`, 400, ""},
		{"reversed surrogates", `{"given_name":"\udc00\ud800"}`, 400, ""},
		{"raw control character", "{\"given_name\":\"a\x01\"}", 400, ""},
		{"raw newline", "{\"given_name\":\"a\n\"}", 400, ""},
		{"bad escape", `{"given_name":"\x41"}`, 400, ""},
		{"NaN", `{"given_name":"a","ratio":NaN}`, 400, ""},
		{"NaN as text", `{"given_name":"a","ratio":"NaN"}`, 400, "thing.ratio"},
		{"Infinity as text", `{"given_name":"a","parts":[{"given_name":"b","ratio":"-Infinity"}]}`, 400, "thing.parts[0].ratio"},
		{"1e400", `{"given_name":"a","ratio":1e400}`, 400, "thing.ratio"},
		{"fraction for an integer", `{"given_name":"a","amount":0.5}`, 400, "thing.amount"},
		{"too large an integer", `{"given_name":"a","amount":2147483648}`, 400, "thing.amount"},
		{"leading zero", `{"given_name":"a","amount":01}`, 400, ""},
		{"plus", `{"given_name":"a","amount":+1}`, 400, ""},
		{"hexadecimal", `{"given_name":"a","amount":0x1}`, 400, ""},
		{"wrong kind", `{"given_name":12}`, 400, "thing.given_name"},
		{"wrong kind by JSON name", `{"givenName":12}`, 400, "thing.given_name"},
		{"wrong kind deep", `{"given_name":"a","parts":[{"given_name":"a"},{"parts":[{"given_name":false}]}]}`, 400, "thing.parts[1].parts[0].given_name"},
		{"wrong kind in a map", `{"given_name":"a","labels":{"a":"b","k":1}}`, 400, "thing.labels.k"},
		{"null in a map", `{"given_name":"a","labels":{"k":null}}`, 400, "thing.labels.k"},
		{"null in an array", `{"given_name":"a","parts":[null]}`, 400, "thing.parts[0]"},
		{"an object for an array", `{"given_name":"a","parts":{}}`, 400, "thing.parts"},
		{"an array for a map", `{"given_name":"a","labels":[]}`, 400, "thing.labels"},
		{"a string for an object", `{"given_name":"a","extra":"{}"}`, 400, "thing.extra"},
		{"unknown enum", `{"given_name":"a","status":"GONE"}`, 400, "thing.status"},
		{"enum out of range", `{"given_name":"a","status":99}`, 400, "thing.status"},
		{"impossible date", `{"given_name":"a","created_at":"2024-02-30T00:00:00Z"}`, 400, "thing.created_at"},
		{"year 10000", `{"given_name":"a","created_at":"10000-01-01T00:00:00Z"}`, 400, "thing.created_at"},
		{"a day for a time", `{"given_name":"a","created_at":"tomorrow"}`, 400, "thing.created_at"},
		{"an hour of one digit", `{"given_name":"a","created_at":"2026-11-20T8:00:00Z"}`, 400, "thing.created_at"},
		{"an offset of a day", `{"given_name":"a","parts":[{"given_name":"a","created_at":"2026-11-20T08:00:00+24:00"}]}`, 400, "thing.parts[0].created_at"},
		{"deep arrays", `{"given_name":"a","extra":{"x":` + strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001) + `}}`, 400, ""},
		{"deep objects", strings.Repeat(`{"parts":[`, 5_000) + strings.Repeat(`]}`, 5_000), 400, ""},
		{"unclosed", `{"given_name":"a"`, 400, ""},
		{"too large", `{"given_name":"` + strings.Repeat("a", 65<<10) + `"}`, 413, ""},
		{"a rule", `{"given_name":"` + strings.Repeat("é", 101) + `"}`, 400, "thing.given_name"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := do(t, h, "POST", "/v1/things", tt.body)
			if got.code != tt.code {
				t.Fatalf("%d %s", got.code, got.text)
			}
			want := float64(codes.InvalidArgument)
			if tt.code == 413 {
				want = float64(codes.ResourceExhausted)
			}
			if got.body["code"] != want || got.body["message"] == "" {
				t.Errorf("not a status: %s", got.text)
			}
			if tt.field != "" && !cmp.Equal(got.fields(), []string{tt.field}) {
				t.Errorf("fields %v: %s", got.fields(), got.text)
			}
			if tt.field == "" && len(got.fields()) > 0 {
				t.Errorf("fields %v: %s", got.fields(), got.text)
			}
			if len(got.text) > 1000 {
				t.Errorf("an answer of %d bytes", len(got.text))
			}
		})
	}
	if len(impl.calls) > 0 {
		t.Errorf("%d calls reached the handler", len(impl.calls))
	}
	for _, good := range []string{
		`{"given_name":"'; DROP TABLE employees;--"}`, `{"given_name":"<script>%s%n%x"}`, `{"givenName":"\ud83d\ude00\u0041"}`,
		"\t{ \"given_name\" : \"a\" , \"ratio\" : -1.5e3 , \"created_at\" : null }\r\n",
	} {
		if got := do(t, h, "POST", "/v1/things", good); got.code != 200 {
			t.Errorf("%s: %d %s", good, got.code, got.text)
		}
	}
}

// TestErrorsDoNotRepeatValues: what a client sends may be a secret, and in the wrong place.
func TestErrorsDoNotRepeatValues(t *testing.T) {
	h := gateway(t, &things{})
	for _, tt := range []struct{ method, target, body string }{
		{"POST", "/v1/things", `{"given_name":4711}`},
		{"POST", "/v1/things", `{"given_name":"a","status":"4711"}`},
		{"POST", "/v1/things", `{"given_name":"a","amount":4711.5}`},
		{"POST", "/v1/things", `{"given_name":"a","created_at":"4711"}`},
		{"POST", "/v1/things", `{"given_name":"a","labels":{"k":4711}}`},
		{"POST", "/v1/things:batchCreate", `{"requests":[4711]}`},
		{"POST", "/v1/things:import", `{"thing":{"given_name":4711}}`},
		{"PATCH", "/v1/things/a", `{"given_name":4711}`},
		{"GET", "/v1/things?page_size=4711x", ""},
		{"GET", "/v1/things?status=4711", ""},
		{"GET", "/v1/things?labels[k]=4711&labels[k]=4711", ""},
	} {
		got := do(t, h, tt.method, tt.target, tt.body)
		if got.code != 400 || strings.Contains(got.text, "4711") {
			t.Errorf("%s %s %s: %d %s", tt.method, tt.target, tt.body, got.code, got.text)
		}
	}
}

func TestContentType(t *testing.T) {
	h := gateway(t, &things{})
	for value, want := range map[string]int{
		"application/json": 200, "application/json; charset=utf-8": 200, "Application/JSON;charset=UTF-8": 200,
		"": 415, "text/plain": 415, "application/x-www-form-urlencoded": 415, "multipart/form-data; boundary=x": 415,
		"application/json; charset=utf-16": 415, "application/jsonp": 415, "application/json, text/plain": 415, "application/json|text/plain": 415,
	} {
		if got := do(t, h, "POST", "/v1/things", `{"given_name":"a"}`, "Content-Type", value); got.code != want {
			t.Errorf("%q: %d, want %d", value, got.code, want)
		}
	}
}

func TestContentEncoding(t *testing.T) {
	h := gateway(t, &things{})
	for value, want := range map[string]int{"": 200, "identity": 200, "gzip": 415, "identity, gzip": 415, "identity|gzip": 415} {
		got := do(t, h, "POST", "/v1/things", `{"given_name":"a"}`, "Content-Type", "application/json", "Content-Encoding", value)
		if got.code != want {
			t.Errorf("%q: %d, want %d", value, got.code, want)
		}
	}
}

// A length is easily announced: the memory for a body grows with what comes of it.
func TestALengthAloneTakesNoMemory(t *testing.T) {
	h := gateway(t, &things{})
	const requests = 50
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range requests {
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/v1/things", strings.NewReader("{"))
		r.ContentLength = 64 << 10
		r.Header.Set("Authorization", "Bearer "+key)
		r.Header.Set("Content-Type", "application/json")
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / requests; each > 48<<10 {
		t.Errorf("%d bytes for each request", each)
	}
}

func TestQuery(t *testing.T) {
	impl := &things{}
	h := gateway(t, impl)
	for _, tt := range []struct {
		query string
		code  int
		field string
	}{
		{"page_size=10&page_token=x&status=ACTIVE&updated_after=2026-01-01T00:00:00Z", 200, ""},
		{"pageSize=10", 200, ""},
		{"labels[team]=a", 200, ""},
		{"tags=a&tags=b", 200, ""},
		{"page_size=-1", 400, "page_size"},
		{"page_size=abc", 400, "page_size"},
		{"page_size=1e9", 400, "page_size"},
		{"page_size=99999999999", 400, "page_size"},
		{"page_size=1&page_size=2", 400, "page_size"},
		{"page_size=1&pageSize=2", 400, "page_size"},
		{"labels[team]=a&labels[team]=b", 400, "labels[team]"},
		{"status=GONE", 400, "status"},
		{"updated_after=tomorrow", 400, "updated_after"},
		{"updated_after=2026-11-20T8:00:00Z", 400, "updated_after"},
		{"updated_after=2026-11-20T08:00:00,5Z", 400, "updated_after"},
		{"unknown=1", 400, "unknown"},
		{"page_size.x=1", 400, "page_size.x"},
		{"page_size[x]=1", 400, "page_size[x]"},
		{"labels=a", 400, "labels"},
		{"page_token=%ff", 400, "page_token"},
		{"page_token=%ed%a0%80", 400, "page_token"},
		{"page_token=%00", 400, "page_token"},
		{"tags=a&tags=%c3%28", 400, "tags"},
		{"labels[%ff]=a", 400, "labels[�]"},
		{"%zz", 400, ""},
		{"a;b", 400, ""},
	} {
		got := do(t, h, "GET", "/v1/things?"+tt.query, "")
		if got.code != tt.code {
			t.Errorf("%s: %d %s", tt.query, got.code, got.text)
		}
		if tt.field != "" && !cmp.Equal(got.fields(), []string{tt.field}) {
			t.Errorf("%s: %v", tt.query, got.fields())
		}
	}
	if n := len(impl.calls); n != 4 {
		t.Errorf("%d calls", n)
	}
	in := impl.calls[0].(*testpb.ListThingsRequest)
	if in.GetPageSize() != 10 || in.GetStatus() != testpb.Thing_ACTIVE || in.GetUpdatedAfter().AsTime().Year() != 2026 {
		t.Errorf("%v", in)
	}
	// What the path or the body sets cannot come by the query too.
	for _, target := range []string{"/v1/things/a?id=b"} {
		if got := do(t, h, "GET", target, ""); got.code != 400 {
			t.Errorf("%s: %d", target, got.code)
		}
	}
	if got := do(t, h, "POST", "/v1/things?thing.given_name=b", `{"given_name":"a"}`); got.code != 400 {
		t.Errorf("the body's field by query: %d", got.code)
	}
	if got := do(t, h, "POST", "/v1/things:batchCreate?request_id=b", `{"requests":[{"thing":{"given_name":"a"}}]}`); got.code != 400 {
		t.Errorf("a query beside a whole body: %d", got.code)
	}
}

func TestIdempotencyKey(t *testing.T) {
	impl := &things{}
	h := gateway(t, impl)
	create := func(target string, headers ...string) (answer, string) {
		t.Helper()
		before := len(impl.calls)
		got := do(t, h, "POST", target, `{"given_name":"a"}`, headers...)
		if len(impl.calls) == before {
			return got, ""
		}
		return got, impl.calls[before].(*testpb.CreateThingRequest).GetRequestId()
	}
	for _, tt := range []struct {
		name, target, header string
		code                 int
		want                 string
	}{
		{"header", "/v1/things", "k-1", 200, "k-1"},
		{"query", "/v1/things?request_id=k-2", "", 200, "k-2"},
		{"both the same", "/v1/things?request_id=k", "k", 200, "k"},
		{"both, different", "/v1/things?request_id=k", "l", 400, ""},
		{"too long", "/v1/things", strings.Repeat("k", 256), 400, ""},
		{"longer than the rule", "/v1/things", strings.Repeat("k", 129), 400, ""},
		{"a newline", "/v1/things", "a\nb", 400, ""},
		{"a space", "/v1/things", "a b", 400, ""},
		{"not ASCII", "/v1/things", "ü", 400, ""},
		{"two", "/v1/things", "a|a", 400, ""},
	} {
		got, id := create(tt.target, "Idempotency-Key", tt.header)
		if got.code != tt.code || id != tt.want {
			t.Errorf("%s: %d %q %s", tt.name, got.code, id, got.text)
		}
		if tt.code == 400 && !cmp.Equal(got.fields(), []string{"request_id"}) {
			t.Errorf("%s: fields %v", tt.name, got.fields())
		}
	}
	if got := do(t, h, "GET", "/v1/things/a", "", "Idempotency-Key", "k"); got.code != 200 {
		t.Errorf("on a method without request_id: %d", got.code)
	}
}

func TestRouting(t *testing.T) {
	impl := &things{}
	h := gateway(t, impl)
	for _, tt := range []struct {
		method, target string
		code           int
		allow          string
	}{
		{"GET", "/v1/nothing", 404, ""},
		{"GET", "/", 404, ""},
		{"GET", "/v1/things/", 400, ""}, // the id is empty
		{"GET", "/v1/things/a/b", 404, ""},
		{"DELETE", "/v1/things/a", 405, "GET, PATCH"},
		{"PUT", "/v1/things", 405, "GET, POST"},
		{"OPTIONS", "/v1/things", 405, "GET, POST"},
		{"HEAD", "/v1/things", 405, "GET, POST"},
		{"GET", "/v1/things:batchCreate", 405, "POST"},
		{"GET", "/v1/things/..%2F..%2Fetc%2Fpasswd", 400, ""},
		{"GET", "/v1/things/%00", 400, ""},
		{"GET", "/v1/things/%c3%28", 400, ""},
		{"GET", "/v1/things/" + strings.Repeat("a", 10_000), 400, ""},
		{"POST", "/openapi.json", 405, "GET, HEAD"},
		{"GET", "/openapi.json", 200, ""},
	} {
		got := do(t, h, tt.method, tt.target, "")
		if got.code != tt.code || got.header.Get("Allow") != tt.allow {
			t.Errorf("%s %.60s: %d, Allow %q: %s", tt.method, tt.target, got.code, got.header.Get("Allow"), got.text)
		}
		if want := float64(codes.Unimplemented); (tt.code == 404 || tt.code == 405) && tt.method != "HEAD" && got.body["code"] != want {
			t.Errorf("%s %s: %s", tt.method, tt.target, got.text)
		}
	}
	if len(impl.calls) > 0 {
		t.Errorf("calls %v", impl.calls)
	}
}

func TestTextOfThePath(t *testing.T) {
	impl := &things{}
	h := gateway(t, impl)
	for _, tt := range []struct {
		segment, id string // id empty: refused
	}{
		{"a", "a"},
		{"%61", "a"},
		{"Zo%c3%ab", "Zoë"},
		{"Zoë", "Zoë"},
		{"%2561", "%61"},
		{"%25ff", "%ff"},
		{"a%2Fb", "a/b"},
		{"%ff", ""},
		{"%C3%28", ""},
		{"%ed%a0%80", ""},
		{"a%00", ""},
	} {
		impl.calls = nil
		got := do(t, h, "PATCH", "/v1/things/"+tt.segment, `{"given_name":"b"}`)
		if tt.id == "" {
			if got.code != 400 || !cmp.Equal(got.fields(), []string{"thing.id"}) || len(impl.calls) > 0 {
				t.Errorf("%s: %d %s", tt.segment, got.code, got.text)
			}
			continue
		}
		if got.code != 200 || got.body["id"] != tt.id {
			t.Errorf("%s: %d %s", tt.segment, got.code, got.text)
		}
	}
}

func TestTheBodyDoesNotContradictThePath(t *testing.T) {
	impl := &things{}
	h := gateway(t, impl)
	for _, tt := range []struct {
		body string
		code int
	}{
		{`{"given_name":"b"}`, 200},
		{`{"given_name":"b","id":"t1"}`, 200},
		{`{"given_name":"b","id":"\u00741"}`, 200},
		{`{"given_name":"b","id":""}`, 200},
		{`{"given_name":"b","id":"t2"}`, 400},
		{`{"given_name":"b","parts":[{"given_name":"c","id":"t2"}]}`, 200},
	} {
		got := do(t, h, "PATCH", "/v1/things/t1", tt.body)
		if got.code != tt.code || tt.code == 400 && !cmp.Equal(got.fields(), []string{"thing.id"}) {
			t.Errorf("%s: %d %s", tt.body, got.code, got.text)
		}
	}
}

func TestMethodOverrideIsIgnored(t *testing.T) {
	impl := &things{}
	h := gateway(t, impl)
	got := do(t, h, "POST", "/v1/things/a", "x=y", "X-HTTP-Method-Override", "GET", "Content-Type", "application/x-www-form-urlencoded")
	if got.code != 405 || len(impl.calls) > 0 {
		t.Errorf("%d, calls %v", got.code, impl.calls)
	}
	got = do(t, h, "POST", "/v1/things", "page_size=1", "Content-Type", "application/x-www-form-urlencoded")
	if got.code != 415 {
		t.Errorf("a form: %d", got.code)
	}
}

func TestCustomVerb(t *testing.T) {
	impl := &things{}
	h := gateway(t, impl)
	// The writer's role does not allow it: the interceptors see REST calls too.
	if got := do(t, h, "POST", "/v1/things/a:finish", `{}`); got.code != 403 || got.body["code"] != float64(codes.PermissionDenied) {
		t.Errorf("%d %s", got.code, got.text)
	}
	if got := do(t, h, "POST", "/v1/things:batchCreate", `{"requests":[{"thing":{"given_name":"a"}}]}`); got.code != 200 {
		t.Errorf("%d %s", got.code, got.text)
	}
	if got := do(t, h, "POST", "/v1/things:batchCreate", ""); got.code != 400 || !cmp.Equal(got.fields(), []string{"requests"}) {
		t.Errorf("without a body: %d %s", got.code, got.text)
	}
	got := do(t, h, "PATCH", "/v1/things/t1?update_mask=given_name", `{"given_name":"b"}`)
	if in := impl.calls[len(impl.calls)-1].(*testpb.UpdateThingRequest); got.code != 200 || in.GetThing().GetId() != "t1" || in.GetUpdateMask().GetPaths()[0] != "given_name" {
		t.Errorf("%d %v", got.code, in)
	}
	got = do(t, h, "PATCH", "/v1/things/t1", `{"given_name":"b","labels":{"a":"b"}}`)
	if in := impl.calls[len(impl.calls)-1].(*testpb.UpdateThingRequest); got.code != 200 || len(in.GetUpdateMask().GetPaths()) != 2 {
		t.Errorf("a mask from the body: %d %v", got.code, in)
	}
	if got := do(t, h, "PATCH", "/v1/things/t1?update_mask=", `{"given_name":"b"}`); got.code != 400 || !cmp.Equal(got.fields(), []string{"update_mask"}) {
		t.Errorf("an empty mask: %d %s", got.code, got.text)
	}
}

func TestUnauthenticated(t *testing.T) {
	h := gateway(t, &things{})
	got := do(t, h, "GET", "/v1/things", "", "Authorization", "")
	if got.code != 401 || got.body["code"] != float64(codes.Unauthenticated) || got.header.Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("%d %s", got.code, got.text)
	}
	if got := do(t, h, "GET", "/v1/things", "", "Authorization", "Bearer "+key+"|Bearer "+key); got.code != 401 {
		t.Errorf("two: %d", got.code)
	}
}

// unread is a body that must not be read.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}

func TestTheKeyComesFirst(t *testing.T) {
	impl := &things{}
	h := gateway(t, impl)
	for _, tt := range []struct{ name, method, target, kind, idempotency string }{
		{"a body", "POST", "/v1/things/a:finish", "application/json", ""},
		{"another content type", "POST", "/v1/things/a:finish", "text/plain", ""},
		{"an unknown parameter", "POST", "/v1/things/a:finish?x=1", "application/json", ""},
		{"a bad Idempotency-Key", "POST", "/v1/things/a:finish", "application/json", "a b"},
	} {
		for authorization, want := range map[string]codes.Code{
			"": codes.Unauthenticated, "Bearer unknown-key-unknown-key-1": codes.Unauthenticated, "Bearer " + key: codes.PermissionDenied,
		} {
			for _, length := range []int64{1, -1, 1 << 20} {
				r := httptest.NewRequestWithContext(t.Context(), tt.method, tt.target, unread{t})
				r.ContentLength = length
				r.Header.Set("Content-Type", tt.kind)
				if authorization != "" {
					r.Header.Set("Authorization", authorization)
				}
				if tt.idempotency != "" {
					r.Header.Set("Idempotency-Key", tt.idempotency)
				}
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				if !strings.Contains(w.Body.String(), fmt.Sprintf(`"code":%d,`, want)) {
					t.Errorf("%s of length %d, %q: %d %s", tt.name, length, authorization, w.Code, w.Body)
				}
			}
		}
	}
	if got := do(t, h, "POST", "/v1/things:import", "{", "Authorization", "", "Content-Type", "text/plain"); got.code != 401 {
		t.Errorf("a stream of requests: %d %s", got.code, got.text)
	}
}

func TestErrorsKeepTheirMeaning(t *testing.T) {
	impl := &things{}
	h := gateway(t, impl)
	for code, want := range map[codes.Code]int{
		codes.NotFound: 404, codes.AlreadyExists: 409, codes.FailedPrecondition: 412, codes.Aborted: 409,
		codes.ResourceExhausted: 429, codes.Unavailable: 503, codes.DeadlineExceeded: 504, codes.Internal: 500,
		codes.PermissionDenied: 403, codes.Unimplemented: 404, codes.Canceled: 499,
	} {
		impl.err = status.Error(code, "said")
		got := do(t, h, "GET", "/v1/things/a", "")
		if got.code != want || got.body["code"] != float64(code) {
			t.Errorf("%v: %d %s", code, got.code, got.text)
		}
		if _, ok := got.body["details"].([]any); !ok {
			t.Errorf("%v: no details in %s", code, got.text)
		}
		if retry := got.header.Get("Retry-After"); (want == 503 || want == 429) != (retry != "") {
			t.Errorf("%v: Retry-After %q", code, retry)
		}
	}
	impl.err = rpc.Unavailable("later", 6500*time.Millisecond).Err()
	if got := do(t, h, "GET", "/v1/things/a", ""); got.header.Get("Retry-After") != "7" || !strings.Contains(got.text, "google.rpc.RetryInfo") {
		t.Errorf("%v %s", got.header, got.text)
	}
}

func TestMetadataOfACall(t *testing.T) {
	var md metadata.MD
	var id, out bool
	impl := &things{ctx: func(ctx context.Context) {
		md, _ = metadata.FromIncomingContext(ctx)
		_, id = rpc.IdentityFrom(ctx)
		_, out = metadata.FromOutgoingContext(ctx)
	}}
	h := gateway(t, impl)
	got := do(t, h, "POST", "/v1/things", `{"given_name":"a"}`, "X-Request-Id", "req-7", "Traceparent", "00-1-2-01", "Cookie", "c", "Grpc-Metadata-X-Admin", "1")
	if got.code != 200 || got.header.Get("X-Request-Id") != "req-7" || got.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%d %v", got.code, got.header)
	}
	if md.Get("x-request-id")[0] != "req-7" || md.Get("traceparent")[0] != "00-1-2-01" || len(md.Get("cookie"))+len(md.Get("x-admin"))+len(md.Get("grpcgateway-cookie")) > 0 {
		t.Errorf("%v", md)
	}
	if !id {
		t.Error("no identity")
	}
	if out {
		t.Error("the caller's key would go along with the handler's own calls")
	}
	if got := do(t, h, "GET", "/v1/things", "", "X-Request-Id", "forged\nline"); len(got.header.Get("X-Request-Id")) != 16 {
		t.Errorf("%v", got.header)
	}
}
