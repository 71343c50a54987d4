package sqldb_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"hirewire.dev/platform/sqldb"
	"hirewire.dev/platform/sqldb/sqldbtest"
)

func files(texts ...string) fstest.MapFS {
	fs := fstest.MapFS{"README": {Data: []byte("not a migration")}}
	for i, text := range texts {
		fs[fmt.Sprintf("%04d_step.sql", i+1)] = &fstest.MapFile{Data: []byte(text)}
	}
	return fs
}

func TestMigrateRunsWhatIsNew(t *testing.T) {
	sqldbtest.Run(t, func(t *testing.T, open func(t *testing.T) *sqldb.DB) {
		db := open(t)
		one, two := `CREATE TABLE a (n bigint); INSERT INTO a VALUES (1);`, `INSERT INTO a VALUES (2);`
		for _, fs := range []fstest.MapFS{files(one), files(one), files(one, two), files(one, two), files(one, strings.ReplaceAll(two, "\n", "\r\n"))} {
			if err := db.Migrate(t.Context(), "test", fs); err != nil {
				t.Fatal(err)
			}
		}
		var got []int
		if err := db.SelectContext(t.Context(), &got, `SELECT n FROM a ORDER BY n`); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]int{1, 2}, got); diff != "" {
			t.Error(diff)
		}
		if err := db.Migrate(t.Context(), "other", files(`CREATE TABLE b (n bigint);`)); err != nil {
			t.Errorf("another set: %v", err)
		}
		if err := db.Migrate(t.Context(), "test", files(one, two+" ")); err == nil || !strings.Contains(err.Error(), "0002_step.sql") {
			t.Errorf("changed file: %v", err)
		}
		if err := db.Migrate(t.Context(), "test", files(one)); err != nil {
			t.Errorf("a binary one version older: %v", err)
		}
		three := `INSERT INTO a VALUES (3);`
		if err := db.Migrate(t.Context(), "test", files(one, two, three)); err != nil {
			t.Fatal(err)
		}
		if err := db.Migrate(t.Context(), "test", files(one)); err == nil {
			t.Error("a binary two versions older started")
		}
	})
}

func TestMigrateRefusesBadFiles(t *testing.T) {
	db := sqldbtest.OpenSQLite(t)
	for _, names := range [][]string{
		{}, {"0002_a.sql"}, {"0001_a.sql", "0003_b.sql"}, {"0001_a.sql", "0001_b.sql"}, {"1_a.sql"}, {"0001.sql"}, {"+001_a.sql"},
	} {
		fs := fstest.MapFS{}
		for _, n := range names {
			fs[n] = &fstest.MapFile{Data: []byte("SELECT 1")}
		}
		if err := db.Migrate(t.Context(), "test", fs); err == nil {
			t.Errorf("%v ran", names)
		}
	}
}

func TestMigrateSections(t *testing.T) {
	sqldbtest.Run(t, func(t *testing.T, open func(t *testing.T) *sqldb.DB) {
		db := open(t)
		text := `
CREATE TABLE engine (name text);
-- postgres:
INSERT INTO engine SELECT 'postgres' FROM generate_series(1, 1);
CREATE TABLE parts (id text PRIMARY KEY) PARTITION BY RANGE (id);
-- sqlite:
INSERT INTO engine VALUES ('sqlite');
CREATE TABLE parts (id text PRIMARY KEY) WITHOUT ROWID;
-- all:
INSERT INTO engine VALUES ('all');`
		if err := db.Migrate(t.Context(), "test", files(text)); err != nil {
			t.Fatal(err)
		}
		var got []string
		if err := db.SelectContext(t.Context(), &got, `SELECT name FROM engine ORDER BY name`); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"all", string(db.Engine)}, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestConcurrentMigrate(t *testing.T) {
	urls := map[string]func(t testing.TB) string{"sqlite": sqldbtest.SQLiteURL, "postgres": sqldbtest.PostgresURL}
	for name, makeURL := range urls {
		t.Run(name, func(t *testing.T) {
			url := makeURL(t)
			fs := files(`CREATE TABLE a (n bigint);`, `INSERT INTO a VALUES (1);`, `INSERT INTO a VALUES (2);`)
			other := files(`CREATE TABLE b (n bigint);`)
			var wg sync.WaitGroup
			for range 6 {
				db := sqldbtest.Open(t, url)
				wg.Go(func() {
					if err := db.Migrate(t.Context(), "test", fs); err != nil {
						t.Error(err)
					}
					if err := db.Migrate(t.Context(), "other", other); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if n := count(t, sqldbtest.Open(t, url), "a"); n != 2 {
				t.Errorf("%d rows, want 2", n)
			}
		})
	}
}

// A migration that fails half-way leaves nothing of itself behind.
func TestFailedMigrationLeavesNothing(t *testing.T) {
	sqldbtest.Run(t, func(t *testing.T, open func(t *testing.T) *sqldb.DB) {
		db := open(t)
		good := `CREATE TABLE a (n bigint);`
		if err := db.Migrate(t.Context(), "test", files(good, `CREATE TABLE b (n bigint); INSERT INTO b VALUES (1); INSERT INTO nowhere VALUES (1);`)); err == nil || !strings.Contains(err.Error(), "0002_step.sql") {
			t.Fatalf("%v", err)
		}
		if err := db.Migrate(t.Context(), "test", files(good, `CREATE TABLE b (n bigint); INSERT INTO b VALUES (2);`)); err != nil {
			t.Fatal(err)
		}
		if n := count(t, db, "b"); n != 1 {
			t.Errorf("%d rows, want 1", n)
		}
	})
}

const killedChild = "SQLDB_TEST_MIGRATE_URL"

func manySteps() fstest.MapFS {
	texts := make([]string, 12)
	for i := range texts {
		texts[i] = fmt.Sprintf(`CREATE TABLE t%[1]d (n bigint); INSERT INTO t%[1]d VALUES (1); INSERT INTO t%[1]d VALUES (2);`, i)
	}
	return files(texts...)
}

// TestMigrateUntilKilled is the process that TestMigrateKilledHalfWay kills.
func TestMigrateUntilKilled(t *testing.T) {
	url := os.Getenv(killedChild)
	if url == "" {
		t.Skip("runs in a process of its own")
	}
	db, err := sqldb.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("migrating")
	if err := db.Migrate(t.Context(), "test", manySteps()); err != nil {
		t.Fatal(err)
	}
}

func TestMigrateKilledHalfWay(t *testing.T) {
	urls := map[string]func(t testing.TB) string{"sqlite": sqldbtest.SQLiteURL, "postgres": sqldbtest.PostgresURL}
	for name, makeURL := range urls {
		t.Run(name, func(t *testing.T) {
			half := 0
			for round := range 8 {
				url := makeURL(t)
				cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMigrateUntilKilled$", "-test.v")
				cmd.Env = append(os.Environ(), killedChild+"="+url)
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				for lines := bufio.NewScanner(out); lines.Scan(); {
					if lines.Text() == "migrating" {
						break
					}
				}
				time.Sleep(time.Duration(round) * 3 * time.Millisecond) // to fall on another step each round
				_ = cmd.Process.Kill()
				_ = cmd.Wait()

				db := sqldbtest.Open(t, url)
				var done int
				if err := db.GetContext(t.Context(), &done, `SELECT count(*) FROM schema_migrations`); err == nil && done > 0 && done < len(manySteps())-1 {
					half++
				}
				if err := db.Migrate(t.Context(), "test", manySteps()); err != nil {
					t.Fatal(err)
				}
				for i := range len(manySteps()) - 1 {
					if n := count(t, db, fmt.Sprintf("t%d", i)); n != 2 {
						t.Errorf("round %d: t%d has %d rows, want 2", round, i, n)
					}
				}
			}
			t.Logf("%d of 8 were killed half-way", half)
		})
	}
}
