package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/history"
)

var _ history.Store = (*Store)(nil)

// deliveryRow is a delivery from either table.
type deliveryRow struct {
	ID             string    `db:"id"`
	EventID        string    `db:"event_id"`
	EventType      string    `db:"event_type"`
	SubscriptionID string    `db:"subscription_id"`
	EmployeeID     string    `db:"employee_id"`
	Position       int64     `db:"position"`
	Status         string    `db:"status"`
	Attempts       int       `db:"attempts"`
	DueAt          looseTime `db:"due_at"`
	CreatedAt      looseTime `db:"created_at"`
	FinishedAt     looseTime `db:"finished_at"`
}

// looseTime is a time in a column of a UNION, of which SQLite does not tell the type. NULL is the zero time.
type looseTime struct{ time.Time }

// Scan implements sql.Scanner.
func (t *looseTime) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		t.Time = time.Time{}
	case time.Time:
		t.Time = v.UTC()
	case int64:
		t.Time = time.UnixMicro(v).UTC()
	default:
		return fmt.Errorf("%T is no time", v)
	}
	return nil
}

func rowToDelivery(row deliveryRow) delivery.Delivery {
	return delivery.Delivery{
		ID: row.ID, EventID: row.EventID, EventType: row.EventType, SubscriptionID: row.SubscriptionID, EmployeeID: row.EmployeeID,
		Position: row.Position, Status: delivery.Status(row.Status), Attempts: row.Attempts, DueAt: row.DueAt.Time,
		CreatedAt: row.CreatedAt.Time, FinishedAt: row.FinishedAt.Time,
	}
}

const (
	pendingDelivery  = `SELECT id, event_id, event_type, subscription_id, employee_id, position, 'PENDING' AS status, attempts, due_at, created_at, CAST(NULL AS timestamp) AS finished_at FROM deliveries`
	finishedDelivery = `SELECT id, event_id, event_type, subscription_id, employee_id, position, status, attempts, CAST(NULL AS timestamp) AS due_at, created_at, finished_at FROM finished_deliveries`
)

// maxOwned is for how many subscriptions a list is put together from one list for each, which an index gives.
const maxOwned = 50

// Deliveries implements history.Store. Both tables are read by one statement, so that what ends meanwhile is seen once.
func (s *Store) Deliveries(ctx context.Context, q history.DeliveryQuery) ([]delivery.Delivery, error) {
	if q.EventID != "" && q.EmployeeID == "" {
		// Deliveries are found through the employee of their event; a test event's is nobody, which will do.
		err := s.db.Reader().GetContext(ctx, &q.EmployeeID, `SELECT employee_id FROM events WHERE id = $1`, q.EventID)
		if errors.Is(err, sql.ErrNoRows) {
			return nil, nil
		}
		if err != nil {
			return nil, wrap("list deliveries", err)
		}
	}
	subscriptions := []string{""} // any
	switch {
	case q.SubscriptionID != "":
		subscriptions[0] = q.SubscriptionID
	case q.Owner != nil:
		var err error
		if subscriptions, err = s.owned(ctx, *q.Owner); err != nil {
			return nil, wrap("list deliveries", err)
		}
		if len(subscriptions) > maxOwned {
			subscriptions = []string{""}
		}
	}
	if len(subscriptions) == 0 {
		return nil, nil
	}
	l := deliveryList{q: q}
	for _, id := range subscriptions {
		if q.Status == "" || q.Status == delivery.Pending {
			l.add(pendingDelivery, id, false)
		}
		if q.Status != delivery.Pending {
			l.add(finishedDelivery, id, q.Status != "")
		}
	}
	var rows []deliveryRow
	if err := s.db.Reader().SelectContext(ctx, &rows, l.text(), l.w.args...); err != nil {
		return nil, wrap("list deliveries", err)
	}
	list := make([]delivery.Delivery, len(rows))
	for i, row := range rows {
		list[i] = rowToDelivery(row)
	}
	return list, nil
}

// deliveryList is a statement that reads several lists, each in order and cut, as one.
type deliveryList struct {
	q     history.DeliveryQuery
	w     where
	parts []string
}

func (l *deliveryList) add(selectFrom, subscriptionID string, status bool) {
	w := where{args: l.w.args}
	if subscriptionID != "" {
		w.and("subscription_id = ?", subscriptionID)
	}
	if l.q.Owner != nil {
		w.and("subscription_id IN (SELECT id FROM subscriptions WHERE owner = ?)", *l.q.Owner)
	}
	if l.q.EmployeeID != "" || l.q.EventID != "" {
		w.and("employee_id = ?", l.q.EmployeeID)
	}
	if l.q.EventID != "" {
		w.and("event_id = ?", l.q.EventID)
	}
	if status {
		w.and("status = ?", string(l.q.Status))
		if l.q.Status != delivery.Delivered {
			w.and("status <> 'DELIVERED'") // as the index says it
		}
	}
	if l.q.Before != "" {
		w.and("id < ?", l.q.Before)
	}
	// SQLite cuts a part of a UNION only inside a query of its own.
	l.parts = append(l.parts, `SELECT * FROM (`+selectFrom+w.text()+` ORDER BY id DESC LIMIT `+w.arg(l.q.Limit)+`) AS part`)
	l.w.args = w.args
}

func (l *deliveryList) text() string {
	return `SELECT * FROM (` + strings.Join(l.parts, ` UNION ALL `) + `) AS list ORDER BY id DESC LIMIT ` + l.w.arg(l.q.Limit)
}

// owned are the subscriptions of an owner, deleted ones included.
func (s *Store) owned(ctx context.Context, owner string) (ids []string, err error) {
	err = s.db.Reader().SelectContext(ctx, &ids, `SELECT id FROM subscriptions WHERE owner = $1 ORDER BY id`, owner)
	return ids, err
}

// Delivery implements history.Store.
func (s *Store) Delivery(ctx context.Context, id string, owner *string) (delivery.Delivery, []delivery.Attempt, error) {
	d, err := s.delivery(ctx, id, owner)
	if err != nil {
		return d, nil, err
	}
	attempts, err := s.attempts(ctx, id)
	return d, attempts, err
}

func (s *Store) delivery(ctx context.Context, id string, owner *string) (delivery.Delivery, error) {
	l := deliveryList{q: history.DeliveryQuery{Owner: owner, Limit: 1}}
	for _, from := range []string{pendingDelivery, finishedDelivery} {
		w := where{args: l.w.args}
		w.and("id = ?", id)
		if owner != nil {
			w.and("subscription_id IN (SELECT id FROM subscriptions WHERE owner = ?)", *owner)
		}
		l.parts = append(l.parts, from+w.text())
		l.w.args = w.args
	}
	var row deliveryRow
	err := s.db.Reader().GetContext(ctx, &row, l.text(), l.w.args...)
	if errors.Is(err, sql.ErrNoRows) {
		return delivery.Delivery{}, history.ErrNotFound
	}
	if err != nil {
		return delivery.Delivery{}, wrap("read delivery", err)
	}
	return rowToDelivery(row), nil
}

type attemptRow struct {
	Number     int       `db:"number"`
	StartedAt  looseTime `db:"started_at"`
	DurationUS int64     `db:"duration_us"`
	StatusCode int       `db:"status_code"`
	Outcome    string    `db:"outcome"`
	Error      string    `db:"error"`
	Snippet    string    `db:"snippet"`
}

// attempts are those of a delivery, oldest first. The last one of a delivery that has ended is in its own row.
func (s *Store) attempts(ctx context.Context, id string) ([]delivery.Attempt, error) {
	const columns = `started_at, duration_us, status_code, outcome, error, snippet`
	var rows []attemptRow
	if err := s.db.Reader().SelectContext(ctx, &rows, `SELECT number, `+columns+` FROM attempts WHERE delivery_id = $1
		UNION ALL SELECT attempts, `+columns+` FROM finished_deliveries WHERE id = $1 AND started_at IS NOT NULL ORDER BY 1`, id); err != nil {
		return nil, wrap("read attempts", err)
	}
	var list []delivery.Attempt
	for i, row := range rows {
		if i > 0 && rows[i-1].Number == row.Number {
			continue // it has ended between the two reads of this statement
		}
		list = append(list, delivery.Attempt{
			Number: row.Number, StartedAt: row.StartedAt.Time, Duration: time.Duration(row.DurationUS) * time.Microsecond,
			StatusCode: row.StatusCode, Outcome: delivery.Outcome(row.Outcome), Error: row.Error, Snippet: row.Snippet,
		})
	}
	return list, nil
}
