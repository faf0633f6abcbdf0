"""Postgres: writes and position in one transaction. Importing this loads no client library and opens nothing.

``docs/writes-postgres.md`` says what each write does, alone and after others on the same key (G5).
"""

from logsync.stores.postgres.store import Postgres
from logsync.writes.rows import Delete, Increment, InTransaction, Sql, Upsert

__all__ = ["Delete", "InTransaction", "Increment", "Postgres", "Sql", "Upsert"]
