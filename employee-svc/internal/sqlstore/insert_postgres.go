package sqlstore

import (
	"context"
	"fmt"

	"github.com/lib/pq"

	"hirewire.dev/employee-svc/internal/employee"
	"hirewire.dev/employee-svc/internal/outbox"
	"hirewire.dev/platform/sqldb"
)

// arrayWriter inserts everything by one statement, whose plan does not depend on the number of rows.
type arrayWriter struct{ stmts *statements }

// Times travel as microseconds since 1970: far below 2^53, so their product with the interval is exact.
const insertArrays = `
	WITH input AS (
		SELECT $1::bigint + i.ordinality - 1 AS position, i.*,
			timestamptz 'epoch' + i.created_us * interval '1 microsecond' AS created_at
		FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[],
			$11::text[], $12::text[], $13::bigint[], $14::text[], $15::bytea[], $16::text[], $17::text[], $18::bytea[])
			WITH ORDINALITY AS i (id, employee_number, given_name, family_name, email, email_key, job_title, department, hire_date,
				country, currency, created_us, event_id, body, tenant, request_id, content_sha256)
	), hired AS (
		INSERT INTO employees (id, position, employee_number, given_name, family_name, email, email_key, job_title, department,
			hire_date, country, currency, status, version, created_at, updated_at)
		SELECT id, position, employee_number, given_name, family_name, email, email_key, job_title, department,
			hire_date, country, currency, 1, 1, created_at, created_at FROM input
	), queued AS (
		INSERT INTO outbox (position, event_id, employee_id, body, created_at, lease, due_at)
		SELECT position, event_id, id, body, created_at, $19::bigint, $20::timestamptz FROM input
	)
	INSERT INTO requests (tenant, request_id, content_sha256, employee_id, created_at)
	SELECT tenant, request_id, content_sha256, id, created_at FROM input WHERE request_id <> ''`

func (w arrayWriter) insert(ctx context.Context, tx *sqldb.Tx, first int64, items []*item, slot outbox.Slot) error {
	text := func(of func(*item) string) pq.StringArray {
		list := make(pq.StringArray, len(items))
		for i, it := range items {
			list[i] = of(it)
		}
		return list
	}
	of := func(field func(*employee.Employee) string) pq.StringArray {
		return text(func(it *item) string { return field(&it.employee) })
	}
	created, bodies, sums := make(pq.Int64Array, len(items)), make(pq.ByteaArray, len(items)), make(pq.ByteaArray, len(items))
	for i, it := range items {
		created[i], bodies[i], sums[i] = it.employee.CreatedAt.UnixMicro(), it.body, it.sum[:]
	}
	err := exec(ctx, tx, w.stmts.insertArrays, first,
		of(func(e *employee.Employee) string { return e.ID }),
		of(func(e *employee.Employee) string { return e.Number }),
		of(func(e *employee.Employee) string { return e.GivenName }),
		of(func(e *employee.Employee) string { return e.FamilyName }),
		of(func(e *employee.Employee) string { return e.Email }),
		text(func(it *item) string { return it.emailKey }),
		of(func(e *employee.Employee) string { return e.JobTitle }),
		of(func(e *employee.Employee) string { return e.Department }),
		of(func(e *employee.Employee) string { return e.HireDate }),
		of(func(e *employee.Employee) string { return e.Country }),
		of(func(e *employee.Employee) string { return e.Currency }),
		created,
		text(func(it *item) string { return it.eventID }),
		bodies,
		text(func(it *item) string { return it.tenant }),
		text(func(it *item) string { return it.requestID }),
		sums,
		slot.Lease, slot.Until)
	if err != nil {
		return fmt.Errorf("insert employees: %w", err)
	}
	return nil
}

func (arrayWriter) close() error { return nil }
