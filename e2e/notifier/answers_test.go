package notifier_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hirewire.dev/e2e/mockbank"
	"hirewire.dev/e2e/programs"
	"hirewire.dev/platform/id"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

// always answers every POST the same.
func always(a mockbank.Answer) mockbank.Config {
	return mockbank.Config{Answer: func(context.Context, mockbank.Request) mockbank.Answer { return a }}
}

// first answers the first n attempts of each message so, and then 200.
func first(n int, a mockbank.Answer) mockbank.Config {
	return mockbank.Config{Answer: func(_ context.Context, r mockbank.Request) mockbank.Answer {
		if r.Nth <= n {
			return a
		}
		return mockbank.Answer{}
	}}
}

func TestWhatBanksAnswer(t *testing.T) {
	engines(t, func(t *testing.T, e *engine) {
		t.Run("410 holds everything until it is resumed", func(t *testing.T) { t.Parallel(); testGone(t, e) })
		t.Run("429 with Retry-After slows the whole subscription", func(t *testing.T) { t.Parallel(); testRetryAfter(t, e) })
		t.Run("nonsense in Retry-After is ignored", func(t *testing.T) { t.Parallel(); testRetryAfterNonsense(t, e) })
		t.Run("an endless Retry-After ends after a day", func(t *testing.T) { t.Parallel(); testRetryAfterCapped(t, e) })
		t.Run("5xx is tried again on the schedule", func(t *testing.T) { t.Parallel(); testSchedule(t, e) })
		t.Run("redirects are not followed", func(t *testing.T) { t.Parallel(); testRedirects(t, e) })
		t.Run("2xx alone is success", func(t *testing.T) { t.Parallel(); testStatuses(t, e) })
	})
}

func testGone(t *testing.T, e *engine) {
	var back atomic.Bool
	r := e.subscribe(t, mockbank.Config{Answer: func(context.Context, mockbank.Request) mockbank.Answer {
		if back.Load() {
			return mockbank.Answer{}
		}
		return mockbank.Answer{Status: http.StatusGone}
	}}, schedule(0, 50*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond))
	other := e.subscribeBank(t, mockbank.Open(t, e.dir, mockbank.Config{}), r.department)

	one := r.event(t, "emp-one", 1)
	e.Publish(t, one)
	s := e.AwaitStatus(t, r.id, notifierv1.Subscription_DISABLED)
	if s.GetStatusReason() == "" {
		t.Error("a disabled subscription gives no reason")
	}
	e.Publish(t, r.event(t, "emp-one", 2), r.event(t, "emp-two", 1))
	other.awaitBalance(t, &notifierv1.Balance{Delivered: 3})
	time.Sleep(500 * time.Millisecond) // ten times the wait before the next attempt
	r.awaitBalance(t, &notifierv1.Balance{Pending: 3})
	if n := r.Count(); n != 1 {
		t.Errorf("%d POSTs came to a bank that answered the first with 410", n)
	}
	if d, attempts := r.delivery(t, one); len(attempts) != 1 || attempts[0].GetOutcome() != "gone" || attempts[0].GetStatusCode() != 410 {
		t.Errorf("the delivery is %v, want one attempt with outcome gone", d)
	}

	back.Store(true)
	if _, err := e.Subscriptions.ResumeSubscription(t.Context(), &notifierv1.ResumeSubscriptionRequest{Id: r.id}); err != nil {
		t.Fatal(err)
	}
	r.awaitBalance(t, &notifierv1.Balance{Delivered: 3})
	assertInOrder(t, r.Requests()[1:])
	assertStable(t, r.Requests())
}

func testRetryAfter(t *testing.T, e *engine) {
	for name, ask := range map[string]func() (header string, until time.Time){
		"seconds": func() (string, time.Time) { return "2", time.Now().Add(2 * time.Second) },
		"date": func() (string, time.Time) {
			until := time.Now().Add(3 * time.Second).Truncate(time.Second)
			return until.UTC().Format(http.TimeFormat), until
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			var header string
			var until time.Time
			r := e.subscribe(t, mockbank.Config{Answer: func(_ context.Context, r mockbank.Request) mockbank.Answer {
				mu.Lock()
				defer mu.Unlock()
				if header == "" {
					header, until = ask()
				}
				if r.At.Before(until) {
					return mockbank.Answer{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {header}}}
				}
				return mockbank.Answer{}
			}}, schedule(0, 50*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond))

			busy := r.event(t, "emp-busy", 1)
			e.Publish(t, busy)
			programs.Eventually(t, 10*time.Second, func() error {
				if _, attempts := r.delivery(t, busy); len(attempts) == 0 {
					return fmt.Errorf("no attempt is recorded")
				}
				return nil
			})
			const others = 40
			for i := range others {
				e.Publish(t, r.event(t, fmt.Sprintf("emp-%d", i), 1))
			}
			r.awaitBalance(t, &notifierv1.Balance{Delivered: others + 1})
			early := 0
			for _, request := range r.Requests() {
				if request.Status == http.StatusTooManyRequests {
					early++
				}
				if late := request.At.Sub(until); late > 6*time.Second {
					t.Errorf("a POST for %s came %s after the bank was ready", request.Employee, late)
				}
			}
			// The replica that was told sends nothing more; another one has to be told too, by its first round of eight.
			if most := 1 + 8*(len(e.replicas)-1); early > most {
				t.Errorf("%d POSTs came before the bank wanted one, want at most %d", early, most)
			}
			if _, attempts := r.delivery(t, busy); attempts[0].GetOutcome() != "throttled" || attempts[len(attempts)-1].GetOutcome() != "delivered" {
				t.Errorf("the attempts are %v, want throttled and delivered", attempts)
			}
		})
	}
}

func testRetryAfterNonsense(t *testing.T, e *engine) {
	values := []string{"", "0", "-1", "abc", "1e12", "7 seconds", "Mon, 01 Jan 2001 00:00:00 GMT", "2026-11-20T09:00:00Z"}
	department := "nonsense " + id.New("sub")
	var receivers []*receiver
	for _, value := range values {
		bank := mockbank.Open(t, e.dir, first(1, mockbank.Answer{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {value}}}))
		receivers = append(receivers, e.subscribeBank(t, bank, department, schedule(0, 200*time.Millisecond)))
	}
	e.Publish(t, receivers[0].event(t, "emp-nonsense", 1))
	for i, r := range receivers {
		r.awaitBalance(t, &notifierv1.Balance{Delivered: 1})
		if requests := r.Requests(); len(requests) != 2 {
			t.Errorf("Retry-After %q: %d POSTs, want 2", values[i], len(requests))
		} else if wait := requests[1].At.Sub(requests[0].At); wait < 160*time.Millisecond || wait > 5*time.Second {
			t.Errorf("Retry-After %q: the second POST came after %s, want 200ms", values[i], wait)
		}
	}
}

func testRetryAfterCapped(t *testing.T, e *engine) {
	r := e.subscribe(t, always(mockbank.Answer{Status: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {"1000000000000"}}}),
		schedule(0, time.Second, time.Second))
	event := r.event(t, "emp-capped", 1)
	e.Publish(t, event)
	programs.Eventually(t, 10*time.Second, func() error {
		d, attempts := r.delivery(t, event)
		if len(attempts) != 1 {
			return fmt.Errorf("%d attempts, want one", len(attempts))
		}
		if wait := time.Until(d.GetNextAttemptAt().AsTime()); wait < 23*time.Hour+50*time.Minute || wait > 24*time.Hour+time.Minute {
			return fmt.Errorf("the next attempt is in %s, want a day", wait)
		}
		return nil
	})
	e.Publish(t, r.event(t, "emp-other", 1))
	r.awaitBalance(t, &notifierv1.Balance{Pending: 2})
}

func testSchedule(t *testing.T, e *engine) {
	waits := []time.Duration{0, 400 * time.Millisecond, 800 * time.Millisecond, 1200 * time.Millisecond}
	for _, status := range []int{500, 502, 503, 504} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			t.Parallel()
			r := e.subscribe(t, first(len(waits)-1, mockbank.Answer{Status: status, Body: "out of order\x1b[31m"}), schedule(waits...))
			event := r.event(t, "emp-schedule", 1)
			e.Publish(t, event)
			r.awaitBalance(t, &notifierv1.Balance{Delivered: 1})
			requests := r.Requests()
			if len(requests) != len(waits) {
				t.Fatalf("%d POSTs, want %d", len(requests), len(waits))
			}
			for i, want := range waits[1:] {
				got := requests[i+1].At.Sub(requests[i].At)
				// Beyond the jitter of 20 % there is what this machine takes to do it all.
				if got < want*8/10-10*time.Millisecond || got > want*12/10+700*time.Millisecond {
					t.Errorf("attempt %d came after %s, want %s ± 20 %%", i+2, got, want)
				}
			}
			assertStable(t, requests)
			if requests[0].Signature == requests[len(requests)-1].Signature || requests[0].Timestamp == requests[len(requests)-1].Timestamp {
				t.Error("the last attempt carries the timestamp of the first")
			}
			_, attempts := r.delivery(t, event)
			for i, a := range attempts {
				wantStatus, wantOutcome := int32(status), "throttled"
				switch {
				case i == len(waits)-1:
					wantStatus, wantOutcome = 200, "delivered"
				case status == 500:
					wantOutcome = "rejected"
				}
				if a.GetNumber() != int32(i+1) || a.GetStatusCode() != wantStatus || a.GetOutcome() != wantOutcome {
					t.Errorf("attempt %d is %v, want %s with %d", i+1, a, wantOutcome, wantStatus)
				}
				if snippet := a.GetResponseSnippet(); i < len(waits)-1 && snippet != "out of order[31m" {
					t.Errorf("attempt %d kept %q of the answer", i+1, snippet)
				}
			}
		})
	}
}

func testRedirects(t *testing.T, e *engine) {
	canary := mockbank.Open(t, e.dir, mockbank.Config{})
	department := "redirects " + id.New("sub")
	statuses := []int{300, 301, 302, 303, 304, 305, 307, 308}
	var receivers []*receiver
	for _, status := range statuses {
		bank := mockbank.Open(t, e.dir, always(mockbank.Answer{Status: status, Header: http.Header{"Location": {canary.URL + "/stolen"}}}))
		receivers = append(receivers, e.subscribeBank(t, bank, department, schedule(0, 50*time.Millisecond)))
	}
	self := e.subscribeBank(t, mockbank.Open(t, e.dir, always(mockbank.Answer{Status: 307, Header: http.Header{"Location": {"/hook"}}})), department, schedule(0))
	event := receivers[0].event(t, "emp-redirect", 1)
	e.Publish(t, event)
	for i, r := range receivers {
		r.awaitBalance(t, &notifierv1.Balance{Dead: 1})
		if n := r.Count(); n != 2 {
			t.Errorf("%d: %d POSTs for two attempts", statuses[i], n)
		}
		_, attempts := r.delivery(t, event)
		for _, a := range attempts {
			if a.GetOutcome() != "rejected" || a.GetStatusCode() != int32(statuses[i]) {
				t.Errorf("%d: the attempt is %v, want rejected", statuses[i], a)
			}
		}
	}
	self.awaitBalance(t, &notifierv1.Balance{Dead: 1})
	if n := self.Count(); n != 1 {
		t.Errorf("a redirect to itself was followed: %d POSTs", n)
	}
	if n := canary.Count(); n != 0 {
		t.Errorf("%d redirects were followed", n)
	}
}

func testStatuses(t *testing.T, e *engine) {
	delivered := map[int]bool{200: true, 201: true, 202: true, 204: true, 206: true, 299: true}
	statuses := []int{200, 201, 202, 204, 206, 299, 400, 401, 403, 404, 408, 409, 413, 418, 422, 451, 499, 501, 505, 599, 600, 999}
	r := e.subscribe(t, mockbank.Config{Answer: func(_ context.Context, r mockbank.Request) mockbank.Answer {
		var status int
		_, _ = fmt.Sscanf(r.Employee, "emp-%d", &status)
		return mockbank.Answer{Status: status}
	}}, schedule(0))
	want := &notifierv1.Balance{}
	for _, status := range statuses {
		e.Publish(t, r.event(t, fmt.Sprintf("emp-%d", status), 1))
		if delivered[status] {
			want.Delivered++
		} else {
			want.Dead++
		}
	}
	r.awaitBalance(t, want)
	for _, d := range e.List(t, &notifierv1.ListDeliveriesRequest{SubscriptionId: r.id}) {
		var status int
		_, _ = fmt.Sscanf(d.GetEmployeeId(), "emp-%d", &status)
		if got := d.GetStatus() == notifierv1.Delivery_DELIVERED; got != delivered[status] {
			t.Errorf("after %d the delivery is %s", status, d.GetStatus())
		}
	}
}
