"""Random and mutated records through decode and a worker that parks: nothing crashes, nothing is lost. # I7

``python -m tests.fuzz --seed N --records N`` prints what became of the records. A round is a function of its seed,
which a failure names: ``python -m tests.fuzz --seed THAT --records 500`` runs it again.
"""

from __future__ import annotations

import argparse
import logging
import random
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel, field_validator

from logsync import Event, Log, Sink
from logsync.core.cloudevents import RETRY_FROM
from logsync.core.codec import encode
from logsync.core.event import Headers, Record, Tombstone
from logsync.core.parked import Parked, Parking
from logsync.ops import parked
from logsync.ops.parked import Selection
from logsync.settings import Settings
from logsync.stores.memory import Memory
from logsync.testing import MemoryLog, MemoryReader
from logsync.worker import Worker
from logsync.worker_status import WorkerStatus
from logsync.writes.rows import Increment

log = Log("test.fuzz")


@log.event("order.placed", key="order")
class OrderPlaced(BaseModel):
    order: str
    cents: int

    @field_validator("order")
    @classmethod
    def known(cls, order: str) -> str:
        if order == "boom":
            raise LookupError("a validator may raise anything")
        return order


@log.event("order.cancelled", key="order")
class OrderCancelled(BaseModel):
    order: str


@log.event("page.seen", key="page")
class PageSeen(BaseModel):
    page: str


ROUND = 500
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
_NEVER = timedelta(days=100_000)

_NAMES = ("ce_specversion", "ce_id", "ce_type", "ce_source", "ce_time", "ce_dataversion", "content-type", RETRY_FROM,
          "traceparent", "", "CE_ID", "ce_\x00", "ce_\ud83d\ude00", "é", "x" * 3000)  # fmt: skip
_VALUES = (None, b"", b"1.0", b"0.3", b"1", b"2", b"-1", b"order.placed", b"order.cancelled", b"page.seen",
           b"logsync.tombstone", b"no.such.type", b"\xff\xfe", b"\x00", "é".encode(), b"\xed\xa0\xbd\xed\xb8\x80",
           b"application/json", b"application/x+json; charset=latin-1", b"text/plain", b"x" * 40_000)  # fmt: skip
_TIMES = (b"0001-01-01T00:00:00+23:59", b"9999-12-31T23:59:59-23:59", b"2026-01-01", b"2026-01-01T00:00:00",
          b"10000-01-01T00:00:00Z", b"2026-W01-1T00:00:00Z", b"2026-02-30T00:00:00Z", b"\xff", b"", None)  # fmt: skip
_SINCE = (b"0", b"1", b"250", b"-1", b"-1001", b"x", b"", b"1e3", b" 1", b"1_0", b"99999", b"9" * 19, b"9" * 5000,
          "٣".encode(), b"\xff", None)  # fmt: skip
_STAMPS = (0, -1, -(2**63), 2**63 - 1, 253402300800000, -62135596800001)
_BODIES = (b'{"order": "boom", "cents": 1}',
           b"", b"null", b"[]", b"NaN", b'{"order": "a", "cents": NaN}', b'{"order": "a", "cents": -Infinity}',
           b'{"order": "a", "cents": ' + b"9" * 5000 + b"}", b'{"order": "a", "cents": ' + b"9" * 30 + b"}",
           b'{"order": "\\ud83d", "cents": 1}', b'{"order": "\\ude00\\ud83d", "cents": 1}', b"[" * 50_000,
           b'{"order": ' * 3_000 + b"1" + b"}" * 3_000, b'{"order": "a", "order": "b", "cents": 1, "cents": "2"}',
           b'{"order": "\\u0000", "cents": 1}', b"\xef\xbb\xbf{}", b'{"order": "a", "cents": 1e400}')  # fmt: skip
_HUGE = b'{"order": "' + b"a" * 900_000 + b'", "cents": 1}'
_KEYS = (None, b"", b"a", b"\xff", b"\x00", b"a\x00b", "\u202e".encode(), b"(no key)", b"base64:/w==", b"k" * 5000)
_IDS = (
    b"\x00",
    b"\xff",
    b"0:0",
    b"'; --",
    "\u202eid".encode(),
    b"event-0-1",
    b" ",
    b"i" * 5000,
    b"test.fuzz/0/3",
    b"{}",
)

Draft = tuple[bytes | None, bytes | None, Headers, int]


def draft(rng: random.Random, number: int) -> Draft:
    """One record: valid, mutated up to four times, or noise."""
    if rng.random() < 0.05:
        headers = [(rng.choice(_NAMES), _bytes(rng)) for _ in range(rng.randrange(8))]
        return _bytes(rng), _bytes(rng), headers, rng.randrange(-(2**63), 2**63)
    order = f"order-{rng.randrange(400)}"
    event = rng.choices(
        [OrderPlaced(order=order, cents=rng.randrange(-3, 60)), OrderCancelled(order=order), PageSeen(page="p"),
         Tombstone(key=order)], [6, 1, 1, 1],
    )[0]  # fmt: skip
    coded = encode(log, event, event_id=f"id-{number}", time=NOON)
    made: Draft = coded.key, coded.value, list(coded.headers), 1_767_268_800_000
    for _ in range(rng.choice((0, 0, 1, 1, 1, 2, 4))):
        made = rng.choices(_MUTATIONS, _WEIGHTS)[0](rng, made)
    return made


def _bytes(rng: random.Random) -> bytes | None:
    return rng.choice((None, b"", rng.randbytes(rng.randrange(40))))


def _flip(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data)) if data else 0
    return data[:at] + rng.randbytes(1) + data[at + 1 :]


def _header(rng: random.Random, made: Draft) -> Draft:
    key, value, headers, stamp = made
    headers = list(headers)
    at = rng.randrange(len(headers)) if headers else 0
    what = rng.randrange(5)
    if what == 0:
        headers.insert(at, (rng.choice(_NAMES), rng.choice(_VALUES)))
    elif what == 1:
        headers.append((rng.choice(_NAMES), rng.choice(_VALUES)))
    elif headers:
        name, found = headers[at]
        headers[at : at + 1] = ([], [(name, found)] * 2, [(name, _flip(rng, found or b""))])[what - 2]
    return key, value, headers, stamp


def _set(name: str, values: tuple[bytes | None, ...]) -> Callable[[random.Random, Draft], Draft]:
    def mutation(rng: random.Random, made: Draft) -> Draft:
        key, value, headers, stamp = made
        return key, value, [*(h for h in headers if h[0] != name), (name, rng.choice(values))], stamp

    return mutation


def _value(rng: random.Random, made: Draft) -> Draft:
    key, value, headers, stamp = made
    body = value or b""
    options = (None, rng.choice(_BODIES), body[: rng.randrange(len(body) + 1)], _flip(rng, body), body * 2)
    return key, rng.choices(options, [1, 3, 2, 3, 1])[0], headers, stamp


def _bare(rng: random.Random, made: Draft) -> Draft:
    return made[0], rng.choice((None, made[1])), [], made[3]


def _repeat(rng: random.Random, made: Draft) -> Draft:
    """The id of an earlier event, sometimes as a retry of it."""
    key, value, headers, stamp = _set("ce_id", tuple(b"id-%d" % n for n in range(20)))(rng, made)
    return (key, value, [*headers, (RETRY_FROM, rng.choice(_SINCE))], stamp) if rng.random() < 0.5 else made


_MUTATIONS: list[Callable[[random.Random, Draft], Draft]] = [
    _header, _value, _repeat, _bare, _set("ce_time", _TIMES), _set(RETRY_FROM, _SINCE), _set("ce_id", _IDS),
    _set("ce_dataversion", _VALUES), _set("ce_type", _VALUES), _set("content-type", _VALUES),
    lambda rng, made: (rng.choice(_KEYS), *made[1:]),
    lambda rng, made: (*made[:2], [h for h in made[2] if h[0] != "ce_time"], rng.choice(_STAMPS)),
    lambda rng, made: (made[0], _HUGE, *made[2:]),
]  # fmt: skip
_WEIGHTS = [12, 10, 4, 1, 3, 3, 3, 2, 2, 2, 4, 3, 0.02]


def sink_of(store: Memory, rng: random.Random, *, mended: bool) -> Sink:
    """Totals of few rows, since the store copies them in every apply. Until it is mended, its handler fails on some
    events and the store refuses others."""
    sink = Sink("db", log, store, on_error="park", parking=Parking(10**9, 10**9, _NEVER),
                unknown=rng.choice(("halt", "skip")))  # fmt: skip
    said = rng.choice(("bad", "\ud83d\ude00 \x00", "\udcff"))

    @sink.on(OrderPlaced)
    def placed(event: Event[OrderPlaced]) -> Increment:
        if event.data.cents < 0 and not mended:
            raise ValueError(said)
        by: Any = "refused" if event.data.cents == 59 and not mended else event.data.cents
        return Increment("totals", {"order": event.data.order[-1:]}, {"cents": by})

    @sink.on(OrderCancelled)
    def cancelled(event: Event[OrderCancelled]) -> None:
        event.time.astimezone(UTC)  # beyond the year 9999 for some zones

    if rng.random() < 0.5:

        @sink.on(Tombstone)
        def gone(event: Event[Tombstone]) -> None:
            event.data.key.encode()

    return sink


def one_round(seed: int, count: int) -> Counter[str]:
    """``count`` records to the log's end, then a retry of everything, then a discard of the rest."""
    rng = random.Random(seed)
    source, store = MemoryLog(log), Memory()
    for number in range(count):
        key, value, headers, stamp = draft(rng, number)
        source.records[0].append(Record(0, number, key, value, headers, 0, stamp))
    cut, style = rng.randrange(1, 300), rng.getrandbits(32)

    def run(*, mended: bool) -> WorkerStatus:
        sink = sink_of(store, random.Random(style), mended=mended)
        settings = Settings(_env_file=None, environment="fuzz")  # type: ignore[call-arg]
        ticks = iter(range(10**9))
        worker = Worker(
            sink, MemoryReader(source, at_most=cut), settings, clock=lambda: next(ticks) * 0.2, now=lambda: NOON
        )
        turns = iter(range(5 * count + 100))

        def done(report: WorkerStatus) -> bool:
            assert next(turns, None) is not None, f"no end: {report}"
            book = store.read_book()
            return report.positions.get(0) == count and book is not None and not book.requests

        worker.run(done)
        return worker.status

    first = run(mended=False)
    waiting = list(parked.entries(store))
    for entry in waiting:
        assert Parked.from_json(entry.to_json()) == entry, f"changed in its JSON: {entry}"
    assert [entry.record for entry in waiting] == [source.records[0][entry.offset] for entry in waiting]
    assert len(waiting) == first.parked == first.waiting[0], (len(waiting), first)
    assert first.applied + first.parked + first.skipped.total() == count, first

    everything = Selection()
    second = WorkerStatus()
    if waiting:
        parked.retry(store, parked.find(store, everything), everything, sink="db", now=NOON)
        second = run(mended=True)
    left = list(parked.entries(store))
    assert second.released + len(left) == len(waiting), second
    assert second.applied + second.skipped.total() == second.released, second
    third = WorkerStatus()
    if left:
        parked.discard(store, parked.find(store, everything), everything, sink="db", reason="fuzz", now=NOON)
        third = run(mended=True)
    assert third.released == third.skipped.total() == len(left), third
    assert not list(parked.entries(store))
    position = store.positions()[0]
    assert position.next_offset == count == source.committed[0], position

    found = Counter({"read": count, "applied": first.applied, "parked": first.parked})
    for name, times in first.skipped.items():
        found[f"skipped: {name.partition(':')[0]}"] += times
    for entry in waiting:
        found[f"parked: {entry.error or 'waits behind another'}"] += 1
    found["released by a retry"] += second.released
    found["discarded"] += third.released
    return found


def fuzz(seed: int, records: int) -> Counter[str]:
    """All rounds; each has the seed ``seed + its number``. Raises AssertionError naming the round's seed."""
    found: Counter[str] = Counter()
    for number, start in enumerate(range(0, records, ROUND)):
        try:
            found.update(one_round(seed + number, min(ROUND, records - start)))
        except Exception as error:
            raise AssertionError(f"round with seed {seed + number}: {type(error).__name__}: {error}") from error
    return found


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--records", type=int, default=1_000_000)
    given = options.parse_args()
    logging.disable(logging.WARNING)
    began = time.monotonic()
    for name, times in sorted(fuzz(given.seed, given.records).items()):
        print(f"{name:32} {times:>12,}")
    print(f"seed {given.seed}, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
