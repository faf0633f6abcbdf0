"""Events to Kafka records and back: CloudEvents 1.0, Kafka protocol binding, binary content mode.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md: attributes
are headers named ``ce_<attribute>``, ``content-type`` is the data's media type, the value is the data. The
version of the event's shape travels as the extension attribute ``dataversion``; a missing one means 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import lru_cache

from pydantic import BaseModel, ValidationError

from logsync.core.codec import Decode, Encoded, EventTypes
from logsync.core.event import Decoded, Event, Headers, Ignored, Record, Tombstone, Undecodable
from logsync.core.marks import SEQUENCE, SOURCE, mark_of, written
from logsync.core.models import JsonModel, MadeAnew, describe
from logsync.core.moments import moment, since_1970
from logsync.core.sources import BARRIER, Mark
from logsync.core.text import short
from logsync.errors import AppendRejected

RETRY_FROM = "logsync-retry-from"
"""On a retried append: the partition's end as last known before the first attempt. # A1"""
_DIGITS = 19  # of the largest 64-bit offset
# The headers of an event without extensions, in the order in which ``encode`` writes them.
_PLAIN = ("ce_specversion", "ce_id", "ce_type", "ce_source", "ce_time", "content-type")
_OF_SOURCE = len(_PLAIN) + 2  # ``marked`` adds two
_JSON = b"application/json"
_BARRIER = BARRIER.encode()
_SHOWN = 200  # characters of a stranger that a message repeats; as many as a name of a type may have
_HEADERS = 20  # names of headers that a message repeats
_SPEC = ("ce_specversion", b"1.0")
_Shared = tuple[tuple[str, bytes], ...]
_new = tuple.__new__  # a named tuple without its generated __new__: a call less for every record, and half the time
_RESERVED = ("ce_", "logsync-", "content-type")
# https://www.w3.org/TR/trace-context/#traceparent-header: version 00 has exactly these four fields.
_TRACEPARENT = re.compile(r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")


class CloudEvents:
    """CloudEvents 1.0 in binary mode: the default Codec."""

    def shared(
        self, name: str, version: int, model: type[BaseModel], source: str
    ) -> tuple[_Shared, _Shared, JsonModel]:
        """The headers that all events of a type share, those before the time and those after it; and their JSON."""
        kind = ("ce_type", name.encode()), ("ce_source", source.encode())
        rest: _Shared = () if version == 1 else (("ce_dataversion", str(version).encode()),)
        if model is not Tombstone:
            rest = (*rest, ("content-type", _JSON))
        return kind, rest, JsonModel(name, model)

    def encode(
        self,
        log: EventTypes,
        event: BaseModel,
        *,
        event_id: str,
        time: datetime,
        headers: Iterable[tuple[str, str]] = (),
    ) -> Encoded:
        """The bytes of ``event``. Raises AppendRejected, before anything is sent, for what cannot be an event."""
        event_type = log.by_model.get(type(event))
        if event_type is None:
            raise AppendRejected(
                f"{type(event).__name__} is not an event of {log!r}",
                fix='register it: @log.event("name", key="field")',
            )
        try:
            key = event_type.key(event)
        except AppendRejected:
            raise
        except Exception as error:
            raise AppendRejected(f"the key of {event_type.name} could not be taken: {error!r}") from error
        if not key:
            raise AppendRejected(f"{event_type.name} has an empty key: the key is what orders events")
        kind, rest, json = event_type.shared
        tombstone = event_type.model is Tombstone  # not by isinstance: of a model's class it is as slow as the JSON
        try:
            value = None if tombstone else json.to_json(event)
            key_bytes = key.encode()
        except Exception as error:
            raise AppendRejected(f"{event_type.name} cannot be written as JSON: {error}") from error
        if value is not None and not json.fits(event):
            json.compare(event, value)  # T3
        # The order of _PLAIN.
        out: Headers = [_SPEC, ("ce_id", event_id.encode()), *kind, _stamp(time), *rest]
        if tombstone and isinstance(event, Tombstone) and (of := _ended(event, key)):
            out = [("ce_type", of) if name == "ce_type" else (name, found) for name, found in out]
        for header, text in headers:
            out.append(_header(header, text))
        return _new(Encoded, (key_bytes, value, out))

    def renamed(self, encoded: Encoded, event_id: str) -> Encoded:
        """See ``Codec.renamed``."""
        spec, _, *rest = encoded.headers  # the order of _PLAIN
        return encoded._replace(headers=[spec, ("ce_id", event_id.encode()), *rest])

    def decoder(self, log: EventTypes, handled: Iterable[str]) -> Decode:
        """See ``Codec.decoder``."""
        return _Decoder(log, handled)

    def id_of(self, headers: Headers, value: bytes | None, place: str) -> str | None:
        """See ``Codec.id_of``. A tombstone from elsewhere has no id, so its place in the log is its id."""
        found = _text(dict(headers).get("ce_id"))
        return found or place if value is None else found

    def retry(self, encoded: Encoded, since: int) -> Encoded:
        """See ``Codec.retry``."""
        return encoded._replace(headers=[*encoded.headers, (RETRY_FROM, str(since).encode())])

    def retry_from(self, record: Record) -> int | None:
        """See ``Codec.retry_from``."""
        try:
            return _offset(dict(record.headers).get(RETRY_FROM))
        except ValueError:
            return None

    def marked(self, encoded: Encoded, mark: Mark) -> Encoded:
        """See ``Codec.marked``. Its two headers stand last."""
        key, value, headers = encoded
        if len(headers) + 2 <= len(_PLAIN):  # ``marks`` would pass over it
            raise AppendRejected(f"expected the {len(_PLAIN) - 1} headers of a CloudEvent with a time, or more")
        return _new(Encoded, (key, value, [*headers, *written(mark)]))

    def barrier(self, log: EventTypes, mark: Mark, *, event_id: str, time: datetime) -> Encoded:
        """See ``Codec.barrier``. An ordinary CloudEvent without data, for whoever else reads the topic."""
        own = (("ce_id", event_id.encode()), ("ce_type", BARRIER.encode()), ("ce_source", f"/{log.topic}".encode()))
        headers: Headers = [_SPEC, *own, _stamp(time), ("content-type", _JSON), *written(mark)]
        return Encoded(mark.source.encode(), b"{}", headers)

    def marks(self, records: Sequence[Record]) -> list[tuple[int, Mark | None]]:
        """See ``Codec.marks``. Whoever writes a record of a source writes more headers than a plain one has."""
        found = list[tuple[int, Mark | None]]()
        for record in [each for each in records if len(each[4]) > len(_PLAIN) or each[7] is not None]:
            if record.fault is None:
                mark = mark_of(record.headers)
                if mark is not None:
                    found.append((record.offset, mark))
            elif record.fault.last is not None:
                found.append((record.offset, None))
        return found


CLOUD_EVENTS = CloudEvents()


@lru_cache(maxsize=4)
def _stamp(time: datetime) -> tuple[str, bytes]:
    """Events made in a row share their time, and writing it is a fifth of the work of encoding them."""
    return "ce_time", time.isoformat().encode()


def _ended(event: Tombstone, key: str) -> bytes | None:
    """The type that a tombstone ends. Raises AppendRejected if it would come back as another one. # T3"""
    of = event.of
    if event.key != key or not (
        of is None or (type(of) is str and of.isprintable() and of not in ("", Tombstone.TYPE))
    ):
        raise AppendRejected(
            f"{Tombstone.TYPE} would not come back equal from the log: its key is a text, and what it ends is the name "
            f"of an event type",
            fix='Tombstone(key="...", of="order.placed"), or without of',
        )
    return None if of is None else of.encode()


def _header(name: str, text: str) -> tuple[str, bytes]:
    """A header of the caller's. Raises AppendRejected for what cannot be one."""
    try:
        name.encode()
        value = text.encode()
    except (AttributeError, UnicodeError):
        raise AppendRejected(f"header {name!a} is no text, or its value is none") from None
    if name.startswith(_RESERVED):
        raise AppendRejected(f"header {name!r} is reserved; use another name")
    if name == "traceparent" and not _TRACEPARENT.match(text):
        raise AppendRejected(f"traceparent {text!r} is not of the form 00-<32 hex>-<16 hex>-<2 hex>")
    return name, value


class _Decoder:
    """``decode`` for one sink: total, so that bad bytes are a value and never an exception.

    ``handled`` are the event names that the sink has handlers for. Records of other known types become
    Ignored without their value being looked at; a sink must not halt on data that it does not use. # T1
    """

    def __init__(self, log: EventTypes, handled: Iterable[str]) -> None:
        self._topic = log.topic
        wanted = frozenset(handled)
        self._known = {name.encode() for name in log.names}
        self._wanted = {name.encode() for name in wanted}
        self._tombstones = Tombstone.TYPE in wanted
        self._models = {
            (name.encode(), str(version).encode()): (name, version, event_type.shared[2].decode)
            for (name, version), event_type in log.types.items()
            if name in wanted
        }

    def __call__(self, record: Record) -> Decoded:
        """Decode one record. Called for every record of a poll; never raises.

        Headers in the order in which ``encode`` wrote them are not looked up by name: that would take a third of the
        time. Nor does ``moment`` read a time as ``encode`` writes it. If such an event is wrong, the long way says why.
        """
        partition, offset, key_bytes, value, headers, leader_epoch, _, _ = record
        plain = headers
        if len(headers) == _OF_SOURCE and headers[-1][0] == SOURCE and mark_of(headers):
            plain = headers[: len(_PLAIN)]
        if len(plain) == len(_PLAIN):
            (n0, spec), (n1, event_id), (n2, type_bytes), (n3, _), (n4, time_bytes), (n5, media) = plain
            if (n0, n1, n2, n3, n4, n5) == _PLAIN and spec == b"1.0" and media == _JSON and event_id:
                try:
                    name, version, validate_json = self._models[type_bytes, b"1"]  # type: ignore[index]
                    # 2026-01-31T12:00:00.123456+00:00: of what has "-", "T" and "." there, Python reads no other form.
                    t: bytes = time_bytes  # type: ignore[assignment]
                    if t[7] == 45 and t[10] == 84 and t[19] == 46 and t[-6:] == b"+00:00":
                        time = datetime.fromisoformat(t.decode())
                    else:
                        time = moment(t)
                    return _new(Event, (
                        event_id.decode(), name, version, None if key_bytes is None else key_bytes.decode(), time,
                        validate_json(value), partition, offset, leader_epoch, headers, None,
                    ))  # fmt: skip
                except Exception:  # noqa: BLE001, S110 - validators are user code and bytes are anything
                    pass
        return self._by_name(record)

    def _by_name(self, record: Record) -> Decoded:
        partition, offset, _, value, headers, leader_epoch, _, fault = record
        if fault is not None:
            if fault.last is None:
                return Undecodable(
                    partition, offset, leader_epoch, None, None, False, "headers whose names are UTF-8", fault.why
                )
            where = "" if fault.last == offset else f"; that is all from offset {offset} to {fault.last}"
            return Undecodable(
                partition, offset, leader_epoch, None, None, False, "a record that can be read", fault.why + where, True
            )
        named = dict(headers)
        get = named.get
        event_id = _text(get("ce_id"))
        if SOURCE in named and (len(headers) <= len(_PLAIN) or mark_of(headers) is None):
            return Undecodable(
                partition, offset, leader_epoch, event_id, _type(get("ce_type")), False,
                f"in {SOURCE} a source, its term, writer and number, and its place in {SEQUENCE}",
                f"{SOURCE} '{_shown(named[SOURCE] or b'')}', {SEQUENCE} '{_shown(get(SEQUENCE) or b'')}'",
            )  # fmt: skip
        if value is None:
            return self._tombstone(record, named, event_id)
        type_bytes = get("ce_type")
        if type_bytes == _BARRIER and SOURCE in named:
            return Ignored(partition, offset, leader_epoch, event_id, BARRIER)
        if not type_bytes or not event_id or get("ce_specversion") != b"1.0":
            missing = [name for name in ("ce_specversion", "ce_id", "ce_type") if not named.get(name)]
            return Undecodable(
                partition, offset, leader_epoch, event_id, _type(type_bytes), False,
                "a CloudEvents 1.0 record in binary mode (headers ce_specversion=1.0, ce_id, ce_type)",
                f"headers {_listed(named)} without {missing}" if missing
                else f"ce_specversion={_shown(named['ce_specversion'] or b'')}",
            )  # fmt: skip
        if type_bytes not in self._wanted:
            if type_bytes in self._known:
                return Ignored(partition, offset, leader_epoch, event_id, type_bytes.decode())
            return Undecodable(
                partition, offset, leader_epoch, event_id, _type(type_bytes), True,
                f"a type registered on the log: {_names(self._known)}", f"type '{_shown(type_bytes)}'",
            )  # fmt: skip
        version_bytes = get("ce_dataversion") or b"1"
        entry = self._models.get((type_bytes, version_bytes))
        if entry is None:
            versions = sorted(v.decode() for t, v in self._models if t == type_bytes)
            return Undecodable(
                partition, offset, leader_epoch, event_id, _type(type_bytes), True,
                f"a registered version of {_text(type_bytes)}: {', '.join(versions)}",
                f"version {_shown(version_bytes)}",
            )  # fmt: skip
        name, version, validate_json = entry
        return self._event(record, named, event_id, name, version, validate_json)

    def _tombstone(self, record: Record, named: dict[str, bytes | None], event_id: str | None) -> Decoded:
        # A tombstone from elsewhere has no headers at all. Its place in the log is the only id it can have.
        event_id = event_id or f"{self._topic}/{record.partition}/{record.offset}"
        if not self._tombstones:
            return Ignored(record.partition, record.offset, record.leader_epoch, event_id, Tombstone.TYPE)
        return self._event(record, named, event_id, Tombstone.TYPE, 1, None)

    def _event(
        self,
        record: Record,
        named: dict[str, bytes | None],
        event_id: str,
        name: str,
        version: int,
        validate_json: Callable[[bytes], BaseModel] | None,
    ) -> Decoded:
        """The event, or what was expected where something else was found. ``validate_json`` None: a tombstone."""
        partition, offset, key_bytes, value, headers, leader_epoch, timestamp, _ = record
        try:
            expected = "content-type application/json"
            media = named.get("content-type")
            if validate_json is not None and media is not None and media != _JSON and not _is_json(media):
                raise ValueError(f"content-type {_shown(media)}")
            expected = "a ce_time as in RFC 3339, such as 2026-01-31T12:00:00Z"
            time_bytes = named.get("ce_time")
            # It is optional in CloudEvents; the record's own timestamp is in the log too, so still a fact.
            time = moment(time_bytes) if time_bytes else since_1970(timestamp)
            if time is None:
                raise ValueError(f"none, and a record whose timestamp is {timestamp} ms after 1970")
            expected = f"an offset in {RETRY_FROM}"
            retry = _offset(named.get(RETRY_FROM))
            expected = "a key in UTF-8"
            key = None if key_bytes is None else key_bytes.decode()
            data: BaseModel
            if validate_json is None:
                expected = "a tombstone: null value with a key"
                if not key:
                    raise ValueError("null value and no key")
                of = _text(named.get("ce_type"))
                data = Tombstone(key=key, of=None if of in (None, Tombstone.TYPE) else of)
            else:
                expected = f"JSON that {name} version {version} accepts"
                data = validate_json(value)  # type: ignore[arg-type]  # _by_name has asked
            return Event(event_id, name, version, key, time, data, partition, offset, leader_epoch, headers, retry)
        except (ValidationError, MadeAnew) as error:
            found = short(describe(error) if isinstance(error, ValidationError) else str(error), 2 * _SHOWN)
        except UnicodeDecodeError as error:
            found = f"{_shown(error.object)}, whose byte {error.start} is not UTF-8"
        except Exception as error:  # noqa: BLE001 - validators are user code and bytes are anything
            text = str(error)
            found = short(text if type(error) is ValueError else f"{type(error).__name__}: {text}", _SHOWN)
        return Undecodable(partition, offset, leader_epoch, event_id, name, False, expected, found)


def _offset(header: bytes | None) -> int | None:
    """Raises ValueError for what no partition can hold: ``int`` takes signs, and refuses very long numbers itself."""
    if header is None:
        return None
    if not header.isdigit() or len(header) > _DIGITS:
        raise ValueError(f"{RETRY_FROM} '{_shown(header)}', expected an offset of at most {_DIGITS} digits")
    return int(header)


def _is_json(media: bytes) -> bool:
    kind = media.split(b";")[0].strip().lower()
    return kind == b"application/json" or (kind.startswith(b"application/") and kind.endswith(b"+json"))


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "replace")


def _shown(value: bytes) -> str:
    """Bytes of a stranger in a message: printable, and not too many of them."""
    return short(value.decode("utf-8", "backslashreplace"), _SHOWN)


def _type(value: bytes | None) -> str | None:
    """The name of a type that nobody registered. One longer than any name that can be registered is cut."""
    text = _text(value)
    return text if text is None or len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _listed(named: Iterable[str]) -> str:
    """The names of headers; of very many, the first few."""
    names = sorted(named)
    more = f" and {len(names) - _HEADERS:,} more" if len(names) > _HEADERS else ""
    return f"{[short(name, _SHOWN) for name in names[:_HEADERS]]}{more}"


def _names(names: Iterable[bytes]) -> str:
    return ", ".join(sorted(name.decode() for name in names if name != Tombstone.TYPE.encode()))
