"""One row of the outbox: an event as a producer would send it. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from importlib.resources import files
from typing import NamedTuple

from pydantic import BaseModel

from logsync.appending import prepare
from logsync.core.event import Headers
from logsync.core.log import Log
from logsync.errors import AppendRejected

_quoted = json.JSONEncoder().encode
# Text by text, because it takes a third of the time of the whole list: that was a tenth of what an append costs.

DDL = files("logsync.outbox").joinpath("outbox.sql").read_text(encoding="utf-8")
"""The outbox's table, for a migration. May be run again at any time; its head says which rights an app needs."""


class Row(NamedTuple):
    """One row of ``logsync.outbox``, in the order of the columns of every INSERT."""

    id: str
    type: str
    key: bytes
    value: bytes | None
    headers: str
    """JSON in ASCII: ``[["name", "value"], ...]``, whatever the encoding of the database."""
    time: datetime


COLUMNS = ", ".join(Row._fields)
INSERT = f"INSERT INTO logsync.outbox ({COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s)"
"""With the placeholders of psycopg."""


def row(
    log: Log,
    event: BaseModel,
    headers: Mapping[str, str] | None,
    given_id: str | None,
    given_time: datetime | None,
) -> Row:
    """The row of ``event``. Raises AppendRejected for what a producer refuses, and for headers that are no text."""
    event_id, time, (key, value, made), _ = prepare(log, event, headers, given_id, given_time)
    return Row(event_id, log.by_model[type(event)].name, key, value, _json(made), time)


def _json(headers: Headers) -> str:
    """Kafka's headers may be any bytes, JSON's strings may not. CloudEvents makes none that are not text."""
    try:
        pairs = [f"[{_quoted(name)},{_quoted(value.decode())}]" for name, value in headers]  # type: ignore[union-attr]
        return f"[{','.join(pairs)}]"
    except (AttributeError, UnicodeError):
        wrong = [name for name, value in headers if not _is_text(value)]
        raise AppendRejected(
            f"the log's codec makes headers that an outbox cannot keep, because they are not text in UTF-8: {wrong}",
            fix="let the codec write text, or append to the log directly",
        ) from None


def _is_text(value: bytes | None) -> bool:
    try:
        return value is not None and bool(value.decode() or True)
    except UnicodeError:
        return False
