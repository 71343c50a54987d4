package notifier_test

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	notifierv1 "hirewire.dev/proto/notifier/v1"
)

func TestTheAuditTellsWhoChangedWhat(t *testing.T) {
	forEachEngine(t, func(t *testing.T, url string) {
		n := start(t, config(t, url))
		c, admin := n.as(t, "bank-a"), n.as(t, "admin")
		b := newBank(t)
		s := c.subscribe(t, b, func(s *notifierv1.Subscription) {
			s.Name, s.Url = "accounts", b.URL+"?token=very-secret-token"
		})
		ctx := metadata.AppendToOutgoingContext(t.Context(), "x-request-id", "my-call-42")
		if _, err := c.UpdateSubscription(ctx, &notifierv1.UpdateSubscriptionRequest{
			Subscription: &notifierv1.Subscription{Id: s.GetId(), Description: "a new purpose"},
		}); err != nil {
			t.Fatal(err)
		}
		rotated, err := admin.RotateSecret(t.Context(), &notifierv1.RotateSecretRequest{Id: s.GetId()})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.DeleteSubscription(t.Context(), &notifierv1.DeleteSubscriptionRequest{Id: s.GetId()}); err != nil {
			t.Fatal(err)
		}
		var entries []*notifierv1.AuditEntry
		req := &notifierv1.ListAuditEntriesRequest{Resource: s.GetId(), PageSize: 2}
		for {
			page, err := admin.ListAuditEntries(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			entries = append(entries, page.GetAuditEntries()...)
			if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
				break
			}
		}
		var got []string
		for _, e := range entries {
			got = append(got, e.GetActor()+" "+e.GetAction())
			if !strings.HasPrefix(e.GetId(), "aud_") || e.GetAt() == nil || e.GetRequestId() == "" && e.GetActor() != "notifier" {
				t.Errorf("an entry without id, time or request id: %v", e)
			}
			text := fmt.Sprint(e)
			for _, secret := range []string{s.GetSecret(), rotated.GetSecret(), "very-secret-token"} {
				if strings.Contains(text, strings.TrimPrefix(secret, "whsec_")) {
					t.Errorf("%s holds a secret", e.GetAction())
				}
			}
		}
		want := "[bank-a DeleteSubscription admin RotateSecret bank-a UpdateSubscription notifier VerifySubscription bank-a CreateSubscription]"
		if fmt.Sprint(got) != want {
			t.Fatalf("%v, want %s", got, want)
		}
		update := entries[2]
		if update.GetRequestId() != "my-call-42" {
			t.Errorf("the request id of the update: %q", update.GetRequestId())
		}
		before, after := update.GetBefore().GetFields(), update.GetAfter().GetFields()
		if before["description"].GetStringValue() != "" || after["description"].GetStringValue() != "a new purpose" || after["name"].GetStringValue() != "accounts" {
			t.Errorf("the update: before %v, after %v", before["description"], after["description"])
		}
		if keys := entries[1].GetAfter().GetFields()["keys"].GetListValue().GetValues(); len(keys) != 2 {
			t.Errorf("keys after the rotation: %v", keys)
		}
		if entries[0].GetAfter() != nil || entries[4].GetBefore() != nil {
			t.Error("there is something after a delete, or before a create")
		}
		for _, token := range []string{"x", s.GetId()} {
			_, err := admin.ListAuditEntries(t.Context(), &notifierv1.ListAuditEntriesRequest{PageToken: token})
			wantCode(t, "page token "+token, err, codes.InvalidArgument)
		}
	})
}

// TestTheAdminPlaneOverREST goes through it once with nothing but HTTP.
func TestTheAdminPlaneOverREST(t *testing.T) {
	forEachEngine(t, func(t *testing.T, url string) {
		n := start(t, config(t, url))
		c, admin := n.as(t, "bank-a"), n.as(t, "admin")
		b := newBank(t)
		call := func(c *client, method, path, body string, want int) map[string]any {
			t.Helper()
			status, answer := c.rest(t, method, path, body)
			if status != want {
				t.Fatalf("%s %s: %d %v; want %d", method, path, status, answer, want)
			}
			return answer
		}
		made := call(c, "POST", "/v1/subscriptions?request_id=r1", `{"name":"rest","url":"`+b.URL+`","labels":{"a":"b"},"event_types":["employee.*"]}`, 200)
		again := call(c, "POST", "/v1/subscriptions?request_id=r1", `{"name":"rest","url":"`+b.URL+`","labels":{"a":"b"},"event_types":["employee.*"]}`, 200)
		if made["id"] != again["id"] || made["secret"] != again["secret"] || made["status"] != "PENDING_VERIFICATION" {
			t.Errorf("made %v, again %v", made, again)
		}
		if err := b.SetSecrets(parseSecret(t, made["secret"].(string))); err != nil {
			t.Fatal(err)
		}
		path := "/v1/subscriptions/" + made["id"].(string)
		if got := call(c, "POST", path+":verify", "", 200); got["status"] != "ACTIVE" {
			t.Errorf("verified: %v", got)
		}
		if got := call(c, "PATCH", path, `{"description":"d","max_in_flight":3}`, 200); got["description"] != "d" || got["name"] != "rest" || got["max_in_flight"] != 3.0 {
			t.Errorf("patched: %v", got)
		}
		call(c, "PATCH", path, `{"etag":"r1","description":"e"}`, 409)
		if got := call(c, "PATCH", path+"?update_mask=description", `{"description":"","name":"ignored"}`, 200); got["description"] != "" || got["name"] != "rest" {
			t.Errorf("patched with a mask: %v", got)
		}
		if got := call(c, "POST", path+":pause", "{}", 200); got["status"] != "PAUSED" {
			t.Errorf("paused: %v", got)
		}
		if got := call(c, "GET", "/v1/subscriptions?status=PAUSED&label=a%3Db", "", 200); len(got["subscriptions"].([]any)) != 1 {
			t.Errorf("listed: %v", got)
		}
		if got := call(c, "POST", path+":resume", "", 200); got["status"] != "ACTIVE" {
			t.Errorf("resumed: %v", got)
		}
		if got := call(c, "POST", path+":rotateSecret", `{"overlap":"3600s"}`, 200); !strings.HasPrefix(got["secret"].(string), "whsec_") || got["secret"] == made["secret"] {
			t.Errorf("rotated: %v", got)
		}
		if got := call(c, "POST", path+":test", "", 200); got["event_type"] != "webhook.test" || got["subscription_id"] != made["id"] {
			t.Errorf("tested: %v", got)
		}
		key := call(admin, "POST", "/v1/apiKeys", `{"name":"rest-key","role":"VIEWER"}`, 200)
		if got := call(n.withKey(t, key["secret"].(string)), "GET", "/v1/apiKeys", "", 200); len(got["api_keys"].([]any)) != 1 {
			t.Errorf("keys: %v", got)
		}
		call(admin, "POST", "/v1/apiKeys/"+key["id"].(string)+":revoke", "", 200)
		call(n.withKey(t, key["secret"].(string)), "GET", "/v1/apiKeys", "", 401)
		if got := call(admin, "GET", "/v1/auditEntries?resource="+made["id"].(string), "", 200); len(got["audit_entries"].([]any)) != 7 {
			t.Errorf("audit: %d entries", len(got["audit_entries"].([]any)))
		}
		call(c, "DELETE", path, "", 200)
		call(c, "GET", path, "", 404)
		call(n.as(t, "bank-b"), "GET", path, "", 404)
	})
}
