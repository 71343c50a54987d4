package employeesvc_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	employeesvc "hirewire.dev/employee-svc"
	"hirewire.dev/platform/serve"
	"hirewire.dev/platform/settings"
	"hirewire.dev/platform/sqldb"
	"hirewire.dev/platform/sqldb/sqldbtest"
	employeev1 "hirewire.dev/proto/employee/v1"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

const (
	writerKey    = "writer-key-of-24-characters"
	otherKey     = "other-writer-key-of-24-characters"
	readerKey    = "reader-key-of-24-characters"
	publisherKey = "publisher-key-of-24-characters"
)

// notifier is a notifier that keeps what it is told.
type notifier struct {
	notifierv1.UnimplementedEventServiceServer
	mu     sync.Mutex
	events []*notifierv1.Event
	known  map[string]bool
	keys   []string // that calls came with
	addr   string
	stop   func()
}

func (n *notifier) PublishEvents(ctx context.Context, req *notifierv1.PublishEventsRequest) (*notifierv1.PublishEventsResponse, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.keys = append(n.keys, metadata.ValueFromIncomingContext(ctx, "authorization")...)
	reply := &notifierv1.PublishEventsResponse{}
	for _, e := range req.GetEvents() {
		reply.EventIds = append(reply.EventIds, e.GetId())
		if !n.known[e.GetId()] {
			n.known[e.GetId()] = true
			n.events = append(n.events, e)
		}
	}
	return reply, nil
}

func (n *notifier) received() []*notifierv1.Event {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]*notifierv1.Event(nil), n.events...)
}

// startNotifier listens at addr; an empty one takes a free port.
func startNotifier(tb testing.TB, addr string) *notifier {
	tb.Helper()
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	n := &notifier{known: map[string]bool{}, addr: l.Addr().String()}
	server := grpc.NewServer()
	notifierv1.RegisterEventServiceServer(server, n)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	n.stop = sync.OnceFunc(func() {
		server.Stop()
		if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			tb.Error(err)
		}
	})
	tb.Cleanup(n.stop)
	return n
}

// service is a running employee service.
type service struct {
	*employeesvc.Service
	conn   *grpc.ClientConn
	client employeev1.EmployeeServiceClient
	url    string
	db     *sqldb.DB // of the tests' own
	logs   *logBuffer
	stop   func() error
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// startService starts a service on a database, with a notifier.
func startService(tb testing.TB, databaseURL, notifierAddr string, change ...func(*employeesvc.Config)) *service {
	tb.Helper()
	s := &service{logs: &logBuffer{}}
	log := slog.New(slog.NewJSONHandler(s.logs, nil))
	cfg := employeesvc.Config{
		DatabaseURL: settings.DatabaseURL(databaseURL), NotifierAddr: settings.Addr(notifierAddr), NotifierKey: settings.NewSecret(publisherKey),
	}
	if err := cfg.APIKeys.UnmarshalText([]byte("hr:writer:" + writerKey + ",payroll:writer:" + otherKey + ",bank:reader:" + readerKey)); err != nil {
		tb.Fatal(err)
	}
	for _, c := range change {
		c(&cfg)
	}
	var err error
	if s.Service, err = employeesvc.New(tb.Context(), cfg, log); err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	s.stop = sync.OnceValue(func() error { cancel(); return <-done })
	s.url = "http://" + s.HTTPAddr()
	if s.conn, err = serve.DialGRPC(serve.ClientConfig{Addr: s.GRPCAddr(), Key: writerKey}); err != nil {
		tb.Fatal(err)
	}
	s.client = employeev1.NewEmployeeServiceClient(s.conn)
	tb.Cleanup(func() {
		s.conn.Close()
		if err := s.stop(); err != nil {
			tb.Error(err)
		}
		if tb.Failed() {
			tb.Logf("logs:\n%s", s.logs)
		}
	})
	waitFor(tb, "readiness", func() bool {
		resp, err := http.Get(s.url + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return s
}

// forEngines runs test with a service on a new database of each engine.
func forEngines(t *testing.T, test func(t *testing.T, s *service, n *notifier)) {
	t.Helper()
	for engine, url := range map[string]func(testing.TB) string{"sqlite": sqldbtest.SQLiteURL, "postgres": sqldbtest.PostgresURL} {
		t.Run(engine, func(t *testing.T) {
			n := startNotifier(t, "")
			databaseURL := url(t)
			s := startService(t, databaseURL, n.addr)
			s.db = sqldbtest.Open(t, databaseURL)
			test(t, s, n)
		})
	}
}

func waitFor(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	tb.Fatalf("not within 20 s: %s", what)
}

// rows are how many rows the tables have.
func (s *service) rows(tb testing.TB) string {
	tb.Helper()
	var employees, requests int
	err := s.db.Reader().QueryRowContext(tb.Context(), `SELECT (SELECT count(*) FROM employees), (SELECT count(*) FROM requests)`).Scan(&employees, &requests)
	if err != nil {
		tb.Fatal(err)
	}
	return fmt.Sprintf("%d employees, %d requests", employees, requests)
}

func newConn(tb testing.TB, s *service, opts ...grpc.DialOption) *grpc.ClientConn {
	tb.Helper()
	conn, err := grpc.NewClient(s.GRPCAddr(), append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	return conn
}

// as is a context that calls with a key.
func as(ctx context.Context, key string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+key)
}

// person is the n-th employee.
func person(n int) *employeev1.Employee {
	return &employeev1.Employee{
		EmployeeNumber: fmt.Sprintf("E-%d", n), GivenName: "Ada", FamilyName: "Lovelace", Email: fmt.Sprintf("ada.%d@example.com", n),
		JobTitle: "Engineer", Department: "Research", HireDate: "2026-11-20", Country: "GB", Currency: "GBP",
	}
}

// answer is what REST answered.
type answer struct {
	code   int
	header http.Header
	body   []byte
}

// field is a top-level string of the answer.
func (a answer) field(name string) string {
	var m map[string]any
	if json.Unmarshal(a.body, &m) != nil {
		return ""
	}
	s, _ := m[name].(string)
	return s
}

// violation is the first field at fault.
func (a answer) violation() string {
	var m struct {
		Details []struct {
			FieldViolations []struct {
				Field string `json:"field"`
			} `json:"field_violations"`
		} `json:"details"`
	}
	if json.Unmarshal(a.body, &m) != nil {
		return ""
	}
	for _, d := range m.Details {
		if len(d.FieldViolations) > 0 {
			return d.FieldViolations[0].Field
		}
	}
	return ""
}

// do makes a REST call with the writer's key; headers are "Name: value", an empty value leaves one out.
func (s *service) do(tb testing.TB, method, path, body string, headers ...string) answer {
	tb.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(tb.Context(), method, s.url+path, reader)
	if err != nil {
		tb.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+writerKey)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Del(name)
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		tb.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, raw}
}

// contextWithin ends before New stops waiting for a database.
func contextWithin(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(t.Context(), 2*time.Second)
}
