package notifier_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	notifierv1 "hirewire.dev/proto/notifier/v1"
	"hirewire.dev/webhook"
)

func TestSubscriptionLifeCycle(t *testing.T) {
	forEachEngine(t, func(t *testing.T, url string) {
		n := start(t, config(t, url))
		c := n.as(t, "bank-a")
		b := newBank(t)
		made := c.subscribe(t, b, func(s *notifierv1.Subscription) {
			s.Name, s.Description, s.Contact = "accounts", "opens accounts", "ops@bank.test"
			s.EventTypes, s.Filter = []string{"employee.*"}, `event.data.employee.country == "DE"`
			s.Payload, s.Format, s.Ordering = notifierv1.Subscription_THIN, notifierv1.Subscription_XML, notifierv1.Subscription_NONE
			s.MaxInFlight, s.RateLimitPerSecond = 7, 99
			s.RetrySchedule = []*durationpb.Duration{durationpb.New(0), durationpb.New(1500 * time.Millisecond)}
			s.Labels = map[string]string{"team": "payroll"}
		})
		if made.GetOwner() != "bank-a" || !strings.HasPrefix(made.GetSecret(), "whsec_") || made.GetStatus() != notifierv1.Subscription_PENDING_VERIFICATION {
			t.Errorf("answer to create: %v", made)
		}
		got, err := c.GetSubscription(t.Context(), &notifierv1.GetSubscriptionRequest{Id: made.GetId()})
		if err != nil {
			t.Fatal(err)
		}
		want := proto.CloneOf(made)
		want.Secret, want.Status, want.StatusReason = "", notifierv1.Subscription_ACTIVE, ""
		if diff := cmp.Diff(want, got, protocmp.Transform(), protocmp.IgnoreFields(&notifierv1.Subscription{}, "etag", "updated_at")); diff != "" {
			t.Errorf("get after create (-want +got):\n%s", diff)
		}

		paused, err := c.PauseSubscription(t.Context(), &notifierv1.PauseSubscriptionRequest{Id: made.GetId()})
		if err != nil || paused.GetStatus() != notifierv1.Subscription_PAUSED || paused.GetStatusReason() != "paused by bank-a" {
			t.Errorf("paused: %v, %v", paused, err)
		}
		again, err := c.PauseSubscription(t.Context(), &notifierv1.PauseSubscriptionRequest{Id: made.GetId()})
		if err != nil || again.GetEtag() != paused.GetEtag() {
			t.Errorf("pausing twice changed it: %v, %v", again, err)
		}
		resumed, err := c.ResumeSubscription(t.Context(), &notifierv1.ResumeSubscriptionRequest{Id: made.GetId()})
		if err != nil || resumed.GetStatus() != notifierv1.Subscription_ACTIVE {
			t.Errorf("resumed: %v, %v", resumed, err)
		}
		verified, err := c.VerifySubscription(t.Context(), &notifierv1.VerifySubscriptionRequest{Id: made.GetId()})
		if err != nil || verified.GetStatus() != notifierv1.Subscription_ACTIVE {
			t.Errorf("verified: %v, %v", verified, err)
		}

		if _, err := c.DeleteSubscription(t.Context(), &notifierv1.DeleteSubscriptionRequest{Id: made.GetId()}); err != nil {
			t.Fatal(err)
		}
		_, err = c.GetSubscription(t.Context(), &notifierv1.GetSubscriptionRequest{Id: made.GetId()})
		wantCode(t, "get a deleted one", err, codes.NotFound)
		_, err = c.DeleteSubscription(t.Context(), &notifierv1.DeleteSubscriptionRequest{Id: made.GetId()})
		wantCode(t, "delete it twice", err, codes.NotFound)
	})
}

func TestUpdateSubscription(t *testing.T) {
	forEachEngine(t, func(t *testing.T, url string) {
		n := start(t, config(t, url))
		c := n.as(t, "bank-a")
		b := newBank(t)
		s := c.subscribe(t, b, func(s *notifierv1.Subscription) { s.Name = "one" })
		update := func(s *notifierv1.Subscription, paths ...string) (*notifierv1.Subscription, error) {
			return c.UpdateSubscription(t.Context(), &notifierv1.UpdateSubscriptionRequest{Subscription: s, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}})
		}
		current, err := c.GetSubscription(t.Context(), &notifierv1.GetSubscriptionRequest{Id: s.GetId()})
		if err != nil {
			t.Fatal(err)
		}

		got, err := update(&notifierv1.Subscription{Id: s.GetId(), Description: "new", Name: "not named by the mask"}, "description")
		if err != nil || got.GetDescription() != "new" || got.GetName() != "one" || got.GetEtag() == current.GetEtag() {
			t.Errorf("with a mask: %v, %v", got, err)
		}
		got, err = update(&notifierv1.Subscription{Id: s.GetId(), MaxInFlight: 5})
		if err != nil || got.GetMaxInFlight() != 5 || got.GetDescription() != "new" {
			t.Errorf("without a mask: %v, %v", got, err)
		}
		got, err = update(&notifierv1.Subscription{Id: s.GetId()}, "description", "max_in_flight", "payload")
		if err != nil || got.GetDescription() != "" || got.GetMaxInFlight() != 0 || got.GetPayload() != notifierv1.Subscription_FULL {
			t.Errorf("cleared: %v, %v", got, err)
		}
		_, err = update(&notifierv1.Subscription{Id: s.GetId(), Description: "x", Etag: current.GetEtag()}, "description")
		wantCode(t, "a stale etag", err, codes.Aborted)
		got, err = update(&notifierv1.Subscription{Id: s.GetId(), Description: "x", Etag: got.GetEtag()}, "description")
		if err != nil || got.GetDescription() != "x" {
			t.Errorf("with the right etag: %v, %v", got, err)
		}
		// What was read can be written back as it is.
		if _, err := update(proto.CloneOf(got)); err != nil {
			t.Errorf("written back without a mask: %v", err)
		}
		if _, err := update(got, "*"); status.Code(err) != codes.Aborted {
			t.Errorf("written back with an etag that is stale by now: %v", err)
		}
		for name, c := range map[string]struct {
			s    *notifierv1.Subscription
			path string
			want codes.Code
		}{
			"unknown field":        {&notifierv1.Subscription{}, "colour", codes.InvalidArgument},
			"a field of a field":   {&notifierv1.Subscription{}, "labels.team", codes.InvalidArgument},
			"secret":               {&notifierv1.Subscription{Secret: webhook.NewSecret().Reveal()}, "secret", codes.InvalidArgument},
			"start_from":           {&notifierv1.Subscription{StartFrom: "EARLIEST"}, "start_from", codes.InvalidArgument},
			"signature":            {&notifierv1.Subscription{Signature: notifierv1.Subscription_V1A}, "signature", codes.InvalidArgument},
			"same signature":       {&notifierv1.Subscription{Signature: notifierv1.Subscription_V1}, "signature", codes.OK},
			"status is output":     {&notifierv1.Subscription{Status: notifierv1.Subscription_DISABLED}, "status", codes.OK},
			"bad value":            {&notifierv1.Subscription{MaxInFlight: -1}, "max_in_flight", codes.InvalidArgument},
			"the name is required": {&notifierv1.Subscription{}, "name", codes.InvalidArgument},
			"replace with nothing": {&notifierv1.Subscription{}, "*", codes.InvalidArgument},
		} {
			c.s.Id = s.GetId()
			_, err := update(c.s, c.path)
			wantCode(t, name, err, c.want)
		}
		if c.status(t, s.GetId()) != notifierv1.Subscription_ACTIVE {
			t.Error("a change of another field made it wait for the challenge")
		}
		_, err = update(&notifierv1.Subscription{Description: "x"}, "description")
		wantCode(t, "no id", err, codes.InvalidArgument)
	})
}

func TestCreateIsIdempotentByRequestID(t *testing.T) {
	forEachEngine(t, func(t *testing.T, url string) {
		n := start(t, config(t, url))
		c, other := n.as(t, "bank-a"), n.as(t, "bank-b")
		b := newBank(t)
		create := func(c *client, name string) (*notifierv1.Subscription, error) {
			return c.CreateSubscription(t.Context(), &notifierv1.CreateSubscriptionRequest{
				RequestId: "request-1", Subscription: &notifierv1.Subscription{Name: name, Url: b.URL},
			})
		}
		answers := make(chan *notifierv1.Subscription, 50)
		for range cap(answers) {
			go func() {
				s, err := create(c, "one")
				if err != nil {
					t.Error(err)
				}
				answers <- s
			}()
		}
		first := <-answers
		for range cap(answers) - 1 {
			if s := <-answers; s.GetId() != first.GetId() || s.GetSecret() != first.GetSecret() || s.GetSecret() == "" {
				t.Fatalf("one call answered %v, another %v", first, s)
			}
		}
		_, err := create(c, "two")
		wantField(t, "the same request id with other content", err, codes.AlreadyExists, "request_id")
		if s, err := create(other, "one"); err != nil || s.GetId() == first.GetId() {
			t.Errorf("the same request id of another caller: %v, %v", s, err)
		}
		list, err := c.ListSubscriptions(t.Context(), &notifierv1.ListSubscriptionsRequest{})
		if err != nil || len(list.GetSubscriptions()) != 1 || list.GetSubscriptions()[0].GetSecret() != "" {
			t.Errorf("listed: %v, %v", list, err)
		}
		// A key's name is not for ever: whoever has it next does not see what the first one made.
		admin := n.as(t, "admin")
		shared := func(role notifierv1.ApiKey_Role) (*notifierv1.ApiKey, *client) {
			k, err := admin.CreateApiKey(t.Context(), &notifierv1.CreateApiKeyRequest{ApiKey: &notifierv1.ApiKey{Name: "shared", Role: role}})
			if err != nil {
				t.Fatal(err)
			}
			return k, n.withKey(t, k.GetSecret())
		}
		k, former := shared(notifierv1.ApiKey_ADMIN)
		if _, err := create(former, "three"); err != nil {
			t.Fatal(err)
		}
		if _, err := admin.RevokeApiKey(t.Context(), &notifierv1.RevokeApiKeyRequest{Id: k.GetId()}); err != nil {
			t.Fatal(err)
		}
		_, later := shared(notifierv1.ApiKey_BANK)
		_, err = create(later, "three")
		wantCode(t, "the request of another owner", err, codes.AlreadyExists)
		_, err = c.CreateSubscription(t.Context(), &notifierv1.CreateSubscriptionRequest{Subscription: &notifierv1.Subscription{Name: "one", Url: b.URL}})
		wantField(t, "another with the name", err, codes.AlreadyExists, "subscription.name")
	})
}

func TestListSubscriptionsPagesAndFilters(t *testing.T) {
	forEachEngine(t, func(t *testing.T, url string) {
		n := start(t, config(t, url))
		admin := n.as(t, "admin")
		b := newBank(t)
		var ids []string
		for i := range 5 {
			s, err := admin.CreateSubscription(t.Context(), &notifierv1.CreateSubscriptionRequest{
				Subscription: &notifierv1.Subscription{Name: fmt.Sprintf("s%d", i), Url: b.URL, Labels: map[string]string{"n": fmt.Sprint(i % 2)}},
			})
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, s.GetId())
		}
		owned, err := n.as(t, "bank-a").CreateSubscription(t.Context(), &notifierv1.CreateSubscriptionRequest{
			Subscription: &notifierv1.Subscription{Name: "s0", Url: b.URL},
		})
		if err != nil {
			t.Fatal(err)
		}
		names := func(c *client, req *notifierv1.ListSubscriptionsRequest) (names string) {
			t.Helper()
			for {
				page, err := c.ListSubscriptions(t.Context(), req)
				if err != nil {
					t.Fatal(err)
				}
				for _, s := range page.GetSubscriptions() {
					names += s.GetName() + " "
				}
				if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
					return strings.TrimSpace(names)
				}
				names += "| "
			}
		}
		_, err = admin.UpdateSubscription(t.Context(), &notifierv1.UpdateSubscriptionRequest{Subscription: &notifierv1.Subscription{Id: ids[4], Name: "Zoe\u0308"}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = admin.CreateSubscription(t.Context(), &notifierv1.CreateSubscriptionRequest{Subscription: &notifierv1.Subscription{Name: "Zo\u00eb", Url: b.URL}})
		wantCode(t, "the name in another form", err, codes.AlreadyExists)
		for name, c := range map[string]struct {
			c    *client
			req  *notifierv1.ListSubscriptionsRequest
			want string
		}{
			"another form":     {admin, &notifierv1.ListSubscriptionsRequest{Name: "Zoe\u0308"}, "Zoë"},
			"all":              {admin, &notifierv1.ListSubscriptionsRequest{}, "s0 s1 s2 s3 Zoë s0"},
			"by two":           {admin, &notifierv1.ListSubscriptionsRequest{PageSize: 2}, "s0 s1 | s2 s3 | Zoë s0"},
			"much":             {admin, &notifierv1.ListSubscriptionsRequest{PageSize: 1e9}, "s0 s1 s2 s3 Zoë s0"},
			"name":             {admin, &notifierv1.ListSubscriptionsRequest{Name: "s3"}, "s3"},
			"label":            {admin, &notifierv1.ListSubscriptionsRequest{Label: "n=1"}, "s1 s3"},
			"label, paged":     {admin, &notifierv1.ListSubscriptionsRequest{Label: "n", PageSize: 3}, "s0 s1 s2 | s3 Zoë"},
			"owner":            {admin, &notifierv1.ListSubscriptionsRequest{Owner: "bank-a"}, "s0"},
			"a bank's own":     {n.as(t, "bank-a"), &notifierv1.ListSubscriptionsRequest{}, "s0"},
			"another bank's":   {n.as(t, "bank-a"), &notifierv1.ListSubscriptionsRequest{Owner: "bank-b"}, ""},
			"a bank with none": {n.as(t, "bank-b"), &notifierv1.ListSubscriptionsRequest{}, ""},
			"a viewer":         {n.as(t, "viewer"), &notifierv1.ListSubscriptionsRequest{PageSize: 4}, "s0 s1 s2 s3 | Zoë s0"},
			"paused":           {admin, &notifierv1.ListSubscriptionsRequest{Status: notifierv1.Subscription_PAUSED}, ""},
		} {
			if got := names(c.c, c.req); got != c.want {
				t.Errorf("%s: %q, want %q", name, got, c.want)
			}
		}
		for _, token := range []string{"x", "AAAA", owned.GetId(), strings.Repeat("a", 513)} {
			_, err := admin.ListSubscriptions(t.Context(), &notifierv1.ListSubscriptionsRequest{PageToken: token})
			wantCode(t, "page token "+token, err, codes.InvalidArgument)
		}
		for _, label := range []string{"=", "=1"} {
			_, err = admin.ListSubscriptions(t.Context(), &notifierv1.ListSubscriptionsRequest{Label: label})
			wantCode(t, "label "+label, err, codes.InvalidArgument)
		}
		_, err = admin.ListSubscriptions(t.Context(), &notifierv1.ListSubscriptionsRequest{PageSize: -1})
		wantCode(t, "page size -1", err, codes.InvalidArgument)
		_, err = admin.ListSubscriptions(t.Context(), &notifierv1.ListSubscriptionsRequest{Status: 99})
		wantCode(t, "unknown status", err, codes.InvalidArgument)
	})
}

func TestABankSeesOnlyItsOwn(t *testing.T) {
	forEachEngine(t, func(t *testing.T, url string) {
		n := start(t, config(t, url))
		a, b := n.as(t, "bank-a"), n.as(t, "bank-b")
		s := a.subscribe(t, newBank(t), nil)
		id := s.GetId()
		for name, call := range map[string]func() error{
			"get": func() error {
				_, err := b.GetSubscription(t.Context(), &notifierv1.GetSubscriptionRequest{Id: id})
				return err
			},
			"update": func() error {
				_, err := b.UpdateSubscription(t.Context(), &notifierv1.UpdateSubscriptionRequest{Subscription: &notifierv1.Subscription{Id: id, Description: "x"}})
				return err
			},
			"pause": func() error {
				_, err := b.PauseSubscription(t.Context(), &notifierv1.PauseSubscriptionRequest{Id: id})
				return err
			},
			"resume": func() error {
				_, err := b.ResumeSubscription(t.Context(), &notifierv1.ResumeSubscriptionRequest{Id: id})
				return err
			},
			"verify": func() error {
				_, err := b.VerifySubscription(t.Context(), &notifierv1.VerifySubscriptionRequest{Id: id})
				return err
			},
			"rotate": func() error {
				_, err := b.RotateSecret(t.Context(), &notifierv1.RotateSecretRequest{Id: id})
				return err
			},
			"test": func() error {
				_, err := b.SendTestEvent(t.Context(), &notifierv1.SendTestEventRequest{Id: id})
				return err
			},
			"delete": func() error {
				_, err := b.DeleteSubscription(t.Context(), &notifierv1.DeleteSubscriptionRequest{Id: id})
				return err
			},
		} {
			wantCode(t, name, call(), codes.NotFound)
		}
		got, err := a.GetSubscription(t.Context(), &notifierv1.GetSubscriptionRequest{Id: id})
		if err != nil || got.GetEtag() != "r2" { // created, verified
			t.Errorf("after another bank's tries: %v, %v", got, err)
		}
	})
}
