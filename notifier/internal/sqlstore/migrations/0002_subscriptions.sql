-- Who is told, who may call, and who changed what.

-- changes is one row. Every change of a subscription or an API key adds to its number first: the lock on the row makes
-- numbers follow the order of commits, and replicas read only what is newer than what they have. The feed's epoch is moved
-- by those changes alone that events must not be fanned out in ignorance of.
CREATE TABLE changes (
    id     integer PRIMARY KEY CHECK (id = 1),
    number bigint  NOT NULL
);
INSERT INTO changes (id, number) VALUES (1, 1);

-- changed is the number of the last change. A deleted subscription stays, without its keys, for as long as deliveries refer
-- to it.
CREATE TABLE subscriptions (
    id                  text        NOT NULL PRIMARY KEY,
    owner               text        NOT NULL,
    name                text        NOT NULL,
    description         text        NOT NULL,
    contact             text        NOT NULL,
    url                 text        NOT NULL,
    event_types         text        NOT NULL, -- JSON
    filter              text        NOT NULL,
    status              text        NOT NULL,
    status_reason       text        NOT NULL,
    payload             text        NOT NULL,
    format              text        NOT NULL,
    max_in_flight       integer     NOT NULL,
    rate_per_second     integer     NOT NULL,
    schedule            text        NOT NULL, -- JSON, microseconds
    ordering            text        NOT NULL,
    signature           text        NOT NULL,
    labels              text        NOT NULL, -- JSON
    revision            bigint      NOT NULL,
    changed             bigint      NOT NULL,
    created_at          timestamptz NOT NULL,
    updated_at          timestamptz NOT NULL,
    verified_at         timestamptz,
    challenge_due_at    timestamptz,
    challenge_tries     integer     NOT NULL,
    challenge_token     bigint      NOT NULL,
    failing_since       timestamptz,
    warned_at           timestamptz,
    deleted_at          timestamptz,
    cancelled           boolean     NOT NULL DEFAULT false -- a deleted one's pending deliveries are all cancelled
);
CREATE UNIQUE INDEX subscriptions_name ON subscriptions (owner, name) WHERE deleted_at IS NULL;
CREATE INDEX subscriptions_changed ON subscriptions (changed);
CREATE INDEX subscriptions_challenge ON subscriptions (challenge_due_at) WHERE challenge_due_at IS NOT NULL;
CREATE INDEX subscriptions_deleted ON subscriptions (deleted_at) WHERE deleted_at IS NOT NULL;

CREATE TABLE subscription_labels (
    subscription_id text NOT NULL,
    name            text NOT NULL,
    value           text NOT NULL,
    PRIMARY KEY (subscription_id, name)
);
CREATE INDEX subscription_labels_name ON subscription_labels (name, value, subscription_id);

-- What signs. sealed opens with the data key seal_key, and only for this row.
CREATE TABLE signing_keys (
    id              text        NOT NULL PRIMARY KEY,
    subscription_id text        NOT NULL,
    kind            text        NOT NULL,
    seal_key        text        NOT NULL,
    sealed          bytea       NOT NULL,
    public_key      text        NOT NULL,
    created_at      timestamptz NOT NULL,
    expires_at      timestamptz
);
CREATE INDEX signing_keys_subscription ON signing_keys (subscription_id);

-- Data keys seal secrets; sealed opens with the master key, which is not in the database.
CREATE TABLE data_keys (
    id         text        NOT NULL PRIMARY KEY,
    master_id  text        NOT NULL,
    sealed     bytea       NOT NULL,
    created_at timestamptz NOT NULL
);

-- Calls that their clients named, so that a retry is recognised. sealed is the secret that the first call answered with, for a
-- day.
CREATE TABLE requests (
    actor      text        NOT NULL,
    id         text        NOT NULL,
    content    bytea       NOT NULL,
    resource   text        NOT NULL,
    seal_key   text        NOT NULL,
    sealed     bytea,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (actor, id)
);
CREATE INDEX requests_resource ON requests (resource);
CREATE INDEX requests_created ON requests (created_at);

CREATE TABLE api_keys (
    id            text        NOT NULL PRIMARY KEY,
    name          text        NOT NULL,
    role          text        NOT NULL,
    hash          bytea       NOT NULL,
    changed       bigint      NOT NULL,
    created_at    timestamptz NOT NULL,
    revoked_at    timestamptz
);
CREATE UNIQUE INDEX api_keys_name ON api_keys (name) WHERE revoked_at IS NULL;
CREATE UNIQUE INDEX api_keys_hash ON api_keys (hash);
CREATE INDEX api_keys_changed ON api_keys (changed);

CREATE TABLE audit_entries (
    id           text        NOT NULL PRIMARY KEY,
    at           timestamptz NOT NULL,
    actor        text        NOT NULL,
    action       text        NOT NULL,
    resource     text        NOT NULL,
    before_state text        NOT NULL, -- JSON, or empty
    after_state  text        NOT NULL, -- JSON, or empty
    request_id   text        NOT NULL
);
CREATE INDEX audit_entries_resource ON audit_entries (resource, id);
