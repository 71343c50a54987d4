-- Employees whose data was removed, from the events up to a position. Erasures are numbered as changes are: replicas look for
-- those newer than what they have seen, and drop what they hold in memory of them. They are gone after an hour.
CREATE TABLE erasures (
    number      bigint      NOT NULL PRIMARY KEY,
    employee_id text        NOT NULL,
    position    bigint      NOT NULL,
    erased_at   timestamptz NOT NULL
);
