package latency_test

import (
	"testing"
	"time"

	"hirewire.dev/hirewire/latency"
)

func TestQuantileIsTheNearestRank(t *testing.T) {
	for _, test := range []struct {
		n    int // times of 1, 2, … n
		q    float64
		want time.Duration
	}{
		{0, .5, 0},
		{1, 0, 1},
		{1, .5, 1},
		{1, .99, 1},
		{1, 1, 1},
		{2, 0, 1},
		{2, .5, 1},
		{2, .51, 2},
		{2, .99, 2},
		{2, 1, 2},
		{100, 0, 1},
		{100, .5, 50},
		{100, .95, 95},
		{100, .99, 99},
		{100, .991, 100},
		{100, 1, 100},
		{101, .5, 51},
		{101, .99, 100},
	} {
		sorted := make([]time.Duration, test.n)
		for i := range sorted {
			sorted[i] = time.Duration(i + 1)
		}
		if got := latency.Quantile(sorted, test.q); got != test.want {
			t.Errorf("%v of %d: %d, want %d", test.q, test.n, got, test.want)
		}
	}
}
