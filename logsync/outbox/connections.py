"""Rows into the transaction of a connection, whichever library it is of. What is not in use is not imported.

What all of them share: the INSERT goes over the app's own connection, and is refused where it would commit by itself,
because then it stands without the app's rows, or they without it: a dual write again.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from typing import Any, NoReturn

from logsync.errors import ConfigError
from logsync.outbox.rows import Row

_COLUMNS = ", ".join(Row._fields)
INSERT = f"INSERT INTO logsync.outbox ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s)"

_TAKEN = {
    "append": "a Connection or Cursor of psycopg 3, a Connection or Session of SQLAlchemy, django.db.connection or "
    "connections[alias]",
    "append_async": "an AsyncConnection or AsyncCursor of psycopg 3, an AsyncConnection or AsyncSession of SQLAlchemy",
}


def is_a(given: object, module: str, *names: str) -> bool:
    """Is it an instance of one of these classes? A library that nobody has imported has made no connection."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(given, tuple(getattr(loaded, name) for name in names))


def insert(connection: Any, rows: Sequence[Row]) -> None:
    """One INSERT for one row, one batch for several. Raises ConfigError, and else what the driver raises."""
    if is_a(connection, "psycopg", "Connection", "Cursor"):
        _by_psycopg(connection, rows)
    elif is_a(connection, "sqlalchemy", "Connection"):
        by_sqlalchemy(connection, rows)
    elif is_a(connection, "sqlalchemy.orm", "Session", "scoped_session"):
        by_session(connection, rows)
    elif is_a(connection, "django.db.backends.base.base", "BaseDatabaseWrapper") or is_a(
        connection, "django.utils.connection", "ConnectionProxy"
    ):
        _by_django(connection, rows)
    else:
        not_taken(connection, "append")


def _by_psycopg(given: Any, rows: Sequence[Row]) -> None:
    import psycopg
    from psycopg.rows import tuple_row

    # Not the app's own cursor, which may be read later, nor one of its kind: a RawCursor has other placeholders.
    connection = given.connection if isinstance(given, psycopg.Cursor) else given
    check_psycopg(connection)
    with psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
        if len(rows) == 1:
            cursor.execute(INSERT, rows[0])
        else:
            cursor.executemany(INSERT, rows)


def check_psycopg(connection: Any) -> None:
    """The same for both kinds of connections. Raises ConfigError if the INSERT would commit by itself."""
    from psycopg.pq import TransactionStatus

    # In a pipeline that has not been answered yet (ACTIVE) nobody can tell whether a transaction has begun.
    alone = (TransactionStatus.IDLE, TransactionStatus.ACTIVE)
    if connection.autocommit and connection.pgconn.transaction_status in alone:
        refuse("put both writes into `with connection.transaction():`, or connect without autocommit")


def by_session(session: Any, rows: Sequence[Row]) -> None:
    """On the connection of an ORM session, in its transaction. A scoped_session stands for the one of this thread.

    What the session has not written yet is written first, unless the app has autoflush off: the lock on these rows is
    what orders two requests, and an event that was put down before it would be ordered by nothing.
    """
    found = session() if is_a(session, "sqlalchemy.orm", "scoped_session") else session
    if found.autoflush:
        found.flush()
    by_sqlalchemy(found.connection(), rows)


def by_sqlalchemy(connection: Any, rows: Sequence[Row]) -> None:
    """On a Connection of SQLAlchemy, which binds for its driver. Raises ConfigError for another kind of database."""
    if connection.dialect.name != "postgresql":
        _another_database(connection.dialect.name)
    if getattr(connection.connection.dbapi_connection, "autocommit", False):
        refuse("take a connection whose isolation_level is not AUTOCOMMIT")
    values = [one._asdict() for one in rows]
    connection.execute(_statement(), values[0] if len(values) == 1 else values)


@cache
def _statement() -> Any:
    """Typed, because asyncpg asks for each parameter's type and SQLAlchemy's drivers are told it as a cast."""
    import sqlalchemy as sa

    if sa.__version__.startswith(("0.", "1.")):  # there a Connection without begin() commits every INSERT by itself
        raise ConfigError(
            f"SQLAlchemy {sa.__version__} is installed; expected 2.0 or later", fix="install SQLAlchemy 2"
        )
    text, raw, moment = sa.Text(), sa.LargeBinary(), sa.DateTime(timezone=True)
    types: tuple[Any, ...] = (text, text, raw, raw, text, moment)
    return sa.text(
        f"INSERT INTO logsync.outbox ({_COLUMNS}) VALUES (:id, :type, :key, :value, CAST(:headers AS json), :time)"
    ).bindparams(*(sa.bindparam(name, type_=of) for name, of in zip(Row._fields, types, strict=True)))


def _by_django(connection: Any, rows: Sequence[Row]) -> None:
    if connection.vendor != "postgresql":
        _another_database(connection.vendor)
    if not connection.in_atomic_block and connection.get_autocommit():
        refuse("put both writes into `with transaction.atomic(using=...):`, of this connection's alias")
    with connection.cursor() as cursor:
        if len(rows) == 1:
            cursor.execute(INSERT, rows[0])
        else:
            cursor.executemany(INSERT, rows)


def refuse(fix: str) -> NoReturn:
    """Raises ConfigError: what follows from autocommit is the very thing that an outbox is there to end."""
    raise ConfigError(
        "the connection is in autocommit and in no transaction: the event would commit by itself, before or after the "
        "rows that it is about, and a crash in between leaves one without the other",
        fix=fix,
    )


def _another_database(kind: str) -> NoReturn:
    raise ConfigError(
        f"the connection is one to {kind}, and the outbox is a table of Postgres",
        fix="give the connection to Postgres on which the app writes the rows that the event is about",
    )


def not_taken(given: object, method: str) -> NoReturn:
    """Raises ConfigError, which says what is taken, and where else this connection would be."""
    kind = f"{type(given).__module__}.{type(given).__qualname__}"
    raise ConfigError(f"{method} takes {_TAKEN[method]}; found an object of {kind}", fix=_elsewhere(given, method))


def _elsewhere(given: object, method: str) -> str:
    asynchronous = (
        is_a(given, "psycopg", "AsyncConnection", "AsyncCursor")
        or is_a(given, "sqlalchemy.ext.asyncio", "AsyncConnection", "AsyncSession", "async_scoped_session")
    )  # fmt: skip
    if method == "append" and asynchronous:
        return "await outbox.append_async(connection, event)"
    if method == "append_async" and not asynchronous:
        return "on a connection without asyncio: outbox.append(connection, event)"
    return "give the connection on which the app writes the rows that the event is about"
