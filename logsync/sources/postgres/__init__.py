"""Facts from Postgres. Importing this loads no client library and opens nothing."""

from logsync.sources.postgres.origin import PostgresLog

__all__ = ["PostgresLog"]
