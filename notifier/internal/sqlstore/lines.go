package sqlstore

import (
	"hirewire.dev/notifier/internal/ingest"
)

// lines finds who is first in a batch among the deliveries of one employee to one subscription: the others wait for it.
type lines map[line]bool

type line struct{ subscription, employee string }

// may says what the delivery may, and remembers it.
func (l lines) may(d *ingest.NewDelivery, employee string) int {
	ordered := d.Ordered && employee != ""
	first := true
	if ordered {
		key := line{d.SubscriptionID, employee}
		first = !l[key]
		l[key] = true
	}
	switch {
	case !d.Lease || !first || d.Wait > 0:
		return mayNot
	case ordered:
		return mayIfFirst
	default:
		return mayAlways
	}
}
