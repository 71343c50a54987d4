package banksvc

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"hirewire.dev/bank-svc/internal/account"
	bankv1 "hirewire.dev/proto/bank/v1"
)

func TestAnEmployeesLife(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		b := start(t, url, alone(newTruth(t)))
		ada := person("Ada Byron")
		first := created(ada)
		ada, renamed := next(ada, func(e *account.Employee) { e.HolderName, e.Currency = "Ada Lovelace", "GBP" })
		b.mustSend(t, first)
		b.settled(t)
		opened := b.accounts(t)[ada.ID]
		if opened.HolderName != "Ada Byron" || opened.Currency != "EUR" || opened.Status != bankv1.Account_OPEN || opened.OpenedByEventId != first.id ||
			opened.EmployeeVersion != 1 || len(opened.AccountNumber) != 22 || opened.AccountNumber[:2] != "DE" {
			t.Errorf("%v", opened)
		}
		b.mustSend(t, renamed)
		b.settled(t)
		if a := b.accounts(t)[ada.ID]; a.HolderName != "Ada Lovelace" || a.Currency != "GBP" || a.Id != opened.Id || a.AccountNumber != opened.AccountNumber {
			t.Errorf("%v", a)
		}
		_, left := next(ada, func(e *account.Employee) { e.Terminated = true })
		b.mustSend(t, left, renamed, first)
		b.settled(t)
		if a := b.accounts(t)[ada.ID]; a.Status != bankv1.Account_CLOSED || a.EmployeeVersion != 3 {
			t.Errorf("%v", a)
		}
		for id, outcome := range map[string]string{first.id: "opened", renamed.id: "updated", left.id: "closed"} {
			e := b.event(t, id)
			if e.Outcome != outcome || e.Status != bankv1.InboxEvent_PROCESSED || e.AccountId != opened.Id || e.SignatureKind != "v1" ||
				e.EmployeeId != ada.ID || e.Attempts != 1 || e.ProcessedAt == nil {
				t.Errorf("%v", e)
			}
		}
	})
}

// Versions 3, 1, 2: the first is a gap and is fetched; the others are older than what was.
func TestOutOfOrder(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		tr := newTruth(t)
		b := start(t, url, alone(tr))
		await(t, "first reconciliation", func() bool { return reconciled(t, b) })
		one := person("Ada Byron")
		two, second := next(one, func(e *account.Employee) { e.HolderName = "Ada King" })
		three, third := next(two, func(e *account.Employee) { e.HolderName = "Ada Lovelace" })
		tr.set(three)
		first := created(one)
		b.mustSend(t, third, first, second)
		b.settled(t)
		if a := b.accounts(t)[one.ID]; a.HolderName != "Ada Lovelace" || a.EmployeeVersion != 3 || a.OpenedByEventId != third.id {
			t.Errorf("%v", a)
		}
		for _, e := range []fact{first, second} {
			if got := b.event(t, e.id); got.Status != bankv1.InboxEvent_IGNORED || got.Outcome != "stale version" {
				t.Errorf("%v", got)
			}
		}
		if n := tr.fetches(); n != 1 {
			t.Errorf("fetched %d times", n)
		}
	})
}

func reconciled(t *testing.T, b *bank) bool {
	t.Helper()
	res, err := b.api.ListReconciliations(t.Context(), &bankv1.ListReconciliationsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return len(res.Reconciliations) > 0 && res.Reconciliations[0].Status == bankv1.Reconciliation_SUCCEEDED
}

func TestAnEndThatComesFirstKeepsTheAccountFromOpening(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		b := start(t, url, alone(newTruth(t)))
		ada := person("Ada Byron")
		_, left := next(ada, func(e *account.Employee) { e.Terminated = true })
		late := created(ada)
		b.mustSend(t, left, late)
		b.settled(t)
		if all := b.accounts(t); len(all) != 0 {
			t.Errorf("%v", all)
		}
		if e := b.event(t, left.id); e.Status != bankv1.InboxEvent_PROCESSED || e.Outcome != "termination recorded" || e.AccountId != "" {
			t.Errorf("%v", e)
		}
		if e := b.event(t, late.id); e.Status != bankv1.InboxEvent_IGNORED || e.Outcome != "stale version" {
			t.Errorf("%v", e)
		}
	})
}

func TestThinEventsAreFetched(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		tr := newTruth(t)
		b := start(t, url, alone(tr))
		await(t, "first reconciliation", func() bool { return reconciled(t, b) })
		tr.setDown(true)
		var events []fact
		for i := range 40 {
			e := person(fmt.Sprint("Ada N", i))
			tr.set(e)
			f := created(e)
			f.thin = true
			events = append(events, f)
		}
		b.mustSend(t, events...)
		// A full one is not held up by those that wait for the source.
		full := created(person("Bo Full"))
		b.mustSend(t, full)
		await(t, "full event", func() bool { return b.event(t, full.id).Status == bankv1.InboxEvent_PROCESSED })
		await(t, "failed try", func() bool { return b.event(t, events[0].id).LastError != "" })
		if e := b.event(t, events[0].id); e.Status != bankv1.InboxEvent_FAILED || e.NextAttemptAt == nil {
			t.Errorf("%v", e)
		}
		tr.setDown(false)
		b.settled(t)
		all := b.accounts(t)
		for _, f := range events {
			if a := all[f.employee.ID]; a == nil || a.HolderName != f.employee.HolderName {
				t.Fatalf("%v", a)
			}
		}
	})
}

func TestAnEmployeeThatTheSourceDoesNotKnowHoldsUpNobody(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		b := start(t, url, alone(newTruth(t)))
		stranger := created(person("No Body"))
		stranger.thin = true
		after := created(person("Bo Next"))
		b.mustSend(t, stranger, after)
		await(t, "next event", func() bool { return b.event(t, after.id).Status == bankv1.InboxEvent_PROCESSED })
		await(t, "failure", func() bool { return b.event(t, stranger.id).Attempts > 0 })
		if e := b.event(t, stranger.id); e.LastError == "" || e.AccountId != "" || e.Status != bankv1.InboxEvent_FAILED {
			t.Errorf("%v", e)
		}
	})
}

func TestTheSameEventAThousandTimesAtOnce(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		b := start(t, url, alone(newTruth(t)))
		e := created(person("Ada Byron"))
		events := make([]fact, 1000)
		for i := range events {
			events[i] = e
		}
		b.sendAll(t, 32, events)
		b.settled(t)
		if all := b.accounts(t); len(all) != 1 {
			t.Errorf("%d accounts", len(all))
		}
		res, err := b.api.ListInboxEvents(t.Context(), &bankv1.ListInboxEventsRequest{PageSize: 10})
		if err != nil || len(res.InboxEvents) != 1 {
			t.Errorf("%d inbox rows, %v", len(res.GetInboxEvents()), err)
		}
	})
}

// Two replicas of a bank are given the same events at the same time.
func TestTwoReplicasAreGivenTheSameEvents(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		n := 10_000
		if testing.Short() || strings.HasPrefix(url, "sqlite:") { // two processes on one file are no way to run a bank, but a safe one
			n = 1000
		}
		tr := newTruth(t)
		a := start(t, url, alone(tr))
		b := start(t, url, func(c *Config) { alone(tr)(c); c.WebhookSecrets = WebhookSecrets{a.secret} })
		events := make([]fact, n)
		for i := range events {
			events[i] = created(person("Ada Byron"))
		}
		var wg sync.WaitGroup
		for _, r := range []*bank{a, b} {
			wg.Go(func() { r.sendAll(t, 32, events) })
		}
		wg.Wait()
		a.settled(t)
		all := a.accounts(t)
		numbers := map[string]bool{}
		for _, acc := range all {
			numbers[acc.AccountNumber] = true
		}
		if len(all) != n || len(numbers) != n {
			t.Errorf("%d accounts with %d numbers for %d events", len(all), len(numbers), n)
		}
	})
}

func TestReprocessing(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		b := start(t, url, alone(newTruth(t)))
		e := created(person("Ada Byron"))
		other := fact{id: "evt_other", typ: "employee.promoted", employee: person("Bo Next")}
		trial := fact{id: "evt_trial", typ: "webhook.test", employee: person("Cy Oh")}
		b.mustSend(t, e, other, trial)
		b.settled(t)
		if got := b.event(t, trial.id); got.Status != bankv1.InboxEvent_IGNORED || got.Outcome != "test event" {
			t.Errorf("%v", got)
		}
		if got := b.event(t, other.id); got.Status != bankv1.InboxEvent_IGNORED || got.Outcome != "unknown type" {
			t.Errorf("%v", got)
		}
		if _, err := b.api.ReprocessInboxEvent(t.Context(), &bankv1.ReprocessInboxEventRequest{Id: e.id}); err != nil {
			t.Fatal(err)
		}
		await(t, "second try", func() bool { return b.event(t, e.id).Attempts == 2 })
		if got := b.event(t, e.id); got.Outcome != "stale version" || got.AccountId == "" {
			t.Errorf("%v", got)
		}
		res, err := b.api.ReprocessInboxEvents(t.Context(), &bankv1.ReprocessInboxEventsRequest{Status: bankv1.InboxEvent_IGNORED})
		if err != nil || res.ReprocessedCount < 1 {
			t.Errorf("%v, %v", res, err)
		}
		b.settled(t)
		if all := b.accounts(t); len(all) != 1 {
			t.Errorf("%d accounts", len(all))
		}
	})
}

func TestWhatCannotBeUnderstoodIsQuarantined(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		b := start(t, url, alone(newTruth(t)))
		const emp = "emp_01J8ZQ4T6Y9GZ1K3V5X7A9B2C4"
		envelope := func(id, data string) string {
			return `{"id":"` + id + `","type":"employee.created","timestamp":"2026-11-20T09:00:00Z","data":` + data + `}`
		}
		bodies := map[string]string{
			"q_not_json":       `not JSON`,
			"q_list":           `[]`,
			"q_duplicate_key":  `{"id":"q_duplicate_key","id":"x","type":"employee.created","timestamp":"2026-11-20T09:00:00Z","data":{}}`,
			"q_no_data":        `{"id":"q_no_data","type":"employee.created","timestamp":"2026-11-20T09:00:00Z"}`,
			"q_no_timestamp":   `{"id":"q_no_timestamp","type":"employee.created","data":{}}`,
			"q_year_9999":      `{"id":"q_year_9999","type":"employee.created","timestamp":"9999-11-20T09:00:00Z","data":{}}`,
			"q_other_id":       envelope("evt_x", `{"employee":{"id":"`+emp+`","version":1}}`),
			"q_no_employee":    envelope("q_no_employee", `{}`),
			"q_uuid":           envelope("q_uuid", `{"employee":{"id":"3f0f7a2e-0000-4000-8000-000000000000","version":1}}`),
			"q_version_1e400":  envelope("q_version_1e400", `{"employee":{"id":"`+emp+`","version":1e400}}`),
			"q_version_0":      envelope("q_version_0", `{"employee":{"id":"`+emp+`","version":0}}`),
			"q_half_a_state":   envelope("q_half_a_state", `{"employee":{"id":"`+emp+`","version":1,"given_name":"Ada"}}`),
			"q_case_fold":      envelope("q_case_fold", `{"employee":{"ID":"`+emp+`","version":1}}`),
			"q_control_char":   envelope("q_control_char", `{"employee":{"id":"`+emp+`","version":1,"given_name":"A\u001b[31m","family_name":"B","currency":"EUR","status":"ACTIVE"}}`),
			"q_lone_surrogate": envelope("q_lone_surrogate", `{"employee":{"id":"`+emp+`","version":1,"given_name":"\ud800","family_name":"B","currency":"EUR","status":"ACTIVE"}}`),
		}
		for id, body := range bodies {
			if a := b.do(t, b.signed(t, id, []byte(body))); a.status != http.StatusAccepted {
				t.Errorf("%s: %d %s", id, a.status, a.body)
			}
			if e := b.event(t, id); e.Status != bankv1.InboxEvent_QUARANTINED || e.LastError == "" {
				t.Errorf("%s: %v", id, e)
			}
		}
		if all := b.accounts(t); len(all) != 0 {
			t.Errorf("%v", all)
		}
	})
}
