"""Events set aside without breaking the order of their key. Pure.

What is parked is a *sequence*: once an event cannot be applied, every later event of its sequence waits behind it,
in log order, until the sequence is released; the other sequences go on (I8). A sequence is by default the events of
one key. Parked events live in the sink's own store and move there in the step that moves the position: a dead
letter topic would be a dual write.

A parked event carries a copy of its record. Retention may delete the original from the log, and a worker that is down
could not copy it in time.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from logsync.core.event import Fault, Headers, Record
from logsync.core.formats import UPDATE, number, upgraded
from logsync.core.raised import in_words
from logsync.errors import ConfigError

SequenceBy = Callable[[bytes | None, Headers], str | None]


class Parking(NamedTuple):
    """How much may be parked before the worker halts, and whether it tries again by itself.

    Reaching a limit halts the worker: many parked events are not the fault of one event, and a person has to look.
    """

    sequences: int = 1_000
    """The most sequences of one partition."""
    events: int = 10_000
    """The most events of one sequence."""
    age: timedelta = timedelta(days=7)
    """The longest that an event may wait."""
    retry_every: timedelta | None = None
    """How often everything that waits is retried; None: only when ``logsync parked retry`` asks."""


class Parked(NamedTuple):
    """One event that waits. ``attempts`` is 0 for one that was never tried: it waits behind another of its sequence."""

    partition: int
    offset: int
    sequence: str
    event_id: str | None
    type: str | None
    error: str
    """The class of the error at its last attempt; empty if it was never tried."""
    message: str
    """What the error said; in further lines, if the user's own code raised, the last lines of its traceback."""
    first_at: datetime
    """When it was parked."""
    last_at: datetime
    """When it was last tried; or when somebody gave it up."""
    attempts: int
    record: Record
    """The record as it stands in the log, whole."""
    discarded: str | None = None
    """Why it was given up: it leaves as a skip, and is never applied. None: it was not."""

    @property
    def reason(self) -> str:
        """Why it is parked, in words."""
        return f"{self.error}: {self.message}" if self.error else "it waits behind an event that is parked"

    def to_json(self) -> str:
        """For stores that keep text. :meth:`from_json` gives the same value back, bytes and all."""
        fields = {"format": number("parked event"), **self._asdict()}
        fields["first_at"], fields["last_at"] = self.first_at.isoformat(), self.last_at.isoformat()
        _, _, key, value, headers, leader_epoch, timestamp, fault = self.record
        fields["record"] = [_b64(key), _b64(value), [[n, _b64(v)] for n, v in headers], leader_epoch, timestamp]
        if fault is not None:
            fields["record"].append(fault)
        text = json.dumps(fields, separators=(",", ":"))
        # JSON would read two lone surrogates in a row as one character.
        return json.dumps(_escaped(fields), separators=(",", ":")) if "\\ud" in text else text

    @classmethod
    def from_json(cls, text: str | bytes) -> Parked:
        """Read what :meth:`to_json` wrote. Raises ConfigError for a newer format."""
        try:
            fields = upgraded("parked event", json.loads(text, object_hook=_plain))
        except ValueError as error:
            raise ConfigError(f"the store holds {error}", fix=UPDATE) from None
        key, value, headers, leader_epoch, timestamp, *fault = fields["record"]
        return cls(
            **{name: fields[name] for name in cls._fields if name not in ("first_at", "last_at", "record")},
            first_at=datetime.fromisoformat(fields["first_at"]),
            last_at=datetime.fromisoformat(fields["last_at"]),
            record=Record(
                fields["partition"], fields["offset"], _bytes(key), _bytes(value),
                [(name, _bytes(header)) for name, header in headers], leader_epoch, timestamp,
                Fault(*fault[0]) if fault else None,
            ),
        )  # fmt: skip


def bears(event_id: str) -> str:
    """What the text of an event with this id contains, as :meth:`Parked.to_json` writes it, and no other does.

    For stores that look for an id in place. Within a text of the JSON no such quotes can stand.
    """
    return f'"event_id":{json.dumps(event_id)},'


class GivenUp(NamedTuple):
    """A parked event of which the store knows that it was given up, without its record."""

    offset: int
    reason: str
    at: datetime


def given_up(entries: Iterable[Parked]) -> list[GivenUp]:
    return [GivenUp(each.offset, each.discarded, each.last_at) for each in entries if each.discarded is not None]


class SequenceSummary(NamedTuple):
    """One sequence that waits, as a worker remembers it."""

    first: int
    """The offset of its first event. Older events of the same sequence are not part of it."""
    events: int
    """How many wait. Replayable stores: before the position; the others are met, parked and counted again."""
    since: datetime
    """When its first event was parked."""
    error: str
    """The class of the error of its first event."""
    unfinished: bool = False
    """Replayable stores: a release of its first event has begun and must end before anything else is applied."""


Sequences = Mapping[str, SequenceSummary]


def by_key(key: bytes | None, headers: Headers) -> str | None:  # noqa: ARG001 - the signature of a SequenceBy
    """The default: events of one key are one sequence; those without a key wait together. # K3"""
    if key is None:
        return None
    try:
        text = key.decode()
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(key).decode()
    return "base64:" + base64.b64encode(key).decode() if _UNSEEN.search(text) else text


# What nobody can read in a terminal or copy into a command: control characters, blanks without width, marks that
# reverse the writing direction. The list is our own: what Python calls printable depends on the Unicode version that it
# was built with, so two workers could give one key two names.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\xa0\xad\u061c\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff]")


def name_of(sequence_by: SequenceBy, record: Record) -> str:
    """The sequence of a record. It sees key and headers only: an undecodable record has nothing else. # K3"""
    try:
        name = sequence_by(record.key, record.headers)
    except Exception as error:
        raise _wrong(record, f"it raised {in_words(error)}") from error
    if not isinstance(name, str | None):
        raise _wrong(record, f"it returned {type(name).__name__}")  # what a store gives back would be another name
    return name or NO_KEY


NO_KEY = "(no key)"


def _wrong(record: Record, what: str) -> ConfigError:
    return ConfigError(
        f"sequence_by must name the sequence of every record, by a str or None; for partition {record.partition}, "
        f"offset {record.offset}, {what}",
        fix="deploy a function that takes any key and any headers",
    )


def _escaped(found: Any) -> Any:
    """Text that is no valid Unicode, as ``{"bytes": base64}`` of its UTF-8; everything else as it is."""
    if isinstance(found, str) and any("\ud800" <= character <= "\udfff" for character in found):
        return {"bytes": _b64(found.encode("utf-8", "surrogatepass"))}
    if isinstance(found, list):
        return [_escaped(each) for each in found]
    return {name: _escaped(each) for name, each in found.items()} if isinstance(found, dict) else found


def _plain(found: dict[str, Any]) -> Any:
    """The inverse of ``_escaped``, for each object of the JSON."""
    return base64.b64decode(found["bytes"]).decode("utf-8", "surrogatepass") if found.keys() == {"bytes"} else found


def _b64(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
