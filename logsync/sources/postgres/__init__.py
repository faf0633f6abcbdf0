"""Facts from Postgres. Importing this loads no client library and opens nothing."""

from logsync.sources.postgres.origin import PostgresLog
from logsync.sources.postgres.polling import Polling

__all__ = ["Polling", "PostgresLog"]
