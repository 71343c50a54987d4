// Package storetest says how stores of the notifier behave, and what they cost.
package storetest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"hirewire.dev/platform/sqldb"
)

// CPU measures what a benchmark costs: the processor's time of this process, and of PostgreSQL where it runs on this machine.
type CPU struct {
	tb         testing.TB
	postmaster int
	self       time.Duration
	server     time.Duration
}

// StartCPU begins to measure.
func StartCPU(tb testing.TB, db *sqldb.DB) *CPU {
	tb.Helper()
	c := &CPU{tb: tb}
	if db.Engine == sqldb.PostgreSQL {
		var backend int
		if err := db.QueryRowContext(tb.Context(), `SELECT pg_backend_pid()`).Scan(&backend); err != nil {
			tb.Fatal(err)
		}
		if fields := procStat(backend); fields != nil {
			c.postmaster, _ = strconv.Atoi(fields[1])
		}
	}
	c.self, c.server = selfCPU(), c.serverCPU()
	return c
}

// Report adds the microseconds of each operation to the benchmark's figures.
func (c *CPU) Report(b *testing.B, operations int) {
	b.ReportMetric(float64((selfCPU()-c.self).Microseconds())/float64(operations), "go-cpu-us/op")
	if c.postmaster != 0 {
		b.ReportMetric(float64((c.serverCPU()-c.server).Microseconds())/float64(operations), "pg-cpu-us/op")
	}
}

func selfCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// serverCPU adds up the postmaster's children, those that have ended included.
func (c *CPU) serverCPU() time.Duration {
	if c.postmaster == 0 {
		return 0
	}
	var ticks int64
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		fields := procStat(pid)
		switch {
		case fields == nil:
		case pid == c.postmaster:
			ticks += sum(fields[11:15])
		case fields[1] == strconv.Itoa(c.postmaster):
			ticks += sum(fields[11:13])
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// procStat gives the fields of /proc/pid/stat from the state on; nil where there are none.
func procStat(pid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	if fields := strings.Fields(rest); len(fields) > 15 {
		return fields
	}
	return nil
}

func sum(fields []string) (n int64) {
	for _, f := range fields {
		v, _ := strconv.ParseInt(f, 10, 64)
		n += v
	}
	return n
}
