package subscription_test

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hirewire.dev/notifier/internal/subscription"
)

const hook = "https://bank.test/hook"

// fail makes attempts fail every few minutes for the time.
func (b *bubble) fail(id string, long time.Duration) {
	for end := time.Now().Add(long); time.Now().Before(end); {
		b.health.Observe(id, false)
		time.Sleep(5 * time.Minute)
	}
}

func TestAFailingSubscriptionIsWarnedDisabledProbedAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t)
		const alerts = "https://bank.test/alerts"
		s := b.create(hook, func(d *subscription.Draft) { d.Contact = alerts })
		b.activate(s.ID)
		defer b.run(b.health.Run)()
		if r := b.get(s.ID); r.Status != subscription.Active {
			t.Fatalf("after the challenge: %s, %s", r.Status, r.StatusReason)
		}
		b.post.status(hook, 500)
		b.post.status(alerts, 204)

		b.fail(s.ID, 50*time.Minute)
		if r := b.get(s.ID); r.FailingSince.IsZero() || len(b.post.got(alerts)) != 0 {
			t.Errorf("after 50 minutes: failing since %v, %d warnings", r.FailingSince, len(b.post.got(alerts)))
		}
		b.fail(s.ID, time.Hour)
		warnings := b.post.got(alerts)
		if len(warnings) != 1 || !strings.Contains(b.logs.String(), "nothing but failures") {
			t.Fatalf("after two hours: %d warnings", len(warnings))
		}
		var warning struct {
			Type string
			Data struct {
				Subscription struct{ ID, Status string }
			}
		}
		if err := json.Unmarshal([]byte(warnings[0]), &warning); err != nil || warning.Type != "subscription.failing" || warning.Data.Subscription.ID != s.ID || warning.Data.Subscription.Status != "ACTIVE" {
			t.Errorf("the warning: %s, %v", warnings[0], err)
		}

		// One delivery, and all is forgotten.
		b.health.Observe(s.ID, true)
		time.Sleep(10 * time.Second)
		if r := b.get(s.ID); !r.FailingSince.IsZero() {
			t.Errorf("after a delivery, failing since %v", r.FailingSince)
		}

		b.fail(s.ID, 4*24*time.Hour)
		if r := b.get(s.ID); r.Status != subscription.Active {
			t.Errorf("after 4 days: %s", r.Status)
		}
		b.fail(s.ID, 25*time.Hour)
		r := b.get(s.ID)
		if r.Status != subscription.Disabled || !strings.Contains(r.StatusReason, "nothing but failures since") {
			t.Fatalf("after 5 days: %s, %s", r.Status, r.StatusReason)
		}
		if n := len(b.post.got(alerts)); n != 3 {
			t.Errorf("%d warnings after it was disabled; want one for each run of failures and one for the end", n)
		}
		if snapshot := b.catalog.Current().Targets[s.ID]; snapshot == nil || snapshot.Status != subscription.Disabled || !snapshot.Match(&subscription.Candidate{Type: "employee.created"}) {
			t.Error("a disabled subscription does not hold its events")
		}

		defer b.run(b.verifier.Run)()
		before := len(b.post.got(hook))
		time.Sleep(4 * time.Hour)
		probes := len(b.post.got(hook)) - before
		if probes < 5 || probes > 7 {
			t.Errorf("%d probes in 4 hours; want three soon and then one an hour", probes)
		}
		if r := b.get(s.ID); r.Status != subscription.Disabled {
			t.Errorf("while the probes fail: %s", r.Status)
		}
		b.post.receive(t, hook, parse(t, s.Secret))
		time.Sleep(time.Hour + time.Minute)
		if r := b.get(s.ID); r.Status != subscription.Active || !r.FailingSince.IsZero() {
			t.Errorf("an hour after the receiver is well: %s, %s", r.Status, r.StatusReason)
		}
	})
}

// A run of failures ends with what makes the subscription another one, and with a delivery anywhere.
func TestARunOfFailuresIsForgotten(t *testing.T) {
	resume := func(b *bubble, id string) {
		if _, err := b.service.Resume(b.t.Context(), bankA, id); err != nil {
			b.t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name string
		run  func(b *bubble, id string, other *subscription.Health)
	}{
		{"after it was disabled", func(b *bubble, id string, _ *subscription.Health) {
			for b.get(id).Status == subscription.Active {
				b.fail(id, 5*time.Minute)
			}
			resume(b, id)
		}},
		{"after a pause", func(b *bubble, id string, _ *subscription.Health) {
			b.health.Observe(id, false)
			time.Sleep(10 * time.Second)
			if _, err := b.service.Pause(b.t.Context(), bankA, id); err != nil {
				b.t.Fatal(err)
			}
			time.Sleep(6 * 24 * time.Hour)
			resume(b, id)
		}},
		{"at another URL", func(b *bubble, id string, _ *subscription.Health) {
			b.health.Observe(id, false)
			time.Sleep(6 * 24 * time.Hour)
			if _, err := b.service.Update(b.t.Context(), bankA, id, "", func(d *subscription.Subscription) error { d.URL = "https://bank.test/other"; return nil }); err != nil {
				b.t.Fatal(err)
			}
			b.post.answer("https://bank.test/other", b.post.answers[hook])
			b.activate(id)
		}},
		{"while another replica delivers now and then", func(b *bubble, id string, other *subscription.Health) {
			for range 6 * 24 {
				b.fail(id, 55*time.Minute)
				other.Observe(id, true)
				time.Sleep(5 * time.Minute)
			}
		}},
		{"with a delivery of another replica between two failures", func(b *bubble, id string, other *subscription.Health) {
			b.health.Observe(id, false)
			time.Sleep(6 * 24 * time.Hour)
			other.Observe(id, true)
			time.Sleep(time.Minute)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBubble(t)
				s := b.create(hook, nil)
				b.activate(s.ID)
				other := subscription.NewHealth(b.service, b.catalog, &b.post, slog.New(slog.DiscardHandler), subscription.HealthConfig{})
				defer b.run(b.health.Run, other.Run)()
				c.run(b, s.ID, other)
				for range 2 {
					b.health.Observe(s.ID, false)
					time.Sleep(10 * time.Second)
				}
				if r := b.get(s.ID); r.Status != subscription.Active || !r.FailingSince.IsZero() && time.Since(r.FailingSince) > time.Minute {
					t.Errorf("%s, failing since %v, %q", r.Status, r.FailingSince, r.StatusReason)
				}
			})
		})
	}
}

func TestGoneDisablesWhatWasAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t)
		s := b.create(hook, nil)
		b.activate(s.ID)
		if err := b.health.Gone(t.Context(), s.ID, "https://bank.test/former"); err != nil {
			t.Fatal(err)
		}
		if r := b.get(s.ID); r.Status != subscription.Active {
			t.Errorf("a 410 from a former URL: %s", r.Status)
		}
		for range 2 {
			if err := b.health.Gone(t.Context(), s.ID, hook); err != nil {
				t.Fatal(err)
			}
		}
		r := b.get(s.ID)
		if r.Status != subscription.Disabled || r.StatusReason != "the receiver answered 410 Gone" {
			t.Errorf("a 410: %s, %s", r.Status, r.StatusReason)
		}
		defer b.run(b.verifier.Run)()
		before := len(b.post.got(hook))
		time.Sleep(10 * time.Minute)
		if n := len(b.post.got(hook)) - before; n != 0 {
			t.Errorf("%d probes of one who wants nothing any more", n)
		}
		if r, err := b.service.Resume(t.Context(), bankA, s.ID); err != nil || r.Status != subscription.Active {
			t.Errorf("resumed: %s, %v", r.Status, err)
		}
		if err := b.service.Delete(t.Context(), bankA, s.ID); err != nil {
			t.Fatal(err)
		}
		if err := b.health.Gone(t.Context(), s.ID, hook); err != nil {
			t.Errorf("a 410 for one that is deleted: %v", err)
		}
	})
}
