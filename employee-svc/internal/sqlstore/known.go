package sqlstore

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/lib/pq"

	"hirewire.dev/platform/sqldb"
)

// The kinds of keys that findKnown reports.
const (
	knownNumber = iota + 1
	knownEmail
	knownRequest
)

// LATERAL with LIMIT makes it one look into an index for each key, whatever the planner believes of the table's size.
const findKnownArrays = `
	SELECT 1, k.key, '', '\x'::bytea, e.id, NULL::timestamptz FROM unnest($1::text[]) AS k (key),
		LATERAL (SELECT id FROM employees WHERE employee_number = k.key LIMIT 1) AS e
	UNION ALL
	SELECT 2, k.key, '', '\x'::bytea, e.id, NULL FROM unnest($2::text[]) AS k (key),
		LATERAL (SELECT id FROM employees WHERE email_key = k.key LIMIT 1) AS e
	UNION ALL
	SELECT 3, k.tenant, k.key, r.content_sha256, r.employee_id, r.created_at FROM unnest($3::text[], $4::text[]) AS k (tenant, key),
		LATERAL (SELECT content_sha256, employee_id, created_at FROM requests
			WHERE tenant = k.tenant AND request_id = k.key LIMIT 1) AS r`

// The requests come first: SQLite takes the columns' types, such as the time, from there.
const findKnownJSON = `
	SELECT 3, r.tenant, r.request_id, r.content_sha256, r.employee_id, r.created_at
	FROM json_each($3) AS t JOIN json_each($4) AS k ON k.key = t.key
		CROSS JOIN requests AS r ON r.tenant = t.value AND r.request_id = k.value
	UNION ALL
	SELECT 1, employee_number, '', x'', id, NULL FROM employees WHERE employee_number IN (SELECT value FROM json_each($1))
	UNION ALL
	SELECT 2, email_key, '', x'', id, NULL FROM employees WHERE email_key IN (SELECT value FROM json_each($2))`

// findKnown reads which keys of the jobs are in use.
func (s *Store) findKnown(ctx context.Context, tx *sqldb.Tx, jobs []job) (taken, error) {
	var numbers, emails, tenants, requestIDs []string
	for _, j := range jobs {
		for i := range j.items {
			it := &j.items[i]
			numbers = append(numbers, it.employee.Number)
			emails = append(emails, it.emailKey)
			if it.requestID != "" {
				tenants = append(tenants, it.tenant)
				requestIDs = append(requestIDs, it.requestID)
			}
		}
	}
	t := taken{
		numbers:  make(map[string]string, len(numbers)),
		emails:   make(map[string]string, len(emails)),
		requests: make(map[requestKey]request, len(requestIDs)),
	}
	args, err := listArgs(tx.Engine, numbers, emails, tenants, requestIDs)
	if err != nil {
		return t, err
	}
	rows, err := query(ctx, tx, s.stmts.findKnown, args...)
	if err != nil {
		return t, err
	}
	defer rows.Close()
	for rows.Next() {
		var (
			kind    int
			key, id string
			holder  string
			sum     []byte
			at      *time.Time
		)
		if err := rows.Scan(&kind, &key, &id, &sum, &holder, &at); err != nil {
			return t, err
		}
		switch kind {
		case knownNumber:
			t.numbers[key] = holder
		case knownEmail:
			t.emails[key] = holder
		case knownRequest:
			r := request{employeeID: holder, createdAt: *at}
			if copy(r.sum[:], sum) != len(r.sum) {
				return t, fmt.Errorf("request of %s: the sum has %d bytes", holder, len(sum))
			}
			t.requests[requestKey{key, id}] = r
		}
	}
	return t, rows.Err()
}

// listArgs are lists as arguments: arrays on PostgreSQL, JSON on SQLite.
func listArgs(engine sqldb.Engine, lists ...[]string) ([]any, error) {
	args := make([]any, len(lists))
	for i, list := range lists {
		if engine == sqldb.PostgreSQL {
			args[i] = pq.StringArray(list)
			continue
		}
		if list == nil {
			list = []string{}
		}
		text, err := json.Marshal(list)
		if err != nil {
			return nil, err
		}
		args[i] = string(text)
	}
	return args, nil
}
