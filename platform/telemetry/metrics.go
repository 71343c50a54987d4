package telemetry

import (
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// NewRegistry makes a registry with the metrics of the process, of the Go
// runtime, hirewire_build_info and hirewire_log_dropped_total.
func NewRegistry(service string) *prometheus.Registry {
	r := prometheus.NewRegistry()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "hirewire_build_info",
		Help:        "Always 1; the labels say what runs.",
		ConstLabels: prometheus.Labels{"service": service, "version": Version(), "go_version": runtime.Version()},
	})
	info.Set(1)
	dropped := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "hirewire_log_dropped_total",
		Help: "Log lines that this process dropped because its output was not read.",
	}, func() float64 { return float64(dropped.Load()) })
	r.MustRegister(info, dropped, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Version is the version of the running binary: the module's version or the
// commit it was built from, "devel" where the build does not say.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return s.Value[:12]
		}
	}
	return "devel"
}
