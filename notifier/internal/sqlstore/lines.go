package sqlstore

import (
	"hirewire.dev/notifier/internal/ingest"
)

// lines finds who is first in a batch among the deliveries of one employee to one subscription: the others wait for it.
type lines map[line]bool

type line struct{ subscription, employee string }

// may is what a new delivery may; publishSQL knows these numbers.
type may int

const (
	mayQueue      may = iota // be queued, due when it says
	mayGo                    // be leased
	mayGoIfFirst             // be leased if nothing earlier is pending; else it is blocked
	mayNotBeFirst            // it is blocked: something earlier is in the batch
)

// may says what the delivery may, and remembers it.
func (l lines) may(d *ingest.NewDelivery, employee string) may {
	ordered := d.Ordered && employee != ""
	if ordered {
		key := line{d.SubscriptionID, employee}
		if l[key] {
			return mayNotBeFirst
		}
		l[key] = true
	}
	switch {
	case !d.Lease || d.Wait > 0:
		return mayQueue
	case ordered:
		return mayGoIfFirst
	default:
		return mayGo
	}
}
