package sqlstore

import (
	"context"
	"database/sql"
	"maps"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"hirewire.dev/platform/sqldb"
)

// finishedColumns are the columns of finishedRow, for SELECT and RETURNING.
const finishedColumns = `id, event_id, event_type, subscription_id, employee_id, position, status, attempts, created_at, finished_at,
	started_at, duration_us, status_code, outcome, error, snippet`

type finishedRow struct {
	ID             string       `db:"id"`
	EventID        string       `db:"event_id"`
	EventType      string       `db:"event_type"`
	SubscriptionID string       `db:"subscription_id"`
	EmployeeID     string       `db:"employee_id"`
	Position       int64        `db:"position"`
	Status         string       `db:"status"`
	Attempts       int          `db:"attempts"`
	CreatedAt      time.Time    `db:"created_at"`
	FinishedAt     time.Time    `db:"finished_at"`
	StartedAt      sql.NullTime `db:"started_at"`
	DurationUS     int64        `db:"duration_us"`
	StatusCode     int          `db:"status_code"`
	Outcome        string       `db:"outcome"`
	Error          string       `db:"error"`
	Snippet        string       `db:"snippet"`
}

var takeFinished = statement(`DELETE FROM finished_deliveries WHERE id IN (%s) RETURNING `+finishedColumns, 1)

var addAgain = statement(`INSERT INTO deliveries (id, event_id, event_type, subscription_id, employee_id, position, attempts, base, due_at, lease, created_at)
	VALUES %s`, 11)

// takeUp moves deliveries from the history back to what is pending, due now, with a schedule that begins anew. Their last
// attempt, which the history's row held, goes to the others. Of two that take the same one up, one finds it. It answers how
// many it found.
func (s *Store) takeUp(ctx context.Context, tx *sqldb.Tx, ids []string, now time.Time) (int, error) {
	var taken, tried []finishedRow
	err := s.query(ctx, tx, takeFinished, len(ids), func(args []any, i int) []any { return append(args, ids[i]) },
		func(rows *sqlx.Rows) error {
			var row finishedRow
			err := rows.StructScan(&row)
			taken = append(taken, row)
			if row.StartedAt.Valid {
				tried = append(tried, row)
			}
			return err
		})
	if err != nil || len(taken) == 0 {
		return 0, err
	}
	if _, err := s.exec(ctx, tx, addAttempt, len(tried), func(args []any, i int) []any {
		r := tried[i]
		return append(args, r.ID, r.Attempts, r.StartedAt.Time, r.DurationUS, r.StatusCode, r.Outcome, r.Error, r.Snippet)
	}); err != nil {
		return 0, err
	}
	if _, err := s.exec(ctx, tx, addAgain, len(taken), func(args []any, i int) []any {
		r := taken[i]
		return append(args, r.ID, r.EventID, r.EventType, r.SubscriptionID, r.EmployeeID, r.Position, r.Attempts, r.Attempts, now, 0, r.CreatedAt)
	}); err != nil {
		return 0, err
	}
	return len(taken), s.uncount(ctx, tx, taken)
}

// uncount takes what has not ended after all out of the balance.
func (s *Store) uncount(ctx context.Context, tx *sqldb.Tx, rows []finishedRow) error {
	counts := map[string]*[3]int64{}
	for _, r := range rows {
		n := counts[r.SubscriptionID]
		if n == nil {
			n = new([3]int64)
			counts[r.SubscriptionID] = n
		}
		switch r.Status {
		case "DELIVERED":
			n[0]--
		case "DEAD":
			n[1]--
		default:
			n[2]--
		}
	}
	ids := slices.Sorted(maps.Keys(counts))
	_, err := s.exec(ctx, tx, addEnded, len(ids), func(args []any, i int) []any {
		n := counts[ids[i]]
		return append(args, ids[i], s.shard*2+1, n[0], n[1], n[2])
	})
	return err
}
