package sqlstore

import (
	"bytes"
	"context"
	"database/sql"
	"errors"

	"github.com/jmoiron/sqlx"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/event"
	"hirewire.dev/notifier/internal/ingest"
	"hirewire.dev/platform/sqldb"
)

var (
	knownEvents = statement(`SELECT id, payload_sha256 FROM events WHERE id IN (%s)`, 1)
	insertEvent = statement(`INSERT INTO events (id, position, type, employee_id, version, occurred_at, received_at, payload, payload_sha256, traceparent)
		VALUES %s`, 10)
	insertDelivery = statement(`INSERT INTO deliveries (id, event_id, event_type, subscription_id, employee_id, position, due_at, lease, created_at)
		VALUES %s`, 9)
	pendingLines = statement(`SELECT DISTINCT d.subscription_id, d.employee_id FROM deliveries d WHERE (d.subscription_id, d.employee_id) IN (VALUES %s)`, 2)
	leasedBefore = statement(`SELECT id, lease FROM deliveries WHERE id IN (%s)`, 1)
	addFannedOut = statement(`INSERT INTO balances (subscription_id, shard, fanned_out) VALUES %s
		ON CONFLICT (subscription_id, shard) DO UPDATE SET fanned_out = balances.fanned_out + excluded.fanned_out`, 3)
)

// publishInTx is Publish in one transaction that holds feed's lock from its beginning: what it reads stays true.
func (s *Store) publishInTx(ctx context.Context, b *ingest.Batch) (bool, error) {
	p := publishing{Store: s, b: b}
	if err := p.prepareStatements(ctx); err != nil {
		return false, err
	}
	err := s.db.InTx(ctx, func(tx *sqldb.Tx) error { return p.run(ctx, tx) })
	if errors.Is(err, errStale) {
		return false, nil
	}
	return err == nil, err
}

// publishing is one run of publishInTx.
type publishing struct {
	*Store
	b      *ingest.Batch
	base   int64
	token  int64
	events []int // indexes of the new ones
	fresh  map[int]bool
	added  []int // indexes of their deliveries
}

func (p *publishing) prepareStatements(ctx context.Context) error {
	return errors.Join(
		p.prepare(ctx, len(p.b.Events), knownEvents, insertEvent),
		p.prepare(ctx, len(p.b.Deliveries), insertDelivery, pendingLines, leasedBefore, addFannedOut),
	)
}

func (p *publishing) run(ctx context.Context, tx *sqldb.Tx) error {
	if err := p.begin(ctx, tx); err != nil {
		return err
	}
	if err := p.sort(ctx, tx); err != nil {
		return err
	}
	if err := p.insertEvents(ctx, tx); err != nil {
		return err
	}
	if err := p.insertDeliveries(ctx, tx); err != nil {
		return err
	}
	return p.count(ctx, tx)
}

func (p *publishing) begin(ctx context.Context, tx *sqldb.Tx) error {
	p.events, p.added, p.fresh = p.events[:0], p.added[:0], map[int]bool{}
	err := tx.QueryRowContext(ctx, `UPDATE feed SET position = position + $1 WHERE id = 1 AND epoch = $2 RETURNING position`,
		len(p.b.Events), p.b.Epoch).Scan(&p.base)
	if errors.Is(err, sql.ErrNoRows) {
		return errStale
	}
	if err != nil {
		return err
	}
	p.base -= int64(len(p.b.Events))
	p.token = 0
	known, err := knows(ctx, tx, p.b.Token)
	if known {
		p.token = p.b.Token
	}
	return err
}

// sort finds out which events are new, which calls are refused, and, for a batch that may have been stored before, what it
// had leased.
func (p *publishing) sort(ctx context.Context, tx *sqldb.Tx) error {
	known := map[string][]byte{}
	err := p.query(ctx, tx, knownEvents, len(p.b.Events),
		func(args []any, i int) []any { return append(args, p.b.Events[i].ID) },
		func(rows *sqlx.Rows) error {
			var id string
			var sum []byte
			if err := rows.Scan(&id, &sum); err != nil {
				return err
			}
			known[id] = sum
			return nil
		})
	if err != nil {
		return err
	}
	i, d := 0, 0
	for c := range p.b.Calls {
		call := &p.b.Calls[c]
		call.Err = nil
		for n := i; n < i+call.Events; n++ {
			if sum := known[p.b.Events[n].ID]; sum != nil && !bytes.Equal(sum, p.b.Sums[n][:]) {
				call.Err = &event.ConflictError{ID: p.b.Events[n].ID}
				break
			}
		}
		for n := i; n < i+call.Events; n++ {
			p.b.Events[n].Position = 0
			if call.Err == nil && known[p.b.Events[n].ID] == nil {
				p.events = append(p.events, n)
				p.fresh[n] = true
				p.b.Events[n].Position = p.base + int64(n) + 1
			}
		}
		for n := d; n < d+call.Deliveries; n++ {
			p.b.Deliveries[n].Fate = ingest.Absent
			if p.fresh[p.b.Deliveries[n].Event] {
				p.added = append(p.added, n)
			}
		}
		i, d = i+call.Events, d+call.Deliveries
	}
	if p.b.Retried && len(known) > 0 {
		return p.recall(ctx, tx)
	}
	return nil
}

// recall finds what an earlier try of the batch has leased.
func (p *publishing) recall(ctx context.Context, tx *sqldb.Tx) error {
	byID := make(map[string]*ingest.NewDelivery, len(p.b.Deliveries))
	for i := range p.b.Deliveries {
		byID[p.b.Deliveries[i].ID] = &p.b.Deliveries[i]
	}
	return p.query(ctx, tx, leasedBefore, len(p.b.Deliveries),
		func(args []any, i int) []any { return append(args, p.b.Deliveries[i].ID) },
		func(rows *sqlx.Rows) error {
			var id string
			var token int64
			if err := rows.Scan(&id, &token); err != nil {
				return err
			}
			if byID[id].Fate = ingest.Queued; token != 0 && token == p.token {
				byID[id].Fate = ingest.Leased
			}
			return nil
		})
}

func (p *publishing) insertEvents(ctx context.Context, tx *sqldb.Tx) error {
	_, err := p.exec(ctx, tx, insertEvent, len(p.events), func(args []any, i int) []any {
		e := p.b.Events[p.events[i]]
		return append(args, e.ID, e.Position, e.Type, e.EmployeeID, e.Version, e.OccurredAt, p.b.At, e.Payload, p.b.Sums[p.events[i]][:], e.Traceparent)
	})
	return err
}

func (p *publishing) insertDeliveries(ctx context.Context, tx *sqldb.Tx) error {
	blocked, err := p.sortLines(ctx, tx)
	if err != nil {
		return err
	}
	_, err = p.exec(ctx, tx, insertDelivery, len(p.added), func(args []any, i int) []any {
		d := &p.b.Deliveries[p.added[i]]
		e := p.b.Events[d.Event]
		var token int64
		wait := d.Wait
		switch d.Fate = ingest.Queued; {
		case blocked[i] && wait == 0:
			d.Fate, wait = ingest.Blocked, delivery.BlockedFor
		case !blocked[i] && d.Lease && wait == 0 && p.token != 0:
			d.Fate, token = ingest.Leased, p.token
		}
		return append(args, d.ID, e.ID, e.Type, d.SubscriptionID, e.EmployeeID, e.Position, p.b.At.Add(wait), token, p.b.At)
	})
	return err
}

// sortLines says for each new delivery whether something earlier of its employee is pending, as far as that matters.
func (p *publishing) sortLines(ctx context.Context, tx *sqldb.Tx) (blocked []bool, err error) {
	blocked = make([]bool, len(p.added))
	batch := lines{}
	var asked []int
	for i, n := range p.added {
		d := &p.b.Deliveries[n]
		switch batch.may(d, p.b.Events[d.Event].EmployeeID) {
		case mayNotBeFirst:
			blocked[i] = true
		case mayGoIfFirst:
			asked = append(asked, i)
		case mayQueue, mayGo:
		}
	}
	at := func(i int) line {
		d := &p.b.Deliveries[p.added[asked[i]]]
		return line{d.SubscriptionID, p.b.Events[d.Event].EmployeeID}
	}
	pending := map[line]bool{}
	err = p.query(ctx, tx, pendingLines, len(asked),
		func(args []any, i int) []any { return append(args, at(i).subscription, at(i).employee) },
		func(rows *sqlx.Rows) error {
			var l line
			if err := rows.Scan(&l.subscription, &l.employee); err != nil {
				return err
			}
			pending[l] = true
			return nil
		})
	for i, n := range asked {
		blocked[n] = pending[at(i)]
	}
	return blocked, err
}

func (p *publishing) count(ctx context.Context, tx *sqldb.Tx) error {
	counts := tally{}
	for _, n := range p.added {
		counts[p.b.Deliveries[n].SubscriptionID]++
	}
	ids := counts.sorted()
	_, err := p.exec(ctx, tx, addFannedOut, len(ids), func(args []any, i int) []any {
		return append(args, ids[i], p.shard*2, counts[ids[i]])
	})
	return err
}
