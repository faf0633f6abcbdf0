-- What logsync keeps beside your tables, in a schema of its own.
-- A role that only applies events needs: USAGE on schema logsync; SELECT, INSERT, UPDATE, DELETE on its
-- tables and on the sink's own tables; TRUNCATE on the sink's own tables for `logsync rebuild`. A newer logsync may
-- add a table here: grant again after running this again.
CREATE SCHEMA IF NOT EXISTS logsync;

-- Where each sink is in the log. One row per partition, moved in the transaction that holds the writes.
-- fillfactor: the row changes with every batch; free room on its page keeps those updates in place.
CREATE TABLE IF NOT EXISTS logsync.position (
    sink         text   NOT NULL,
    partition    int    NOT NULL,
    epoch        bigint NOT NULL,
    next_offset  bigint NOT NULL,
    last_offset  bigint,
    last_id      text,
    leader_epoch int,
    releases     bigint NOT NULL DEFAULT 0,
    format       int    NOT NULL DEFAULT 1,
    sources      text,
    PRIMARY KEY (sink, partition)
) WITH (fillfactor = 50);
-- For a table that an earlier version made.
ALTER TABLE logsync.position ADD COLUMN IF NOT EXISTS releases bigint NOT NULL DEFAULT 0;
ALTER TABLE logsync.position ADD COLUMN IF NOT EXISTS format int NOT NULL DEFAULT 1;
ALTER TABLE logsync.position ADD COLUMN IF NOT EXISTS sources text;

-- Events that wait because they, or one before them in their sequence, could not be applied. ``body`` is the whole
-- event. Everything is ASCII, other characters escaped. COLLATE "C": its order is the same on every system.
CREATE TABLE IF NOT EXISTS logsync.parked (
    sink       text        NOT NULL,
    partition  int         NOT NULL,
    log_offset bigint      NOT NULL,
    sequence   text        NOT NULL COLLATE "C",
    error      text        NOT NULL,
    first_at   timestamptz NOT NULL,
    body       text        NOT NULL,
    PRIMARY KEY (sink, partition, log_offset)
);
-- left(): a sequence is named after a key, which may be longer than an index takes.
CREATE INDEX IF NOT EXISTS parked_by_sequence ON logsync.parked (sink, partition, left(sequence, 200), log_offset);

-- What a sink remembers of itself: which log, which types, what people did by hand.
CREATE TABLE IF NOT EXISTS logsync.book (
    sink     text PRIMARY KEY,
    revision bigint NOT NULL,
    body     json   NOT NULL
);

-- Which schema texts were applied here, so that a role without the right to create things can tell.
CREATE TABLE IF NOT EXISTS logsync.applied_schema (
    hash       text PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);
