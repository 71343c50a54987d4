package stack

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/lib/pq"
)

// CreateSchemas makes the plan's schemas where they are not there yet.
func (plan *Plan) CreateSchemas(ctx context.Context, databaseURL string) error {
	if err := plan.eachSchema(ctx, databaseURL, "CREATE SCHEMA IF NOT EXISTS %s"); err != nil {
		return fmt.Errorf("create the schemas: %w", err)
	}
	return nil
}

// DropSchemas removes the plan's schemas with all that is in them.
func (plan *Plan) DropSchemas(ctx context.Context, databaseURL string) error {
	if err := plan.eachSchema(ctx, databaseURL, "DROP SCHEMA IF EXISTS %s CASCADE"); err != nil {
		return fmt.Errorf("drop the schemas: %w", err)
	}
	return nil
}

func (plan *Plan) eachSchema(ctx context.Context, databaseURL, format string) error {
	if len(plan.Schemas) == 0 {
		return nil
	}
	db, err := sql.Open("postgres", databaseURL)
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, schema := range plan.Schemas {
		if _, err := db.ExecContext(ctx, fmt.Sprintf(format, pq.QuoteIdentifier(schema))); err != nil {
			return err
		}
	}
	return nil
}
