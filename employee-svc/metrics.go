package employeesvc

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hirewire.dev/employee-svc/internal/outbox"
)

// relayMetrics shows what the relay does.
type relayMetrics struct {
	published prometheus.Counter
	failed    *prometheus.CounterVec
	duration  prometheus.Histogram
	batch     prometheus.Histogram
	waiting   prometheus.Gauge
	parked    prometheus.Gauge
	oldest    atomic.Int64 // unix microseconds; 0: none
}

var _ outbox.Observer = (*relayMetrics)(nil)

func newRelayMetrics(reg prometheus.Registerer) *relayMetrics {
	m := &relayMetrics{
		published: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "employee_outbox_published_total", Help: "Events that the notifier has committed.",
		}),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "employee_outbox_publish_failures_total", Help: "Calls to the notifier that failed: refused, broken or unavailable.",
		}, []string{"outcome"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "employee_outbox_publish_seconds", Help: "Time of a call that the notifier committed.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "employee_outbox_batch_events", Help: "Events in a call that the notifier committed.",
			Buckets: []float64{1, 2, 5, 10, 20, 50, 100, 200, 500},
		}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "employee_outbox_depth", Help: "Events that wait to be published, of all replicas.",
		}),
		parked: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "employee_outbox_parked", Help: "Events that the notifier does not take, of all replicas: somebody must look.",
		}),
	}
	age := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "employee_outbox_oldest_age_seconds", Help: "How long the oldest waiting event has waited; 0 when none waits.",
	}, m.age)
	reg.MustRegister(m.published, m.failed, m.duration, m.batch, m.waiting, m.parked, age)
	for _, outcome := range []string{"refused", "broken", "early", "unavailable"} {
		m.failed.WithLabelValues(outcome)
	}
	return m
}

// Published implements outbox.Observer.
func (m *relayMetrics) Published(n int, took time.Duration) {
	m.published.Add(float64(n))
	m.duration.Observe(took.Seconds())
	m.batch.Observe(float64(n))
}

// Failed implements outbox.Observer.
func (m *relayMetrics) Failed(outcome string) { m.failed.WithLabelValues(outcome).Inc() }

// Depth implements outbox.Observer.
func (m *relayMetrics) Depth(d outbox.Depth) {
	m.waiting.Set(float64(d.Waiting))
	m.parked.Set(float64(d.Parked))
	var oldest int64
	if !d.Oldest.IsZero() {
		oldest = d.Oldest.UnixMicro()
	}
	m.oldest.Store(oldest)
}

func (m *relayMetrics) age() float64 {
	oldest := m.oldest.Load()
	if oldest == 0 {
		return 0
	}
	return max(time.Since(time.UnixMicro(oldest)).Seconds(), 0)
}
