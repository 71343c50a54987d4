package notifier

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/sqlstore"
	"hirewire.dev/notifier/internal/subscription"
)

func newCounter(r prometheus.Registerer, name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	r.MustRegister(c)
	return c
}

// attemptMetrics counts attempts. Labels are the outcomes, a closed set.
type attemptMetrics struct {
	byOutcome map[delivery.Outcome]prometheus.Counter
	other     prometheus.Counter
	duration  prometheus.Histogram
	latency   prometheus.Histogram
}

var outcomes = []delivery.Outcome{
	delivery.OutcomeDelivered, delivery.OutcomeRejected, delivery.OutcomeGone, delivery.OutcomeThrottled, delivery.OutcomeTimeout,
	delivery.OutcomeConnection, delivery.OutcomeTLS, delivery.OutcomeDNS, delivery.OutcomeBlocked, delivery.OutcomeProtocol,
}

func newAttemptMetrics(r prometheus.Registerer) *attemptMetrics {
	attempts := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "notifier_attempts_total", Help: "Attempts that have ended, by their outcome.",
	}, []string{"outcome"})
	m := &attemptMetrics{
		byOutcome: map[delivery.Outcome]prometheus.Counter{},
		other:     attempts.WithLabelValues("other"),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "notifier_attempt_duration_seconds", Help: "From the beginning of an attempt to its answer.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 15},
		}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "notifier_delivery_latency_seconds", Help: "From taking an event in to its delivery, retries and holds included.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60, 600, 3600, 86400},
		}),
	}
	for _, o := range outcomes {
		m.byOutcome[o] = attempts.WithLabelValues(string(o))
	}
	r.MustRegister(attempts, m.duration, m.latency)
	return m
}

// Observe implements delivery.Observer.
func (m *attemptMetrics) Observe(results []delivery.Result) {
	for i := range results {
		r := &results[i]
		if r.Attempt.Number == 0 {
			continue
		}
		c := m.byOutcome[r.Attempt.Outcome]
		if c == nil {
			c = m.other
		}
		c.Inc()
		m.duration.Observe(r.Attempt.Duration.Seconds())
		if r.Delivery.Status == delivery.Delivered {
			m.latency.Observe(r.Attempt.StartedAt.Add(r.Attempt.Duration).Sub(r.Delivery.CreatedAt).Seconds())
		}
	}
}

// stockEvery is how often the database is asked for what it holds.
const stockEvery = 10 * time.Second

// stockMetrics tells what the database holds: the same from every replica, so take the greatest, not the sum.
type stockMetrics struct {
	store         *sqlstore.Store
	log           *slog.Logger
	subscriptions *prometheus.GaugeVec
	deliveries    *prometheus.GaugeVec
	fannedOut     prometheus.Gauge
	failing       prometheus.Gauge
	oldestDue     prometheus.Gauge
}

func newStockMetrics(r prometheus.Registerer, store *sqlstore.Store, log *slog.Logger) *stockMetrics {
	m := &stockMetrics{
		store: store, log: log,
		subscriptions: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "notifier_subscriptions", Help: "Subscriptions, by their status.",
		}, []string{"status"}),
		deliveries: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "notifier_deliveries", Help: "Deliveries that were ever fanned out, by their status; together they are notifier_fanned_out.",
		}, []string{"status"}),
		fannedOut: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "notifier_fanned_out", Help: "Deliveries that were ever fanned out.",
		}),
		failing: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "notifier_subscriptions_failing", Help: "Active subscriptions that have had nothing but failures for a while.",
		}),
		oldestDue: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "notifier_oldest_due_seconds", Help: "For how long the most overdue delivery of an active subscription has been due.",
		}),
	}
	r.MustRegister(m.subscriptions, m.deliveries, m.fannedOut, m.failing, m.oldestDue)
	return m
}

// Run follows the database until ctx ends.
func (m *stockMetrics) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		if err := m.update(ctx); err != nil && ctx.Err() == nil {
			m.log.WarnContext(ctx, "metrics of the database could not be read", "error", err)
		}
		timer.Reset(stockEvery/2 + rand.N(stockEvery/2)) //nolint:gosec // Spreads replicas over time; nothing is guessed from it.
	}
}

func (m *stockMetrics) update(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stockEvery/2)
	defer cancel()
	balance, err := m.store.Balance(ctx, "", nil)
	if err != nil {
		return err
	}
	stock, err := m.store.Stock(ctx)
	if err != nil {
		return err
	}
	m.fannedOut.Set(float64(balance.FannedOut))
	for status, n := range map[delivery.Status]int64{
		delivery.Pending: balance.Pending, delivery.Delivered: balance.Delivered, delivery.Dead: balance.Dead, delivery.Cancelled: balance.Cancelled,
	} {
		m.deliveries.WithLabelValues(string(status)).Set(float64(n))
	}
	for _, status := range []subscription.Status{subscription.PendingVerification, subscription.Active, subscription.Paused, subscription.Disabled} {
		m.subscriptions.WithLabelValues(string(status)).Set(float64(stock.Subscriptions[status]))
	}
	m.failing.Set(float64(stock.Failing))
	overdue := 0.0
	if !stock.OldestDue.IsZero() {
		overdue = max(m.store.Now().Sub(stock.OldestDue).Seconds(), 0)
	}
	m.oldestDue.Set(overdue)
	return nil
}
