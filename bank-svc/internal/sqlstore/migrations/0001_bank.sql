-- Who this database belongs to, and what the bank has arranged with the notifier. One row.
CREATE TABLE bank (
  only_row smallint PRIMARY KEY DEFAULT 1 CHECK (only_row = 1),
  instance_id text NOT NULL,
  name text NOT NULL,
  country text NOT NULL,
  webhook_secret text NOT NULL,
  subscription_id text NOT NULL DEFAULT '',
  -- SHA-256 of the secret that the notifier is known to sign with.
  registered_secret text NOT NULL DEFAULT '',
  -- The serial of the newest account number.
  last_serial bigint NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL
);

-- One row for each employee: an account, or the tombstone in its place.
CREATE TABLE accounts (
  employee_id text PRIMARY KEY,
  id text NOT NULL UNIQUE,
  account_number text UNIQUE,
  holder_name text NOT NULL,
  currency text NOT NULL,
  status text NOT NULL,
  employee_version bigint NOT NULL,
  opened_by_event_id text NOT NULL,
  balance_minor bigint NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  CHECK ((status = 'TOMBSTONE') = (account_number IS NULL))
);

CREATE TABLE reconciliations (
  id text PRIMARY KEY,
  request_id text UNIQUE,
  status text NOT NULL,
  dry_run boolean NOT NULL,
  trigger_name text NOT NULL,
  -- Where the walk stands: the token of the next page, empty for the first one, and whether there is none left.
  page_token text NOT NULL DEFAULT '',
  walked boolean NOT NULL DEFAULT false,
  employees_checked bigint NOT NULL DEFAULT 0,
  accounts_opened bigint NOT NULL DEFAULT 0,
  accounts_updated bigint NOT NULL DEFAULT 0,
  accounts_closed bigint NOT NULL DEFAULT 0,
  accounts_orphaned bigint NOT NULL DEFAULT 0,
  orphaned_account_ids text NOT NULL DEFAULT '',
  error text NOT NULL DEFAULT '',
  -- The fence of whoever works on it, and until when it is theirs.
  lease bigint NOT NULL DEFAULT 0,
  leased_until timestamptz,
  requested_at timestamptz NOT NULL,
  started_at timestamptz,
  finished_at timestamptz
);

-- One at a time.
CREATE UNIQUE INDEX reconciliations_running ON reconciliations (status) WHERE status = 'RUNNING';

-- The employees that a running reconciliation has met: accounts of all others have nobody behind them.
CREATE TABLE reconciled_employees (
  reconciliation_id text NOT NULL,
  employee_id text NOT NULL,
  PRIMARY KEY (reconciliation_id, employee_id)
);
