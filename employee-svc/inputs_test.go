package employeesvc_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	employeev1 "hirewire.dev/proto/employee/v1"
)

// refusals are employees that must be refused as INVALID_ARGUMENT, whatever the transport.
var refusals = []struct {
	name   string
	field  string
	change func(*employeev1.Employee)
}{
	{"empty", "employee_number", func(e *employeev1.Employee) { proto.Reset(e) }},
	{"name absent", "given_name", func(e *employeev1.Employee) { e.GivenName = "" }},
	{"name of spaces and a tab", "given_name", func(e *employeev1.Employee) { e.GivenName = "   \t" }},
	{"name of no-break space", "given_name", func(e *employeev1.Employee) { e.GivenName = "\u00a0" }},
	{"name of 256 characters", "given_name", func(e *employeev1.Employee) { e.GivenName = strings.Repeat("李", 256) }},
	{"name of 900 KiB", "family_name", func(e *employeev1.Employee) { e.FamilyName = strings.Repeat("a", 900<<10) }},
	{"name with ESC[31m", "family_name", func(e *employeev1.Employee) { e.FamilyName = "\x1b[31mAda" }},
	{"name with CR LF", "given_name", func(e *employeev1.Employee) { e.GivenName = "Ada\r\nX: y" }},
	{"name with LF at the end", "given_name", func(e *employeev1.Employee) { e.GivenName = "Ada\n" }},
	{"name with NUL", "given_name", func(e *employeev1.Employee) { e.GivenName = "A\x00" }},
	{"job title with a control character", "job_title", func(e *employeev1.Employee) { e.JobTitle = "a\x7f" }},
	{"department of 256 characters", "department", func(e *employeev1.Employee) { e.Department = strings.Repeat("x", 256) }},
	{"number absent", "employee_number", func(e *employeev1.Employee) { e.EmployeeNumber = "" }},
	{"number of 65 characters", "employee_number", func(e *employeev1.Employee) { e.EmployeeNumber = strings.Repeat("1", 65) }},
	{"number with a tab", "employee_number", func(e *employeev1.Employee) { e.EmployeeNumber = "1\t2" }},
	{"email absent", "email", func(e *employeev1.Employee) { e.Email = "" }},
	{"email without @", "email", func(e *employeev1.Employee) { e.Email = "ada.example.com" }},
	{"email with two @", "email", func(e *employeev1.Employee) { e.Email = "ada@x@example.com" }},
	{"email of 321 characters", "email", func(e *employeev1.Employee) { e.Email = strings.Repeat("a", 309) + "@example.com" }},
	{"email with a domain literal", "email", func(e *employeev1.Employee) { e.Email = "a@[127.0.0.1]" }},
	{"email with a display name", "email", func(e *employeev1.Employee) { e.Email = "Bob <b@x.io>" }},
	{"email with a space at the end", "email", func(e *employeev1.Employee) { e.Email = "b@x.io " }},
	{"date 2024-02-30", "hire_date", func(e *employeev1.Employee) { e.HireDate = "2024-02-30" }},
	{"year 10000", "hire_date", func(e *employeev1.Employee) { e.HireDate = "10000-01-01" }},
	{"date tomorrow", "hire_date", func(e *employeev1.Employee) { e.HireDate = "tomorrow" }},
	{"date with a time zone", "hire_date", func(e *employeev1.Employee) { e.HireDate = "2026-11-20T00:00:00Z" }},
	{"date absent", "hire_date", func(e *employeev1.Employee) { e.HireDate = "" }},
	{"currency usd", "currency", func(e *employeev1.Employee) { e.Currency = "usd" }},
	{"currency XXX", "currency", func(e *employeev1.Employee) { e.Currency = "XXX" }},
	{"currency XTS", "currency", func(e *employeev1.Employee) { e.Currency = "XTS" }},
	{"country ZZ", "country", func(e *employeev1.Employee) { e.Country = "ZZ" }},
	{"country USA", "country", func(e *employeev1.Employee) { e.Country = "USA" }},
	{"country absent", "country", func(e *employeev1.Employee) { e.Country = "" }},
	{"version negative", "version", func(e *employeev1.Employee) { e.Version = -1 }},
}

func TestRefusals(t *testing.T) {
	forEngines(t, func(t *testing.T, s *service, n *notifier) {
		before := s.rows(t)
		for _, tt := range refusals {
			t.Run(tt.name, func(t *testing.T) {
				e := person(1)
				tt.change(e)
				calls := map[string]struct {
					call func() error
					path string
				}{
					"create": {func() error {
						_, err := s.client.CreateEmployee(t.Context(), &employeev1.CreateEmployeeRequest{Employee: e, RequestId: "r"})
						return err
					}, "employee."},
					"batch": {func() error {
						_, err := s.client.BatchCreateEmployees(t.Context(), &employeev1.BatchCreateEmployeesRequest{
							Requests: []*employeev1.CreateEmployeeRequest{{Employee: person(2)}, {Employee: e}},
						})
						return err
					}, "requests[1].employee."},
				}
				for name, c := range calls {
					st := status.Convert(c.call())
					if st.Code() != codes.InvalidArgument {
						t.Errorf("%s: %v", name, st)
					}
					if got := fieldOf(st); got != c.path+tt.field {
						t.Errorf("%s: %q at fault, want %q", name, got, c.path+tt.field)
					}
				}
				body, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(e)
				if err != nil {
					t.Fatal(err)
				}
				a := s.do(t, "POST", "/v1/employees", string(body))
				if a.code != http.StatusBadRequest || a.violation() != "employee."+tt.field {
					t.Errorf("REST: %d, %q at fault: %s", a.code, a.violation(), a.body)
				}
				// The import reports the row and goes on.
				if tt.name == "version negative" { // not looked at there
					return
				}
				report := importRows(t, s, &employeev1.ImportEmployeesRequest{Employee: e, Line: 7})
				if report.GetFailedCount() != 1 || len(report.GetErrors()) != 1 || report.GetErrors()[0].GetField() != tt.field || report.GetErrors()[0].GetLine() != 7 {
					t.Errorf("import: %v", report)
				}
			})
		}
		if after := s.rows(t); after != before {
			t.Errorf("rows went from %s to %s", before, after)
		}
		if got := n.received(); len(got) != 0 {
			t.Errorf("%d events", len(got))
		}
	})
}

// fieldOf is the first field at fault.
func fieldOf(st *status.Status) string {
	for _, d := range st.Details() {
		if bad, ok := d.(*errdetails.BadRequest); ok && len(bad.GetFieldViolations()) > 0 {
			return bad.GetFieldViolations()[0].GetField()
		}
	}
	return ""
}

const ada = `"employee_number":"E-1","given_name":"Ada","family_name":"Lovelace","email":"ada@example.com","hire_date":"2026-11-20","country":"GB","currency":"GBP"`

func TestRESTRefusals(t *testing.T) {
	forEngines(t, func(t *testing.T, s *service, _ *notifier) {
		create := func(body string, headers ...string) func(t *testing.T) answer {
			return func(t *testing.T) answer { return s.do(t, "POST", "/v1/employees", body, headers...) }
		}
		get := func(path string) func(t *testing.T) answer {
			return func(t *testing.T) answer { return s.do(t, "GET", path, "") }
		}
		call := func(method, path, body string, headers ...string) func(t *testing.T) answer {
			return func(t *testing.T) answer { return s.do(t, method, path, body, headers...) }
		}
		before := s.rows(t)
		for _, tt := range []struct {
			name string
			do   func(t *testing.T) answer
			want []int
		}{
			{"body absent", create(""), []int{400, 415}},
			{"body null", create("null"), []int{400}},
			{"body []", create("[]"), []int{400}},
			{"body {}", create("{}"), []int{400}},
			{"text behind", create("{" + ada + "} {}"), []int{400}},
			{"duplicate key", create("{" + ada + `,"given_name":"b"}`), []int{400}},
			{"duplicate key by its other name", create("{" + ada + `,"givenName":"b"}`), []int{400}},
			{"duplicate key by an escape", create("{" + ada + `,"given\u005fname":"b"}`), []int{400}},
			{"unknown field", create("{" + ada + `,"salary":1}`), []int{400}},
			{"field in another case", create("{" + ada + `,"Job_Title":"x"}`), []int{400}},
			{"depth 10,001", create(`{"given_name":` + strings.Repeat("[", 10001) + strings.Repeat("]", 10001) + "}"), []int{400}},
			{"UTF-16", create("\xfe\xff\x00{\x00}"), []int{400}},
			{"byte order mark", create("\ufeff{" + ada + "}"), []int{400}},
			{"raw invalid UTF-8", create("{" + strings.Replace(ada, "Ada", "\xc3\x28", 1) + "}"), []int{400}},
			{"lone surrogate", create("{" + strings.Replace(ada, "Ada", `\ud800`, 1) + "}"), []int{400}},
			{"NaN", create("{" + ada + `,"version":NaN}`), []int{400}},
			{"1e400", create("{" + ada + `,"version":1e400}`), []int{400}},
			{"0.5 for a whole number", create("{" + ada + `,"version":0.5}`), []int{400}},
			{"number for a text", create("{" + strings.Replace(ada, `"Ada"`, "1", 1) + "}"), []int{400}},
			{"null for a text", create("{" + strings.Replace(ada, `"Ada"`, "null", 1) + "}"), []int{400}},
			{"unknown status", create("{" + ada + `,"status":"FIRED"}`), []int{400}},
			{"text/plain", create("{"+ada+"}", "Content-Type: text/plain"), []int{415}},
			{"form", create("{"+ada+"}", "Content-Type: application/x-www-form-urlencoded"), []int{415}},
			{"no content type", create("{"+ada+"}", "Content-Type: "), []int{415}},
			{"name of 2 MiB", create("{" + strings.Replace(ada, "Ada", strings.Repeat("a", 2<<20), 1) + "}"), []int{400, 413}},
			{"gzip", create("{"+ada+"}", "Content-Encoding: gzip"), []int{400, 415}},
			{"idempotency key of 129", create("{"+ada+"}", "Idempotency-Key: "+strings.Repeat("k", 129)), []int{400}},
			{"idempotency key with a space", create("{"+ada+"}", "Idempotency-Key: a b"), []int{400}},
			{"idempotency key with ü", create("{"+ada+"}", "Idempotency-Key: \u00fc"), []int{400}},
			{"request_id with a newline", call("POST", "/v1/employees?request_id=a%0Ab", "{"+ada+"}"), []int{400}},
			{"two keys that differ", call("POST", "/v1/employees?request_id=a", "{"+ada+"}", "Idempotency-Key: b"), []int{400}},
			{"unknown query parameter", call("POST", "/v1/employees?x=1", "{"+ada+"}"), []int{400}},
			{"no key", create("{"+ada+"}", "Authorization: "), []int{401}},
			{"wrong key", create("{"+ada+"}", "Authorization: Bearer wrong-key-of-24-characters-x"), []int{401}},
			{"key of another scheme", create("{"+ada+"}", "Authorization: Basic "+writerKey), []int{401}},
			{"reader creates", create("{"+ada+"}", "Authorization: Bearer "+readerKey), []int{403}},
			{"reader terminates", call("POST", "/v1/employees/emp_01M7Y2M4NM6MCZVHFXPK6WCZH1:terminate", "{}", "Authorization: Bearer "+readerKey), []int{403}},
			{"reader updates", call("PATCH", "/v1/employees/emp_01M7Y2M4NM6MCZVHFXPK6WCZH1", "{}", "Authorization: Bearer "+readerKey), []int{403}},
			{"unknown id", get("/v1/employees/emp_01M7Y2M4NM6MCZVHFXPK6WCZH1"), []int{404}},
			{"nil UUID", get("/v1/employees/00000000-0000-0000-0000-000000000000"), []int{400}},
			{"braced UUID", get("/v1/employees/%7B6ba7b810-9dad-11d1-80b4-00c04fd430c8%7D"), []int{400}},
			{"urn", get("/v1/employees/urn:uuid:6ba7b810-9dad-11d1-80b4-00c04fd430c8"), []int{400, 404}},
			{"lower-case id", get("/v1/employees/emp_01m7y2m4nm6mczvhfxpk6wczh1"), []int{400}},
			{"id of another kind", get("/v1/employees/evt_01M7Y2M4NM6MCZVHFXPK6WCZH1"), []int{400}},
			{"id out of range", get("/v1/employees/emp_81M7Y2M4NM6MCZVHFXPK6WCZH1"), []int{400}},
			{"path as id", get("/v1/employees/..%2f..%2fetc%2fpasswd"), []int{400, 404}},
			{"id of 10 KB", get("/v1/employees/" + strings.Repeat("A", 10<<10)), []int{400, 404, 414}},
			{"NUL in the id", get("/v1/employees/%00"), []int{400}},
			{"page_size -1", get("/v1/employees?page_size=-1"), []int{400}},
			{"page_size x", get("/v1/employees?page_size=x"), []int{400}},
			{"page_size 1e400", get("/v1/employees?page_size=1e400"), []int{400}},
			{"page_token of nobody", get("/v1/employees?page_token=AAAA"), []int{400}},
			{"page_token of 513", get("/v1/employees?page_token=" + strings.Repeat("A", 513)), []int{400}},
			{"status of nobody", get("/v1/employees?status=FIRED"), []int{400}},
			{"status 99", get("/v1/employees?status=99"), []int{400}},
			{"updated_after tomorrow", get("/v1/employees?updated_after=tomorrow"), []int{400}},
			{"updated_after in year 10000", get("/v1/employees?updated_after=10000-01-01T00:00:00Z"), []int{400}},
			{"unknown path", get("/v1/employers"), []int{404}},
			{"double slash", get("//v1/employees"), []int{404, 301, 308}},
			{"dots in the path", get("/v1/../v1/employees"), []int{404, 301, 308}},
			{"DELETE", call("DELETE", "/v1/employees/emp_01M7Y2M4NM6MCZVHFXPK6WCZH1", ""), []int{404, 405}},
			{"PUT", call("PUT", "/v1/employees", "{"+ada+"}"), []int{404, 405}},
			{"TRACE", call("TRACE", "/v1/employees", ""), []int{404, 405}},
			{"method override", call("POST", "/v1/employees/emp_01M7Y2M4NM6MCZVHFXPK6WCZH1", "{}", "X-HTTP-Method-Override: DELETE"), []int{404, 405}},
			{"batch of none", call("POST", "/v1/employees:batchCreate", `{"requests":[]}`), []int{400}},
			{"batch of 501", call("POST", "/v1/employees:batchCreate", `{"requests":[`+strings.TrimSuffix(strings.Repeat(`{"employee":{`+ada+`}},`, 501), ",")+`]}`), []int{400}},
			{"batch without employee", call("POST", "/v1/employees:batchCreate", `{"requests":[{}]}`), []int{400}},
			{"update with an unknown path", call("PATCH", "/v1/employees/emp_01M7Y2M4NM6MCZVHFXPK6WCZH1?update_mask=salary", `{"given_name":"x"}`), []int{400}},
			{"update of an unknown employee", call("PATCH", "/v1/employees/emp_01M7Y2M4NM6MCZVHFXPK6WCZH1", `{"given_name":"x"}`), []int{404}},
			{"termination of an unknown employee", call("POST", "/v1/employees/emp_01M7Y2M4NM6MCZVHFXPK6WCZH1:terminate", `{}`), []int{404}},
		} {
			t.Run(tt.name, func(t *testing.T) {
				a := tt.do(t)
				if !slices.Contains(tt.want, a.code) {
					t.Errorf("got %d, want %v: %.300s", a.code, tt.want, a.body)
				}
			})
		}
		if after := s.rows(t); after != before {
			t.Errorf("rows went from %s to %s", before, after)
		}
	})
}

func TestGRPCRefusals(t *testing.T) {
	forEngines(t, func(t *testing.T, s *service, _ *notifier) {
		const unknown = "emp_01M7Y2M4NM6MCZVHFXPK6WCZH1"
		plain := employeev1.NewEmployeeServiceClient(newConn(t, s))
		request := &employeev1.CreateEmployeeRequest{Employee: person(1)}
		create := func(ctx context.Context) error { _, err := plain.CreateEmployee(ctx, request); return err }
		get := func(id string) error {
			_, err := s.client.GetEmployee(t.Context(), &employeev1.GetEmployeeRequest{Id: id})
			return err
		}
		list := func(req *employeev1.ListEmployeesRequest) error {
			_, err := s.client.ListEmployees(t.Context(), req)
			return err
		}
		update := func(req *employeev1.UpdateEmployeeRequest) error {
			_, err := s.client.UpdateEmployee(t.Context(), req)
			return err
		}
		before := s.rows(t)
		for _, tt := range []struct {
			name string
			err  error
			want codes.Code
		}{
			{"no key", create(t.Context()), codes.Unauthenticated},
			{"wrong key", create(as(t.Context(), "wrong-key-of-24-characters-x")), codes.Unauthenticated},
			{"two keys", create(as(as(t.Context(), writerKey), writerKey)), codes.Unauthenticated},
			{"reader creates", create(as(t.Context(), readerKey)), codes.PermissionDenied},
			{"no employee", func() error {
				_, err := s.client.CreateEmployee(t.Context(), &employeev1.CreateEmployeeRequest{})
				return err
			}(), codes.InvalidArgument},
			{"unknown method", s.conn.Invoke(t.Context(), "/hirewire.employee.v1.EmployeeService/Fire", request, &employeev1.Employee{}), codes.Unimplemented},
			{"unknown service", s.conn.Invoke(t.Context(), "/hirewire.employee.v2.EmployeeService/CreateEmployee", request, &employeev1.Employee{}), codes.Unimplemented},
			{"reflection", func() error {
				stream, err := s.conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
				if err != nil {
					return err
				}
				return stream.RecvMsg(&employeev1.Employee{})
			}(), codes.Unimplemented},
			{"invalid UTF-8", s.conn.Invoke(t.Context(), employeev1.EmployeeService_CreateEmployee_FullMethodName, []byte("\x0a\x04\x1a\x02\xc3\x28"), &employeev1.Employee{}, grpc.ForceCodecV2(raw{})), codes.Internal},
			{"field number 0", s.conn.Invoke(t.Context(), employeev1.EmployeeService_CreateEmployee_FullMethodName, []byte{0, 0}, &employeev1.Employee{}, grpc.ForceCodecV2(raw{})), codes.Internal},
			{"wire type 7", s.conn.Invoke(t.Context(), employeev1.EmployeeService_CreateEmployee_FullMethodName, []byte{0x0f}, &employeev1.Employee{}, grpc.ForceCodecV2(raw{})), codes.Internal},
			{"10,001 nested groups", s.conn.Invoke(t.Context(), employeev1.EmployeeService_CreateEmployee_FullMethodName, bytes.Repeat([]byte{0x7b}, 10001), &employeev1.Employee{}, grpc.ForceCodecV2(raw{})), codes.Internal},
			{"message of 2 MiB", s.conn.Invoke(t.Context(), employeev1.EmployeeService_CreateEmployee_FullMethodName, make([]byte, 2<<20), &employeev1.Employee{}, grpc.ForceCodecV2(raw{})), codes.ResourceExhausted},
			{"8 MiB of zeros in gzip", s.conn.Invoke(t.Context(), employeev1.EmployeeService_CreateEmployee_FullMethodName, make([]byte, 8<<20), &employeev1.Employee{}, grpc.ForceCodecV2(raw{}), grpc.UseCompressor("gzip"), grpc.MaxCallSendMsgSize(1<<30)), codes.ResourceExhausted},
			{"deadline of 1 ns", func() error {
				ctx, cancel := context.WithTimeout(as(t.Context(), writerKey), time.Nanosecond)
				defer cancel()
				return create(ctx)
			}(), codes.DeadlineExceeded},
			{"request id with a newline", func() error {
				_, err := s.client.CreateEmployee(t.Context(), &employeev1.CreateEmployeeRequest{Employee: person(1), RequestId: "a\nb"})
				return err
			}(), codes.InvalidArgument},
			{"id absent", get(""), codes.InvalidArgument},
			{"id nil UUID", get("00000000-0000-0000-0000-000000000000"), codes.InvalidArgument},
			{"id path", get("../../etc/passwd"), codes.InvalidArgument},
			{"id 10 KB", get(strings.Repeat("A", 10<<10)), codes.InvalidArgument},
			{"id with a newline", get(unknown + "\n"), codes.InvalidArgument},
			{"id unknown", get(unknown), codes.NotFound},
			{"page size -1", list(&employeev1.ListEmployeesRequest{PageSize: -1}), codes.InvalidArgument},
			{"page token", list(&employeev1.ListEmployeesRequest{PageToken: "x"}), codes.InvalidArgument},
			{"timestamp with nanos 1e9", list(&employeev1.ListEmployeesRequest{UpdatedAfter: &timestamppb.Timestamp{Nanos: 1e9}}), codes.InvalidArgument},
			{"timestamp with nanos -1", list(&employeev1.ListEmployeesRequest{UpdatedAfter: &timestamppb.Timestamp{Nanos: -1}}), codes.InvalidArgument},
			{"timestamp far off", list(&employeev1.ListEmployeesRequest{UpdatedAfter: &timestamppb.Timestamp{Seconds: 1 << 60}}), codes.InvalidArgument},
			{"status 99", list(&employeev1.ListEmployeesRequest{Status: 99}), codes.InvalidArgument},
			{"update without employee", update(&employeev1.UpdateEmployeeRequest{}), codes.InvalidArgument},
			{"update without id", update(&employeev1.UpdateEmployeeRequest{Employee: person(1)}), codes.InvalidArgument},
			{"update with version -1", update(&employeev1.UpdateEmployeeRequest{Employee: &employeev1.Employee{Id: unknown, Version: -1}}), codes.InvalidArgument},
			{"update with an unknown path", update(&employeev1.UpdateEmployeeRequest{Employee: &employeev1.Employee{Id: unknown}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"given_name", "x"}}}), codes.InvalidArgument},
			{"update with a bad field", update(&employeev1.UpdateEmployeeRequest{Employee: &employeev1.Employee{Id: unknown, Email: "x"}}), codes.InvalidArgument},
			{"update that empties a name", update(&employeev1.UpdateEmployeeRequest{Employee: &employeev1.Employee{Id: unknown}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"given_name"}}}), codes.InvalidArgument},
			{"update of nobody", update(&employeev1.UpdateEmployeeRequest{Employee: &employeev1.Employee{Id: unknown, GivenName: "x"}}), codes.NotFound},
			{"batch of none", func() error {
				_, err := s.client.BatchCreateEmployees(t.Context(), &employeev1.BatchCreateEmployeesRequest{})
				return err
			}(), codes.InvalidArgument},
			{"import by a reader", func() error {
				stream, err := plain.ImportEmployees(as(t.Context(), readerKey))
				if err != nil {
					return err
				}
				_, err = stream.CloseAndRecv()
				return err
			}(), codes.PermissionDenied},
		} {
			if got := status.Code(tt.err); got != tt.want {
				t.Errorf("%s: %v, want %v", tt.name, tt.err, tt.want)
			}
		}
		if after := s.rows(t); after != before {
			t.Errorf("rows went from %s to %s", before, after)
		}
	})
}

// raw sends bytes as they are.
type raw struct{}

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	return proto.Unmarshal(data.Materialize(), v.(proto.Message))
}
func (raw) Name() string { return "proto" }

// What HTTP libraries do not send.
func TestRawHTTPRefusals(t *testing.T) {
	n := startNotifier(t, "")
	s := startService(t, "sqlite:"+t.TempDir()+"/e.db", n.addr)
	head := "POST /v1/employees HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + writerKey + "\r\nContent-Type: application/json\r\n"
	for _, tt := range []struct{ name, request, want string }{
		{"length and chunked", head + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", "400"},
		{"two lengths", head + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "400"},
		{"CONNECT", "CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n", "40"},
		{"large headers", head + "X: " + strings.Repeat("a", 64<<10) + "\r\n\r\n", "431"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", s.HTTPAddr())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(10 * time.Second))
			if _, err := io.WriteString(conn, tt.request); err != nil {
				t.Fatal(err)
			}
			reply, _ := io.ReadAll(conn)
			if !strings.HasPrefix(string(reply), "HTTP/1.1 "+tt.want) {
				t.Errorf("%.200s", reply)
			}
		})
	}
}

func TestVerbatim(t *testing.T) {
	forEngines(t, func(t *testing.T, s *service, n *notifier) {
		for i, name := range []string{"'; DROP TABLE employees;--", "<script>alert(1)</script>", "%s%n%x", "=HYPERLINK(\"x\")", `\`, "{},\"NULL\"", "李小龙", "Zo\u00eb 🦉"} {
			e := person(i)
			e.GivenName = name
			created, err := s.client.CreateEmployee(t.Context(), &employeev1.CreateEmployeeRequest{Employee: e})
			if err != nil {
				t.Fatalf("%q: %v", name, err)
			}
			read, err := s.client.GetEmployee(t.Context(), &employeev1.GetEmployeeRequest{Id: created.GetId()})
			if err != nil || read.GetGivenName() != name {
				t.Errorf("%q came back as %q, %v", name, read.GetGivenName(), err)
			}
			waitFor(t, "the event", func() bool { return len(n.received()) == i+1 })
			if got := n.received()[i].GetData().GetFields()["employee"].GetStructValue().GetFields()["given_name"].GetStringValue(); got != name {
				t.Errorf("%q is told as %q", name, got)
			}
		}
	})
}

// Nothing that HR types reaches a log or an error.
func TestNothingPersonalIsLogged(t *testing.T) {
	n := startNotifier(t, "")
	n.stop()
	s := startService(t, "sqlite:"+t.TempDir()+"/e.db", n.addr)
	canary := func(i int) *employeev1.Employee {
		e := person(i)
		e.GivenName, e.FamilyName, e.Email = "Canarygiven", "Canaryfamily", fmt.Sprintf("canarymail%d@example.com", i)
		e.JobTitle, e.Department, e.EmployeeNumber = "Canarytitle", "Canarydepartment", fmt.Sprintf("Canarynumber-%d", i)
		return e
	}
	var errs []error
	try := func(_ any, err error) { errs = append(errs, err) }
	for i := range 3 {
		try(s.client.CreateEmployee(t.Context(), &employeev1.CreateEmployeeRequest{Employee: canary(i), RequestId: "Canaryrequest"}))
		try(s.client.CreateEmployee(t.Context(), &employeev1.CreateEmployeeRequest{Employee: canary(0)}))
		bad := canary(9)
		bad.Email, bad.HireDate = "canarymail9 example.com", "Canarydate"
		try(s.client.CreateEmployee(t.Context(), &employeev1.CreateEmployeeRequest{Employee: bad}))
		bad = canary(9)
		bad.GivenName = "Canarygiven\n"
		try(s.client.BatchCreateEmployees(t.Context(), &employeev1.BatchCreateEmployeesRequest{Requests: []*employeev1.CreateEmployeeRequest{{Employee: bad}}}))
	}
	waitFor(t, "the log tells of the notifier", func() bool { return strings.Contains(s.logs.String(), "takes no events") })
	metrics := s.do(t, "GET", "/metrics", "")
	text := s.logs.String() + string(metrics.body)
	for _, err := range errs {
		text += status.Convert(err).String() + protojson.Format(status.Convert(err).Proto())
	}
	if i := strings.Index(strings.ToLower(text), "canary"); i >= 0 {
		t.Errorf("found: …%.200s", text[max(0, i-100):])
	}
}

// What is counted is the text as it is stored, on create as on update.
func TestLengthIsOfTheNormalisedText(t *testing.T) {
	forEngines(t, func(t *testing.T, s *service, _ *notifier) {
		n := 0
		stored := s.create(t, n)
		for _, tt := range []struct {
			name string
			most int
			set  func(*employeev1.Employee, string)
		}{
			{"employee_number", 64, func(e *employeev1.Employee, text string) { e.EmployeeNumber = text }},
			{"given_name", 255, func(e *employeev1.Employee, text string) { e.GivenName = text }},
			{"family_name", 255, func(e *employeev1.Employee, text string) { e.FamilyName = text }},
			{"job_title", 255, func(e *employeev1.Employee, text string) { e.JobTitle = text }},
			{"department", 255, func(e *employeev1.Employee, text string) { e.Department = text }},
		} {
			for over, want := range []codes.Code{codes.OK, codes.InvalidArgument} {
				n++
				e, change := person(n), &employeev1.Employee{Id: stored.GetId()}
				tt.set(e, strings.Repeat("e\u0301", tt.most+over))
				if _, err := s.client.CreateEmployee(t.Context(), &employeev1.CreateEmployeeRequest{Employee: e}); status.Code(err) != want {
					t.Errorf("create with a %s %d over the limit: %v", tt.name, over, err)
				}
				tt.set(change, strings.Repeat("o\u0301", tt.most+over))
				if _, err := s.client.UpdateEmployee(t.Context(), &employeev1.UpdateEmployeeRequest{Employee: change}); status.Code(err) != want {
					t.Errorf("update with a %s %d over the limit: %v", tt.name, over, err)
				}
			}
		}
	})
}
