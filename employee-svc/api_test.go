package employeesvc_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"hirewire.dev/platform/id"
	"hirewire.dev/platform/serve"
	employeev1 "hirewire.dev/proto/employee/v1"
)

func (s *service) create(t *testing.T, n int) *employeev1.Employee {
	t.Helper()
	e, err := s.client.CreateEmployee(t.Context(), &employeev1.CreateEmployeeRequest{Employee: person(n)})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestLifeOfAnEmployee(t *testing.T) {
	forEngines(t, func(t *testing.T, s *service, n *notifier) {
		const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", trace)
		want := person(1)
		asked := proto.CloneOf(want)
		asked.Id, asked.Status, asked.CreatedAt = "ignored", employeev1.Employee_TERMINATED, timestamppb.Now()
		got, err := s.client.CreateEmployee(ctx, &employeev1.CreateEmployeeRequest{Employee: asked})
		if err != nil {
			t.Fatal(err)
		}
		if !id.Valid("emp", got.GetId()) || time.Since(got.GetCreatedAt().AsTime()) > time.Minute {
			t.Errorf("id %s, created at %v", got.GetId(), got.GetCreatedAt().AsTime())
		}
		want.Id, want.Status, want.Version, want.CreatedAt, want.UpdatedAt = got.GetId(), employeev1.Employee_ACTIVE, 1, got.GetCreatedAt(), got.GetCreatedAt()
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Error(diff)
		}
		read, err := s.client.GetEmployee(t.Context(), &employeev1.GetEmployeeRequest{Id: got.GetId()})
		if err != nil || !proto.Equal(read, got) {
			t.Errorf("read %v, %v", read, err)
		}

		update := &employeev1.UpdateEmployeeRequest{
			Employee:   &employeev1.Employee{Id: got.GetId(), FamilyName: "King", Email: "x", JobTitle: ""},
			UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"family_name", "job_title", "status", "version"}},
		}
		changed, err := s.client.UpdateEmployee(t.Context(), update)
		if err != nil {
			t.Fatal(err)
		}
		want.FamilyName, want.JobTitle, want.Version, want.UpdatedAt = "King", "", 2, changed.GetUpdatedAt()
		if diff := cmp.Diff(want, changed, protocmp.Transform()); diff != "" {
			t.Error(diff)
		}
		if again, err := s.client.UpdateEmployee(t.Context(), update); err != nil || !proto.Equal(again, changed) {
			t.Errorf("a change that changes nothing: %v, %v", again, err)
		}
		update.Employee.Version, update.Employee.FamilyName = 1, "Byron"
		if _, err := s.client.UpdateEmployee(t.Context(), update); status.Code(err) != codes.Aborted {
			t.Errorf("a change of an old version: %v", err)
		}

		end := &employeev1.TerminateEmployeeRequest{Id: got.GetId()}
		ended, err := s.client.TerminateEmployee(t.Context(), end)
		if err != nil || ended.GetStatus() != employeev1.Employee_TERMINATED || ended.GetVersion() != 3 {
			t.Fatalf("terminate: %v, %v", ended, err)
		}
		if again, err := s.client.TerminateEmployee(t.Context(), end); err != nil || !proto.Equal(again, ended) {
			t.Errorf("terminate again: %v, %v", again, err)
		}
		update.Employee.Version = 3
		if _, err := s.client.UpdateEmployee(t.Context(), update); status.Code(err) != codes.FailedPrecondition {
			t.Errorf("a change after the end: %v", err)
		}

		waitFor(t, "three events", func() bool { return len(n.received()) == 3 })
		for i, kind := range []string{"employee.created", "employee.updated", "employee.terminated"} {
			e := n.received()[i]
			fields := e.GetData().GetFields()["employee"].GetStructValue().AsMap()
			if e.GetType() != kind || !id.Valid("evt", e.GetId()) || fields["id"] != got.GetId() || fields["version"] != float64(i+1) {
				t.Errorf("event %d: %v", i, e)
			}
			if at := e.GetTimestamp().AsTime().Format("2006-01-02T15:04:05.000000Z"); fields["updated_at"] != at {
				t.Errorf("event at %s, updated at %v", at, fields["updated_at"])
			}
		}
		if got := n.received()[0].GetTraceparent(); got != trace {
			t.Errorf("trace %s, want the caller's", got)
		}
		if got := n.received()[1].GetTraceparent(); !regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$`).MatchString(got) {
			t.Errorf("trace %q, want a new one", got)
		}
		if got := n.received()[2].GetData().GetFields()["employee"].GetStructValue().AsMap()["status"]; got != "TERMINATED" {
			t.Errorf("status %v", got)
		}
		if n.keys[0] != "Bearer "+publisherKey {
			t.Error("published with another key")
		}
	})
}

func TestREST(t *testing.T) {
	forEngines(t, func(t *testing.T, s *service, n *notifier) {
		created := s.do(t, "POST", "/v1/employees", "{"+ada+"}", "Idempotency-Key: k-1")
		if created.code != http.StatusOK {
			t.Fatalf("%d %s", created.code, created.body)
		}
		var fields map[string]any
		if err := json.Unmarshal(created.body, &fields); err != nil {
			t.Fatal(err)
		}
		var names []string
		for name := range fields {
			names = append(names, name)
		}
		slices.Sort(names)
		if diff := cmp.Diff([]string{"country", "created_at", "currency", "department", "email", "employee_number", "family_name", "given_name", "hire_date", "id", "job_title", "status", "updated_at", "version"}, names); diff != "" {
			t.Error(diff)
		}
		if fields["status"] != "ACTIVE" {
			t.Errorf("status %v", fields["status"])
		}
		for _, again := range []answer{
			s.do(t, "POST", "/v1/employees", "{"+ada+"}", "Idempotency-Key: k-1"),
			s.do(t, "POST", "/v1/employees?request_id=k-1", "{"+ada+"}"),
			s.do(t, "GET", "/v1/employees/"+created.field("id"), ""),
			s.do(t, "GET", "/v1/employees/"+created.field("id"), "", "Authorization: Bearer "+readerKey),
		} {
			if again.code != http.StatusOK || string(again.body) != string(created.body) {
				t.Errorf("%d %s, want %s", again.code, again.body, created.body)
			}
		}
		for name, a := range map[string]answer{
			"request_id":               s.do(t, "POST", "/v1/employees", "{"+strings.Replace(ada, "Ada", "Eve", 1)+"}", "Idempotency-Key: k-1"),
			"employee.employee_number": s.do(t, "POST", "/v1/employees", "{"+strings.Replace(ada, "ada@", "eve@", 1)+"}"),
			"employee.email":           s.do(t, "POST", "/v1/employees", "{"+strings.NewReplacer("E-1", "E-2", "ada@", "ADA@").Replace(ada)+"}"),
		} {
			if a.code != http.StatusConflict || a.violation() != name {
				t.Errorf("%s: %d %s", name, a.code, a.body)
			}
		}
		path := "/v1/employees/" + created.field("id")
		if a := s.do(t, "PATCH", path, `{"given_name":"Augusta","version":1}`); a.code != 200 || a.field("given_name") != "Augusta" {
			t.Errorf("%d %s", a.code, a.body)
		}
		if a := s.do(t, "PATCH", path, `{}`); a.code != 200 || a.field("given_name") != "Augusta" {
			t.Errorf("a patch of nothing: %d %s", a.code, a.body)
		}
		if a := s.do(t, "PATCH", path, `{"given_name":"Ada","version":1}`); a.code != http.StatusConflict {
			t.Errorf("%d %s", a.code, a.body)
		}
		other := strings.Replace(created.field("id"), "emp_0", "emp_1", 1)
		for field, a := range map[string]answer{
			"employee.id": s.do(t, "PATCH", path, `{"id":"`+other+`","given_name":"Eve"}`),
			"id":          s.do(t, "POST", path+":terminate", `{"id":"`+other+`"}`),
		} {
			if a.code != 400 || a.violation() != field {
				t.Errorf("another %s in the body: %d %s", field, a.code, a.body)
			}
		}
		if a := s.do(t, "PATCH", path, `{"id":"`+created.field("id")+`","given_name":"Augusta"}`); a.code != 200 {
			t.Errorf("the same id in the body: %d %s", a.code, a.body)
		}
		if a := s.do(t, "POST", path+":terminate", `{}`); a.code != 200 || a.field("status") != "TERMINATED" {
			t.Errorf("%d %s", a.code, a.body)
		}
		if a := s.do(t, "PATCH", path, `{"given_name":"Ada"}`); a.code != http.StatusPreconditionFailed {
			t.Errorf("%d %s", a.code, a.body)
		}
		batch := s.do(t, "POST", "/v1/employees:batchCreate", `{"requests":[{"employee":{`+strings.NewReplacer("E-1", "B-1", "ada@", "b1@").Replace(ada)+`},"request_id":"b-1"},{"employee":{`+strings.NewReplacer("E-1", "B-2", "ada@", "b2@").Replace(ada)+`}}]}`)
		if batch.code != 200 || strings.Count(string(batch.body), `"emp_`) != 2 {
			t.Errorf("%d %s", batch.code, batch.body)
		}
		if a := s.do(t, "GET", "/openapi.json", ""); a.code != 200 || !json.Valid(a.body) || !strings.Contains(string(a.body), "/v1/employees:batchCreate") {
			t.Errorf("openapi: %d", a.code)
		}
		waitFor(t, "the events", func() bool { return len(n.received()) == 5 })
	})
}

func TestSameRequestIDAHundredTimesAtOnce(t *testing.T) {
	forEngines(t, func(t *testing.T, s *service, n *notifier) {
		other, err := serve.DialGRPC(serve.ClientConfig{Addr: s.GRPCAddr(), Key: otherKey})
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		replies := make([]*employeev1.Employee, 100)
		var wg sync.WaitGroup
		for i := range replies {
			wg.Go(func() {
				var err error
				if replies[i], err = s.client.CreateEmployee(t.Context(), &employeev1.CreateEmployeeRequest{Employee: person(1), RequestId: "k"}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, r := range replies {
			if !proto.Equal(r, replies[0]) {
				t.Fatalf("replies differ: %v, %v", r, replies[0])
			}
		}
		mine, err := employeev1.NewEmployeeServiceClient(other).CreateEmployee(t.Context(), &employeev1.CreateEmployeeRequest{Employee: person(2), RequestId: "k"})
		if err != nil || mine.GetId() == replies[0].GetId() {
			t.Errorf("the same id of another key: %v, %v", mine, err)
		}
		if got := s.rows(t); got != "2 employees, 2 requests" {
			t.Error(got)
		}
		waitFor(t, "two events", func() bool { return len(n.received()) == 2 })
	})
}

func TestBatchIsAtomic(t *testing.T) {
	forEngines(t, func(t *testing.T, s *service, n *notifier) {
		s.create(t, 0)
		before := s.rows(t)
		req := &employeev1.BatchCreateEmployeesRequest{}
		for i := range 20 {
			req.Requests = append(req.Requests, &employeev1.CreateEmployeeRequest{Employee: person(i + 1), RequestId: fmt.Sprintf("b-%d", i)})
		}
		req.Requests[13].Employee.Email = person(0).GetEmail()
		_, err := s.client.BatchCreateEmployees(t.Context(), req)
		st := status.Convert(err)
		if st.Code() != codes.AlreadyExists || fieldOf(st) != "requests[13].employee.email" {
			t.Errorf("got %v, %s at fault", st, fieldOf(st))
		}
		if after := s.rows(t); after != before {
			t.Errorf("rows went from %s to %s", before, after)
		}
		req.Requests[13].Employee = person(14)
		first, err := s.client.BatchCreateEmployees(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		again, err := s.client.BatchCreateEmployees(t.Context(), req)
		if err != nil || !proto.Equal(first, again) {
			t.Errorf("again: %v", err)
		}
		waitFor(t, "the events", func() bool { return len(n.received()) == 21 })
	})
}

func TestPaging(t *testing.T) {
	forEngines(t, func(t *testing.T, s *service, _ *notifier) {
		var want []string
		for i := range 23 {
			e := s.create(t, i)
			if i%5 == 0 {
				if _, err := s.client.TerminateEmployee(t.Context(), &employeev1.TerminateEmployeeRequest{Id: e.GetId()}); err != nil {
					t.Fatal(err)
				}
			}
			want = append(want, e.GetEmployeeNumber())
		}
		walk := func(req *employeev1.ListEmployeesRequest) (numbers []string, pages int) {
			for {
				reply, err := s.client.ListEmployees(t.Context(), req)
				if err != nil {
					t.Fatal(err)
				}
				pages++
				for _, e := range reply.GetEmployees() {
					numbers = append(numbers, e.GetEmployeeNumber())
				}
				if reply.GetNextPageToken() == "" {
					return numbers, pages
				}
				req.PageToken = reply.GetNextPageToken()
			}
		}
		got, pages := walk(&employeev1.ListEmployeesRequest{PageSize: 4})
		if diff := cmp.Diff(want, got); diff != "" || pages != 6 {
			t.Errorf("%d pages: %s", pages, diff)
		}
		if _, pages = walk(&employeev1.ListEmployeesRequest{PageSize: 1e9}); pages != 1 {
			t.Errorf("%d pages", pages)
		}
		if got, _ := walk(&employeev1.ListEmployeesRequest{PageSize: 2, Status: employeev1.Employee_TERMINATED}); len(got) != 5 {
			t.Errorf("terminated: %v", got)
		}
		first, err := s.client.ListEmployees(t.Context(), &employeev1.ListEmployeesRequest{PageSize: 2})
		if err != nil {
			t.Fatal(err)
		}
		token := first.GetNextPageToken()
		for name, req := range map[string]*employeev1.ListEmployeesRequest{
			"another status": {PageToken: token, Status: employeev1.Employee_ACTIVE},
			"another time":   {PageToken: token, UpdatedAfter: timestamppb.Now()},
			"longer":         {PageToken: token + "A"},
			"shorter":        {PageToken: token[:len(token)-1]},
			"padded":         {PageToken: token + "="},
			"with a newline": {PageToken: token + "\n"},
		} {
			if _, err := s.client.ListEmployees(t.Context(), req); status.Code(err) != codes.InvalidArgument {
				t.Errorf("token %s: %v", name, err)
			}
		}
		if a := s.do(t, "GET", "/v1/employees?page_size=3&page_token="+token, "", "Authorization: Bearer "+readerKey); a.code != 200 || strings.Count(string(a.body), `"emp_`) != 3 {
			t.Errorf("REST: %d %s", a.code, a.body)
		}
		if a := s.do(t, "GET", "/v1/employees?status=TERMINATED&updated_after=2020-01-01T00:00:00Z", ""); a.code != 200 || strings.Count(string(a.body), `"emp_`) != 5 {
			t.Errorf("REST: %d %s", a.code, a.body)
		}
	})
}

// A page is at most what a gRPC client accepts, however long the texts are.
func TestLargePages(t *testing.T) {
	forEngines(t, func(t *testing.T, s *service, _ *notifier) {
		var requests []*employeev1.CreateEmployeeRequest
		for i := range 200 {
			e := person(i)
			e.GivenName, e.FamilyName, e.JobTitle, e.Department = strings.Repeat("🦉", 255), strings.Repeat("李", 255), strings.Repeat("🦉", 255), strings.Repeat("🦉", 255)
			requests = append(requests, &employeev1.CreateEmployeeRequest{Employee: e})
		}
		if _, err := s.client.BatchCreateEmployees(t.Context(), &employeev1.BatchCreateEmployeesRequest{Requests: requests}); err != nil {
			t.Fatal(err)
		}
		for i := range 200 {
			requests[i].Employee.EmployeeNumber += "x"
			requests[i].Employee.Email = "x" + requests[i].Employee.Email
		}
		if _, err := s.client.BatchCreateEmployees(t.Context(), &employeev1.BatchCreateEmployeesRequest{Requests: requests}); err != nil {
			t.Fatal(err)
		}
		seen, req := 0, &employeev1.ListEmployeesRequest{PageSize: 1000}
		for {
			reply, err := s.client.ListEmployees(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			if size := proto.Size(reply); size > 1<<20 {
				t.Errorf("a page of %d bytes", size)
			}
			seen += len(reply.GetEmployees())
			if req.PageToken = reply.GetNextPageToken(); req.PageToken == "" {
				break
			}
		}
		if seen != 400 {
			t.Errorf("saw %d of 400", seen)
		}
	})
}

func TestNotifierAwayAndBack(t *testing.T) {
	forEngines(t, func(t *testing.T, s *service, n *notifier) {
		s.create(t, 0)
		waitFor(t, "the first event", func() bool { return len(n.received()) == 1 })
		n.stop()
		for i := range 50 {
			s.create(t, i+1)
		}
		if a := s.do(t, "GET", "/readyz", ""); a.code != 200 {
			t.Errorf("not ready without the notifier: %s", a.body)
		}
		waitFor(t, "the lag shows", func() bool {
			return strings.Contains(string(s.do(t, "GET", "/metrics", "").body), "employee_outbox_depth 50")
		})
		if m := string(s.do(t, "GET", "/metrics", "").body); strings.Contains(m, "employee_outbox_oldest_age_seconds 0\n") {
			t.Error("the oldest event has no age")
		}
		back := startNotifier(t, n.addr)
		waitFor(t, "the events of meanwhile", func() bool { return len(back.received()) == 50 })
		waitFor(t, "the lag is gone", func() bool {
			return strings.Contains(string(s.do(t, "GET", "/metrics", "").body), "employee_outbox_depth 0")
		})
	})
}

func TestStopLosesNothing(t *testing.T) {
	forEngines(t, func(t *testing.T, s *service, n *notifier) {
		var mu sync.Mutex
		acknowledged := map[string]bool{}
		var wg sync.WaitGroup
		for w := range 16 {
			wg.Go(func() {
				for i := range 1000 {
					e, err := s.client.CreateEmployee(t.Context(), &employeev1.CreateEmployeeRequest{Employee: person(1000*w + i)})
					if err != nil {
						return
					}
					mu.Lock()
					acknowledged[e.GetId()] = true
					mu.Unlock()
				}
			})
		}
		waitFor(t, "some are created", func() bool { mu.Lock(); defer mu.Unlock(); return len(acknowledged) > 200 })
		began := time.Now()
		if err := s.stop(); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("the stop took %v", took)
		}
		wg.Wait()
		var stored, leased int
		if err := s.db.QueryRowContext(t.Context(), `SELECT (SELECT count(*) FROM employees), (SELECT count(*) FROM outbox WHERE lease <> 0)`).Scan(&stored, &leased); err != nil {
			t.Fatal(err)
		}
		if leased != 0 {
			t.Errorf("%d events are still leased", leased)
		}
		var waiting int
		if err := s.db.QueryRowContext(t.Context(), `SELECT count(*) FROM outbox`).Scan(&waiting); err != nil {
			t.Fatal(err)
		}
		if got := len(n.received()) + waiting; got < stored {
			t.Errorf("%d events for %d employees", got, stored)
		}
		if stored < len(acknowledged) {
			t.Errorf("%d employees, %d acknowledged", stored, len(acknowledged))
		}
	})
}
