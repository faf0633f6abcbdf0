"""What an outbox refuses of a connection, and what to do instead."""

from __future__ import annotations

from typing import NoReturn

from logsync.errors import ConfigError


def alone(fix: str) -> NoReturn:
    """Raises ConfigError: what follows from autocommit is the very thing that an outbox is there to end."""
    raise ConfigError(
        "the connection is in autocommit and in no transaction: the event would commit by itself, before or after the "
        "rows that it is about, and a crash in between leaves one without the other",
        fix=fix,
    )


def another_database(kind: str) -> NoReturn:
    """Raises ConfigError."""
    raise ConfigError(
        f"the connection is one to {kind}, and the outbox is a table of Postgres",
        fix="give the connection to Postgres on which the app writes the rows that the event is about",
    )
