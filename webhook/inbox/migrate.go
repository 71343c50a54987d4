package inbox

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"strings"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations returns the schema as files "0001_name.sql", for a service that
// has a migrator of its own. Each file is to run once, in a transaction. The
// text is PostgreSQL's dialect. For SQLite, timestamptz is to be read as
// timestamp and bytea as blob. Lines after "-- postgres:" or "-- sqlite:" are
// for that database only, up to the next such line or "-- all:".
func Migrations() fs.FS {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the name is valid and embedded
	}
	return files
}

// migrationLock is the key of PostgreSQL's advisory lock; any constant does.
const migrationLock = 0x696e626f78

// Migrate creates or updates the schema, for a service without a migrator of
// its own. It may run in several processes at once, and again.
func Migrate(ctx context.Context, db *sql.DB, dialect Dialect) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("migrate inbox: %w", err)
	}
	defer conn.Close()
	// On SQLite the lock comes with BEGIN, whatever the data source says.
	begin, lock := "BEGIN IMMEDIATE", "SELECT 1"
	if dialect == PostgreSQL {
		begin, lock = "BEGIN", fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", migrationLock)
	}
	if _, err := conn.ExecContext(ctx, begin); err != nil {
		return fmt.Errorf("migrate inbox: %w", err)
	}
	if _, err = conn.ExecContext(ctx, lock); err == nil {
		err = migrate(ctx, conn, dialect)
	}
	if err == nil {
		_, err = conn.ExecContext(ctx, "COMMIT")
	}
	if err != nil {
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
		return fmt.Errorf("migrate inbox: %w", err)
	}
	return nil
}

func migrate(ctx context.Context, conn *sql.Conn, dialect Dialect) error {
	if _, err := conn.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS inbox_migrations (name text PRIMARY KEY)"); err != nil {
		return err
	}
	files := Migrations()
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return err
	}
	for _, name := range names {
		var done int
		if err := conn.QueryRowContext(ctx, "SELECT count(*) FROM inbox_migrations WHERE name = $1", name).Scan(&done); err != nil {
			return err
		}
		if done > 0 {
			continue
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		if _, err := conn.ExecContext(ctx, translate(string(text), dialect)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if _, err := conn.ExecContext(ctx, "INSERT INTO inbox_migrations (name) VALUES ($1)", name); err != nil {
			return err
		}
	}
	return nil
}

// translate does what [Migrations] describes.
func translate(text string, dialect Dialect) string {
	var b strings.Builder
	keep := true
	for line := range strings.Lines(text) {
		switch strings.TrimSpace(line) {
		case "-- postgres:":
			keep = dialect == PostgreSQL
		case "-- sqlite:":
			keep = dialect == SQLite
		case "-- all:":
			keep = true
		default:
			if keep {
				b.WriteString(line)
			}
		}
	}
	if dialect == SQLite {
		return strings.NewReplacer("timestamptz", "timestamp", "bytea", "blob").Replace(b.String())
	}
	return b.String()
}
