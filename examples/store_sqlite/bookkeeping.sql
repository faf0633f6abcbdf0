-- What logsync must remember beside the content. All of it is in the same file: then one transaction moves both.
CREATE TABLE IF NOT EXISTS logsync_book (
    sink TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS logsync_position (
    sink TEXT NOT NULL,
    partition INTEGER NOT NULL,
    place TEXT NOT NULL, -- what is compared: a new place means that the position was moved
    body TEXT NOT NULL,
    PRIMARY KEY (sink, partition)
) STRICT;
CREATE TABLE IF NOT EXISTS logsync_parked (
    sink TEXT NOT NULL,
    partition INTEGER NOT NULL,
    "offset" INTEGER NOT NULL,
    sequence TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (sink, partition, "offset")
) STRICT;
CREATE INDEX IF NOT EXISTS logsync_parked_by_sequence ON logsync_parked (sink, partition, sequence, "offset");
