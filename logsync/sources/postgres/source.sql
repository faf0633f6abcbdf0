-- What logsync keeps of its sources in the database that they read.
-- A role that relays needs: REPLICATION; USAGE on schema logsync; SELECT, UPDATE on logsync.source; SELECT, DELETE on
-- logsync.outbox if there is one. REPLICATION reads every table of the published ones without a SELECT right on it.
CREATE SCHEMA IF NOT EXISTS logsync;

-- made: what `logsync source create` made, and in which database. kept: how far the log surely has the facts; it changes
-- with every confirmation, so there is free room on its page. passed: the slot was never told to go beyond this place;
-- if it stands behind it, somebody else moved it or made it anew. NULL until the slot was made. skips: facts that are passed over, by place, with the
-- reason. audit: what people did by hand.
CREATE TABLE IF NOT EXISTS logsync.source (
    name   text PRIMARY KEY,
    slot   text NOT NULL UNIQUE,
    made   json NOT NULL,
    kept   json,
    passed pg_lsn,
    skips  json NOT NULL DEFAULT '{}',
    audit  json NOT NULL DEFAULT '[]'
) WITH (fillfactor = 50);

-- How far `logsync source seed` has told the rows of each table: the key of the last one, and their number.
CREATE TABLE IF NOT EXISTS logsync.seed (
    source text NOT NULL,
    name   text NOT NULL,
    after  json,
    told   bigint NOT NULL,
    done   boolean NOT NULL,
    PRIMARY KEY (source, name)
);
