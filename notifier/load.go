package notifier

import (
	"github.com/prometheus/client_golang/prometheus"

	"hirewire.dev/notifier/internal/delivery"
)

// registerLoad tells what the dispatcher of this replica has on its hands.
func registerLoad(r prometheus.Registerer, d *delivery.Dispatcher) {
	for _, g := range []struct {
		name, help string
		value      func(delivery.Load) int
	}{
		{"notifier_attempts_in_flight", "Attempts under way in this replica.", func(l delivery.Load) int { return l.InFlight }},
		{"notifier_deliveries_leased", "Deliveries that this replica has leased: queued, under way, or to be stored.", func(l delivery.Load) int { return l.Held }},
		{"notifier_subscriptions_throttled", "Subscriptions that asked this replica to be left alone for a while.", func(l delivery.Load) int { return l.HeldBack }},
	} {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: g.name, Help: g.help}, func() float64 { return float64(g.value(d.Load())) }))
	}
}
