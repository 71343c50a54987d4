package rpc

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// metrics of the chain. Labels are bounded: the registered methods, and the 17 codes.
type metrics struct {
	duration *prometheus.HistogramVec
	panics   prometheus.Counter
}

// observers are one method's histograms by code.
type observers [codes.Unauthenticated + 1]prometheus.Observer

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "rpc_server_duration_seconds",
			Help:    "Time to handle a call, by method and gRPC code; a stream's from open to close.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"method", "code"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "rpc_server_panics_total",
			Help: "Handlers that panicked.",
		}),
	}
	if reg == nil {
		return m, nil
	}
	if err := reg.Register(m.duration); err != nil {
		return nil, err
	}
	return m, reg.Register(m.panics)
}

// method resolves one method's labels once, so that a call only observes.
func (m *metrics) method(full string) *observers {
	var obs observers
	for code := range obs {
		obs[code] = lazyObserver{m.duration, full, codes.Code(code).String()}
	}
	obs[codes.OK] = m.duration.WithLabelValues(full, codes.OK.String())
	return &obs
}

// lazyObserver makes its series when there is something to count, so that /metrics is not full of zeros.
type lazyObserver struct {
	vec          *prometheus.HistogramVec
	method, code string
}

func (o lazyObserver) Observe(v float64) { o.vec.WithLabelValues(o.method, o.code).Observe(v) }

func (o *observers) observe(err error, took time.Duration) {
	code := status.Code(err)
	if int(code) >= len(o) {
		code = codes.Unknown
	}
	o[code].Observe(took.Seconds())
}
