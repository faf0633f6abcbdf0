-- The outbox: events that an app put down in the transactions they belong to, until `logsync relay` has them in the log.
-- The app's role needs: USAGE on schema logsync, INSERT on logsync.outbox. No SELECT, no UPDATE, no DELETE.
-- The relay deletes each row once the log has its event, so the table stays small, and what stands in it is waiting.
-- May be run again at any time.
CREATE SCHEMA IF NOT EXISTS logsync;

CREATE TABLE IF NOT EXISTS logsync.outbox (
    id      text        PRIMARY KEY,
    type    text        NOT NULL,
    key     bytea       NOT NULL,
    value   bytea,
    headers json        NOT NULL,
    time    timestamptz NOT NULL,
    number  bigint
);
COMMENT ON TABLE logsync.outbox IS 'Events on their way to the log. Rows are inserted by apps and deleted by logsync relay, never changed by hand.';
COMMENT ON COLUMN logsync.outbox.id IS 'The event''s id (ce_id): a UUIDv7, or the id that the app gave. Unique while the row stands.';
COMMENT ON COLUMN logsync.outbox.type IS 'The event''s type, for people who look: the record is made of key, value and headers.';
COMMENT ON COLUMN logsync.outbox.key IS 'The record''s key: events of one key are applied in log order.';
COMMENT ON COLUMN logsync.outbox.value IS 'The record''s value, byte for byte; null in a tombstone.';
COMMENT ON COLUMN logsync.outbox.headers IS 'All headers of the record in order: [["name", "value"], ...].';
COMMENT ON COLUMN logsync.outbox.time IS 'When the event happened (ce_time): when it was appended, unless the app said otherwise.';
COMMENT ON COLUMN logsync.outbox.number IS 'Given by a relay that polls; null before that, and where the write-ahead log is read.';
