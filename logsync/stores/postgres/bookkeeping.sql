-- What logsync keeps beside your tables, in a schema of its own.
-- A role that only applies events needs: USAGE on schema logsync; SELECT, INSERT, UPDATE, DELETE on its
-- tables and on the sink's own tables; TRUNCATE on the sink's own tables for `logsync rebuild`. A newer logsync may
-- add a table here: grant again after running this again. An app that only asks where a sink stands needs USAGE on the
-- schema, and SELECT on logsync.book, logsync.position and logsync.parked.
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

-- What became of an event, for programs in any language: docs/reading-own-connection.md. ``receipt`` is the text of
-- Receipt.dump(). Asked in the statement or the transaction of other queries it is of the snapshot that these see. The
-- answers are those of logsync.reading.judging, and 'another log' or 'newer format' where that raises; it compares no
-- environment. The two replace() take the meaning out of escapes such as \ud800, which JSON can say and Postgres cannot
-- decode; so texts are compared as they are written in ASCII.
CREATE OR REPLACE FUNCTION logsync.seen(sink text, receipt text) RETURNS text LANGUAGE sql STABLE AS $$
    WITH given AS (
        SELECT r, (r ->> 'partition')::int AS number, (r ->> 'offset')::bigint AS place, r ->> 'type' AS type
        FROM (SELECT replace(replace(seen.receipt, '\\', '//'), '\u', '/u')::json) AS one (r)
    ), asked AS (  -- and from where on the first attempt of a retried append may stand # A1
        SELECT *, least(place, greatest(coalesce((r ->> 'since')::bigint, place), place - 200000)) AS since FROM given
    ), book AS (
        SELECT body, body -> 'log' AS log, (body ->> 'format')::int AS format
        FROM (SELECT replace(replace(b.body::text, '\\', '//'), '\u', '/u')::json
              FROM logsync.book AS b WHERE b.sink = seen.sink) AS one (body)
    ), positions AS (
        SELECT * FROM logsync.position AS p WHERE p.sink = seen.sink
    )
    SELECT CASE
        WHEN body IS NULL THEN 'not started'
        WHEN book.format > 2 OR (SELECT max(p.format) FROM positions AS p) > 2 OR (r ->> 'format')::int > 3
            THEN 'newer format'
        WHEN r ->> 'topic' <> log ->> 1 OR nullif(r ->> 'topic_id', '') <> log ->> 2 OR number >= (log ->> 3)::int
            THEN 'another log'
        WHEN body ->> 'state' <> 'ready' OR EXISTS (
            SELECT FROM json_each_text(body -> 'rebuilt_to') AS ends
            LEFT JOIN positions AS p ON p.partition = ends.key::int AND p.epoch = (body ->> 'epoch')::bigint
            WHERE p.next_offset IS NULL OR p.next_offset < ends.value::bigint
        ) THEN 'rebuilding'
        WHEN here.next_offset IS NULL THEN 'not started'
        WHEN here.next_offset <= place THEN 'behind'
        WHEN EXISTS (
            SELECT FROM json_array_elements(body -> 'skips') AS skip,
                string_to_table(coalesce(skip ->> 'offsets', skip ->> 'offset'), ',') AS ends
            WHERE (skip ->> 'partition')::int = number
                AND split_part(ends, '-', 1)::bigint <= place AND split_part(ends, '-', -1)::bigint >= since
        ) THEN 'passed over'
        WHEN EXISTS (
            SELECT FROM logsync.parked AS e
            WHERE e.sink = seen.sink AND e.partition = number AND e.log_offset BETWEEN since AND place
                AND (e.log_offset = place OR strpos(
                    replace(replace(e.body, '\\', '//'), '\u', '/u'), '"event_id":' || (r -> 'event_id') || ','
                ) > 0)
        ) THEN 'parked'
        WHEN type <> '' AND type NOT IN (SELECT json_array_elements_text(body -> 'handled'))
            OR type IN (SELECT json_array_elements_text(body -> 'skipped')) THEN 'passed over'
        ELSE 'applied'
    END
    FROM asked LEFT JOIN book ON true LEFT JOIN positions AS here ON here.partition = number
$$;
