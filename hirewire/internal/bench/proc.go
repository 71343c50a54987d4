package bench

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// ticks is how many of the kernel's clock ticks make a second; on Linux it is 100 wherever Go runs.
const ticks = 100

// cpuTime is what the process has used, of its own and of children that it has waited for; 0 where there is no /proc.
func cpuTime(pid int) time.Duration {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) < 15 {
		return 0
	}
	var sum int64
	for _, f := range fields[11:15] { // utime, stime, cutime, cstime
		n, _ := strconv.ParseInt(f, 10, 64)
		sum += n
	}
	return time.Duration(sum) * time.Second / ticks
}

// postgresCPU is what the server's postmaster and all its children have used; 0 where the server is elsewhere.
func postgresCPU(postmaster int) time.Duration {
	if postmaster == 0 {
		return 0
	}
	sum := cpuTime(postmaster)
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || parent(pid) != postmaster {
			continue
		}
		sum += cpuTime(pid)
	}
	return sum
}

func parent(pid int) int {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) < 2 {
		return 0
	}
	ppid, _ := strconv.Atoi(fields[1])
	return ppid
}

// postmaster finds the process of a server on this machine, or 0.
func postmaster(ctx context.Context, databaseURL string) int {
	db, err := sql.Open("postgres", databaseURL)
	if err != nil {
		return 0
	}
	defer db.Close()
	var backend int
	if err := db.QueryRowContext(ctx, "SELECT pg_backend_pid()").Scan(&backend); err != nil {
		return 0
	}
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", backend))
	if err != nil || !strings.HasPrefix(string(name), "postgres") {
		return 0
	}
	return parent(backend)
}

// settled waits until PostgreSQL vacuums nothing any more, for five minutes at most, and has it write what it has not yet: a
// history that took weeks to grow leaves neither to be done.
func settled(ctx context.Context, databaseURL string) error {
	if databaseURL == "" {
		return nil
	}
	db, err := sql.Open("postgres", databaseURL)
	if err != nil {
		return err
	}
	defer db.Close()
	quiet := 0
	for end := time.Now().Add(5 * time.Minute); quiet < 10 && time.Now().Before(end); {
		var vacuums int
		if err := db.QueryRowContext(ctx, "SELECT count(*) FROM pg_stat_progress_vacuum").Scan(&vacuums); err != nil {
			return err
		}
		if quiet++; vacuums > 0 {
			quiet = 0
		}
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
	_, _ = db.ExecContext(ctx, "CHECKPOINT") // where it may not, it does so by itself in the end
	return nil
}

// peakMemory is the largest the process has been, in MiB; 0 where there is no /proc.
func peakMemory(pid int) float64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if value, found := strings.CutPrefix(line, "VmHWM:"); found {
			kib, _ := strconv.ParseFloat(strings.Fields(value)[0], 64)
			return kib / 1024
		}
	}
	return 0
}
