package sqlstore

import (
	"context"
	"database/sql"
	"slices"

	"github.com/jmoiron/sqlx"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/platform/sqldb"
)

// Finish implements delivery.Store.
func (s *Store) Finish(ctx context.Context, batch []delivery.Finished) (held []bool, woken []string, err error) {
	f := finishing{Store: s, batch: batch, held: make([]bool, len(batch))}
	for i := range batch {
		if batch[i].Status == delivery.Pending {
			f.retried = append(f.retried, i)
		} else {
			f.ended = append(f.ended, i)
		}
	}
	if s.db.Engine == sqldb.PostgreSQL && !s.generic {
		err = f.atOnce(ctx)
	} else {
		err = f.inTx(ctx)
	}
	if err == nil && slices.Contains(f.held, false) {
		err = f.recordLate(ctx)
	}
	return f.held, f.woken, wrap("finish deliveries", err)
}

// finishing is one run of Finish: the indexes of what has ended, and of what is to be tried again.
type finishing struct {
	*Store
	batch          []delivery.Finished
	held           []bool
	woken          []string
	ended, retried []int
}

var (
	endDelivery = statement(`DELETE FROM deliveries WHERE (id, lease) IN (VALUES %s) RETURNING id`, 2, "text", "bigint")
	addFinished = statement(`INSERT INTO finished_deliveries (id, event_id, event_type, subscription_id, employee_id, position, status, attempts,
		created_at, finished_at, started_at, duration_us, status_code, outcome, error, snippet) VALUES %s`, 16)
	retryDelivery = statement(`UPDATE deliveries SET lease = 0, attempts = r.column3, due_at = r.column4, base = r.column5 FROM (VALUES %s) AS r
		WHERE deliveries.id = r.column1 AND deliveries.lease = r.column2 RETURNING deliveries.id`, 5, "text", "bigint", "integer", "timestamptz", "integer")
	addAttempt = statement(`INSERT INTO attempts (delivery_id, number, started_at, duration_us, status_code, outcome, error, snippet) VALUES %s
		ON CONFLICT (delivery_id, number) DO NOTHING`, 8)
	addEnded = statement(`INSERT INTO balances (subscription_id, shard, delivered, dead, cancelled) VALUES %s
		ON CONFLICT (subscription_id, shard) DO UPDATE SET delivered = balances.delivered + excluded.delivered,
		dead = balances.dead + excluded.dead, cancelled = balances.cancelled + excluded.cancelled`, 5)
)

// nextInLine makes due what waits behind a delivery that has ended; also what is due already, since a claim may be about to
// put it off.
const nextInLine = `UPDATE deliveries SET due_at = $4 WHERE lease = 0 AND attempts = base AND id = (
	SELECT id FROM deliveries WHERE subscription_id = $1 AND employee_id = $2 AND position > $3 ORDER BY position LIMIT 1)`

func (f *finishing) inTx(ctx context.Context) error {
	err := f.prepare(ctx, len(f.ended), endDelivery, addFinished, addEnded, pendingLines)
	if err != nil {
		return err
	}
	if err := f.prepare(ctx, len(f.retried), retryDelivery, addAttempt); err != nil {
		return err
	}
	if f.db.Engine == sqldb.SQLite {
		if err := f.prepareOne(ctx, nextInLine); err != nil {
			return err
		}
	}
	return f.db.InTx(ctx, func(tx *sqldb.Tx) error {
		clear(f.held)
		f.woken = nil
		if err := f.end(ctx, tx); err != nil {
			return err
		}
		return f.retry(ctx, tx)
	})
}

func (f *finishing) end(ctx context.Context, tx *sqldb.Tx) error {
	index := make(map[string]int, len(f.ended))
	for _, i := range f.ended {
		index[f.batch[i].ID] = i
	}
	err := f.query(ctx, tx, endDelivery, len(f.ended),
		func(args []any, i int) []any {
			d := &f.batch[f.ended[i]]
			return append(args, d.ID, d.Token)
		},
		func(rows *sqlx.Rows) error {
			var id string
			err := rows.Scan(&id)
			f.held[index[id]] = true
			return err
		})
	if err != nil {
		return err
	}
	var ended []int
	for _, i := range f.ended {
		if f.held[i] {
			ended = append(ended, i)
		}
	}
	now := f.Now()
	if _, err := f.exec(ctx, tx, addFinished, len(ended), func(args []any, i int) []any {
		d := &f.batch[ended[i]]
		args = append(args, d.ID, d.EventID, d.EventType, d.SubscriptionID, d.EmployeeID, d.Position, string(d.Status), attempts(d), d.CreatedAt, now)
		if d.Attempt.Number == 0 {
			return append(args, nil, 0, 0, "", "", "")
		}
		return append(args, attemptArgs(&d.Attempt)...)
	}); err != nil {
		return err
	}
	if err := f.count(ctx, tx, ended); err != nil {
		return err
	}
	return f.wakeLines(ctx, tx, ended)
}

// wakeLines makes due what waits in line behind what has ended. Mostly there is nothing, so it is asked for all at once.
func (f *finishing) wakeLines(ctx context.Context, tx *sqldb.Tx, ended []int) error {
	var ordered []int
	for _, i := range ended {
		if f.batch[i].Ordered && f.batch[i].EmployeeID != "" {
			ordered = append(ordered, i)
		}
	}
	waiting := map[line]bool{}
	err := f.query(ctx, tx, pendingLines, len(ordered),
		func(args []any, i int) []any {
			return append(args, f.batch[ordered[i]].SubscriptionID, f.batch[ordered[i]].EmployeeID)
		},
		func(rows *sqlx.Rows) error {
			var l line
			err := rows.Scan(&l.subscription, &l.employee)
			waiting[l] = true
			return err
		})
	if err != nil {
		return err
	}
	for _, i := range ordered {
		if d := &f.batch[i]; waiting[line{d.SubscriptionID, d.EmployeeID}] {
			if err := f.wake(ctx, tx, d); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *finishing) wake(ctx context.Context, tx *sqldb.Tx, d *delivery.Finished) error {
	args := []any{d.SubscriptionID, d.EmployeeID, d.Position, f.Now()}
	var res sql.Result
	var err error
	if st, ok := f.stmts.Load(nextInLine); ok {
		res, err = tx.StmtxContext(ctx, st.(*sqlx.Stmt)).ExecContext(ctx, args...)
	} else {
		res, err = tx.ExecContext(ctx, nextInLine, args...)
	}
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if n > 0 && !slices.Contains(f.woken, d.SubscriptionID) {
		f.woken = append(f.woken, d.SubscriptionID)
	}
	return err
}

func (f *finishing) count(ctx context.Context, tx *sqldb.Tx, ended []int) error {
	counts := map[string]*[3]int64{}
	all := tally{}
	for _, i := range ended {
		d := &f.batch[i]
		n := counts[d.SubscriptionID]
		if n == nil {
			n = new([3]int64)
			counts[d.SubscriptionID] = n
		}
		all[d.SubscriptionID]++
		switch d.Status {
		case delivery.Delivered:
			n[0]++
		case delivery.Dead:
			n[1]++
		default:
			n[2]++
		}
	}
	ids := all.sorted()
	_, err := f.exec(ctx, tx, addEnded, len(ids), func(args []any, i int) []any {
		n := counts[ids[i]]
		return append(args, ids[i], f.shard*2+1, n[0], n[1], n[2])
	})
	return err
}

func (f *finishing) retry(ctx context.Context, tx *sqldb.Tx) error {
	index := make(map[string]int, len(f.retried))
	now := f.Now()
	err := f.query(ctx, tx, retryDelivery, len(f.retried),
		func(args []any, i int) []any {
			d := &f.batch[f.retried[i]]
			index[d.ID] = f.retried[i]
			return append(args, d.ID, d.Token, attempts(d), now.Add(d.Wait), d.Base)
		},
		func(rows *sqlx.Rows) error {
			var id string
			err := rows.Scan(&id)
			f.held[index[id]] = true
			return err
		})
	if err != nil {
		return err
	}
	var held []int
	for _, i := range f.retried {
		if f.held[i] && f.batch[i].Attempt.Number > 0 {
			held = append(held, i)
		}
	}
	_, err = f.exec(ctx, tx, addAttempt, len(held), func(args []any, i int) []any {
		d := &f.batch[held[i]]
		return append(append(args, d.ID, d.Attempt.Number), attemptArgs(&d.Attempt)...)
	})
	return err
}

// addLate takes only what says nothing of the content: the delivery may have been cancelled for it.
var addLate = statement(`UPDATE finished_deliveries SET attempts = r.column2, started_at = r.column3, duration_us = r.column4, status_code = r.column5, outcome = r.column6
	FROM (VALUES %s) AS r WHERE finished_deliveries.id = r.column1 AND status = 'CANCELLED' AND attempts < r.column2`,
	6, "text", "integer", "timestamptz", "bigint", "integer", "text")

// recordLate records the attempts that were under way when their deliveries were cancelled.
func (f *finishing) recordLate(ctx context.Context) error {
	var late []int
	for i := range f.batch {
		if !f.held[i] && f.batch[i].Attempt.Number > 0 {
			late = append(late, i)
		}
	}
	return f.db.InTx(ctx, func(tx *sqldb.Tx) error {
		_, err := f.exec(ctx, tx, addLate, len(late), func(args []any, i int) []any {
			d := &f.batch[late[i]]
			return append(append(args, d.ID, d.Attempt.Number), attemptArgs(&d.Attempt)[:4]...)
		})
		return err
	})
}

func attempts(d *delivery.Finished) int { return max(d.Attempts, d.Attempt.Number) }

func attemptArgs(a *delivery.Attempt) []any {
	return []any{a.StartedAt, a.Duration.Microseconds(), a.StatusCode, string(a.Outcome), a.Error, a.Snippet}
}
