-- Replicas tell each other of attempts while somebody watches. presence says which replicas have watchers; tellings are what
-- the others had to say to them, numbered by each for itself, and gone after a minute.
CREATE TABLE watch_presence (
    replica text        NOT NULL PRIMARY KEY,
    seen_at timestamptz NOT NULL
);
CREATE TABLE watch_tellings (
    replica text        NOT NULL,
    seq     bigint      NOT NULL,
    told_at timestamptz NOT NULL,
    body    text        NOT NULL, -- JSON
    PRIMARY KEY (replica, seq)
);
CREATE INDEX watch_tellings_at ON watch_tellings (told_at);
