"""What stands in a topic and cannot be read: a worker stops at it by name, and people can see it and pass over it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka import Producer

from devstack import Stack
from logsync import Event, Sink
from logsync.errors import DecodeError, EventError, Unreadable
from logsync.log.lookup import Lookup
from logsync.ops.records import describe, skip
from logsync.run import run_worker
from logsync.stores.memory import Memory
from logsync.writes.rows import Increment

from . import batches
from .batches import Header, Raw
from .conftest import Open, Paid, Shop

CE: list[Header] = [
    (b"ce_specversion", b"1.0"), (b"ce_type", b"basket.paid"), (b"ce_source", b"/x"),
    (b"content-type", b"application/json"),
]  # fmt: skip


def paid(number: int, *more: Header, key: bytes = b"b") -> Raw:
    return key, b'{"basket": "b", "cents": 1}', [*CE, (b"ce_id", b"%d" % number), *more]


def sink_of(shop: Shop, store: Memory, **options: str) -> Sink:
    sink = Sink("eyes", shop.log, store, **options)  # type: ignore[arg-type]

    @sink.on(Paid)
    def count(event: Event[Paid]) -> Increment:
        return Increment("paid", {"id": 1}, {"cents": event.data.cents})

    return sink


def worked(shop: Shop, store: Memory, **options: str) -> EventError | None:
    """What stopped a worker on its way to the log's end, if anything did."""
    try:
        run_worker(sink_of(shop, store, **options), shop.settings, until_end=True)
    except EventError as error:
        return error
    return None


def passed_over(shop: Shop, store: Memory, offset: int) -> None:
    with Lookup(shop.settings, shop.log.topic) as lookup:
        record = lookup.at(0, offset)
    assert record is not None
    store.open("eyes", shop.settings)
    skip(store, record, sink="eyes", reason="seen", now=datetime.now(UTC))


def send(shop: Shop, *records: Raw) -> int:
    error, base = batches.send(shop.settings.kafka, shop.log.topic, batches.batch(records))
    assert error == 0
    return base


def cents(store: Memory) -> int:
    row = store.content.row("paid", id=1)
    return 0 if row is None else int(str(row["cents"]))


@pytest.fixture
def data(stack: Stack) -> Path:
    return next(Path(each.data) for each in stack.status() if each.server == "kafka")


@pytest.mark.parametrize("name", [b"caf\xe9", b"\xff", b"\xed\xa0\x80"])
def test_a_header_name_that_is_not_utf_8_is_an_event_that_cannot_be_decoded(open_shop: Open, name: bytes) -> None:
    shop, store = open_shop(), Memory()
    send(shop, paid(0), paid(1, (name, b"x")), paid(2))
    error = worked(shop, store)
    assert isinstance(error, DecodeError)
    assert (error.offset, cents(store)) == (1, 1)
    assert repr(name) in error.message
    with Lookup(shop.settings, shop.log.topic) as lookup:
        found = list(lookup.scan(progress=lambda *_: None))
        shown = [describe(record, shop.log) for record in found]
    assert [fact["undecodable"] is None for fact in shown] == [True, False, True]
    assert shown[1]["value"] == {"basket": "b", "cents": 1}
    passed_over(shop, store, 1)
    assert worked(shop, store) is None
    assert cents(store) == 2


def test_a_record_whose_headers_cannot_be_told_is_parked_as_it_is(open_shop: Open) -> None:
    shop, store = open_shop(), Memory()
    send(shop, paid(0), paid(1, (b"\xff", b"x"), key=b"other"), paid(2))
    assert worked(shop, store, on_error="park") is None
    assert cents(store) == 2
    store.open("eyes", shop.settings)
    entry = store.parked(0)[0]
    assert (entry.offset, entry.record.key, entry.record.headers) == (1, b"other", [])
    assert entry.record.fault is not None
    assert type(entry).from_json(entry.to_json()) == entry


def checksum(made: bytearray) -> None:
    made[100] ^= 1


def compressed(made: bytearray) -> None:
    struct.pack_into(">h", made, 21, 4)  # says zstd, and is not
    batches.reseal(made)


def codec(made: bytearray) -> None:
    struct.pack_into(">h", made, 21, 6)
    batches.reseal(made)


@pytest.mark.parametrize("change", [checksum, compressed, codec])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_damaged_batch_is_stopped_at_and_passed_over_whole(
    open_shop: Open, data: Path, change: Callable[[bytearray], None], at: int
) -> None:
    shop, store = open_shop(), Memory()
    bases = [send(shop, *(paid(number) for number in range(5))) for _ in range(3)]
    base = bases[at]
    batches.damage(batches.segment(data, shop.log.topic), base, change)
    error = worked(shop, store, on_error="park")
    assert isinstance(error, Unreadable), error
    assert (error.offset, cents(store)) == (base, base)
    assert f"from offset {base} to {base + 4}" in error.message
    with Lookup(shop.settings, shop.log.topic) as lookup:
        found = list(lookup.scan(progress=lambda *_: None))
        again = lookup.at(0, base + 2)
    assert [record.offset for record in found if record.fault is None] == [
        number for number in range(15) if not base <= number < base + 5
    ]
    assert [(record.offset, record.fault.last) for record in found if record.fault is not None] == [(base, base + 4)]
    assert again is not None
    assert again.fault is not None
    assert (again.offset, again.fault.last) == (base + 2, base + 4)
    passed_over(shop, store, base)
    assert worked(shop, store) is None
    assert cents(store) == 10
    assert store.positions()[0].next_offset == 15


def length(made: bytearray) -> None:
    made[8] ^= 1


def record_length(made: bytearray) -> None:
    made[61], made[62] = 0x7F, 0xFF
    batches.reseal(made)


def magic(made: bytearray) -> None:
    made[16] = 7


@pytest.mark.parametrize("change", [length, record_length, magic])
def test_damage_that_the_client_does_not_tell_is_stopped_at_all_the_same(
    open_shop: Open, data: Path, change: Callable[[bytearray], None]
) -> None:
    shop, store = open_shop(), Memory()
    for _ in range(3):
        send(shop, *(paid(number) for number in range(5)))
    batches.damage(batches.segment(data, shop.log.topic), 5, change)
    error = worked(shop, store)
    assert isinstance(error, Unreadable), error
    assert (error.offset, cents(store)) == (5, 5)


def test_a_record_that_decompresses_beyond_the_limit_is_stopped_at_and_named(open_shop: Open) -> None:
    shop, store = open_shop(), Memory()
    send(shop, paid(0))
    writer = Producer({
        "bootstrap.servers": shop.settings.kafka, "compression.type": "zstd", "compression.level": 12,
        "message.max.bytes": 300_000_000, "queue.buffering.max.kbytes": 2_000_000,
    })  # fmt: skip
    writer.produce(shop.log.topic, b"0" * 150_000_000, b"b")
    assert writer.flush(60) == 0
    send(shop, paid(2))
    error = worked(shop, store)
    assert isinstance(error, Unreadable), error
    assert (error.offset, cents(store)) == (1, 1)
    assert "receive.message.max.bytes" in error.fix
    passed_over(shop, store, 1)
    assert worked(shop, store) is None
    assert cents(store) == 2


def test_a_long_range_without_records_is_no_damage(open_shop: Open) -> None:
    """Aborted events are sent to the client, and it makes nothing of them: that is as it should be."""
    shop, store = open_shop(), Memory()
    writer = Producer({"bootstrap.servers": shop.settings.kafka, "transactional.id": shop.log.topic, "linger.ms": 0})
    writer.init_transactions(30)
    for _ in range(3):
        writer.begin_transaction()
        for _ in range(40):
            writer.produce(shop.log.topic, b"x" * 30_000, b"b")
        writer.flush(30)
        writer.abort_transaction(30)
    send(shop, paid(0))
    assert worked(shop, store) is None
    assert cents(store) == 1
