-- What came in, what is to be sent, and what was sent.
--
-- feed is one row. Whoever stores events adds to its position first: the lock on the row makes positions follow the
-- order of commits. epoch grows with each change of the subscriptions, so that a fan-out by an old view of them fails.
CREATE TABLE feed (
    id       integer PRIMARY KEY CHECK (id = 1),
    position bigint  NOT NULL,
    epoch    bigint  NOT NULL
);
INSERT INTO feed (id, position, epoch) VALUES (1, 0, 1);

-- Who holds leases: while a process's row is here, what it has leased is its own. The row goes when the process says
-- goodbye, or has not been seen for a while; whoever removes it frees what it had leased.
CREATE TABLE leases (
    holder  bigint      PRIMARY KEY,
    replica text        NOT NULL,
    seen_at timestamptz NOT NULL
);

-- Counts for the balance. Several rows for each subscription, told apart by shard, so that replicas do not wait for each
-- other; what is fanned out and what is finished are counted in different rows, by different statements.
-- postgres:
CREATE TABLE balances (
    subscription_id text   COLLATE "C" NOT NULL,
    shard           bigint NOT NULL,
    fanned_out      bigint NOT NULL DEFAULT 0,
    delivered       bigint NOT NULL DEFAULT 0,
    dead            bigint NOT NULL DEFAULT 0,
    cancelled       bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (subscription_id, shard)
) WITH (fillfactor = 30, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_analyze_scale_factor = 1,
        vacuum_truncate = off);
-- sqlite:
CREATE TABLE balances (
    subscription_id text   NOT NULL,
    shard           bigint NOT NULL,
    fanned_out      bigint NOT NULL DEFAULT 0,
    delivered       bigint NOT NULL DEFAULT 0,
    dead            bigint NOT NULL DEFAULT 0,
    cancelled       bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (subscription_id, shard)
) WITHOUT ROWID;
-- all:

-- The history is partitioned by id: an id begins with its time, so a range of ids is a day. What was given another kind of
-- id is in the default partition.
-- postgres:
CREATE TABLE events (
    id             text        COLLATE "C" NOT NULL,
    position       bigint      NOT NULL,
    type           text        NOT NULL,
    employee_id    text        COLLATE "C" NOT NULL,
    version        bigint      NOT NULL,
    occurred_at    timestamptz NOT NULL,
    received_at    timestamptz NOT NULL,
    payload        bytea,
    payload_sha256 bytea       NOT NULL,
    traceparent    text        NOT NULL DEFAULT '',
    PRIMARY KEY (id)
) PARTITION BY RANGE (id);
CREATE TABLE events_default PARTITION OF events DEFAULT;
CREATE INDEX events_position ON events (position);
CREATE INDEX events_employee ON events (employee_id, position);

CREATE TABLE deliveries (
    id              text        COLLATE "C" NOT NULL,
    event_id        text        COLLATE "C" NOT NULL,
    event_type      text        NOT NULL,
    subscription_id text        COLLATE "C" NOT NULL,
    employee_id     text        COLLATE "C" NOT NULL,
    position        bigint      NOT NULL,
    attempts        integer     NOT NULL DEFAULT 0,
    base            integer     NOT NULL DEFAULT 0,
    due_at          timestamptz NOT NULL,
    lease           bigint      NOT NULL DEFAULT 0,
    created_at      timestamptz NOT NULL,
    PRIMARY KEY (id)
) WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
        autovacuum_vacuum_insert_scale_factor = 1, autovacuum_analyze_scale_factor = 1, autovacuum_analyze_threshold = 50000,
        autovacuum_vacuum_cost_delay = 0, vacuum_truncate = off);

CREATE TABLE finished_deliveries (
    id              text        COLLATE "C" NOT NULL,
    event_id        text        COLLATE "C" NOT NULL,
    event_type      text        NOT NULL,
    subscription_id text        COLLATE "C" NOT NULL,
    employee_id     text        COLLATE "C" NOT NULL,
    position        bigint      NOT NULL,
    status          text        NOT NULL,
    attempts        integer     NOT NULL,
    created_at      timestamptz NOT NULL,
    finished_at     timestamptz NOT NULL,
    started_at      timestamptz,
    duration_us     bigint      NOT NULL DEFAULT 0,
    status_code     integer     NOT NULL DEFAULT 0,
    outcome         text        NOT NULL DEFAULT '',
    error           text        NOT NULL DEFAULT '',
    snippet         text        NOT NULL DEFAULT '',
    PRIMARY KEY (id)
) PARTITION BY RANGE (id);
CREATE TABLE finished_deliveries_default PARTITION OF finished_deliveries DEFAULT;

CREATE TABLE attempts (
    delivery_id text        COLLATE "C" NOT NULL,
    number      integer     NOT NULL,
    started_at  timestamptz NOT NULL,
    duration_us bigint      NOT NULL,
    status_code integer     NOT NULL,
    outcome     text        NOT NULL,
    error       text        NOT NULL,
    snippet     text        NOT NULL,
    PRIMARY KEY (delivery_id, number)
) PARTITION BY RANGE (delivery_id);
CREATE TABLE attempts_default PARTITION OF attempts DEFAULT;
-- sqlite:
CREATE TABLE events (
    id             text        NOT NULL UNIQUE,
    position       bigint      NOT NULL,
    type           text        NOT NULL,
    employee_id    text        NOT NULL,
    version        bigint      NOT NULL,
    occurred_at    timestamptz NOT NULL,
    received_at    timestamptz NOT NULL,
    payload        bytea,
    payload_sha256 bytea       NOT NULL,
    traceparent    text        NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX events_position ON events (position);
CREATE INDEX events_employee ON events (employee_id, position);

CREATE TABLE deliveries (
    id              text        NOT NULL PRIMARY KEY,
    event_id        text        NOT NULL,
    event_type      text        NOT NULL,
    subscription_id text        NOT NULL,
    employee_id     text        NOT NULL,
    position        bigint      NOT NULL,
    attempts        integer     NOT NULL DEFAULT 0,
    base            integer     NOT NULL DEFAULT 0,
    due_at          timestamptz NOT NULL,
    lease           bigint      NOT NULL DEFAULT 0,
    created_at      timestamptz NOT NULL
) WITHOUT ROWID;

CREATE TABLE finished_deliveries (
    id              text        NOT NULL PRIMARY KEY,
    event_id        text        NOT NULL,
    event_type      text        NOT NULL,
    subscription_id text        NOT NULL,
    employee_id     text        NOT NULL,
    position        bigint      NOT NULL,
    status          text        NOT NULL,
    attempts        integer     NOT NULL,
    created_at      timestamptz NOT NULL,
    finished_at     timestamptz NOT NULL,
    started_at      timestamptz,
    duration_us     bigint      NOT NULL DEFAULT 0,
    status_code     integer     NOT NULL DEFAULT 0,
    outcome         text        NOT NULL DEFAULT '',
    error           text        NOT NULL DEFAULT '',
    snippet         text        NOT NULL DEFAULT ''
) WITHOUT ROWID;

CREATE TABLE attempts (
    delivery_id text        NOT NULL,
    number      integer     NOT NULL,
    started_at  timestamptz NOT NULL,
    duration_us bigint      NOT NULL,
    status_code integer     NOT NULL,
    outcome     text        NOT NULL,
    error       text        NOT NULL,
    snippet     text        NOT NULL,
    PRIMARY KEY (delivery_id, number)
) WITHOUT ROWID;
-- all:

-- deliveries holds what is pending and nothing else, so its size does not grow with the history. It empties all the time, and
-- is not cut off then: that would lock everyone out for tens of milliseconds. due_at is when the next
-- attempt may start; lease is the token it is leased with (of the holder that it
-- begins with), or 0. base is attempts as they were when the delivery was made
-- due anew by hand: its schedule starts there.
--
-- One delivery of an event to a subscription; who is first in line among those of an employee.
CREATE UNIQUE INDEX deliveries_line ON deliveries (subscription_id, employee_id, position);
-- What may be claimed. What is leased when it is stored never enters it.
CREATE INDEX deliveries_due ON deliveries (subscription_id, due_at) WHERE lease = 0;

-- Lists are newest first. One event's deliveries are found through its employee.
CREATE INDEX finished_subscription ON finished_deliveries (subscription_id, id);
CREATE INDEX finished_employee ON finished_deliveries (employee_id, id);
-- What went wrong is rare; this costs nothing for what went well.
CREATE INDEX finished_undelivered ON finished_deliveries (status, subscription_id, id) WHERE status <> 'DELIVERED';
