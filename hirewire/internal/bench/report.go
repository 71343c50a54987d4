// Package bench measures a stack from outside: what goes in over the public APIs, and what arrives at receivers.
package bench

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"hirewire.dev/hirewire/latency"
)

// Report is all that was measured; its JSON is what hirewire bench --json prints. Parts that were not asked for are nil.
type Report struct {
	Setup   Setup              `json:"setup"`
	Raw     *Rate              `json:"raw,omitempty"`
	Notify  map[string]*Notify `json:"notify,omitempty"`  // by number of subscriptions
	Held    *Notify            `json:"held,omitempty"`    // publishers held to 80 % of the maximum
	Paced   map[string]*Notify `json:"paced,omitempty"`   // by events a second
	Chain   map[string]*Chain  `json:"chain,omitempty"`   // by number of banks
	Batches map[string]*Chain  `json:"batches,omitempty"` // the chain, with employees created 500 a call
	Fanout  *Fanout            `json:"fanout,omitempty"`
	History *History           `json:"history,omitempty"`
	Outage  *Outage            `json:"outage,omitempty"`
}

// Good says that nothing was lost or doubled in any run.
func (r *Report) Good() bool {
	wrong := 0
	for _, n := range slices.Concat([]*Notify{r.Held}, slices.Collect(maps.Values(r.Notify)), slices.Collect(maps.Values(r.Paced))) {
		if n != nil {
			wrong += n.Lost + n.Duplicates
		}
	}
	for _, c := range slices.Concat(slices.Collect(maps.Values(r.Chain)), slices.Collect(maps.Values(r.Batches))) {
		wrong += c.Lost + c.Duplicates
	}
	if r.Fanout != nil {
		wrong += r.Fanout.Lost + r.Fanout.Duplicates
	}
	if r.History != nil {
		wrong += r.History.Lost + r.History.Duplicates
	}
	if r.Outage != nil {
		wrong += r.Outage.Lost + r.Outage.Duplicates
	}
	return wrong == 0
}

// Setup says what was measured.
type Setup struct {
	Engine    string `json:"engine"`
	Scheme    string `json:"scheme"`
	Processes bool   `json:"processes"`
	Cores     int    `json:"cores"`
	Clients   int    `json:"clients"`
	// CPUOf says whose CPU time the figures count.
	CPUOf string `json:"cpu_of"`
}

// Rate is a median with the extremes around it.
type Rate struct {
	PerSecond float64 `json:"per_second"`
	Min       float64 `json:"min"`
	Max       float64 `json:"max"`
}

// Notify is the notifier's part: from PublishEvents to the receiver. Of several runs it is the one with the median
// rate, or, where the rate is set, the median p99.
type Notify struct {
	PerSecond  float64 `json:"per_second"`
	Min        float64 `json:"min"`
	Max        float64 `json:"max"`
	Ratio      float64 `json:"ratio_to_raw,omitempty"` // each run's is to the raw run right before it
	RatioMin   float64 `json:"ratio_min,omitempty"`
	RatioMax   float64 `json:"ratio_max,omitempty"`
	P50        float64 `json:"p50_ms"`
	P95        float64 `json:"p95_ms"`
	P99        float64 `json:"p99_ms"`
	MaxLatency float64 `json:"max_ms"`
	Lost       int     `json:"lost"`
	Duplicates int     `json:"duplicates"`
	// CPU is for each delivery; 0 where /proc does not tell.
	CPU         float64 `json:"cpu_ms_per_delivery"`
	CPUNotifier float64 `json:"cpu_ms_notifier"`
	CPUPostgres float64 `json:"cpu_ms_postgres"`
	CPUPerEvent float64 `json:"cpu_ms_per_event"`
	// MemoryMiB is the notifier's peak.
	MemoryMiB float64 `json:"memory_mib"`
}

// Chain is the whole way: from CreateEmployee to the account. Of several runs it is the one with the median rate of
// accounts.
type Chain struct {
	Employees    float64 `json:"employees_per_second"`
	EmployeesMin float64 `json:"employees_min"`
	EmployeesMax float64 `json:"employees_max"`
	Accounts     float64 `json:"accounts_per_second"`
	AccountsMin  float64 `json:"accounts_min"`
	AccountsMax  float64 `json:"accounts_max"`
	P50          float64 `json:"p50_ms"`
	P99          float64 `json:"p99_ms"`
	Lost         int     `json:"lost"`
	Duplicates   int     `json:"duplicates"`
}

// Fanout is one event to many subscriptions.
type Fanout struct {
	Subscriptions int     `json:"subscriptions"`
	AckMS         float64 `json:"ack_ms"`
	LastMS        float64 `json:"last_arrival_ms"`
	Lost          int     `json:"lost"`
	Duplicates    int     `json:"duplicates"`
}

// History is the notifier with finished deliveries in its tables, against the same one without.
type History struct {
	Deliveries int     `json:"deliveries"`
	Empty      Rate    `json:"empty"`
	Full       Rate    `json:"full"`
	Ratio      float64 `json:"ratio"` // of the medians; the extremes are those of the full runs
	RatioMin   float64 `json:"ratio_min"`
	RatioMax   float64 `json:"ratio_max"`
	Lost       int     `json:"lost"`
	Duplicates int     `json:"duplicates"`
}

// Outage is how fast held events drain.
type Outage struct {
	Events     int     `json:"events"`
	PerSecond  float64 `json:"per_second"`
	Seconds    float64 `json:"seconds"`
	Lost       int     `json:"lost"`
	Duplicates int     `json:"duplicates"`
}

// median returns the middle run by what it is measured by, with the extreme rates of all runs.
func median(runs []*Notify, by func(*Notify) float64) *Notify {
	slices.SortFunc(runs, func(a, b *Notify) int { return cmp.Compare(by(a), by(b)) })
	m := runs[len(runs)/2]
	m.Min, m.Max, m.RatioMin, m.RatioMax = m.PerSecond, m.PerSecond, m.Ratio, m.Ratio
	for _, r := range runs {
		m.Min, m.Max = min(m.Min, r.PerSecond), max(m.Max, r.PerSecond)
		m.RatioMin, m.RatioMax = min(m.RatioMin, r.Ratio), max(m.RatioMax, r.Ratio)
		m.Lost, m.Duplicates = max(m.Lost, r.Lost), max(m.Duplicates, r.Duplicates)
	}
	return m
}

func byRate(n *Notify) float64 { return n.PerSecond }

func byLatency(n *Notify) float64 { return n.P99 }

func medianChain(runs []*Chain) *Chain {
	slices.SortFunc(runs, func(a, b *Chain) int { return cmp.Compare(a.Accounts, b.Accounts) })
	m := runs[len(runs)/2]
	m.AccountsMin, m.AccountsMax = runs[0].Accounts, runs[len(runs)-1].Accounts
	m.EmployeesMin, m.EmployeesMax = m.Employees, m.Employees
	for _, r := range runs {
		m.EmployeesMin, m.EmployeesMax = min(m.EmployeesMin, r.Employees), max(m.EmployeesMax, r.Employees)
		m.Lost, m.Duplicates = max(m.Lost, r.Lost), max(m.Duplicates, r.Duplicates)
	}
	return m
}

func medianRate(rates []float64) *Rate {
	slices.Sort(rates)
	return &Rate{PerSecond: rates[len(rates)/2], Min: rates[0], Max: rates[len(rates)-1]}
}

// quantile is in milliseconds.
func quantile(sorted []time.Duration, q float64) float64 {
	return latency.Milliseconds(latency.Quantile(sorted, q))
}
