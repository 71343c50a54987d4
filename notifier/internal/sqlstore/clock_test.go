package sqlstore

import (
	"testing"
	"time"
)

func TestClockMovesOnlyWhenItIsWrong(t *testing.T) {
	local := time.Now()
	there := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	at := func(ms int) time.Duration { return time.Duration(ms) * time.Millisecond }
	for name, c := range map[string]struct{ sent, received, there, want int }{ // in ms after the anchor; want is what it tells 1 s after
		"exact":                       {100, 102, 101, 1000},
		"slow answer":                 {100, 400, 110, 1000},
		"slow question":               {100, 400, 390, 1000},
		"it was ahead":                {100, 102, 95, 995},
		"it was behind":               {100, 102, 110, 1008},
		"the server's clock was set":  {100, 102, 60_101, 60_999},
		"and set back":                {100, 102, -59_899, -58_999},
		"ahead, read by a slow trip":  {100, 400, 95, 995},
		"behind, read by a slow trip": {100, 400, 410, 1010},
	} {
		a := (&anchor{local, there}).read(local.Add(at(c.sent)), local.Add(at(c.received)), there.Add(at(c.there)))
		if got := a.there.Add(local.Add(time.Second).Sub(a.local)).Sub(there); got != at(c.want) {
			t.Errorf("%s: %s after a second, want %s", name, got, at(c.want))
		}
	}
	var none *anchor
	if a := none.read(local, local.Add(at(10)), there); !a.there.Equal(there) || a.local.Sub(local) != at(5) {
		t.Errorf("the first reading: %+v", a)
	}
}
