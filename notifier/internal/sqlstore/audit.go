package sqlstore

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"hirewire.dev/notifier/internal/audit"
	"hirewire.dev/platform/sqldb"
)

type auditRow struct {
	ID        string    `db:"id"`
	At        time.Time `db:"at"`
	Actor     string    `db:"actor"`
	Action    string    `db:"action"`
	Resource  string    `db:"resource"`
	Before    string    `db:"before_state"`
	After     string    `db:"after_state"`
	RequestID string    `db:"request_id"`
}

// putAudit writes an entry in the transaction of the change that it tells of.
func putAudit(ctx context.Context, tx *sqldb.Tx, e audit.Entry) error {
	row := auditRow{ID: e.ID, At: e.At, Actor: e.Actor, Action: e.Action, Resource: e.Resource, RequestID: e.RequestID}
	var err error
	if row.Before, err = writeState(e.Before); err == nil {
		row.After, err = writeState(e.After)
	}
	if err != nil {
		return fmt.Errorf("write audit entry: %w", err)
	}
	if _, err := tx.NamedExecContext(ctx, `INSERT INTO audit_entries (id, at, actor, action, resource, before_state, after_state, request_id)
		VALUES (:id, :at, :actor, :action, :resource, :before_state, :after_state, :request_id)`, row); err != nil {
		return fmt.Errorf("write audit entry: %w", err)
	}
	return nil
}

// AuditEntries are the entries that the query asks for, newest first.
func (s *Store) AuditEntries(ctx context.Context, q audit.Query) ([]audit.Entry, error) {
	var w where
	if q.Resource != "" {
		w.and("resource = ?", q.Resource)
	}
	if q.Before != "" {
		w.and("id < ?", q.Before)
	}
	var rows []auditRow
	if err := s.db.Reader().SelectContext(ctx, &rows, `SELECT id, at, actor, action, resource, before_state, after_state, request_id
		FROM audit_entries`+w.text()+` ORDER BY id DESC LIMIT `+w.arg(q.Limit), w.args...); err != nil {
		return nil, fmt.Errorf("list audit entries: %w", err)
	}
	entries := make([]audit.Entry, len(rows))
	for i, row := range rows {
		e := audit.Entry{ID: row.ID, At: row.At.UTC(), Actor: row.Actor, Action: row.Action, Resource: row.Resource, RequestID: row.RequestID}
		var err error
		if e.Before, err = readState(row.Before); err == nil {
			e.After, err = readState(row.After)
		}
		if err != nil {
			return nil, fmt.Errorf("read audit entry %s: %w", row.ID, err)
		}
		entries[i] = e
	}
	return entries, nil
}

func writeState(state map[string]any) (string, error) {
	if state == nil {
		return "", nil
	}
	text, err := json.Marshal(state)
	return string(text), err
}

func readState(text string) (state map[string]any, err error) {
	if text == "" {
		return nil, nil
	}
	err = json.Unmarshal([]byte(text), &state)
	return state, err
}
