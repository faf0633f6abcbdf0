-- What an outbox needs beside itself to be polled, where the write-ahead log cannot be read.
-- A role that relays needs: USAGE on schema logsync; SELECT, UPDATE on logsync.source and logsync.outbox_number;
-- SELECT, UPDATE, DELETE on logsync.outbox.
-- inserted: in the order of the INSERTs. The app needs no right on the sequence behind it.
ALTER TABLE logsync.outbox ADD COLUMN IF NOT EXISTS inserted bigint GENERATED ALWAYS AS IDENTITY;
CREATE INDEX IF NOT EXISTS outbox_unnumbered ON logsync.outbox (inserted) WHERE number IS NULL;
CREATE UNIQUE INDEX IF NOT EXISTS outbox_numbered ON logsync.outbox (number) WHERE number IS NOT NULL;

-- The last number that was given. A row and no sequence: it moves with the rows that get the numbers, or not at all. And
-- not the greatest number that stands in the outbox, which begins anew once the outbox is empty.
CREATE TABLE IF NOT EXISTS logsync.outbox_number (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    last     bigint  NOT NULL
) WITH (fillfactor = 50);
INSERT INTO logsync.outbox_number (last) VALUES (0) ON CONFLICT DO NOTHING;
