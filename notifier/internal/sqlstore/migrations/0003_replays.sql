-- Jobs that send past events again, or for the first time. A running one is taken over by any replica once its lease has
-- ended; lease is the fence. Both walks go through the feed: counted_to is where counting is, sent_to where sending is, and
-- end_position the last event of all that it looks at.
CREATE TABLE replays (
    id              text        NOT NULL PRIMARY KEY,
    subscription_id text        NOT NULL,
    event_types     text        NOT NULL, -- JSON
    start_time      timestamptz,
    end_time        timestamptz,
    statuses        text        NOT NULL, -- JSON
    dry_run         boolean     NOT NULL,
    rate_per_second integer     NOT NULL,
    status          text        NOT NULL,
    counted         boolean     NOT NULL,
    total           bigint      NOT NULL,
    done            bigint      NOT NULL,
    error           text        NOT NULL,
    counted_to      bigint      NOT NULL,
    sent_to         bigint      NOT NULL,
    end_position    bigint      NOT NULL,
    lease           bigint      NOT NULL,
    due_at          timestamptz NOT NULL,
    created_at      timestamptz NOT NULL,
    finished_at     timestamptz
);
CREATE INDEX replays_running ON replays (due_at) WHERE status = 'RUNNING';
CREATE INDEX replays_subscription ON replays (subscription_id, id);

-- How far the removal of payloads is.
CREATE TABLE retention (
    id         integer PRIMARY KEY CHECK (id = 1),
    cleared_to bigint  NOT NULL
);
INSERT INTO retention (id, cleared_to) VALUES (1, 0);
