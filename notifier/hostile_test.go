package notifier_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	notifierv1 "hirewire.dev/proto/notifier/v1"
	"hirewire.dev/webhook"
)

// hostileURLs are refused at create and at update, for whatever reason.
var hostileURLs = []string{
	"", "example.com", "ftp://x", "file:///etc/passwd", "unix:///run/docker.sock", "data:,x", "HTTPS://", "javascript:alert(1)",
	"http://public.test", "https://@h", "https://user@h.test", "https://user:pass@h.test", "https://h.test#frag", "https://h.test:65536",
	"https://h.test:22", "https://h.test:0", "https://h.test:", "https://h.test/ \r\nX: y", "https://h\t.test", "https://h\n.test", "https://h.test/\x00",
	"https://10.0.0.1", "https://172.16.0.1", "https://100.64.0.1", "https://192.0.0.1", "https://192.168.1.1",
	"https://0", "https://0.0.0.0", "https://localhost", "https://LOCALHOST", "https://a.localhost", "https://localhost.localdomain",
	"https://①⓪.⓪.⓪.①", "https://ⓛocalhost", "https://ｌocalhost", "https://local\u00ADhost", "https://xn--a.test", "https://-bad-.test",
	"https://" + strings.Repeat("a", 254) + ".test", "https://" + strings.Repeat("a.", 127) + "test",
	"https://[::]", "https://[0:0:0:0:0:0:0:1]", "https://[::ffff:a00:1]", "https://[::10.0.0.1]", "https://[64:ff9b:1::a00:1]", "https://[2002:a00:1::]",
	"https://[fe80::1%25eth0]", "https://[::1%25lo]", "https://[fd00:ec2::254]", "https://[ff02::1]", "https://[100::1]", "https://[5f00::1]", "https://[fec0::1]",
	"https://169.254.169.254", "https://2852039166", "https://0xa000001", "https://012.0.0.1", "https://10.1", "https://metadata.google.internal",
	"https://198.18.0.1", "https://198.51.100.1", "https://192.88.99.1", "https://224.0.0.1", "https://255.255.255.255", "https://10.0.0.1.",
	"https://good.test@10.0.0.1", `https://10.0.0.1\@good.test`, "https://10.0.0.1%2f@good.test", "https://h.test/" + strings.Repeat("x", 2048),
	"https://h.test/\xff\xfe",
}

// hostile are changes of a good subscription that make it bad, by the field that is.
var hostile = map[string]map[string]func(*notifierv1.Subscription){
	"name": {
		"empty": func(s *notifierv1.Subscription) { s.Name = "" }, "blank": func(s *notifierv1.Subscription) { s.Name = " \t" },
		"no-break space": func(s *notifierv1.Subscription) { s.Name = "\u00a0" }, "256 runes": func(s *notifierv1.Subscription) { s.Name = strings.Repeat("ü", 256) },
		"escape": func(s *notifierv1.Subscription) { s.Name = "\x1b[31mred" }, "line break": func(s *notifierv1.Subscription) { s.Name = "a\r\nb" },
		"C1 control": func(s *notifierv1.Subscription) { s.Name = "a\u0085b" }, "other direction": func(s *notifierv1.Subscription) { s.Name = "a\u202eb" },
		"isolate": func(s *notifierv1.Subscription) { s.Name = "a\u2066b" }, "zero width": func(s *notifierv1.Subscription) { s.Name = "a\u200bb" },
	},
	"description": {
		"long":    func(s *notifierv1.Subscription) { s.Description = strings.Repeat("x", 2001) },
		"control": func(s *notifierv1.Subscription) { s.Description = "a\x00b" }, "line separator": func(s *notifierv1.Subscription) { s.Description = "a\u2028b" },
	},
	"contact": {
		"neither": func(s *notifierv1.Subscription) { s.Contact = "call me" }, "with a name": func(s *notifierv1.Subscription) { s.Contact = "Bob <b@x.test>" },
		"two @": func(s *notifierv1.Subscription) { s.Contact = "a@b@c" }, "long": func(s *notifierv1.Subscription) { s.Contact = strings.Repeat("a", 315) + "@x.test" },
		"inner URL": func(s *notifierv1.Subscription) { s.Contact = "https://10.0.0.1/alert" }, "another scheme": func(s *notifierv1.Subscription) { s.Contact = "ftp://x.test" },
		"byte order mark": func(s *notifierv1.Subscription) { s.Contact = "\ufeffa@x.test" },
		"line break":      func(s *notifierv1.Subscription) { s.Contact = "a@x.test\r\nBcc: y@x.test" },
	},
	"event_types": {
		"unknown":  func(s *notifierv1.Subscription) { s.EventTypes = []string{"employee.promoted"} },
		"star":     func(s *notifierv1.Subscription) { s.EventTypes = []string{"*"} },
		"two dots": func(s *notifierv1.Subscription) { s.EventTypes = []string{"*.."} },
		"dots":     func(s *notifierv1.Subscription) { s.EventTypes = []string{"employee..created"} },
		"prefix":   func(s *notifierv1.Subscription) { s.EventTypes = []string{"employee.cre*"} },
		"inner":    func(s *notifierv1.Subscription) { s.EventTypes = []string{"*.created"} },
		"unknown.": func(s *notifierv1.Subscription) { s.EventTypes = []string{"bank.*"} },
		"empty":    func(s *notifierv1.Subscription) { s.EventTypes = []string{""} },
		"257":      func(s *notifierv1.Subscription) { s.EventTypes = []string{strings.Repeat("a", 257)} },
		"space":    func(s *notifierv1.Subscription) { s.EventTypes = []string{"a b"} },
		"trailing": func(s *notifierv1.Subscription) { s.EventTypes = []string{"employee.created "} },
		"case":     func(s *notifierv1.Subscription) { s.EventTypes = []string{"Employee.created"} },
		"twice":    func(s *notifierv1.Subscription) { s.EventTypes = []string{"employee.created", "employee.created"} },
		"too many": func(s *notifierv1.Subscription) {
			for i := range 1001 {
				s.EventTypes = append(s.EventTypes, fmt.Sprintf("employee.t%d", i))
			}
		},
	},
	"filter": {
		"syntax":     func(s *notifierv1.Subscription) { s.Filter = `event.type ==` },
		"not a bool": func(s *notifierv1.Subscription) { s.Filter = `event.type` },
		"unknown":    func(s *notifierv1.Subscription) { s.Filter = `subscription.secret == ""` },
		"member":     func(s *notifierv1.Subscription) { s.Filter = `event.typo == ""` },
		"long":       func(s *notifierv1.Subscription) { s.Filter = `event.type == "` + strings.Repeat("x", 5000) + `"` },
		"blank":      func(s *notifierv1.Subscription) { s.Filter = "  " },
	},
	"payload":               {"unknown": func(s *notifierv1.Subscription) { s.Payload = 99 }},
	"format":                {"unknown": func(s *notifierv1.Subscription) { s.Format = 99 }},
	"ordering":              {"unknown": func(s *notifierv1.Subscription) { s.Ordering = -1 }},
	"max_in_flight":         {"-1": func(s *notifierv1.Subscription) { s.MaxInFlight = -1 }, "many": func(s *notifierv1.Subscription) { s.MaxInFlight = 1 << 30 }},
	"rate_limit_per_second": {"-1": func(s *notifierv1.Subscription) { s.RateLimitPerSecond = -1 }, "1e9": func(s *notifierv1.Subscription) { s.RateLimitPerSecond = 1e9 }},
	"retry_schedule": {
		"negative": func(s *notifierv1.Subscription) {
			s.RetrySchedule = []*durationpb.Duration{durationpb.New(-time.Second)}
		},
		"101": func(s *notifierv1.Subscription) {
			for range 101 {
				s.RetrySchedule = append(s.RetrySchedule, durationpb.New(time.Second))
			}
		},
		"31 days": func(s *notifierv1.Subscription) {
			s.RetrySchedule = []*durationpb.Duration{durationpb.New(31 * 24 * time.Hour)}
		},
		"31 days in all": func(s *notifierv1.Subscription) {
			for range 31 {
				s.RetrySchedule = append(s.RetrySchedule, durationpb.New(24*time.Hour))
			}
		},
		"nanos 1e9":     func(s *notifierv1.Subscription) { s.RetrySchedule = []*durationpb.Duration{{Nanos: 1e9}} },
		"seconds 1<<60": func(s *notifierv1.Subscription) { s.RetrySchedule = []*durationpb.Duration{{Seconds: 1 << 60}} },
	},
	"labels": {
		"empty key":     func(s *notifierv1.Subscription) { s.Labels = map[string]string{"": "x"} },
		"key with =":    func(s *notifierv1.Subscription) { s.Labels = map[string]string{"a=b": "x"} },
		"long key":      func(s *notifierv1.Subscription) { s.Labels = map[string]string{strings.Repeat("k", 64): "x"} },
		"long value":    func(s *notifierv1.Subscription) { s.Labels = map[string]string{"k": strings.Repeat("v", 256)} },
		"lost text":     func(s *notifierv1.Subscription) { s.Labels = map[string]string{"k": "a\ufffdb"} },
		"control value": func(s *notifierv1.Subscription) { s.Labels = map[string]string{"k": "a\x1bb"} },
		"65": func(s *notifierv1.Subscription) {
			s.Labels = map[string]string{}
			for i := range 65 {
				s.Labels[fmt.Sprint(i)] = ""
			}
		},
		"4 KiB": func(s *notifierv1.Subscription) {
			s.Labels = map[string]string{}
			for i := range 40 {
				s.Labels[fmt.Sprint(i)] = strings.Repeat("v", 120)
			}
		},
	},
}

// hostileSecrets are refused at create and at rotate.
var hostileSecrets = map[string]string{
	"23 bytes": "whsec_" + b64(23), "65 bytes": "whsec_" + b64(65), "bad base64": "whsec_!!!!", "another prefix": "hwsec_" + b64(32),
	"no prefix": b64(32), "private key": webhook.NewPrivateKey().Reveal(), "public key": webhook.NewPrivateKey().Public().String(),
	"all zero": "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "empty": "whsec_", "URL alphabet": "whsec_" + strings.Repeat("-_", 20) + "==",
	"line break": "whsec_" + b64(32) + "\n", "unpadded": strings.TrimRight("whsec_"+b64(32), "="),
}

func TestHostileSubscriptionsAreRefused(t *testing.T) {
	forEachEngine(t, func(t *testing.T, url string) {
		cfg := config(t, url)
		cfg.AllowCIDRs = nil // as in production
		n := start(t, cfg)
		c := n.as(t, "bank-a")
		good := &notifierv1.Subscription{Name: "good", Url: "https://bank.test/hook"}
		made, err := c.CreateSubscription(t.Context(), &notifierv1.CreateSubscriptionRequest{Subscription: good})
		if err != nil {
			t.Fatal(err)
		}
		refused := func(name, field string, edit func(*notifierv1.Subscription)) {
			t.Helper()
			bad := proto.CloneOf(good)
			bad.Name = "another"
			edit(bad)
			_, err := c.CreateSubscription(t.Context(), &notifierv1.CreateSubscriptionRequest{Subscription: bad})
			wantViolation(t, "create: "+name, err, "subscription."+field)
			bad.Id = made.GetId()
			req := &notifierv1.UpdateSubscriptionRequest{Subscription: bad}
			req.UpdateMask = mask(field)
			_, err = c.UpdateSubscription(t.Context(), req)
			wantViolation(t, "update: "+name, err, "subscription."+field)
		}
		for _, u := range append(hostileURLs, "https://127.0.0.1", "https://127.1", "https://[::1]", "https://[::ffff:7f00:1]", "https://0x7f000001", "https://"+n.HTTPAddr()) {
			if !validUTF8(u) {
				continue // gRPC itself refuses it; see the REST part
			}
			refused(fmt.Sprintf("url %q", u), "url", func(s *notifierv1.Subscription) { s.Url = u })
		}
		for field, cases := range hostile {
			for name, edit := range cases {
				refused(field+" "+name, field, edit)
			}
		}
		for name, secret := range hostileSecrets {
			bad := proto.CloneOf(good)
			bad.Name, bad.Secret = "another", secret
			_, err := c.CreateSubscription(t.Context(), &notifierv1.CreateSubscriptionRequest{Subscription: bad})
			wantViolation(t, "create: secret "+name, err, "subscription.secret")
			_, err = c.RotateSecret(t.Context(), &notifierv1.RotateSecretRequest{Id: made.GetId(), Secret: secret})
			wantViolation(t, "rotate: secret "+name, err, "secret")
			if strings.Contains(fmt.Sprint(err), secret) && len(secret) > 10 {
				t.Errorf("the error repeats the secret %s", name)
			}
		}
		for _, from := range []string{"now", "LATEST", "tomorrow", "2026-13-01T00:00:00Z", "2026-11-20", "2999-01-01T00:00:00Z", "1969-01-01T00:00:00Z", "2026-11-20t09:00:00z", "2026-11-20T9:00:00Z", "2026-11-20T09:00:00+24:00"} {
			bad := proto.CloneOf(good)
			bad.Name, bad.StartFrom = "another", from
			_, err := c.CreateSubscription(t.Context(), &notifierv1.CreateSubscriptionRequest{Subscription: bad})
			wantViolation(t, "start_from "+from, err, "subscription.start_from")
		}
		_, err = c.CreateSubscription(t.Context(), &notifierv1.CreateSubscriptionRequest{Subscription: &notifierv1.Subscription{
			Name: "another", Url: good.GetUrl(), Signature: notifierv1.Subscription_V1A, Secret: webhook.NewPrivateKey().Reveal(),
		}})
		wantViolation(t, "a private key of the caller's", err, "subscription.secret")

		list, err := n.as(t, "admin").ListSubscriptions(t.Context(), &notifierv1.ListSubscriptionsRequest{})
		if err != nil || len(list.GetSubscriptions()) != 1 || list.GetSubscriptions()[0].GetEtag() != "r1" {
			t.Errorf("after all that: %d subscriptions, %v; want the one good one, as it was", len(list.GetSubscriptions()), err)
		}
		audit, err := n.as(t, "admin").ListAuditEntries(t.Context(), &notifierv1.ListAuditEntriesRequest{})
		if err != nil || len(audit.GetAuditEntries()) != 1 {
			t.Errorf("audit: %d entries, %v", len(audit.GetAuditEntries()), err)
		}
	})
}

// Text that one engine stores and the other does not is refused before either sees it.
func TestTextThatIsNoTextIsRefused(t *testing.T) {
	forEachEngine(t, func(t *testing.T, url string) {
		admin := start(t, config(t, url)).as(t, "admin")
		for _, call := range []struct{ method, path, body string }{
			{"POST", "/v1/employees/%ff:erase", "{}"},
			{"POST", "/v1/employees/%C3%28:erase", "{}"},
			{"POST", "/v1/employees/a%00:erase", "{}"},
			{"GET", "/v1/auditEntries?resource=%ed%a0%80", ""},
			{"GET", "/v1/auditEntries?resource=a%00", ""},
			{"POST", "/v1/apiKeys?request_id=a%00", `{"name":"x","role":"VIEWER"}`},
			{"POST", "/v1/subscriptions", `{"name":"x","url":"https://bank.test/","labels":{"a":"\u0000"}}`},
		} {
			if code, answer := admin.rest(t, call.method, call.path, call.body); code != http.StatusBadRequest {
				t.Errorf("%s %s: %d %v", call.method, call.path, code, answer)
			}
		}
		_, err := admin.EraseEmployee(t.Context(), &notifierv1.EraseEmployeeRequest{EmployeeId: "a\x00"})
		wantViolation(t, "over gRPC", err, "employee_id")
		if list, err := admin.ListAuditEntries(t.Context(), &notifierv1.ListAuditEntriesRequest{}); err != nil || len(list.GetAuditEntries()) > 0 {
			t.Errorf("the audit afterwards: %v, %v", list, err)
		}
	})
}

func TestOwnAddressesAreNoReceivers(t *testing.T) {
	n := start(t, config(t, "sqlite:"+t.TempDir()+"/n.db")) // which allows loopback
	c := n.as(t, "bank-a")
	for _, u := range []string{"https://" + n.HTTPAddr() + "/hook", "https://" + n.GRPCAddr(), "https://[::ffff:" + strings.Replace(n.HTTPAddr(), ":", "]:", 1)} {
		_, err := c.CreateSubscription(t.Context(), &notifierv1.CreateSubscriptionRequest{Subscription: &notifierv1.Subscription{Name: "me", Url: u}})
		wantViolation(t, u, err, "subscription.url")
	}
}

func TestGoodSubscriptionsAreTaken(t *testing.T) {
	n := start(t, config(t, "sqlite:"+t.TempDir()+"/n.db"))
	c := n.as(t, "bank-a")
	for i, s := range []*notifierv1.Subscription{
		{Name: `'; DROP TABLE subscriptions;--`},
		{Name: "<script>alert(1)</script>"},
		{Name: "%s%n%x"},
		{Name: "李雷 · Zoë · 👩‍👩‍👧"},
		{Url: "https://bücher.test/hook"},
		{Url: "https://xn--bcher-kva.test/hook?token=a%20b"},
		{Url: "https://bank.test:8443/"},
		{Url: "https://127.0.0.1:9999/x"},
		{Url: "https://8.8.8.8/"},
		{Url: "https://[2606:4700::1]:443/x"},
		{EventTypes: []string{"employee.*"}},
		{EventTypes: []string{"employee.created", "employee.updated", "employee.terminated"}},
		{Filter: `event.data.employee.country in ["DE", "FR"] && event.version > 1`},
		{Secret: "whsec_" + b64(24)},
		{Secret: "whsec_" + b64(64)},
		{Signature: notifierv1.Subscription_V1A},
		{Contact: "https://bank.test/alerts"},
		{Contact: "a+b@x.test"},
		{Description: "two\nlines"},
		{MaxInFlight: 1000, RateLimitPerSecond: 100_000},
		{RetrySchedule: []*durationpb.Duration{durationpb.New(0), durationpb.New(30 * 24 * time.Hour)}},
		{StartFrom: "NOW"},
		{Labels: map[string]string{"a/b.c_d-e": "any value, really"}},
	} {
		if s.GetName() == "" {
			s.Name = fmt.Sprintf("s%d", i)
		}
		if s.GetUrl() == "" {
			s.Url = "https://bank.test/hook"
		}
		made, err := c.CreateSubscription(t.Context(), &notifierv1.CreateSubscriptionRequest{Subscription: s})
		if err != nil {
			t.Errorf("%v: %v", s, err)
			continue
		}
		if made.GetName() != s.GetName() || made.GetUrl() != s.GetUrl() {
			t.Errorf("sent %v, made %v", s, made)
		}
	}
}

func TestHostileSubscriptionsOverREST(t *testing.T) {
	n := start(t, config(t, "sqlite:"+t.TempDir()+"/n.db"))
	c := n.as(t, "bank-a")
	for name, r := range map[string]struct {
		method, path, body string
		want               int
	}{
		"no body":            {"POST", "/v1/subscriptions", "", 400},
		"null":               {"POST", "/v1/subscriptions", "null", 400},
		"array":              {"POST", "/v1/subscriptions", "[]", 400},
		"two values":         {"POST", "/v1/subscriptions", `{} {}`, 400},
		"unknown field":      {"POST", "/v1/subscriptions", `{"name":"a","url":"https://bank.test","colour":"red"}`, 400},
		"duplicate key":      {"POST", "/v1/subscriptions", `{"name":"a","name":"b","url":"https://bank.test"}`, 400},
		"NaN":                {"POST", "/v1/subscriptions", `{"name":"a","url":"https://bank.test","max_in_flight":NaN}`, 400},
		"invalid UTF-8":      {"POST", "/v1/subscriptions", "{\"name\":\"\xc3\x28\",\"url\":\"https://bank.test\"}", 400},
		"unknown enum":       {"POST", "/v1/subscriptions", `{"name":"a","url":"https://bank.test","payload":"HALF"}`, 400},
		"inner URL":          {"POST", "/v1/subscriptions", `{"name":"a","url":"https://10.0.0.1"}`, 400},
		"bad duration":       {"POST", "/v1/subscriptions", `{"name":"a","url":"https://bank.test","retry_schedule":["soon"]}`, 400},
		"id is a path":       {"GET", "/v1/subscriptions/..%2f..%2fetc", "", 400},
		"id with NUL":        {"GET", "/v1/subscriptions/sub_%00", "", 400},
		"id of 10 KB":        {"GET", "/v1/subscriptions/" + strings.Repeat("s", 10_000), "", 400},
		"not there":          {"GET", "/v1/subscriptions/sub_01J8ZQ4T6Y9GZ1K3V5X7A9B2C4", "", 404},
		"lower-case ULID":    {"GET", "/v1/subscriptions/sub_01j8zq4t6y9gz1k3v5x7a9b2c4", "", 400},
		"unknown method":     {"POST", "/v1/subscriptions/sub_01J8ZQ4T6Y9GZ1K3V5X7A9B2C4:explode", "{}", 404},
		"page_size":          {"GET", "/v1/subscriptions?page_size=-1", "", 400},
		"page_size word":     {"GET", "/v1/subscriptions?page_size=many", "", 400},
		"unknown parameter":  {"GET", "/v1/subscriptions?sort=name", "", 400},
		"dot dot":            {"GET", "/v1/../v1/subscriptions", "", 404},
		"double slash":       {"GET", "//v1/subscriptions", "", 404},
		"PUT":                {"PUT", "/v1/subscriptions", "{}", 405},
		"rotate, negative":   {"POST", "/v1/subscriptions/sub_01J8ZQ4T6Y9GZ1K3V5X7A9B2C4:rotateSecret", `{"overlap":"-1s"}`, 400},
		"rotate, 31 days":    {"POST", "/v1/subscriptions/sub_01J8ZQ4T6Y9GZ1K3V5X7A9B2C4:rotateSecret", `{"overlap":"2678400s"}`, 400},
		"request id, spaced": {"POST", "/v1/subscriptions?request_id=a%20b", `{"name":"a","url":"https://bank.test"}`, 400},
	} {
		status, answer := c.rest(t, r.method, r.path, r.body)
		if status != r.want && (r.want < 404 || status < 404 || status > 405) {
			t.Errorf("%s: %d %v; want %d", name, status, answer, r.want)
		}
	}
	if _, answer := c.rest(t, "GET", "/v1/subscriptions", ""); len(answer["subscriptions"].([]any)) != 0 {
		t.Errorf("after all that: %v", answer)
	}
	if status, _ := n.withKey(t, "").rest(t, "GET", "/v1/subscriptions", ""); status != http.StatusUnauthorized {
		t.Errorf("without a key: %d", status)
	}
	if status, _ := n.as(t, "publisher").rest(t, "GET", "/v1/subscriptions", ""); status != http.StatusForbidden {
		t.Errorf("as a publisher: %d", status)
	}
}

// wantViolation fails the test unless err is INVALID_ARGUMENT and blames the field.
func wantViolation(t *testing.T, what string, err error, field string) {
	t.Helper()
	st := status.Convert(err)
	if st.Code() != codes.InvalidArgument {
		t.Errorf("%s: %v; want INVALID_ARGUMENT", what, err)
		return
	}
	for _, d := range st.Details() {
		if bad, ok := d.(*errdetails.BadRequest); ok {
			for _, v := range bad.GetFieldViolations() {
				if strings.HasPrefix(v.GetField(), field) {
					return
				}
			}
		}
	}
	t.Errorf("%s: %v; want a violation of %s", what, st.Details(), field)
}
