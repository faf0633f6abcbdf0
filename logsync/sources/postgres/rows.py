"""From the rows of a relation to what they say: an event of the outbox, or a change of a table.

One object per relation as the stream describes it, made anew when the table is altered. A row that says nothing of use
is a value as well (``Unfit``): the stream goes on behind it, and who reads the facts decides.
"""

from __future__ import annotations

from binascii import unhexlify
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from pydantic_core import from_json

from logsync.core.codec import Encoded
from logsync.sources.contract import Change, Unfit
from logsync.sources.postgres import seed
from logsync.sources.postgres.pgoutput import UNCHANGED, Delete, Insert, Relation, Row, Update
from logsync.sources.postgres.values import Values

_new = tuple.__new__  # a named tuple without its generated __new__, which is a call more for every row
_EVENT = ("id", "key", "value", "headers", "time")


class Said(NamedTuple):
    """What one row says; its id and time if it has its own."""

    of: Change | Encoded | Unfit
    id: str | None = None
    time: datetime | None = None


class Rows:
    """The rows of a table that the source declares as ``name``."""

    def __init__(self, name: str, relation: Relation, values: Values) -> None:
        self._name = name
        self._columns = [(column.name, values.loader(column.type)) for column in relation.columns]
        self._keys = [column.key for column in relation.columns]

    def said(self, change: Insert | Update | Delete, committed: datetime) -> Said:
        """Raises ValueError for a row with other columns than the relation's."""
        if isinstance(change, Insert):
            return Said(Change(self._name, "insert", self._whole(change.new), None, committed))
        if isinstance(change, Delete):
            return Said(Change(self._name, "delete", None, self._kept(change.old, change.whole), committed))
        new, old = change.new, change.old
        if old is None:  # it has the same key as before, or the server would tell the old one
            old = new
        elif change.whole:
            new = [was if now is UNCHANGED else now for was, now in zip(old, new, strict=True)]
        if UNCHANGED in new:
            names = [name for (name, _), now in zip(self._columns, new, strict=True) if now is UNCHANGED]
            return Said(
                Unfit(
                    f"an UPDATE of {self._name} left its large {', '.join(names)} as it was, and Postgres logs such a "
                    f"value again only with the whole old row",
                    fix=f"ALTER TABLE {self._name} REPLICA IDENTITY FULL, which holds for later changes",
                )
            )
        kept = self._kept(old, change.whole and change.old is not None)
        return Said(Change(self._name, "update", self._whole(new), kept, committed))

    def _whole(self, row: Row) -> dict[str, Any]:
        return {
            name: None if text is None else load(text)  # type: ignore[arg-type]
            for (name, load), text in zip(self._columns, row, strict=True)
        }

    def _kept(self, row: Row, whole: bool) -> dict[str, Any]:
        """What the replica identity keeps: all columns, or those of the key."""
        if whole:
            return self._whole(row)
        return {
            name: None if text is None else load(text)  # type: ignore[arg-type]
            for (name, load), key, text in zip(self._columns, self._keys, row, strict=True)
            if key
        }


class Outbox:
    """The rows of the outbox: events already, with their ids and times."""

    def __init__(self, relation: Relation, values: Values) -> None:
        places = {column.name: place for place, column in enumerate(relation.columns)}
        self._missing = [name for name in _EVENT if name not in places]
        self._places = tuple(places.get(name, 0) for name in _EVENT)
        self._time = values.loader(relation.columns[self._places[-1]].type)

    def said(self, change: Insert | Update | Delete, committed: datetime) -> Said:  # noqa: ARG002 - as Rows
        row: Any = change.new if isinstance(change, Insert) else []
        id_, key, value, headers, time = self._places
        wrong = f"it has no column {', '.join(self._missing)}"
        if not self._missing:
            try:
                moment = self._time(row[time])
                made = (
                    unhexlify(row[key][2:]),  # bytea_output is pinned: \x...
                    None if row[value] is None else unhexlify(row[value][2:]),
                    [(name, text.encode()) for name, text in from_json(row[headers])],
                )
                if isinstance(moment, datetime):
                    return _new(Said, (_new(Encoded, made), str(row[id_], "utf-8"), moment))
                wrong = f"its time is {moment!r}"
            except (TypeError, ValueError, AttributeError, LookupError) as error:
                wrong = str(error)
        return Said(
            Unfit(
                f"a row of logsync.outbox is no event: {wrong}",
                fix="write it by logsync.outbox.append only, and leave the table as `logsync source schema` prints it",
            )
        )


def seeded(content: bytes, names: Mapping[int, str], values: Values, committed: datetime) -> Said:
    """A row that stood there before the source was made, from the message that tells it."""
    try:
        told = seed.read(content)
        new = {
            name: None if text is None else values.loader(oid)(text)  # type: ignore[arg-type]
            for (name, oid), text in zip(told.columns, told.row, strict=True)
        }
        return Said(Change(names[told.table], "insert", new, None, committed, seeded=True))
    except (ValueError, TypeError, LookupError) as error:
        return Said(
            Unfit(
                f"a message in the write-ahead log is not one of `logsync source seed`, or of a table that the source "
                f"does not declare: {error!r}",
                fix="write no messages with this prefix",
            )
        )


class Strangers:
    """The rows of a table that the publication holds and the source does not declare."""

    def __init__(self, relation: Relation) -> None:
        self._name = f"{relation.schema}.{relation.name}"

    def said(self, change: Insert | Update | Delete, committed: datetime) -> Said:  # noqa: ARG002 - as Rows
        return Said(
            Unfit(
                f"a row of {self._name}, which the source does not declare",
                fix=f"declare {self._name} in the source, or take it out of the publication",
            )
        )


Reader = Rows | Outbox | Strangers
