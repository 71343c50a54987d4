// Package latency sums up how long things took.
package latency

import (
	"math"
	"time"
)

// Quantile is the smallest of sorted times that q of them, 0 to 1, do not exceed (the nearest rank); 0 of none.
func Quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(q * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// Milliseconds is d as reports show it.
func Milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
