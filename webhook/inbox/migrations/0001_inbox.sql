-- One row for each webhook that was verified: what came, and what became of it.
CREATE TABLE inbox_events (
    -- The order of arrival, which is the order of processing within a key.
-- postgres:
    seq            bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
-- sqlite:
    seq            integer     PRIMARY KEY,
-- all:
    -- The fence: who holds the row, 0 when nobody does. A result counts only if it names the lease that it works under.
    lease          bigint      NOT NULL,
    -- When the row may be claimed: now, at the next try, or when the lease ends.
    due_at         timestamptz NOT NULL,
    received_at    timestamptz NOT NULL,
    sent_at        timestamptz NOT NULL,
    finished_at    timestamptz,
    version        bigint      NOT NULL,
    attempts       integer     NOT NULL,
    -- The failures that count towards quarantine.
    strikes        integer     NOT NULL,
    sender_attempt integer     NOT NULL,
    status         text        NOT NULL CHECK (status IN ('PENDING', 'PROCESSED', 'FAILED', 'IGNORED', 'QUARANTINED')),
    id             text        NOT NULL,
    type           text        NOT NULL,
    ordering_key   text        NOT NULL,
    signature      text        NOT NULL,
    traceparent    text        NOT NULL,
    outcome        text        NOT NULL,
    reference      text        NOT NULL,
    last_error     text        NOT NULL,
    body           bytea       NOT NULL
);

-- Each webhook once, whatever the sender repeats.
CREATE UNIQUE INDEX inbox_events_id ON inbox_events (id);

-- What happened to one key.
CREATE INDEX inbox_events_key ON inbox_events (ordering_key, seq);

-- The open rows of each key in their order, and all open rows in the order in which they are claimed. The conditions
-- differ, though they mean the same, so that a planner that knows nothing yet cannot take the second for the first.
CREATE INDEX inbox_events_line ON inbox_events (ordering_key, seq) WHERE status IN ('PENDING', 'FAILED');
CREATE INDEX inbox_events_due ON inbox_events (due_at, seq) WHERE status IN ('PENDING', 'FAILED') AND lease >= 0;

-- What a person may want to look at.
CREATE INDEX inbox_events_attention ON inbox_events (status, seq) WHERE status IN ('FAILED', 'IGNORED', 'QUARANTINED');

-- postgres:
-- Each row is updated once, soon after it came: leave room for that in its page, and clean up before much has gathered.
ALTER TABLE inbox_events SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05,
  vacuum_truncate = off);
-- all:
