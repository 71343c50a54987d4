package notifier_test

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"hirewire.dev/platform/id"
	notifierv1 "hirewire.dev/proto/notifier/v1"
	"hirewire.dev/webhook"
)

// accepts says whether a receiver that trusts only this secret takes a test event.
func (c *client) accepts(t *testing.T, b *bank, s *notifierv1.Subscription, secrets ...webhook.Secret) bool {
	t.Helper()
	if err := b.SetSecrets(secrets...); err != nil {
		t.Fatal(err)
	}
	d, err := c.SendTestEvent(t.Context(), &notifierv1.SendTestEventRequest{Id: s.GetId()})
	if err != nil {
		t.Fatal(err)
	}
	var taken, refused bool
	eventually(t, "the receiver has seen the test event "+d.GetEventId(), 5*time.Second, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, e := range b.events {
			taken = taken || e.ID == d.GetEventId()
		}
		refused = len(b.refused) > 0
		return taken || refused
	})
	b.mu.Lock()
	b.refused = nil
	b.mu.Unlock()
	return taken
}

func parseSecret(t *testing.T, text string) webhook.Secret {
	t.Helper()
	s, err := webhook.ParseSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRotationOverlaps(t *testing.T) {
	forEachEngine(t, func(t *testing.T, url string) {
		n := start(t, config(t, url))
		c := n.as(t, "bank-a")
		b := newBank(t)
		s := c.subscribe(t, b, func(s *notifierv1.Subscription) {
			s.RetrySchedule = []*durationpb.Duration{durationpb.New(0)}
		})
		rotate := func(req *notifierv1.RotateSecretRequest) webhook.Secret {
			t.Helper()
			req.Id = s.GetId()
			got, err := c.RotateSecret(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			return parseSecret(t, got.GetSecret())
		}
		first := parseSecret(t, s.GetSecret())
		second := rotate(&notifierv1.RotateSecretRequest{RequestId: "once"})
		if again := rotate(&notifierv1.RotateSecretRequest{RequestId: "once"}); !again.Equal(second) {
			t.Error("a retry of the rotation made another secret")
		}
		_, err := c.RotateSecret(t.Context(), &notifierv1.RotateSecretRequest{Id: s.GetId(), RequestId: "once", Overlap: durationpb.New(0)})
		wantCode(t, "the request id with another overlap", err, codes.AlreadyExists)
		for name, secret := range map[string]webhook.Secret{"old": first, "new": second} {
			if !c.accepts(t, b, s, secret) {
				t.Errorf("in the overlap, a receiver with the %s secret refuses", name)
			}
		}
		given := webhook.NewSecret()
		if third := rotate(&notifierv1.RotateSecretRequest{Secret: given.Reveal(), Overlap: durationpb.New(2 * time.Second)}); !third.Equal(given) {
			t.Error("the given secret was not taken")
		}
		if !c.accepts(t, b, s, second) {
			t.Error("the second secret does not sign in its overlap")
		}
		eventually(t, "the old secrets end on time", 5*time.Second, func() bool { return !c.accepts(t, b, s, first, second) })
		if !c.accepts(t, b, s, given) {
			t.Error("the newest secret does not sign")
		}
		last := rotate(&notifierv1.RotateSecretRequest{Overlap: durationpb.New(0)})
		if c.accepts(t, b, s, given) {
			t.Error("the old secret signs after a rotation without overlap")
		}
		if !c.accepts(t, b, s, last) {
			t.Error("the newest secret does not sign")
		}
	})
}

func TestAtMostTenOldSecretsSign(t *testing.T) {
	n := start(t, config(t, "sqlite:"+t.TempDir()+"/n.db"))
	c := n.as(t, "bank-a")
	b := newBank(t)
	s := c.subscribe(t, b, func(s *notifierv1.Subscription) {
		s.RetrySchedule = []*durationpb.Duration{durationpb.New(0)}
	})
	all := []webhook.Secret{parseSecret(t, s.GetSecret())}
	for range 12 {
		got, err := c.RotateSecret(t.Context(), &notifierv1.RotateSecretRequest{Id: s.GetId()})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, parseSecret(t, got.GetSecret()))
	}
	for i, secret := range all {
		if got, want := c.accepts(t, b, s, secret), i >= 2; got != want {
			t.Errorf("of 13 secrets, number %d signs: %v", i+1, got)
		}
	}
}

func TestRotationIsInForceOnEveryReplica(t *testing.T) {
	url := postgres(t)
	one, two := start(t, config(t, url)), start(t, config(t, url))
	c, other := one.as(t, "bank-a"), two.as(t, "bank-a")
	b := newBank(t)
	s := c.subscribe(t, b, func(s *notifierv1.Subscription) {
		s.RetrySchedule = []*durationpb.Duration{durationpb.New(0)}
	})
	old := parseSecret(t, s.GetSecret())
	if !other.accepts(t, b, s, old) {
		t.Fatal("the other replica does not sign with the first secret")
	}
	got, err := c.RotateSecret(t.Context(), &notifierv1.RotateSecretRequest{Id: s.GetId(), Overlap: durationpb.New(0)})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	eventually(t, "the other replica signs with the new secret alone", 5*time.Second, func() bool {
		return other.accepts(t, b, s, parseSecret(t, got.GetSecret())) && !other.accepts(t, b, s, old)
	})
	t.Logf("in force after %s", time.Since(began).Round(time.Millisecond))
}

// TestAThousandRotationsUnderLoad rotates as fast as it can while two replicas deliver. The receiver trusts the secrets of the
// overlap, ten at most, and must never see a signature that it cannot verify.
func TestAThousandRotationsUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	url := postgres(t)
	one, two := start(t, config(t, url)), start(t, config(t, url))
	c := one.as(t, "bank-a")
	b := newBank(t)
	s := c.subscribe(t, b, nil)
	secrets := []webhook.Secret{parseSecret(t, s.GetSecret())}

	stop := make(chan struct{})
	published := make(chan []string)
	for _, n := range []*running{one, two} {
		pub := n.as(t, "publisher")
		go func() {
			var ids []string
			for open := true; open; {
				e := aboutEmployee(t, "employee.created", id.New("emp"), "DE", 1)
				if _, err := pub.PublishEvents(t.Context(), &notifierv1.PublishEventsRequest{Events: []*notifierv1.Event{e}}); err != nil {
					t.Error(err)
				} else {
					ids = append(ids, e.GetId())
				}
				select {
				case <-stop:
					open = false
				default:
				}
			}
			published <- ids
		}()
	}
	began := time.Now()
	for range 1000 {
		// As a receiver does it: it chooses the secret, trusts it, and only then puts it in force. The old ones stay trusted
		// until their overlap ends, which is a day.
		next := webhook.NewSecret()
		secrets = append([]webhook.Secret{next}, secrets...)
		if err := b.SetSecrets(secrets...); err != nil {
			t.Fatal(err)
		}
		if _, err := c.RotateSecret(t.Context(), &notifierv1.RotateSecretRequest{Id: s.GetId(), Secret: next.Reveal()}); err != nil {
			t.Fatal(err)
		}
	}
	took := time.Since(began)
	close(stop)
	ids := append(<-published, <-published...)
	eventually(t, "all have arrived", 30*time.Second, func() bool { return len(b.seen()) >= len(ids) })
	if !b.has(t, ids) {
		t.Error("not exactly what was published has arrived")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.refused) > 0 {
		t.Errorf("%d of %d requests could not be verified, the first: %v", len(b.refused), b.requests, b.refused[0].Err)
	}
	t.Logf("1,000 rotations in %s while %d events were delivered", took.Round(time.Millisecond), len(ids))
}
