package subscription_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"hirewire.dev/notifier/internal/access"
	"hirewire.dev/notifier/internal/subscription"
)

func TestASecretIsShownAgainForADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t)
		create := func(name string) (subscription.Shown, error) {
			return b.service.Create(t.Context(), bankA, subscription.Draft{
				Subscription: subscription.Subscription{Name: name, URL: hook}, RequestID: "r1",
			})
		}
		first, err := create("one")
		if err != nil {
			t.Fatal(err)
		}
		rotate := func() (subscription.Shown, error) {
			return b.service.Rotate(t.Context(), bankA, first.ID, subscription.Rotation{RequestID: "r2", Overlap: time.Hour})
		}
		rotated, err := rotate()
		if err != nil || rotated.Secret == first.Secret {
			t.Fatal(rotated.Secret == first.Secret, err)
		}
		time.Sleep(23 * time.Hour)
		if again, err := create("one"); err != nil || again.ID != first.ID || again.Secret != first.Secret {
			t.Errorf("created again after 23 h: the same one %v, the same secret %v, %v", again.ID == first.ID, again.Secret == first.Secret, err)
		}
		if again, err := rotate(); err != nil || again.Secret != rotated.Secret || again.Revision != rotated.Revision {
			t.Errorf("rotated again after 23 h: the same secret %v, %v", again.Secret == rotated.Secret, err)
		}
		time.Sleep(2 * time.Hour)
		if again, err := create("one"); err != nil || again.ID != first.ID || again.Secret != "" {
			t.Errorf("created again after 25 h: the same one %v, a secret %v, %v", again.ID == first.ID, again.Secret != "", err)
		}
		if again, err := rotate(); err != nil || again.Secret != "" {
			t.Errorf("rotated again after 25 h: a secret %v, %v", again.Secret != "", err)
		}
		if _, err := create("two"); !errors.Is(err, subscription.ErrRequestReused) {
			t.Errorf("the request id with other content: %v", err)
		}
		if _, err := b.service.Rotate(t.Context(), access.Caller{Name: "bank-b", Owner: "bank-b"}, first.ID, subscription.Rotation{RequestID: "r2"}); !errors.Is(err, subscription.ErrNotFound) {
			t.Errorf("another bank with the request id: %v", err)
		}
		if err := b.service.Delete(t.Context(), bankA, first.ID); err != nil {
			t.Fatal(err)
		}
		if next, err := create("one"); err != nil || next.ID == first.ID || next.Secret == "" {
			t.Errorf("created again after it was deleted: another one %v, a secret %v, %v", next.ID != first.ID, next.Secret != "", err)
		}
	})
}

func TestTheCatalogSaysWhenItHasLostTouch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t)
		if err := b.catalog.Check(t.Context()); err == nil {
			t.Error("it is well before it has read anything")
		}
		if _, err := b.catalog.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := b.catalog.Check(t.Context()); err != nil {
			t.Errorf("just after it was read: %v", err)
		}
		time.Sleep(3 * time.Second)
		if err := b.catalog.Check(t.Context()); err == nil {
			t.Error("it is well 3 s after it was read")
		}
		stop := b.run(b.catalog.Run)
		time.Sleep(time.Minute)
		if err := b.catalog.Check(t.Context()); err != nil {
			t.Errorf("while it follows the store: %v", err)
		}
		stop()
	})
}
