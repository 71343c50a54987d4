-- One row. Whoever writes employees takes the next positions here first, in the same transaction: the lock on this row
-- makes positions commit in their order, so that a reader who walks by position never misses one that comes late.
CREATE TABLE feed (position bigint NOT NULL);
INSERT INTO feed (position) VALUES (0);

CREATE TABLE employees (
  id              text PRIMARY KEY,
  position        bigint NOT NULL, -- of the last change
  employee_number text NOT NULL,
  given_name      text NOT NULL,
  family_name     text NOT NULL,
  email           text NOT NULL,
  email_key       text NOT NULL,   -- the email with its case folded
  job_title       text NOT NULL,
  department      text NOT NULL,
  hire_date       text NOT NULL,   -- YYYY-MM-DD
  country         text NOT NULL,
  currency        text NOT NULL,
  status          smallint NOT NULL,
  version         bigint NOT NULL,
  created_at      timestamptz NOT NULL,
  updated_at      timestamptz NOT NULL
);

-- What was asked with a request id. With the same content the answer is the employee as it was created, which is the
-- content with the id and the time kept here.
CREATE TABLE requests (
  tenant         text NOT NULL,
  request_id     text NOT NULL,
  content_sha256 bytea NOT NULL,
  employee_id    text NOT NULL,
  created_at     timestamptz NOT NULL,
  PRIMARY KEY (tenant, request_id)
);

-- Events that the notifier does not have yet. Small and hot: a published row is deleted.
CREATE TABLE outbox (
  position      bigint PRIMARY KEY, -- that of the change
  event_id      text NOT NULL,
  employee_id   text NOT NULL,
  body          bytea NOT NULL,     -- as it is published
  created_at    timestamptz NOT NULL,
  lease         bigint NOT NULL,    -- who publishes it; 0: nobody
  due_at        timestamptz NOT NULL, -- when the lease ends, or when to try next
  attempts      bigint NOT NULL DEFAULT 0,
  parked_at     timestamptz,        -- the notifier did not take it; set this to NULL to have it tried again at once
  parked_reason text
);

-- One row, locked by whoever moves leases: moves are one after the other, so that none is judged by a stale picture.
CREATE TABLE lease_moves (turn bigint NOT NULL);
INSERT INTO lease_moves (turn) VALUES (0);

-- postgres:
-- Bytewise order is cheaper than a language's, and nobody sorts by these.
ALTER TABLE employees
  ALTER id TYPE text COLLATE "C", ALTER employee_number TYPE text COLLATE "C", ALTER email_key TYPE text COLLATE "C";
ALTER TABLE requests ALTER tenant TYPE text COLLATE "C", ALTER request_id TYPE text COLLATE "C";
ALTER TABLE outbox ALTER employee_id TYPE text COLLATE "C";

-- These live by being rewritten: clean them before they grow.
ALTER TABLE feed SET (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
ALTER TABLE lease_moves SET (fillfactor = 10);
ALTER TABLE outbox SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
  autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 20000, autovacuum_vacuum_cost_delay = 0,
  vacuum_truncate = off);
-- all:

CREATE UNIQUE INDEX employees_position ON employees (position);
CREATE UNIQUE INDEX employees_number ON employees (employee_number);
CREATE UNIQUE INDEX employees_email ON employees (email_key);
CREATE INDEX employees_updated ON employees (updated_at);
CREATE INDEX employees_terminated ON employees (position) WHERE status = 2;
CREATE INDEX requests_age ON requests (created_at);
CREATE INDEX outbox_employee ON outbox (employee_id, position);
CREATE INDEX outbox_parked ON outbox (parked_at) WHERE parked_at IS NOT NULL;
