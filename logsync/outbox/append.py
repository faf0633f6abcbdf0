"""``append`` for an app that writes its database first: the event goes into the app's own transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from logsync.appending import Item, enveloped
from logsync.core.log import Log
from logsync.outbox import connections
from logsync.outbox.rows import Row, row


class Outbox:
    """Puts events of one log into the table ``logsync.outbox``, on connections of the app. Safe for threads.

    A connection is one of psycopg 3, SQLAlchemy 2 or Django: the one on which the app writes its own rows.
    ``docs/outbox.md`` has an example of each. The outbox never commits and never rolls back. If the transaction
    commits, ``logsync relay`` carries the event into the log once; if it does not, the event has never been. Nothing
    waits for Kafka.
    """

    def __init__(self, log: Log) -> None:
        """``log``: whose events these are. Opens nothing."""
        self.log = log

    def append(
        self,
        connection: Any,
        event: BaseModel,
        *,
        id: str | None = None,
        time: datetime | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Put one event into the transaction of ``connection``: one INSERT. Returns the event's id.

        ``id``, ``time`` and ``headers`` are those of ``Producer.append``. A second event with the id of one that still
        waits in the table is refused by its primary key, with the driver's error; once the relay has deleted the row,
        nothing remembers the id.
        Raises AppendRejected for what is no event of this log, before anything is sent. Raises ConfigError for what is
        no such connection, and for one on which the INSERT would commit by itself. Whatever else the database says is
        the driver's own error.
        """
        made = row(self.log, event, headers, id, time)
        connections.insert(connection, [made])
        return made.id

    def append_many(self, connection: Any, events: Iterable[Item]) -> list[str]:
        """``append`` for several, in order and as one batch of the driver. Returns their ids.

        An event with an id, a time or headers of its own comes in an ``Envelope``. All rows are made before the first
        is sent: an AppendRejected leaves the transaction as it was.
        """
        made = self._rows(events)
        if made:
            connections.insert(connection, made)
        return [one.id for one in made]

    async def append_async(
        self,
        connection: Any,
        event: BaseModel,
        *,
        id: str | None = None,
        time: datetime | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """``append`` on a connection of asyncio: of psycopg, or of SQLAlchemy over psycopg or asyncpg."""
        made = row(self.log, event, headers, id, time)
        await connections.insert_async(connection, [made])
        return made.id

    async def append_many_async(self, connection: Any, events: Iterable[Item]) -> list[str]:
        """``append_many`` on a connection of asyncio."""
        made = self._rows(events)
        if made:
            await connections.insert_async(connection, made)
        return [one.id for one in made]

    def _rows(self, events: Iterable[Item]) -> list[Row]:
        return [row(self.log, one.event, one.headers, one.id, one.time) for one in map(enveloped, events)]
