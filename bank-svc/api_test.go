package banksvc

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"hirewire.dev/platform/id"
	bankv1 "hirewire.dev/proto/bank/v1"
)

// Every method, over both transports, for each role and for nobody.
func TestWhoMayDoWhat(t *testing.T) {
	b := start(t, "sqlite:"+t.TempDir()+"/bank.db", alone(newTruth(t)))
	e := created(person("Ada Byron"))
	b.mustSend(t, e)
	b.settled(t)
	acc := b.accounts(t)[e.employee.ID].Id
	rec := b.reconcile(t, false).Id

	clients := map[string]bankv1.BankServiceClient{"": b.dial(t, ""), "wrong-key-0123456789abcdefgh": b.dial(t, "wrong-key-0123456789abcdefgh"), viewerKey: b.dial(t, viewerKey), operatorKey: b.api}
	for _, tc := range []struct {
		name, method, path, body string
		writes                   bool
		call                     func(bankv1.BankServiceClient) error
	}{
		{"ListAccounts", "GET", "/v1/accounts", "", false, func(c bankv1.BankServiceClient) error {
			_, err := c.ListAccounts(t.Context(), &bankv1.ListAccountsRequest{})
			return err
		}},
		{"GetAccount", "GET", "/v1/accounts/" + acc, "", false, func(c bankv1.BankServiceClient) error {
			_, err := c.GetAccount(t.Context(), &bankv1.GetAccountRequest{Id: acc})
			return err
		}},
		{"ListInboxEvents", "GET", "/v1/inbox", "", false, func(c bankv1.BankServiceClient) error {
			_, err := c.ListInboxEvents(t.Context(), &bankv1.ListInboxEventsRequest{})
			return err
		}},
		{"GetInboxEvent", "GET", "/v1/inbox/" + e.id, "", false, func(c bankv1.BankServiceClient) error {
			_, err := c.GetInboxEvent(t.Context(), &bankv1.GetInboxEventRequest{Id: e.id})
			return err
		}},
		{"GetReconciliation", "GET", "/v1/reconciliations/" + rec, "", false, func(c bankv1.BankServiceClient) error {
			_, err := c.GetReconciliation(t.Context(), &bankv1.GetReconciliationRequest{Id: rec})
			return err
		}},
		{"ListReconciliations", "GET", "/v1/reconciliations", "", false, func(c bankv1.BankServiceClient) error {
			_, err := c.ListReconciliations(t.Context(), &bankv1.ListReconciliationsRequest{})
			return err
		}},
		{"ReprocessInboxEvent", "POST", "/v1/inbox/" + e.id + ":reprocess", "{}", true, func(c bankv1.BankServiceClient) error {
			_, err := c.ReprocessInboxEvent(t.Context(), &bankv1.ReprocessInboxEventRequest{Id: e.id})
			return err
		}},
		{"ReprocessInboxEvents", "POST", "/v1/inbox:reprocess", `{"status":"IGNORED"}`, true, func(c bankv1.BankServiceClient) error {
			_, err := c.ReprocessInboxEvents(t.Context(), &bankv1.ReprocessInboxEventsRequest{Status: bankv1.InboxEvent_IGNORED})
			return err
		}},
		{"CreateReconciliation", "POST", "/v1/reconciliations", `{"dry_run":true}`, true, func(c bankv1.BankServiceClient) error {
			_, err := c.CreateReconciliation(t.Context(), &bankv1.CreateReconciliationRequest{RequestId: "once"})
			return err
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for key, client := range clients {
				code, http := codes.OK, http.StatusOK
				switch {
				case key == "" || strings.HasPrefix(key, "wrong"):
					code, http = codes.Unauthenticated, 401
				case tc.writes && key == viewerKey:
					code, http = codes.PermissionDenied, 403
				}
				if err := tc.call(client); status.Code(err) != code {
					t.Errorf("gRPC with key %q: %v, want %s", key, err, code)
				}
				if a := b.do(t, b.request(t, tc.method, tc.path, key, tc.body)); a.status != http {
					t.Errorf("REST with key %q: %d %s, want %d", key, a.status, a.body, http)
				}
			}
		})
	}
}

func TestBadRequestsToTheAPI(t *testing.T) {
	b := start(t, "sqlite:"+t.TempDir()+"/bank.db", alone(newTruth(t)))
	for _, tc := range []struct {
		name, method, path, body string
		status                   int
	}{
		{"account id", "GET", "/v1/accounts/..%2f..%2fetc%2fpasswd", "", 400},
		{"account id of another kind", "GET", "/v1/accounts/emp_01J8ZQ4T6Y9GZ1K3V5X7A9B2C4", "", 400},
		{"unknown account", "GET", "/v1/accounts/" + id.New("acc"), "", 404},
		{"unknown event", "GET", "/v1/inbox/evt_none", "", 404},
		{"malformed event id", "GET", "/v1/inbox/a.b", "", 400},
		{"unknown reconciliation", "GET", "/v1/reconciliations/" + id.New("rec"), "", 404},
		{"reprocess unknown event", "POST", "/v1/inbox/evt_none:reprocess", "{}", 404},
		{"reprocess everything", "POST", "/v1/inbox:reprocess", "{}", 400},
		{"negative page", "GET", "/v1/accounts?page_size=-1", "", 400},
		{"huge page is cut", "GET", "/v1/accounts?page_size=1000000000", "", 200},
		{"page token", "GET", "/v1/accounts?page_token=xyz", "", 400},
		{"status", "GET", "/v1/accounts?status=ASLEEP", "", 400},
		{"employee id of another form", "GET", "/v1/accounts?employee_id=%00", "", 400},
		{"employee id in the inbox", "GET", "/v1/inbox?employee_id=emp_1%00", "", 400},
		{"event type with NUL", "GET", "/v1/inbox?event_type=employee.%00", "", 400},
		{"event type with a wildcard", "GET", "/v1/inbox?event_type=employee.*", "", 400},
		{"long event type", "GET", "/v1/inbox?event_type=" + strings.Repeat("a", 256), "", 200},
		{"reprocess by an employee id of another form", "POST", "/v1/inbox:reprocess", `{"status":"FAILED","employee_id":"\u0000"}`, 400},
		{"reprocess by an event type with a space", "POST", "/v1/inbox:reprocess", `{"status":"FAILED","event_type":" "}`, 400},
		{"unknown parameter", "GET", "/v1/accounts?nope=1", "", 400},
		{"unknown field", "POST", "/v1/reconciliations", `{"nope":1}`, 400},
		{"duplicate field", "POST", "/v1/reconciliations", `{"dry_run":true,"dry_run":false}`, 400},
		{"two values", "POST", "/v1/reconciliations", `{} {}`, 400},
		{"request id with newline", "POST", "/v1/reconciliations?request_id=a%0ab", `{}`, 400},
		{"unknown path", "GET", "/v1/nope", "", 404},
		{"wrong method", "DELETE", "/v1/accounts", "", 405},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if a := b.do(t, b.request(t, tc.method, tc.path, operatorKey, tc.body)); a.status != tc.status {
				t.Errorf("%d %s, want %d", a.status, a.body, tc.status)
			}
		})
	}
	req := b.request(t, "POST", "/v1/reconciliations", operatorKey, "{}")
	req.Header.Set("Content-Type", "text/plain")
	if a := b.do(t, req); a.status != http.StatusUnsupportedMediaType {
		t.Errorf("text/plain: %d", a.status)
	}
}

func TestPagesOverREST(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		b := start(t, url, alone(newTruth(t)))
		events := make([]fact, 25)
		for i := range events {
			events[i] = created(person("Ada Byron"))
		}
		b.mustSend(t, events...)
		b.settled(t)
		for _, list := range []struct{ path, field string }{{"/v1/accounts", "accounts"}, {"/v1/inbox", "inbox_events"}} {
			seen, pages, token := map[string]bool{}, 0, ""
			for {
				a := b.get(t, list.path+"?page_size=10&page_token="+token, viewerKey)
				var page map[string]json.RawMessage
				var items []struct {
					ID string `json:"id"`
				}
				if err := json.Unmarshal([]byte(a.body), &page); err != nil || a.status != 200 {
					t.Fatalf("%d %s", a.status, a.body)
				}
				if err := json.Unmarshal(page[list.field], &items); err != nil {
					t.Fatalf("%s", a.body)
				}
				for _, i := range items {
					seen[i.ID] = true
				}
				pages++
				if err := json.Unmarshal(page["next_page_token"], &token); err != nil {
					t.Fatal(err)
				}
				if token == "" {
					break
				}
				if other := b.get(t, "/v1/reconciliations?page_token="+token, viewerKey); other.status != 400 {
					t.Errorf("another list takes the token: %d", other.status)
				}
				for name, path := range map[string]string{
					"cut":          list.path + "?page_token=" + token[:len(token)-1],
					"longer":       list.path + "?page_token=" + token + "A",
					"other filter": list.path + "?employee_id=" + id.New("emp") + "&page_token=" + token,
				} {
					if a := b.get(t, path, viewerKey); a.status != 400 {
						t.Errorf("%s token: %d", name, a.status)
					}
				}
			}
			if pages != 3 || len(seen) != 25 {
				t.Errorf("%s: %d in %d pages", list.path, len(seen), pages)
			}
		}
	})
}

func TestReconciliationsAreIdempotent(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		b := start(t, url, alone(newTruth(t)))
		var ids []string
		for range 3 {
			r, err := b.api.CreateReconciliation(t.Context(), &bankv1.CreateReconciliationRequest{RequestId: "monday"})
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, r.Id)
		}
		req := b.request(t, "POST", "/v1/reconciliations", operatorKey, "{}")
		req.Header.Set("Idempotency-Key", "monday")
		var rest struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal([]byte(b.do(t, req).body), &rest); err != nil {
			t.Fatal(err)
		}
		if ids = append(ids, rest.ID); len(slices.Compact(ids)) != 1 {
			t.Errorf("%v", ids)
		}
		other := &bankv1.CreateReconciliationRequest{RequestId: "monday", Reconciliation: &bankv1.Reconciliation{DryRun: true}}
		if _, err := b.api.CreateReconciliation(t.Context(), other); status.Code(err) != codes.AlreadyExists {
			t.Errorf("with another dry_run: %v", err)
		}
		if a := b.do(t, b.request(t, "POST", "/v1/reconciliations?request_id=monday", operatorKey, `{"dry_run":true}`)); a.status != 409 {
			t.Errorf("with another dry_run: %d %s", a.status, a.body)
		}
	})
}

func TestWhatEveryServiceServes(t *testing.T) {
	b := start(t, "sqlite:"+t.TempDir()+"/bank.db", alone(newTruth(t)))
	b.mustSend(t, created(person("Ada Byron")))
	b.settled(t)
	await(t, "first reconciliation", func() bool { return reconciled(t, b) })
	for path, want := range map[string]string{
		"/healthz": "alive", "/readyz": "ready", "/openapi.json": "BankService", "/metrics": "bank_inbox_backlog",
	} {
		if a := b.get(t, path, ""); a.status != 200 || !strings.Contains(a.body, want) {
			t.Errorf("%s: %d without %q", path, a.status, want)
		}
	}
	metrics := b.get(t, "/metrics", "").body
	for _, want := range []string{
		`bank_webhook_requests_total{outcome="accepted",reason=""} 1`, `bank_account_changes_total{action="opened"} 1`,
		`bank_inbox_events_total{what="processed"} 1`, `bank_inbox_backlog{status="PENDING"} 0`, "bank_reconciliation_drift",
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(metrics, "Ada") || strings.Contains(metrics, "emp_") {
		t.Error("something personal in the metrics")
	}
}
