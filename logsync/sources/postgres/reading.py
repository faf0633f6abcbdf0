"""From the messages of a stream to facts in order, each at its place. Does no input or output.

A fact's place is (LSN of the transaction's commit, LSN of the change, ordinal among changes of one LSN: a COPY writes
many rows at once). It is the same whenever it is read again, whatever else the publications hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from logsync.errors import ConfigError
from logsync.sources.contract import Fact, Portion, Unfit
from logsync.sources.postgres import rows
from logsync.sources.postgres.pgoutput import Begin, Commit, Delete, Insert, Message, Relation, Truncate, Update, decode
from logsync.sources.postgres.places import Confirmed, end_of, within
from logsync.sources.postgres.values import Values

_BODY = 25
"""Where the message begins in what the stream brings, behind 'w', two LSNs and the time."""


_CHANGES = (Insert, Update, Delete)
_new = tuple.__new__  # as in rows.py


class Tables(NamedTuple):
    """The tables of a source."""

    names: Mapping[int, str]
    """By oid, what the declaration calls them."""
    outbox: int | None
    """The oid of logsync.outbox, if the source reads it."""


class Reading:
    """One stream, from its beginning: what was read and waits to be taken."""

    def __init__(self, tables: Tables, confirmed: Confirmed, prefix: str = "") -> None:
        """``prefix``: of the messages that tell rows which stood there before. Those of others are passed over."""
        self._tables = tables
        self._prefix = prefix
        self._confirmed = confirmed
        self._values = Values()
        self._readers: dict[int, rows.Reader] = {}
        self.facts: list[Fact] = []
        self._whole = 0
        """So many of ``facts`` are of transactions that were read to their end."""
        self._end: str | None = None
        """Where the last of these ends, until it is told."""
        self._waited_for: str | None = None
        self._begun: Begin | None = None
        self._within, self._lsn, self._ordinal, self._found = "", 0, 0, 0

    @property
    def ready(self) -> bool:
        """Is there anything to tell?"""
        return bool(self.facts) or self._end is not None

    def tell(self, end: str) -> None:
        """Somebody waits for this place to be passed: tell an end then, also where nothing of ours is before it."""
        self._waited_for = end

    def looked_through(self, end: int) -> None:
        """The server has sent everything of ours up to ``end``."""
        if self._begun is None:
            self._confirmed.looked_through(end)
            self._through(end)

    def portion(self, limit: int) -> Portion:
        """Whole transactions if there are any, so that they can be confirmed; else what there is of a large one."""
        if self._end is not None and self._whole <= limit:
            count, end, self._end = self._whole, self._end, None
        else:
            count, end = min(limit, len(self.facts)), None
        given = self.facts[:count]
        del self.facts[:count]
        self._whole = max(0, self._whole - count)
        return Portion(given, end)

    def feed(self, data: bytes) -> None:
        """One message, with the header of the stream. Raises ConfigError for what does not follow the protocol."""
        message = decode(data, _BODY)
        if isinstance(message, _CHANGES):
            begun = self._now
            try:
                said = self._readers[message.relation].said(message, begun.time)
            except (LookupError, ValueError) as error:
                raise _out_of_order(f"a row of relation {message.relation} that fits what was said of it") from error
            self._add(data, said, begun)
        elif isinstance(message, Begin):
            self._begun = message
            self._within, self._lsn, self._ordinal, self._found = within(message.final), 0, 0, 0
        elif isinstance(message, Commit):
            self._commit(message.end)
        elif isinstance(message, Relation):
            self._readers[message.id] = self._reader(message)
        elif isinstance(message, Message):
            if message.transactional and message.prefix == self._prefix:
                begun = self._now
                self._add(data, rows.seeded(message.content, self._tables.names, self._values, begun.time), begun)
        elif isinstance(message, Truncate):
            names = ", ".join(self._tables.names.get(each, f"relation {each}") for each in message.relations)
            what = f"TRUNCATE of {names}: it deletes rows without saying which"
            said = rows.Said(Unfit(what, fix="use DELETE for tables whose changes are captured"))
            self._add(data, said, self._now)

    def _commit(self, end: int) -> None:
        self._begun = None
        if self._found:
            self._confirmed.ended(end)
            self._end, self._whole = end_of(end), len(self.facts)
        else:
            self._confirmed.looked_through(end)
            self._through(end)

    def _through(self, end: int) -> None:
        """Nothing of ours lies between the last fact and ``end``."""
        if self._waited_for is not None and end_of(end) >= self._waited_for:
            self._end, self._whole, self._waited_for = end_of(end), len(self.facts), None

    def _add(self, data: bytes, said: rows.Said, begun: Begin) -> None:
        lsn = int.from_bytes(data[1:9], "big")
        # Never back: a row of INSERT ... ON CONFLICT is told once it is certain, under the LSN of the attempt.
        if lsn > self._lsn:
            self._lsn, self._ordinal = lsn, 0
        else:
            self._ordinal += 1
        self._found += 1
        at = f"{self._within}{self._lsn:016x}.{self._ordinal:08x}"
        self.facts.append(_new(Fact, (at, said.of, said.id, said.time or begun.time)))

    @property
    def _now(self) -> Begin:
        if self._begun is None:
            raise _out_of_order("changes within a transaction")
        return self._begun

    def _reader(self, relation: Relation) -> rows.Reader:
        if relation.id == self._tables.outbox:
            return rows.Outbox(relation, self._values)
        name = self._tables.names.get(relation.id)
        return rows.Strangers(relation) if name is None else rows.Rows(name, relation, self._values)


def _out_of_order(expected: str) -> ConfigError:
    return ConfigError(
        f"expected {expected} in the stream of Postgres, found something else",
        fix="use Postgres 15 or later; if it is one, please report this as a bug of logsync",
    )
