package notifier_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"hirewire.dev/platform/id"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

// replayed waits until a replay has ended.
func (c *client) replayed(t *testing.T, rpl string) *notifierv1.Replay {
	t.Helper()
	var r *notifierv1.Replay
	eventually(t, "the replay has ended", 20*time.Second, func() bool {
		var err error
		if r, err = c.GetReplay(t.Context(), &notifierv1.GetReplayRequest{Id: rpl}); err != nil {
			t.Fatal(err)
		}
		return r.GetStatus() != notifierv1.Replay_RUNNING
	})
	return r
}

func (c *client) replay(t *testing.T, r *notifierv1.Replay) *notifierv1.Replay {
	t.Helper()
	made, err := c.CreateReplay(t.Context(), &notifierv1.CreateReplayRequest{Replay: r})
	if err != nil {
		t.Fatal(err)
	}
	return c.replayed(t, made.GetId())
}

// bodies remembers what each event was sent as.
type bodies struct {
	mu  sync.Mutex
	all map[string][]string
}

func (b *bodies) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := make([]byte, r.ContentLength)
	_, _ = r.Body.Read(body)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all[r.Header.Get("Webhook-Id")] = append(b.all[r.Header.Get("Webhook-Id")], string(body))
	w.WriteHeader(http.StatusNoContent)
}

// A replay of what was delivered sends the same ids and the same bytes again; a dry run sends nothing.
func TestReplay(t *testing.T) {
	forEachEngine(t, func(t *testing.T, url string) {
		n := start(t, config(t, url))
		pub, own, other, viewer := n.as(t, "publisher"), n.as(t, "bank-a"), n.as(t, "bank-b"), n.as(t, "viewer")
		b := newBank(t)
		sub := own.subscribe(t, b, func(s *notifierv1.Subscription) {
			quickly(s)
			s.Filter = `event.data.employee.country == "DE"`
		})
		seen := &bodies{all: map[string][]string{}}
		h := http.HandlerFunc(seen.ServeHTTP)
		b.answer.Store(&h)
		var middle time.Time
		for i := range 20 {
			e := fact(t, fmt.Sprintf("emp_%d", i), 1+i%2, nil)
			if i >= 15 {
				set("employee.country", "FR")(e)
			}
			if i == 10 {
				middle = e.GetTimestamp().AsTime()
			}
			pub.publish(t, e)
		}
		balanced(t, own, sub.GetId(), 15)

		for name, tt := range map[string]struct {
			r    *notifierv1.Replay
			want int64
		}{
			"all":             {&notifierv1.Replay{}, 15},
			"a type":          {&notifierv1.Replay{EventTypes: []string{"employee.created"}}, 8},
			"all types":       {&notifierv1.Replay{EventTypes: []string{"employee.*"}}, 15},
			"from the middle": {&notifierv1.Replay{StartTime: timestamppb.New(middle)}, 5},
			"to the middle":   {&notifierv1.Replay{EndTime: timestamppb.New(middle)}, 10},
			"delivered":       {&notifierv1.Replay{DeliveryStatuses: []notifierv1.Delivery_Status{notifierv1.Delivery_DELIVERED}}, 15},
			"dead":            {&notifierv1.Replay{DeliveryStatuses: []notifierv1.Delivery_Status{notifierv1.Delivery_DEAD}}, 0},
		} {
			tt.r.SubscriptionId, tt.r.DryRun = sub.GetId(), true
			r := own.replay(t, tt.r)
			if r.GetStatus() != notifierv1.Replay_SUCCEEDED || r.GetTotalCount() != tt.want || r.GetDoneCount() != 0 || r.GetFinishedAt() == nil {
				t.Errorf("dry run of %s: %v, want %d", name, r, tt.want)
			}
		}
		seen.mu.Lock()
		for event, sent := range seen.all {
			if len(sent) != 1 {
				t.Errorf("%s was sent %d times before any replay", event, len(sent))
			}
		}
		seen.mu.Unlock()
		r := own.replay(t, &notifierv1.Replay{SubscriptionId: sub.GetId()})
		if r.GetTotalCount() != 15 || r.GetDoneCount() != 15 {
			t.Errorf("%v", r)
		}
		balanced(t, own, sub.GetId(), 15)
		seen.mu.Lock()
		if len(seen.all) != 15 {
			t.Errorf("%d events were sent", len(seen.all))
		}
		for event, sent := range seen.all {
			if len(sent) != 2 || sent[0] != sent[1] {
				t.Errorf("%s was sent as %q", event, sent)
			}
		}
		seen.mu.Unlock()

		// A bank sees its own replays; the others see nothing, or may do nothing.
		_, err := other.GetReplay(t.Context(), &notifierv1.GetReplayRequest{Id: r.GetId()})
		wantCode(t, "another bank gets it", err, codes.NotFound)
		_, err = other.CancelReplay(t.Context(), &notifierv1.CancelReplayRequest{Id: r.GetId()})
		wantCode(t, "another bank cancels it", err, codes.NotFound)
		_, err = other.CreateReplay(t.Context(), &notifierv1.CreateReplayRequest{Replay: &notifierv1.Replay{SubscriptionId: sub.GetId()}})
		wantCode(t, "another bank starts one", err, codes.NotFound)
		_, err = viewer.CreateReplay(t.Context(), &notifierv1.CreateReplayRequest{Replay: &notifierv1.Replay{SubscriptionId: sub.GetId()}})
		wantCode(t, "a viewer starts one", err, codes.PermissionDenied)
		if _, err = viewer.GetReplay(t.Context(), &notifierv1.GetReplayRequest{Id: r.GetId()}); err != nil {
			t.Error(err)
		}
		for range 2 { // what has ended stays so
			if got, err := own.CancelReplay(t.Context(), &notifierv1.CancelReplayRequest{Id: r.GetId()}); err != nil || got.GetStatus() != notifierv1.Replay_SUCCEEDED {
				t.Errorf("%v, %v", got, err)
			}
		}
	})
}

func TestReplayRefuses(t *testing.T) {
	n := start(t, config(t, "sqlite:"+t.TempDir()+"/n.db"))
	own := n.as(t, "bank-a")
	sub := own.subscribe(t, newBank(t), nil)
	for name, tt := range map[string]struct {
		edit  func(*notifierv1.Replay)
		code  codes.Code
		field string
	}{
		"no subscription":      {func(r *notifierv1.Replay) { r.SubscriptionId = "" }, codes.InvalidArgument, "replay.subscription_id"},
		"unknown subscription": {func(r *notifierv1.Replay) { r.SubscriptionId = id.New("sub") }, codes.NotFound, ""},
		"no id":                {func(r *notifierv1.Replay) { r.SubscriptionId = "'; DROP TABLE replays;--" }, codes.NotFound, ""},
		"unknown type":         {func(r *notifierv1.Replay) { r.EventTypes = []string{"employee.created", "x.y"} }, codes.InvalidArgument, "replay.event_types[1]"},
		"too many types":       {func(r *notifierv1.Replay) { r.EventTypes = make([]string, 101) }, codes.InvalidArgument, "replay.event_types"},
		"end before start": {func(r *notifierv1.Replay) {
			r.StartTime, r.EndTime = timestamppb.Now(), timestamppb.New(time.Now().Add(-time.Hour))
		}, codes.InvalidArgument, "replay.end_time"},
		"end in year 1":   {func(r *notifierv1.Replay) { r.StartTime, r.EndTime = timestamppb.Now(), timestamppb.New(time.Time{}) }, codes.InvalidArgument, "replay.end_time"},
		"start in year 1": {func(r *notifierv1.Replay) { r.StartTime = timestamppb.New(time.Time{}) }, codes.InvalidArgument, "replay.start_time"},
		"too many statuses": {func(r *notifierv1.Replay) {
			r.DeliveryStatuses = slices.Repeat([]notifierv1.Delivery_Status{notifierv1.Delivery_DEAD}, 4)
		}, codes.InvalidArgument, "replay.delivery_statuses"},
		"a status twice": {func(r *notifierv1.Replay) {
			r.DeliveryStatuses = slices.Repeat([]notifierv1.Delivery_Status{notifierv1.Delivery_DEAD}, 2)
		}, codes.InvalidArgument, "replay.delivery_statuses"},
		"a broken time": {func(r *notifierv1.Replay) { r.StartTime = &timestamppb.Timestamp{Nanos: -1} }, codes.InvalidArgument, "replay.start_time"},
		"pending": {func(r *notifierv1.Replay) {
			r.DeliveryStatuses = []notifierv1.Delivery_Status{notifierv1.Delivery_PENDING}
		}, codes.InvalidArgument, "replay.delivery_statuses[0]"},
		"unspecified":    {func(r *notifierv1.Replay) { r.DeliveryStatuses = []notifierv1.Delivery_Status{0} }, codes.InvalidArgument, "replay.delivery_statuses[0]"},
		"no such status": {func(r *notifierv1.Replay) { r.DeliveryStatuses = []notifierv1.Delivery_Status{99} }, codes.InvalidArgument, "replay.delivery_statuses[0]"},
		"negative rate":  {func(r *notifierv1.Replay) { r.RateLimitPerSecond = -1 }, codes.InvalidArgument, "replay.rate_limit_per_second"},
		"enormous rate":  {func(r *notifierv1.Replay) { r.RateLimitPerSecond = 1e9 }, codes.InvalidArgument, "replay.rate_limit_per_second"},
	} {
		r := &notifierv1.Replay{SubscriptionId: sub.GetId()}
		tt.edit(r)
		_, err := own.CreateReplay(t.Context(), &notifierv1.CreateReplayRequest{Replay: r})
		wantCode(t, name, err, tt.code)
		if fieldOf(err) != tt.field {
			t.Errorf("%s: field %q, want %q", name, fieldOf(err), tt.field)
		}
	}
	_, err := own.GetReplay(t.Context(), &notifierv1.GetReplayRequest{Id: id.New("rpl")})
	wantCode(t, "no such replay", err, codes.NotFound)
	_, err = own.CancelReplay(t.Context(), &notifierv1.CancelReplayRequest{Id: id.New("rpl")})
	wantCode(t, "no such replay to cancel", err, codes.NotFound)
}

// The same request id is the same replay, also when many ask at once; with other content it is refused.
func TestReplayIsIdempotent(t *testing.T) {
	forEachEngine(t, func(t *testing.T, url string) {
		n := start(t, config(t, url))
		own := n.as(t, "bank-a")
		sub := own.subscribe(t, newBank(t), nil)
		ids := make(chan string)
		for range 10 {
			go func() {
				r, err := own.CreateReplay(context.WithoutCancel(t.Context()), &notifierv1.CreateReplayRequest{
					Replay: &notifierv1.Replay{SubscriptionId: sub.GetId(), DryRun: true}, RequestId: "once",
				})
				if err != nil {
					t.Error(err)
				}
				ids <- r.GetId()
			}()
		}
		first := <-ids
		for range 9 {
			if again := <-ids; again != first {
				t.Errorf("%s and %s", first, again)
			}
		}
		_, err := own.CreateReplay(t.Context(), &notifierv1.CreateReplayRequest{Replay: &notifierv1.Replay{SubscriptionId: sub.GetId()}, RequestId: "once"})
		wantField(t, "other content", err, codes.AlreadyExists, "request_id")
	})
}

// A rate cap is kept, progress is seen, cancelling stops it, and a restart goes on where it was.
func TestReplayIsPacedAndSurvivesARestart(t *testing.T) {
	forEachEngine(t, func(t *testing.T, url string) {
		cfg := config(t, url)
		n := start(t, cfg)
		pub, own := n.as(t, "publisher"), n.as(t, "bank-a")
		b := newBank(t)
		sub := own.subscribe(t, b, nil)
		var events []*notifierv1.Event
		for i := range 60 {
			events = append(events, fact(t, fmt.Sprintf("emp_%d", i), 1, nil))
		}
		pub.publish(t, events...)
		balanced(t, own, sub.GetId(), 60)
		began := time.Now()
		r, err := own.CreateReplay(t.Context(), &notifierv1.CreateReplayRequest{Replay: &notifierv1.Replay{SubscriptionId: sub.GetId(), RateLimitPerSecond: 20}})
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is under way", 10*time.Second, func() bool {
			r, err = own.GetReplay(t.Context(), &notifierv1.GetReplayRequest{Id: r.GetId()})
			return err == nil && r.GetDoneCount() > 0
		})
		if r.GetTotalCount() != 60 || r.GetStatus() != notifierv1.Replay_RUNNING || r.GetDoneCount() > 40 {
			t.Errorf("%v", r)
		}
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		n = start(t, cfg)
		own = n.as(t, "bank-a")
		r = own.replayed(t, r.GetId())
		if took := time.Since(began); r.GetDoneCount() != 60 || took < 2*time.Second {
			t.Errorf("%d of 60 at 20/s took %s", r.GetDoneCount(), took)
		}
		balanced(t, own, sub.GetId(), 60)
		count := map[string]int{}
		for _, e := range b.seen() {
			count[e.ID]++
		}
		for event, times := range count {
			if times != 2 {
				t.Errorf("%s arrived %d times", event, times)
			}
		}

		r, err = own.CreateReplay(t.Context(), &notifierv1.CreateReplayRequest{Replay: &notifierv1.Replay{SubscriptionId: sub.GetId(), RateLimitPerSecond: 1}})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if got, err := own.CancelReplay(t.Context(), &notifierv1.CancelReplayRequest{Id: r.GetId()}); err != nil || got.GetStatus() != notifierv1.Replay_CANCELLED {
				t.Errorf("%v, %v", got, err)
			}
		}
		balanced(t, own, sub.GetId(), 60)
	})
}

// A new bank gets what it missed, while live events flow, and each once.
func TestSubscriptionsCanStartInThePast(t *testing.T) {
	forEachEngine(t, func(t *testing.T, url string) {
		n := start(t, config(t, url))
		pub, own := n.as(t, "publisher"), n.as(t, "bank-a")
		var cut time.Time
		for i := range 10 {
			e := fact(t, fmt.Sprintf("emp_%d", i), 1, nil)
			if i == 6 {
				cut = e.GetTimestamp().AsTime()
			}
			pub.publish(t, e)
		}
		all, some := newBank(t), newBank(t)
		early := own.subscribe(t, all, func(s *notifierv1.Subscription) { s.Name, s.StartFrom = "all", "EARLIEST" })
		late := own.subscribe(t, some, func(s *notifierv1.Subscription) { s.Name, s.StartFrom = "some", cut.Format(time.RFC3339Nano) })
		for i := range 5 {
			pub.publish(t, fact(t, fmt.Sprintf("emp_live_%d", i), 1, nil))
		}
		eventually(t, "all past and live events arrive", 15*time.Second, func() bool { return len(all.seen()) >= 15 && len(some.seen()) >= 9 })
		balanced(t, own, early.GetId(), 15)
		balanced(t, own, late.GetId(), 9)
		for _, b := range []*bank{all, some} {
			once := map[string]bool{}
			for _, e := range b.seen() {
				if once[e.ID] {
					t.Errorf("%s arrived twice", e.ID)
				}
				once[e.ID] = true
			}
		}
	})
}

// What was made for one subscription alone is in nobody's past, not even in that of a subscription to everything.
func TestTestEventsAreNotReplayed(t *testing.T) {
	forEachEngine(t, func(t *testing.T, url string) {
		n := start(t, config(t, url))
		pub, own, other := n.as(t, "publisher"), n.as(t, "bank-a"), n.as(t, "bank-b")
		pub.publish(t, fact(t, "emp_1", 1, nil))
		sub := own.subscribe(t, newBank(t), nil)
		if _, err := own.SendTestEvent(t.Context(), &notifierv1.SendTestEventRequest{Id: sub.GetId()}); err != nil {
			t.Fatal(err)
		}
		early, late := newBank(t), newBank(t)
		all := other.subscribe(t, early, func(s *notifierv1.Subscription) { s.Name, s.StartFrom = "all", "EARLIEST" })
		sub = other.subscribe(t, late, func(s *notifierv1.Subscription) { s.Name = "now" })
		if r := other.replay(t, &notifierv1.Replay{SubscriptionId: sub.GetId()}); r.GetTotalCount() != 1 {
			t.Errorf("%d are to be replayed, want the fact alone", r.GetTotalCount())
		}
		for sub, b := range map[string]*bank{all.GetId(): early, sub.GetId(): late} {
			eventually(t, "the fact", 10*time.Second, func() bool { return len(b.seen()) > 0 })
			balanced(t, other, sub, 1)
		}
	})
}
