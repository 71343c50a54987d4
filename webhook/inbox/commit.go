package inbox

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// arrival is a row that somebody waits for.
type arrival struct {
	row  *row
	done chan error // buffered, since the one who waits may have gone
}

// commitArrivals is the one committer: while a batch commits, the next one
// gathers, so that the fsync is shared by all who come in the meantime.
func (b *Inbox) commitArrivals(ctx context.Context) {
	for {
		select {
		case first := <-b.arrivals:
			b.commitBatch(ctx, b.gather(first))
		case <-b.closing:
			for {
				select {
				case first := <-b.arrivals:
					b.commitBatch(ctx, b.gather(first))
				default:
					return
				}
			}
		}
	}
}

func (b *Inbox) gather(first *arrival) []*arrival {
	batch := []*arrival{first}
	for len(batch) < b.config.MaxBatch {
		select {
		case next := <-b.arrivals:
			batch = append(batch, next)
		default:
			return batch
		}
	}
	return batch
}

// commitBatch stores a batch and answers all who wait. When the database takes
// exception to the data, each is stored alone, so that one cannot spoil the
// others.
func (b *Inbox) commitBatch(ctx context.Context, batch []*arrival) {
	defer func() {
		for _, a := range batch {
			b.waiting.Add(-int64(len(a.row.body)) - 1)
		}
	}()
	err := b.store(ctx, batch)
	if err != nil && badRow(err) && len(batch) > 1 {
		for _, a := range batch {
			a.done <- b.store(ctx, []*arrival{a})
		}
		return
	}
	for _, a := range batch {
		a.done <- err
	}
}

// store inserts a batch and hands what is new to the workers. A batch that lost
// a race with another transaction is repeated.
func (b *Inbox) store(ctx context.Context, batch []*arrival) error {
	ctx, cancel := context.WithTimeout(ctx, b.config.CommitTimeout)
	defer cancel()
	for try := 1; ; try++ {
		err := b.storeOnce(ctx, batch)
		if err == nil {
			return nil
		}
		if !lostRace(err) || try == maxRaces {
			b.config.Observe(Observation{What: Unavailable, Err: err})
			return fmt.Errorf("store messages: %w", err)
		}
		if !sleep(ctx, jitter(time.Duration(try)*raceWait)) {
			return err
		}
	}
}

func (b *Inbox) storeOnce(ctx context.Context, batch []*arrival) error {
	// In the order of their ids, so that two replicas that get the same messages
	// at once cannot wait for each other.
	rows := make([]*row, 0, len(batch))
	for _, a := range batch {
		rows = append(rows, a.row)
	}
	slices.SortStableFunc(rows, func(a, b *row) int { return cmp.Compare(a.id, b.id) })
	again := duplicates(&rows)

	given := b.reserve(len(rows))
	at := now()
	lease, until := b.newLease(), at.Add(b.config.Lease)
	taken, err := b.backend.insert(ctx, rows, given, lease, at, until)
	if err != nil {
		b.release(given)
		return err
	}
	if b.stored.Add(int64(len(taken))) >= b.analyzeAt.Load() {
		select {
		case b.grown <- struct{}{}:
		default:
		}
	}
	b.handOver(rows, taken, given, until)
	if len(taken) > 0 {
		b.config.Observe(Observation{What: Stored, Count: len(taken)})
	}
	for _, r := range rows {
		if _, ok := taken[r.id]; !ok {
			again = append(again, r)
		}
	}
	if len(again) > 0 {
		b.config.Observe(Observation{What: Duplicate, Count: len(again)})
		b.compare(ctx, again)
	}
	return nil
}

// duplicates takes all but the first of each id out of sorted rows.
func duplicates(rows *[]*row) (again []*row) {
	kept := (*rows)[:0]
	for _, r := range *rows {
		if len(kept) > 0 && kept[len(kept)-1].id == r.id {
			again = append(again, r)
			continue
		}
		kept = append(kept, r)
	}
	*rows = kept
	return again
}

// handOver passes new rows to the workers.
func (b *Inbox) handOver(rows []*row, taken map[string]inserted, given int, until time.Time) {
	handed := 0
	var left bool
	for _, r := range rows {
		in, ok := taken[r.id]
		switch {
		case !ok || r.status != StatusPending:
		case in.lease == 0:
			left = true
		default:
			handed++
			b.enqueueWork(&item{seq: in.seq, lease: in.lease, until: until, event: r.event})
		}
	}
	b.release(given - handed)
	if left {
		b.nudge()
	}
}

// compare finds out whether known ids came with other bodies. They are durable
// all the same, so a failure of the check is no failure of the delivery.
func (b *Inbox) compare(ctx context.Context, again []*row) {
	ids := make([]string, len(again))
	for i, r := range again {
		ids[i] = r.id
	}
	bodies, err := b.table.bodies(ctx, ids)
	if err != nil {
		b.config.Observe(Observation{What: Unavailable, Err: err})
		return
	}
	for _, r := range again {
		if known := bodies[r.id]; len(known) > 0 && !bytes.Equal(known, r.body) { // an erased body is empty
			b.config.Observe(Observation{What: Conflict, Count: 1, ID: r.id})
		}
	}
}

const (
	maxRaces = 5
	raceWait = 5 * time.Millisecond
)

// sleep waits; false when ctx is done first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
