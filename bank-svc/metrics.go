package banksvc

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hirewire.dev/bank-svc/internal/account"
	"hirewire.dev/bank-svc/internal/reconcile"
	"hirewire.dev/webhook"
	"hirewire.dev/webhook/inbox"
)

// metrics are the bank's own. Every label has a small fixed set of values.
type metrics struct {
	requests     *prometheus.CounterVec
	duration     prometheus.Histogram
	inbox        *prometheus.CounterVec
	age          prometheus.Histogram
	accounts     *prometheus.CounterVec
	runs         *prometheus.CounterVec
	drift        *prometheus.GaugeVec
	reconciled   prometheus.Gauge
	subscription *prometheus.GaugeVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bank_webhook_requests_total", Help: "Requests to the webhook, by how they ended and why they were refused.",
		}, []string{"outcome", "reason"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "bank_webhook_duration_seconds", Help: "From the head of an accepted request to its answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}),
		inbox: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bank_inbox_events_total", Help: "What happened to events in the inbox.",
		}, []string{"what"}),
		age: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "bank_inbox_age_seconds", Help: "From the arrival of the oldest event of a batch until its effect was committed.",
			Buckets: []float64{.001, .005, .01, .05, .1, .5, 1, 5, 30, 300},
		}),
		accounts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bank_account_changes_total", Help: "What events did to accounts.",
		}, []string{"action"}),
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bank_reconciliations_total", Help: "Reconciliations that ended here.",
		}, []string{"status"}),
		drift: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "bank_reconciliation_drift", Help: "What the last reconciliation found: missing, stale, unclosed and orphaned accounts.",
		}, []string{"kind"}),
		reconciled: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "bank_reconciled_timestamp_seconds", Help: "When the last reconciliation succeeded.",
		}),
		subscription: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "bank_subscription", Help: "1 for the status that the subscription at the notifier has.",
		}, []string{"status"}),
	}
	reg.MustRegister(m.requests, m.duration, m.inbox, m.age, m.accounts, m.runs, m.drift, m.reconciled, m.subscription)
	return m
}

// received counts a request, and logs what somebody may want to know of: the reason of a refusal is for us alone.
func (m *metrics) received(log *slog.Logger) func(context.Context, webhook.Observation) {
	return func(ctx context.Context, o webhook.Observation) {
		m.requests.WithLabelValues(string(o.Outcome), string(o.Reason)).Inc()
		switch o.Outcome {
		case webhook.Accepted:
			m.duration.Observe(o.Duration.Seconds())
		case webhook.Challenged:
			log.InfoContext(ctx, "webhook challenge answered", "event_id", o.ID)
		case webhook.Quarantined:
			log.WarnContext(ctx, "webhook quarantined", "event_id", o.ID, "reason", o.Reason, "error", o.Err)
		case webhook.Unavailable:
			log.WarnContext(ctx, "webhook not stored", "event_id", o.ID, "error", o.Err)
		case webhook.Refused:
			log.DebugContext(ctx, "webhook refused", "status", o.Status, "reason", o.Reason, "error", o.Err)
		}
	}
}

// handled counts what happened in the inbox, and logs what needs attention.
func (m *metrics) handled(log *slog.Logger) func(inbox.Observation) {
	return func(o inbox.Observation) {
		m.inbox.WithLabelValues(string(o.What)).Add(float64(max(o.Count, 1)))
		attrs := []any{"event_id", o.ID, "attempt", o.Attempt, "error", o.Err}
		switch o.What {
		case inbox.Processed:
			m.age.Observe(o.Age.Seconds())
		case inbox.Failed:
			log.Warn("event failed", attrs...)
		case inbox.Parked:
			log.Error("event quarantined", attrs...)
		case inbox.Conflict:
			log.Error("an event came again with another body", attrs...)
		case inbox.Unavailable:
			log.Warn("inbox waits for the database", "error", o.Err)
		case inbox.LeaseLost, inbox.Stored, inbox.Duplicate, inbox.Ignored, inbox.Pruned:
		}
		if o.Panicked {
			log.Error("event handler panicked", append(attrs, "stack", string(o.Stack))...)
		}
	}
}

func (m *metrics) applied(action account.Action) { m.accounts.WithLabelValues(string(action)).Inc() }

func (m *metrics) reconciliation(r reconcile.Report) {
	m.runs.WithLabelValues(string(r.Status)).Inc()
	if r.Status != reconcile.Succeeded {
		return
	}
	m.reconciled.Set(float64(time.Now().Unix()))
	for kind, n := range map[string]int64{
		"missing": r.AccountsOpened, "stale": r.AccountsUpdated, "unclosed": r.AccountsClosed, "orphaned": r.AccountsOrphaned,
	} {
		m.drift.WithLabelValues(kind).Set(float64(n))
	}
}

func (m *metrics) subscribed(status string) {
	m.subscription.Reset()
	if status != "" {
		m.subscription.WithLabelValues(status).Set(1)
	}
}
