package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"hirewire.dev/notifier/internal/event"
	"hirewire.dev/notifier/internal/history"
)

const eventColumns = `id, position, type, employee_id, version, occurred_at, received_at, payload, traceparent`

type eventRow struct {
	ID          string    `db:"id"`
	Position    int64     `db:"position"`
	Type        string    `db:"type"`
	EmployeeID  string    `db:"employee_id"`
	Version     int64     `db:"version"`
	OccurredAt  time.Time `db:"occurred_at"`
	ReceivedAt  time.Time `db:"received_at"`
	Payload     []byte    `db:"payload"`
	Traceparent string    `db:"traceparent"`
}

func rowToEvent(row eventRow) event.Event {
	e := event.Event{
		ID: row.ID, Position: row.Position, Type: row.Type, EmployeeID: row.EmployeeID, Version: row.Version,
		OccurredAt: row.OccurredAt.UTC(), ReceivedAt: row.ReceivedAt.UTC(), Traceparent: row.Traceparent,
	}
	if len(row.Payload) > 0 {
		e.Payload = row.Payload
	}
	return e
}

// Event implements history.Store.
func (s *Store) Event(ctx context.Context, id string) (event.Event, error) {
	var row eventRow
	err := s.db.Reader().GetContext(ctx, &row, `SELECT `+eventColumns+` FROM events WHERE id = $1`, id)
	if errors.Is(err, sql.ErrNoRows) {
		return event.Event{}, event.ErrNotFound
	}
	if err != nil {
		return event.Event{}, wrap("read event", err)
	}
	return rowToEvent(row), nil
}

// Position implements history.Store.
func (s *Store) Position(ctx context.Context) (position int64, err error) {
	err = s.db.Reader().GetContext(ctx, &position, `SELECT position FROM feed WHERE id = 1`)
	return position, wrap("read the end of the feed", err)
}

// Events implements history.Store.
//
// The end of the feed is read first. Positions are given under a lock that is held until the commit, so whatever is not
// beyond that end is there to be seen by the time the events are read.
func (s *Store) Events(ctx context.Context, q history.EventQuery) (history.Page, error) {
	end, err := s.Position(ctx)
	if err != nil {
		return history.Page{}, err
	}
	to := end
	var w where
	w.and("position > ?", q.After)
	if q.EmployeeID != "" {
		w.and("employee_id = ?", q.EmployeeID)
	} else {
		to = min(end, q.After+scanWindow) // an employee's events are few and have an index
	}
	w.and("position <= ?", to)
	if prefix, ok := strings.CutSuffix(q.Type, "*"); ok {
		w.and("substr(type, 1, ?) = ?", len(prefix), prefix)
	} else if q.Type != "" {
		w.and("type = ?", q.Type)
	}
	var rows []eventRow
	if err := s.db.Reader().SelectContext(ctx, &rows, `SELECT `+eventColumns+` FROM events`+w.text()+` ORDER BY position LIMIT `+w.arg(q.Limit), w.args...); err != nil {
		return history.Page{}, wrap("read feed", err)
	}
	page := history.Page{Events: make([]event.Event, len(rows)), Next: max(to, q.After)}
	for i, row := range rows {
		page.Events[i] = rowToEvent(row)
	}
	if len(rows) == q.Limit && len(rows) > 0 {
		page.Next = rows[len(rows)-1].Position
	}
	page.More = page.Next < end
	return page, nil
}
