"""Has a sink applied my event, asked on the app's own connection to Postgres.

The position lies beside the rows. Read in the transaction of the app's queries it is of the snapshot that they see, on
a primary and on any replica. Where the answer is APPLIED, a later query of the transaction finds the event's effect: in
REPEATABLE READ the snapshot is the same, and in READ COMMITTED each statement has one that is no older.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from time import monotonic
from typing import Any

from logsync.core.sink import Sink
from logsync.core.view import LooksInSql, Sight
from logsync.errors import ConfigError
from logsync.reading import judging
from logsync.reading.brief import own_environment
from logsync.reading.judging import Receipts, asked_for, to_ask
from logsync.reading.lines import Ask, Facts, Row, Steps, line, line_async, run, run_async
from logsync.reading.pace import JITTER, Pace, between_looks
from logsync.reading.seen import Seen

_THERE = "logsync: the tables are there"
_FROZEN = ("repeatable read", "serializable")


def seen_on(connection: Any, receipts: Receipts, sink: Sink, *, environment: str | None = None) -> Seen:
    """What the transaction of ``connection`` sees of the event: one SELECT, one round trip. Waits for nothing.

    ``connection``: a Connection or Cursor of psycopg 3, a Connection or Session of SQLAlchemy, or Django's. It leads to
    the database that ``sink`` fills, or to a replica of it; nothing is committed, rolled back or changed. In autocommit
    the look is a transaction of its own. ``receipts``: what ``append`` returned, or several; the answer is about the
    event that is furthest from APPLIED. ``environment`` None: that of the settings, read once per process.

    The first look on a connection costs a second round trip, for the catalog: tables that are not there (NOT_STARTED),
    or that this role may not read, leave the transaction as it was.
    Raises ConfigError for what a person has to mend, LogIdentityError for a receipt of a topic of the same name that
    was deleted, and whatever else the database says as the driver's own error.
    """
    question = _Question(receipts, sink, environment)
    if question.answer is not None:
        return question.answer
    over = line(connection)
    return run(question.look(over.facts), over)


async def seen_on_async(connection: Any, receipts: Receipts, sink: Sink, *, environment: str | None = None) -> Seen:
    """``seen_on`` on a connection of asyncio: of psycopg, or of SQLAlchemy over psycopg or asyncpg."""
    question = _Question(receipts, sink, environment)
    if question.answer is not None:
        return question.answer
    over = await line_async(connection)
    return await run_async(question.look(over.facts), over)


def wait_on(
    connection: Any, receipts: Receipts, sink: Sink, *, timeout: float = 2.0, environment: str | None = None
) -> Seen:
    """Look again until the event is settled, for ``timeout`` seconds at most. See ``seen_on``.

    For a replica that only the app's connection leads to. Elsewhere ``Views.wait`` is better, which keeps no connection
    of the app busy. The last look begins when time is over, and takes as long as the connection lets a statement take.
    Raises ConfigError inside a transaction of REPEATABLE READ or SERIALIZABLE, which sees the same as long as it lasts.
    """
    question = _Question(receipts, sink, environment)
    if question.answer is not None:
        return question.answer
    over = line(connection)
    return run(question.wait(over.facts, timeout), over)


async def wait_on_async(
    connection: Any, receipts: Receipts, sink: Sink, *, timeout: float = 2.0, environment: str | None = None
) -> Seen:
    """``wait_on`` for asyncio. The event loop goes on meanwhile."""
    question = _Question(receipts, sink, environment)
    if question.answer is not None:
        return question.answer
    over = await line_async(connection)
    return await run_async(question.wait(over.facts, timeout), over)


class _Question:
    """What is asked of one sink, as the steps in which a connection is asked."""

    def __init__(self, receipts: Receipts, sink: Sink, environment: str | None) -> None:
        """``answer`` is there at once if the receipts alone tell it. Raises ConfigError before anything is asked."""
        if not isinstance(sink.store, LooksInSql):
            raise ConfigError(
                f"sink {sink.name} fills a store of kind {sink.store.kind}, which no connection to a database leads to",
                fix="ask with Views, or for Redis with redis_question",
            )
        self._sink, self._environment = sink, environment or own_environment()
        self._receipts, self.answer = to_ask(receipts, sink)
        self._look = sink.store.sql_look(sink.name, *asked_for(self._receipts))

    def look(self, facts: Facts) -> Steps[Seen]:
        self._check(facts)
        return self._judged((yield from self._sight(facts)))

    def wait(self, facts: Facts, timeout: float) -> Steps[Seen]:
        began, pace = monotonic(), Pace()
        self._check(facts)
        yield from self._refuse_frozen()
        while True:
            looked = monotonic()
            sight = yield from self._sight(facts)
            pace.note(looked, sight.positions)
            seen = self._judged(sight, pace)
            left = began + timeout - monotonic()
            if seen.settled or left <= 0:
                return seen
            yield min(left, between_looks(looked - began) * random.uniform(*JITTER))

    def _judged(self, sight: Sight, pace: Pace | None = None) -> Seen:
        return judging.answer(self._receipts, self._sink, self._environment, sight, pace)

    def _check(self, facts: Facts) -> None:
        if facts.database != self._look.database:
            raise ConfigError(
                f"the connection is one to {facts.database}, and sink {self._sink.name} fills {self._look.database}",
                fix="give the connection on which the app asks for the rows of this sink",
            )

    def _sight(self, facts: Facts) -> Steps[Sight]:
        """One SELECT; before the first one on this connection, whether it can be asked at all."""
        look, notes = self._look, facts.notes
        if _THERE not in notes:
            there, allowed = yield from _ask(look.there)
            if not there:
                return Sight(None, {}, {})
            if not allowed:
                raise ConfigError(
                    f"sink {self._sink.name}: the role of this connection may not read where it is", fix=look.rights
                )
        notes.pop(_THERE, None)  # an error ends this here: ask the catalog again then
        row = yield from _ask(look.statement, look.parameters)
        notes[_THERE] = True
        return look.sight(row)

    def _refuse_frozen(self) -> Steps[None]:
        """In autocommit any isolation will do: each look is a transaction of its own. So ask twice."""
        isolation, transaction = yield from _ask(self._look.transaction)
        if isolation not in _FROZEN:
            return
        _, again = yield from _ask(self._look.transaction)
        if again == transaction:
            raise ConfigError(
                f"the connection is in a transaction of {isolation.upper()}, which sees the same as long as it lasts: "
                "to wait in it would never end",
                fix="wait before the transaction begins, or look once with seen_on and begin a new one if it is behind",
            )


def _ask(statement: str, parameters: Mapping[str, str] | None = None) -> Steps[Row]:
    row = yield Ask(statement, parameters or {})
    assert row is not None
    return row
