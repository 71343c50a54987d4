package notifier_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	notifierv1 "hirewire.dev/proto/notifier/v1"
	"hirewire.dev/webhook"
)

func TestAReceiverThatComesLateIsAskedAgain(t *testing.T) {
	forEachEngine(t, func(t *testing.T, url string) {
		n := start(t, config(t, url))
		c := n.as(t, "bank-a")
		b := newBank(t)
		b.answers(http.StatusServiceUnavailable)
		s, err := c.CreateSubscription(t.Context(), &notifierv1.CreateSubscriptionRequest{Subscription: &notifierv1.Subscription{Name: "late", Url: b.URL}})
		if err != nil {
			t.Fatal(err)
		}
		secret, err := webhook.ParseSecret(s.GetSecret())
		if err != nil {
			t.Fatal(err)
		}
		if err := b.SetSecrets(secret); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the reason says what the receiver answered", 5*time.Second, func() bool {
			s, err := c.GetSubscription(t.Context(), &notifierv1.GetSubscriptionRequest{Id: s.GetId()})
			return err == nil && strings.Contains(s.GetStatusReason(), "503") && s.GetStatus() == notifierv1.Subscription_PENDING_VERIFICATION
		})
		b.answers(0)
		eventually(t, "it is active without anybody asking", 10*time.Second, func() bool {
			return c.status(t, s.GetId()) == notifierv1.Subscription_ACTIVE
		})
	})
}

func TestWhoeverDoesNotHoldTheSecretIsNotSentTo(t *testing.T) {
	n := start(t, config(t, "sqlite:"+t.TempDir()+"/n.db"))
	c := n.as(t, "bank-a")
	answer := func(status int, body string) *http.HandlerFunc {
		h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		})
		return &h
	}
	for name, r := range map[string]struct {
		answer *http.HandlerFunc
		want   string
	}{
		"another secret":   {nil, "status 401"},
		"200 and nothing":  {answer(200, ""), "its answer was not"},
		"200 and a word":   {answer(200, "OK"), "its answer was not"},
		"an empty object":  {answer(200, "{}"), "its answer was not"},
		"not found":        {answer(404, ""), "status 404"},
		"a redirect":       {answer(302, ""), "status 302"},
		"a forged answer":  {answer(200, `{"challenge":"x","response":"v1,x"}`), "its answer was not"},
		"more than enough": {answer(200, strings.Repeat("x", 1<<20)), "its answer was not"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBank(t)
			b.answer.Store(r.answer)
			s, err := c.CreateSubscription(t.Context(), &notifierv1.CreateSubscriptionRequest{Subscription: &notifierv1.Subscription{Name: name, Url: b.URL}})
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.VerifySubscription(t.Context(), &notifierv1.VerifySubscriptionRequest{Id: s.GetId()})
			if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), r.want) {
				t.Errorf("verify: %v; want FAILED_PRECONDITION with %q", err, r.want)
			}
			if got := c.status(t, s.GetId()); got != notifierv1.Subscription_PENDING_VERIFICATION {
				t.Errorf("status: %s", got)
			}
		})
	}
}

func TestANewURLHasToAnswerAgain(t *testing.T) {
	forEachEngine(t, func(t *testing.T, url string) {
		n := start(t, config(t, url))
		c := n.as(t, "bank-a")
		b := newBank(t)
		s := c.subscribe(t, b, nil)
		secret, err := webhook.ParseSecret(s.GetSecret())
		if err != nil {
			t.Fatal(err)
		}
		wrong, right := newBank(t), newBank(t, secret)
		move := func(to *bank) *notifierv1.Subscription {
			t.Helper()
			got, err := c.UpdateSubscription(t.Context(), &notifierv1.UpdateSubscriptionRequest{Subscription: &notifierv1.Subscription{Id: s.GetId(), Url: to.URL}})
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		if got := move(wrong); got.GetStatus() != notifierv1.Subscription_PENDING_VERIFICATION {
			t.Errorf("moved to another receiver: %v", got)
		}
		_, err = c.VerifySubscription(t.Context(), &notifierv1.VerifySubscriptionRequest{Id: s.GetId()})
		wantCode(t, "verify the wrong one", err, codes.FailedPrecondition)
		// What is to be held is held across a pause, too: resuming does not make a stranger a receiver.
		if _, err := c.PauseSubscription(t.Context(), &notifierv1.PauseSubscriptionRequest{Id: s.GetId()}); err != nil {
			t.Fatal(err)
		}
		resumed, err := c.ResumeSubscription(t.Context(), &notifierv1.ResumeSubscriptionRequest{Id: s.GetId()})
		if err != nil || resumed.GetStatus() != notifierv1.Subscription_PENDING_VERIFICATION {
			t.Errorf("resumed before it was verified: %v, %v", resumed, err)
		}
		move(right)
		eventually(t, "the right one is active", 5*time.Second, func() bool {
			return c.status(t, s.GetId()) == notifierv1.Subscription_ACTIVE
		})
	})
}

func TestAReceiverWithAPublicKeyAnswersToo(t *testing.T) {
	n := start(t, config(t, "sqlite:"+t.TempDir()+"/n.db"))
	c := n.as(t, "bank-a")
	b := newBank(t)
	b.answers(http.StatusServiceUnavailable)
	s, err := c.CreateSubscription(t.Context(), &notifierv1.CreateSubscriptionRequest{
		Subscription: &notifierv1.Subscription{Name: "asymmetric", Url: b.URL, Signature: notifierv1.Subscription_V1A},
	})
	if err != nil || s.GetSecret() != "" || !strings.HasPrefix(s.GetPublicKey(), "whpk_") {
		t.Fatalf("made: %v, %v; want a public key and no secret", s, err)
	}
	key, err := webhook.ParsePublicKey(s.GetPublicKey())
	if err != nil {
		t.Fatal(err)
	}
	if err := b.SetPublicKeys(key); err != nil {
		t.Fatal(err)
	}
	b.answers(0)
	got, err := c.VerifySubscription(t.Context(), &notifierv1.VerifySubscriptionRequest{Id: s.GetId()})
	if err != nil || got.GetStatus() != notifierv1.Subscription_ACTIVE || got.GetPublicKey() != "" {
		t.Errorf("verified: %v, %v", got, err)
	}

	_, answer := n.withKey(t, "").rest(t, "GET", "/.well-known/webhook-keys", "")
	list, _ := answer["keys"].([]any)
	if len(list) != 1 || list[0].(map[string]any)["public_key"] != s.GetPublicKey() || list[0].(map[string]any)["subscription_id"] != s.GetId() {
		t.Errorf("/.well-known/webhook-keys: %v", answer)
	}
	_, answer = n.withKey(t, "").rest(t, "GET", "/.well-known/webhook-keys?subscription_id=sub_other", "")
	if list, _ := answer["keys"].([]any); len(list) != 0 {
		t.Errorf("of another subscription: %v", answer)
	}
	_, answer = n.withKey(t, "").rest(t, "GET", "/.well-known/webhook-sources", "")
	if list, _ := answer["addresses"].([]any); len(list) != 2 || list[0] != "203.0.113.7/32" {
		t.Errorf("/.well-known/webhook-sources: %v", answer)
	}
}

func TestTheChallengeOutlivesAStop(t *testing.T) {
	forEachEngine(t, func(t *testing.T, url string) {
		cfg := config(t, url)
		n := start(t, cfg)
		b := newBank(t)
		b.answers(http.StatusBadGateway)
		secret := webhook.NewSecret()
		if err := b.SetSecrets(secret); err != nil {
			t.Fatal(err)
		}
		s, err := n.as(t, "bank-a").CreateSubscription(t.Context(), &notifierv1.CreateSubscriptionRequest{
			Subscription: &notifierv1.Subscription{Name: "x", Url: b.URL, Secret: secret.Reveal()},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		b.answers(0)
		c := start(t, cfg).as(t, "bank-a")
		eventually(t, "the next process asks", 40*time.Second, func() bool {
			return c.status(t, s.GetId()) == notifierv1.Subscription_ACTIVE
		})
	})
}
