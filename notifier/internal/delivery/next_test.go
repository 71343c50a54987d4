package delivery_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hirewire.dev/notifier/internal/delivery"
)

// TestNextEveryCode is the design's table of answers, whole.
func TestNextEveryCode(t *testing.T) {
	schedule := []time.Duration{0, 5 * time.Second, 5 * time.Minute}
	for code := range 1000 {
		a := delivery.Attempt{StatusCode: code, Outcome: delivery.OutcomeOf(code)}
		retry := delivery.Decision{Status: delivery.Pending, Wait: 5 * time.Second}
		want, outcome := retry, delivery.OutcomeRejected
		switch {
		case code >= 200 && code <= 299:
			want, outcome = delivery.Decision{Status: delivery.Delivered}, delivery.OutcomeDelivered
		case code == 410:
			want.Disable, outcome = true, delivery.OutcomeGone
		case code == 429, code == 502, code == 503, code == 504:
			want.Slow, outcome = true, delivery.OutcomeThrottled
		}
		if a.Outcome != outcome {
			t.Errorf("%d is %s, want %s", code, a.Outcome, outcome)
		}
		if diff := cmp.Diff(want, delivery.Next(a, schedule, 1, 0.5)); diff != "" {
			t.Errorf("%d (-want +got):\n%s", code, diff)
		}
		if last := delivery.Next(a, schedule, 3, 0.5); last.Status == delivery.Pending || last.Wait != 0 || last.Disable != want.Disable || last.Slow != want.Slow {
			t.Errorf("%d at the last attempt: %+v", code, last)
		}
	}
}

func TestNextWithoutAnswer(t *testing.T) {
	for _, outcome := range []delivery.Outcome{
		delivery.OutcomeTimeout, delivery.OutcomeConnection, delivery.OutcomeTLS, delivery.OutcomeDNS, delivery.OutcomeBlocked, delivery.OutcomeProtocol,
	} {
		got := delivery.Next(delivery.Attempt{Outcome: outcome}, delivery.DefaultSchedule, 2, 0.5)
		if diff := cmp.Diff(delivery.Decision{Status: delivery.Pending, Wait: 5 * time.Minute}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", outcome, diff)
		}
	}
}

func TestNextSchedule(t *testing.T) {
	failed := delivery.Attempt{StatusCode: 500, Outcome: delivery.OutcomeRejected}
	var total time.Duration
	for tried := 1; ; tried++ {
		low, high := delivery.Next(failed, delivery.DefaultSchedule, tried, 0), delivery.Next(failed, delivery.DefaultSchedule, tried, 1)
		if low.Status == delivery.Dead {
			if tried != 10 {
				t.Errorf("dead after %d attempts, want 10", tried)
			}
			break
		}
		wait := delivery.DefaultSchedule[tried]
		total += wait
		if low.Wait != wait*8/10 || high.Wait != wait*12/10 {
			t.Errorf("after attempt %d: from %v to %v, want %v ±20 %%", tried, low.Wait, high.Wait, wait)
		}
	}
	if total < 70*time.Hour || total > 80*time.Hour {
		t.Errorf("the schedule takes %v, want about three days", total)
	}
}

func TestNextRetryAfter(t *testing.T) {
	schedule := []time.Duration{0, 5 * time.Second, 5 * time.Second}
	for _, c := range []struct {
		code        int
		after, wait time.Duration
		slow        bool
		hold        time.Duration
	}{
		{503, 7 * time.Second, 7 * time.Second, true, 7 * time.Second},
		{429, time.Second, 5 * time.Second, true, time.Second},
		{503, 0, 5 * time.Second, true, 0},
		{503, -time.Second, 5 * time.Second, true, 0},
		{503, 48 * time.Hour, 24 * time.Hour, true, 24 * time.Hour},
		{500, 7 * time.Second, 7 * time.Second, false, 0},
		{301, time.Minute, time.Minute, false, 0},
	} {
		a := delivery.Attempt{StatusCode: c.code, Outcome: delivery.OutcomeOf(c.code), RetryAfter: c.after}
		want := delivery.Decision{Status: delivery.Pending, Wait: c.wait, Slow: c.slow, Hold: c.hold}
		if diff := cmp.Diff(want, delivery.Next(a, schedule, 1, 0.5)); diff != "" {
			t.Errorf("%d, Retry-After %v (-want +got):\n%s", c.code, c.after, diff)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"7": 7 * time.Second, " 7\t": 7 * time.Second, "007": 7 * time.Second, "0": 0, "": 0, "-1": 0, "+1": 0, "1.5": 0, "abc": 0, "7s": 0, "1e12": 0,
		"86399": 86399 * time.Second, "86401": 24 * time.Hour, "1000000000000": 24 * time.Hour, "99999999999999999999999999999999": 24 * time.Hour,
		now.Add(7 * time.Second).Format(http.TimeFormat):  7 * time.Second,
		now.Add(-7 * time.Second).Format(http.TimeFormat): 0,
		now.AddDate(0, 0, 9).Format(http.TimeFormat):      24 * time.Hour,
		now.Add(7 * time.Second).Format(time.RFC850):      7 * time.Second,
		now.Add(7 * time.Second).Format(time.ANSIC):       7 * time.Second,
		now.Add(7 * time.Second).Format(time.RFC3339):     0,
		"Fri, 20 Nov 2026 09:00:07":                       0,
		"١٦":                                              0,
		fmt.Sprintf("%065d", 7):                           0,
	} {
		if got := delivery.RetryAfter(value, now); got != want {
			t.Errorf("%q is %v, want %v", value, got, want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("120")
	f.Add("Fri, 20 Nov 2026 09:00:07 GMT")
	f.Fuzz(func(t *testing.T, value string) {
		if got := delivery.RetryAfter(value, time.Now()); got < 0 || got > delivery.MaxRetryAfter {
			t.Errorf("%q is %v", value, got)
		}
	})
}
