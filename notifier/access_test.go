package notifier_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"hirewire.dev/notifier"
	"hirewire.dev/platform/settings"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

func TestAPIKeyLifeCycle(t *testing.T) {
	forEachEngine(t, func(t *testing.T, url string) {
		n := start(t, config(t, url))
		admin := n.as(t, "admin")
		made, err := admin.CreateApiKey(t.Context(), &notifierv1.CreateApiKeyRequest{
			ApiKey: &notifierv1.ApiKey{Name: "bank-c", Role: notifierv1.ApiKey_BANK}, RequestId: "r1",
		})
		if err != nil || len(made.GetSecret()) < 24 || made.GetRevokedAt() != nil {
			t.Fatalf("created: %v, %v", made, err)
		}
		again, err := admin.CreateApiKey(t.Context(), &notifierv1.CreateApiKeyRequest{
			ApiKey: &notifierv1.ApiKey{Name: "bank-c", Role: notifierv1.ApiKey_BANK}, RequestId: "r1",
		})
		if err != nil || again.GetId() != made.GetId() || again.GetSecret() != made.GetSecret() {
			t.Errorf("retried: %v, %v", again, err)
		}
		_, err = admin.CreateApiKey(t.Context(), &notifierv1.CreateApiKeyRequest{
			ApiKey: &notifierv1.ApiKey{Name: "bank-c", Role: notifierv1.ApiKey_ADMIN}, RequestId: "r1",
		})
		wantField(t, "the request id with another role", err, codes.AlreadyExists, "request_id")

		// It works at once, and owns what it makes.
		c := n.withKey(t, made.GetSecret())
		s, err := c.CreateSubscription(t.Context(), &notifierv1.CreateSubscriptionRequest{Subscription: &notifierv1.Subscription{Name: "x", Url: newBank(t).URL}})
		if err != nil || s.GetOwner() != "bank-c" {
			t.Fatalf("with the new key: %v, %v", s, err)
		}
		list, err := admin.ListApiKeys(t.Context(), &notifierv1.ListApiKeysRequest{})
		if err != nil || len(list.GetApiKeys()) != 1 || list.GetApiKeys()[0].GetSecret() != "" || list.GetApiKeys()[0].GetRole() != notifierv1.ApiKey_BANK {
			t.Errorf("listed: %v, %v", list, err)
		}
		watching, err := c.WatchDeliveries(t.Context(), &notifierv1.WatchDeliveriesRequest{})
		if err == nil {
			_, err = watching.Header()
		}
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			revoked, err := admin.RevokeApiKey(t.Context(), &notifierv1.RevokeApiKeyRequest{Id: made.GetId()})
			if err != nil || revoked.GetRevokedAt() == nil {
				t.Errorf("revoked: %v, %v", revoked, err)
			}
		}
		_, err = c.ListSubscriptions(t.Context(), &notifierv1.ListSubscriptionsRequest{})
		wantCode(t, "with the revoked key", err, codes.Unauthenticated)
		began := time.Now()
		_, err = watching.Recv()
		wantCode(t, "a stream that was open", err, codes.Unauthenticated)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it was open for another %s", took)
		}
		_, err = admin.RevokeApiKey(t.Context(), &notifierv1.RevokeApiKeyRequest{Id: strings.Replace(made.GetId(), "key_0", "key_1", 1)})
		wantCode(t, "revoke what is not there", err, codes.NotFound)

		given, err := admin.CreateApiKey(t.Context(), &notifierv1.CreateApiKeyRequest{
			ApiKey: &notifierv1.ApiKey{Name: "bank-c", Role: notifierv1.ApiKey_VIEWER, Secret: "chosen-by-the-administrator"},
		})
		if err != nil || given.GetSecret() != "chosen-by-the-administrator" {
			t.Errorf("with a given secret, and the name of a revoked key: %v, %v", given, err)
		}
		for name, k := range map[string]*notifierv1.ApiKey{
			"name":           {Name: "Bank C", Role: notifierv1.ApiKey_BANK},
			"no name":        {Role: notifierv1.ApiKey_BANK},
			"reserved name":  {Name: "notifier", Role: notifierv1.ApiKey_BANK},
			"no role":        {Name: "x"},
			"unknown role":   {Name: "x", Role: 99},
			"short secret":   {Name: "x", Role: notifierv1.ApiKey_BANK, Secret: "too-short"},
			"spaced secret":  {Name: "x", Role: notifierv1.ApiKey_BANK, Secret: "has spaces in it, so it is refused"},
			"long secret":    {Name: "x", Role: notifierv1.ApiKey_BANK, Secret: strings.Repeat("x", 300)},
			"static secret":  {Name: "x", Role: notifierv1.ApiKey_BANK, Secret: keys["viewer"]},
			"taken secret":   {Name: "x", Role: notifierv1.ApiKey_BANK, Secret: "chosen-by-the-administrator"},
			"control in it":  {Name: "x\n", Role: notifierv1.ApiKey_BANK},
			"64 and 1 chars": {Name: strings.Repeat("x", 65), Role: notifierv1.ApiKey_BANK},
		} {
			_, err := admin.CreateApiKey(t.Context(), &notifierv1.CreateApiKeyRequest{ApiKey: k})
			wantCode(t, name, err, codes.InvalidArgument)
			if !strings.HasPrefix(fieldOf(err), "api_key.") {
				t.Errorf("%s: it names %q", name, fieldOf(err))
			}
		}
		for _, name := range []string{"bank-c", "bank-a", "admin"} {
			_, err = admin.CreateApiKey(t.Context(), &notifierv1.CreateApiKeyRequest{ApiKey: &notifierv1.ApiKey{Name: name, Role: notifierv1.ApiKey_BANK}})
			wantField(t, "the taken name "+name, err, codes.AlreadyExists, "api_key.name")
		}
		if logs := n.logs.String(); strings.Contains(logs, made.GetSecret()) || strings.Contains(logs, "chosen-by-the-administrator") {
			t.Error("the log holds a key")
		}
	})
}

func TestRevocationReachesEveryReplica(t *testing.T) {
	url := postgres(t)
	one, two := start(t, config(t, url)), start(t, config(t, url))
	admin := one.as(t, "admin")
	made, err := admin.CreateApiKey(t.Context(), &notifierv1.CreateApiKeyRequest{ApiKey: &notifierv1.ApiKey{Name: "v", Role: notifierv1.ApiKey_VIEWER}})
	if err != nil {
		t.Fatal(err)
	}
	c := two.withKey(t, made.GetSecret())
	if _, err := c.ListSubscriptions(t.Context(), &notifierv1.ListSubscriptionsRequest{}); err != nil {
		t.Errorf("a new key, at once, at another replica: %v", err)
	}
	if _, err := admin.RevokeApiKey(t.Context(), &notifierv1.RevokeApiKeyRequest{Id: made.GetId()}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	eventually(t, "another replica refuses the revoked key", 5*time.Second, func() bool {
		_, err := c.ListSubscriptions(t.Context(), &notifierv1.ListSubscriptionsRequest{})
		return status.Code(err) == codes.Unauthenticated
	})
	t.Logf("refused after %s", time.Since(began).Round(time.Millisecond))
}

func TestTheFirstAdminKeyIsNeeded(t *testing.T) {
	url := "sqlite:" + t.TempDir() + "/n.db"
	cfg := config(t, url)
	admin := cfg.AdminKey
	cfg.AdminKey = settings.Secret{}
	if _, err := notifier.New(t.Context(), cfg, nil); err == nil || !strings.Contains(err.Error(), "NOTIFIER_ADMIN_KEY") {
		t.Fatalf("without any admin key: %v", err)
	}
	cfg.AdminKey = admin
	n := start(t, cfg)
	made, err := n.as(t, "admin").CreateApiKey(t.Context(), &notifierv1.CreateApiKeyRequest{ApiKey: &notifierv1.ApiKey{Name: "boss", Role: notifierv1.ApiKey_ADMIN}})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	cfg.AdminKey = settings.Secret{}
	n = start(t, cfg)
	if _, err := n.withKey(t, made.GetSecret()).ListApiKeys(t.Context(), &notifierv1.ListApiKeysRequest{}); err != nil {
		t.Errorf("with the stored admin key: %v", err)
	}
	_, err = n.as(t, "admin").ListApiKeys(t.Context(), &notifierv1.ListApiKeysRequest{})
	wantCode(t, "with the one that is not configured any more", err, codes.Unauthenticated)
}
