package bench

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Print writes the report for people.
func (r *Report) Print(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	defer w.Flush()
	mode := "one process"
	if r.Setup.Processes {
		mode = "separate processes"
	}
	fmt.Fprintf(w, "%s, %s, %s, %d clients, %d cores; CPU of %s\n\n", r.Setup.Engine, r.Setup.Scheme, mode, r.Setup.Clients, r.Setup.Cores, r.Setup.CPUOf)
	if r.Raw != nil {
		fmt.Fprintf(w, "raw\t%.0f/s\t(%.0f to %.0f)\n", r.Raw.PerSecond, r.Raw.Min, r.Raw.Max)
	}
	for _, n := range []string{"1", "3"} {
		if v := r.Notify[n]; v != nil {
			fmt.Fprintf(w, "notify, %s\t%.0f/s\t(%.0f to %.0f)\t%.2f of raw (%.2f to %.2f)\t%s\n",
				count(n, "subscription"), v.PerSecond, v.Min, v.Max, v.Ratio, v.RatioMin, v.RatioMax, v.tail())
		}
	}
	if v := r.Held; v != nil {
		fmt.Fprintf(w, "held to 80 %%\t%.0f/s\t\t\t%s\n", v.PerSecond, v.tail())
	}
	for _, n := range []string{"100", "1000"} {
		if v := r.Paced[n]; v != nil {
			fmt.Fprintf(w, "paced at %s/s\t%.0f/s\t\t\t%s\n", n, v.PerSecond, v.tail())
		}
	}
	for _, n := range []string{"1", "3"} {
		for _, part := range []struct {
			name string
			of   map[string]*Chain
		}{{"chain", r.Chain}, {"chain, batches", r.Batches}} {
			if v := part.of[n]; v != nil {
				fmt.Fprintf(w, "%s, %s\t%.0f employees/s\t(%.0f to %.0f)\t%.0f accounts/s (%.0f to %.0f)\tp50 %.1f p99 %.1f ms\tlost %d, duplicates %d\n",
					part.name, count(n, "bank"), v.Employees, v.EmployeesMin, v.EmployeesMax, v.Accounts, v.AccountsMin, v.AccountsMax, v.P50, v.P99, v.Lost, v.Duplicates)
			}
		}
	}
	if v := r.Fanout; v != nil {
		fmt.Fprintf(w, "fan-out to %d\tacknowledged in %.1f ms\tlast arrival %.1f ms\tlost %d, duplicates %d\n", v.Subscriptions, v.AckMS, v.LastMS, v.Lost, v.Duplicates)
	}
	if v := r.History; v != nil {
		fmt.Fprintf(w, "history of %d\t%.0f/s\t(%.0f to %.0f)\tempty %.0f/s (%.0f to %.0f)\tratio %.2f (%.2f to %.2f)\tlost %d, duplicates %d\n",
			v.Deliveries, v.Full.PerSecond, v.Full.Min, v.Full.Max, v.Empty.PerSecond, v.Empty.Min, v.Empty.Max, v.Ratio, v.RatioMin, v.RatioMax, v.Lost, v.Duplicates)
	}
	if v := r.Outage; v != nil {
		fmt.Fprintf(w, "outage of %d\t%.0f/s\tdrained in %.1f s\tlost %d, duplicates %d\n", v.Events, v.PerSecond, v.Seconds, v.Lost, v.Duplicates)
	}
}

func count(n, of string) string {
	if n == "1" {
		return n + " " + of
	}
	return n + " " + of + "s"
}

func (n *Notify) tail() string {
	return fmt.Sprintf("p50 %.1f p95 %.1f p99 %.1f max %.1f ms\tCPU %.3f ms (%.3f + PostgreSQL %.3f)\t%.0f MiB\tlost %d, duplicates %d",
		n.P50, n.P95, n.P99, n.MaxLatency, n.CPU, n.CPUNotifier, n.CPUPostgres, n.MemoryMiB, n.Lost, n.Duplicates)
}
