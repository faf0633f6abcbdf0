"""A store for logsync in one file of SQLite, and the writes that it carries out. README.md says how it came to be."""

from examples.store_sqlite.store import Sqlite
from logsync.writes.rows import Delete, Increment, Upsert

__all__ = ["Delete", "Increment", "Sqlite", "Upsert"]
