package notifier_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	notifierv1 "hirewire.dev/proto/notifier/v1"
)

// lists are the lists of the API: what a call gives, and where it says to go on.
func lists(c *client) map[string]func(ctx context.Context, token, filter string, size int32) (n int, next string, err error) {
	return map[string]func(context.Context, string, string, int32) (int, string, error){
		"events": func(ctx context.Context, token, filter string, size int32) (int, string, error) {
			page, err := c.ListEvents(ctx, &notifierv1.ListEventsRequest{PageToken: token, PageSize: size, EmployeeId: filter})
			if err == nil && !page.GetHasMore() {
				return len(page.GetEvents()), "", nil
			}
			return len(page.GetEvents()), page.GetNextPageToken(), err
		},
		"subscriptions": func(ctx context.Context, token, filter string, size int32) (int, string, error) {
			page, err := c.ListSubscriptions(ctx, &notifierv1.ListSubscriptionsRequest{PageToken: token, PageSize: size, Label: filter})
			return len(page.GetSubscriptions()), page.GetNextPageToken(), err
		},
		"deliveries": func(ctx context.Context, token, filter string, size int32) (int, string, error) {
			page, err := c.ListDeliveries(ctx, &notifierv1.ListDeliveriesRequest{PageToken: token, PageSize: size, EmployeeId: filter})
			return len(page.GetDeliveries()), page.GetNextPageToken(), err
		},
		"audit entries": func(ctx context.Context, token, filter string, size int32) (int, string, error) {
			page, err := c.ListAuditEntries(ctx, &notifierv1.ListAuditEntriesRequest{PageToken: token, PageSize: size, Resource: filter})
			return len(page.GetAuditEntries()), page.GetNextPageToken(), err
		},
	}
}

// Long entries make a page shorter, and none is left out or told twice.
func TestPagesFitIntoAnAnswer(t *testing.T) {
	forEachEngine(t, func(t *testing.T, url string) {
		n := start(t, config(t, url))
		admin, pub := n.as(t, "admin"), n.as(t, "publisher")
		const subscriptions, events = 100, 300
		for i := range subscriptions {
			if _, err := admin.CreateSubscription(t.Context(), &notifierv1.CreateSubscriptionRequest{Subscription: &notifierv1.Subscription{
				Name: fmt.Sprint("s", i), Url: "https://127.0.0.1:1025/", Description: strings.Repeat("漢", 2000),
				Filter: `event.id != "` + strings.Repeat("x", 4000) + `"`, EventTypes: []string{"employee.terminated"},
			}}); err != nil {
				t.Fatal(err)
			}
		}
		long := strings.Repeat("𐍈", 255)
		for i := range events {
			e := fact(t, fmt.Sprintf("emp_%d", i), 1, nil)
			for _, field := range []string{"given_name", "family_name", "job_title", "department"} {
				set("employee."+field, long)(e)
			}
			pub.publish(t, e)
		}
		for name, want := range map[string]int{"events": events, "subscriptions": subscriptions, "audit entries": subscriptions} {
			got, pages, token := 0, 0, ""
			for {
				count, next, err := lists(admin)[name](t.Context(), token, "", 1000)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				got, pages = got+count, pages+1
				if token = next; token == "" {
					break
				}
			}
			if got != want || pages < 2 {
				t.Errorf("%s: %d on %d pages, want %d on several", name, got, pages, want)
			}
		}
	})
}

// A token leads on in the list and with the filter that it was given for, unchanged.
func TestPageTokensBelongToTheirQuestion(t *testing.T) {
	n := start(t, config(t, "sqlite:"+t.TempDir()+"/n.db"))
	admin, own := n.as(t, "admin"), n.as(t, "bank-a")
	own.subscribe(t, newBank(t), nil)
	own.subscribe(t, newBank(t), nil)
	n.as(t, "publisher").publish(t, fact(t, "emp_1", 1, nil), fact(t, "emp_2", 1, nil))
	tokens := map[string]string{}
	for name, list := range lists(admin) {
		_, next, err := list(t.Context(), "", "", 1)
		if err != nil || next == "" {
			t.Fatalf("%s: %q, %v", name, next, err)
		}
		tokens[name] = next
	}
	encode := base64.RawURLEncoding.EncodeToString
	for name, list := range lists(admin) {
		if count, _, err := list(t.Context(), tokens[name], "", 1000); count == 0 || err != nil {
			t.Errorf("%s: %d more, %v", name, count, err)
		}
		_, _, err := list(t.Context(), tokens[name], "emp_1", 1)
		wantCode(t, name+" with another filter", err, codes.InvalidArgument)
		wrong := []string{tokens[name][:len(tokens[name])-2], tokens[name] + "AA", encode([]byte("events 1")), encode([]byte("events +5")), encode([]byte("x"))}
		for other, token := range tokens {
			if other != name {
				wrong = append(wrong, token)
			}
		}
		for _, token := range wrong {
			_, _, err := list(t.Context(), token, "", 1)
			wantCode(t, name+" with "+token, err, codes.InvalidArgument)
		}
	}
}
