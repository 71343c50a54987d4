package subscription_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hirewire.dev/notifier/internal/subscription"
	"hirewire.dev/webhook"
)

func parse(t *testing.T, text string) webhook.Secret {
	t.Helper()
	s, err := webhook.ParseSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTheChallengeIsRepeatedAFewTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t)
		s := b.create(hook, nil)
		b.post.status(hook, 503)
		began := time.Now()
		stop := b.run(b.verifier.Run)
		defer func() { stop() }()
		at := []time.Duration{0, time.Second, 6 * time.Second, 36 * time.Second, 156 * time.Second}
		for i, due := range at {
			time.Sleep(time.Until(began.Add(due + 1500*time.Millisecond)))
			if n := len(b.post.got(hook)); n != i+1 && i > 1 {
				t.Errorf("%d challenges %s after the create; want %d", n, due, i+1)
			}
		}
		time.Sleep(20 * time.Minute)
		if n := len(b.post.got(hook)); n != len(at) {
			t.Errorf("%d challenges in twenty minutes; want %d", n, len(at))
		}
		r := b.get(s.ID)
		if r.Status != subscription.PendingVerification || !strings.Contains(r.StatusReason, "503") || !strings.Contains(r.StatusReason, "VerifySubscription") {
			t.Errorf("in the end: %s, %q", r.Status, r.StatusReason)
		}
		b.post.receive(t, hook, parse(t, s.Secret))
		if r, err := b.service.Verify(t.Context(), bankA, s.ID); err != nil || r.Status != subscription.Active || r.StatusReason != "" {
			t.Errorf("verified by hand: %s, %q, %v", r.Status, r.StatusReason, err)
		}
	})
}

func TestAnAnswerFromAFormerURLDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t)
		s := b.create(hook, nil)
		const other = "https://other.test/hook"
		r := b.get(s.ID)
		// The receiver at the first URL answers while the URL is changed.
		b.post.answer(hook, answerAfter(t, time.Second, parse(t, s.Secret)))
		done := make(chan error, 1)
		go func() {
			_, err := b.service.Verify(t.Context(), bankA, s.ID)
			done <- err
		}()
		time.Sleep(500 * time.Millisecond)
		if _, err := b.service.Update(t.Context(), bankA, s.ID, r.ETag(), func(s *subscription.Subscription) error {
			s.URL = other
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err == nil || !strings.Contains(err.Error(), "changed meanwhile") {
			t.Errorf("verify: %v", err)
		}
		if r := b.get(s.ID); r.Status != subscription.PendingVerification || !r.VerifiedAt.IsZero() {
			t.Errorf("the other URL counts as verified: %s", r.Status)
		}
	})
}
