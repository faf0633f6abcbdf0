"""Rows into the transaction of a connection of Django, over psycopg 3 or psycopg2. Imports nothing of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from logsync.outbox import refusals
from logsync.outbox.rows import INSERT, Row


def insert(connection: Any, rows: Sequence[Row]) -> None:
    """``django.db.connection`` or one of ``connections``. Raises ConfigError for another database, in autocommit."""
    if connection.vendor != "postgresql":
        refusals.another_database(connection.vendor)
    if not connection.in_atomic_block and connection.get_autocommit():
        refusals.alone("put both writes into `with transaction.atomic(using=...):`, of this connection's alias")
    with connection.cursor() as cursor:
        if len(rows) == 1:
            cursor.execute(INSERT, rows[0])
        else:
            cursor.executemany(INSERT, rows)
