"""What is one sequence: names of keys, and what sequence_by may say."""

from __future__ import annotations

import pytest

from logsync.core.parked import NO_KEY, SequenceBy, by_key
from logsync.errors import (
    ConfigError,
)
from logsync.stores.memory import Memory
from logsync.testing import MemoryLog
from tests.unit.parking import ask, mended, orders, parked, poisoned, retry
from tests.unit.shop import OrderPlaced, log
from tests.unit.test_worker import finish, worker


def test_records_without_a_key_are_one_sequence() -> None:  # K3
    source, store = MemoryLog(log), Memory()
    good = source.append(OrderPlaced(order="a", cents=1))
    source.append_raw(None, b"bad", list(good.headers))
    source.append_raw(None, good.value, list(good.headers))
    parked(source, store)
    assert [entry.sequence for entry in store.parked(0)] == [NO_KEY, NO_KEY]


@pytest.mark.parametrize("key", [b"\xff\x00", b"line\nbreak", b"nul\x00"])
def test_a_key_that_is_no_plain_text_still_names_a_sequence(key: bytes) -> None:
    name = by_key(key, [])
    assert name is not None
    assert name.isprintable()
    assert name != by_key(key + b"x", [])


@pytest.mark.parametrize("key", ["é 1", "漢字", "\u0378", "\U0001faf9", "\ue000"])
def test_the_name_of_a_key_does_not_depend_on_the_unicode_version(key: str) -> None:
    """Characters of all ages, and one that no Unicode version so far has given a meaning."""
    assert by_key(key.encode(), []) == key


def test_sequence_by_sees_key_and_headers() -> None:
    source, store = MemoryLog(log), Memory()
    for order, tenant, cents in (("a", "x", -1), ("b", "x", 2), ("c", "y", 3)):
        source.append(OrderPlaced(order=order, cents=cents), headers=[("tenant", tenant)])
    parked(source, store, sequence_by=lambda key, headers: str(dict(headers)["tenant"]))
    assert [entry.offset for entry in store.parked(0)] == [0, 1]
    assert orders(store) == {"c": 3}


def test_another_sequence_by_waits_until_nothing_is_parked_under_the_former_one() -> None:  # I8
    source, store = poisoned(), Memory()
    parked(source, store)
    source.append(OrderPlaced(order="b", cents=10))
    other = mended(store, sequence_by=lambda key, headers: "order " + str(key))
    with pytest.raises(ConfigError, match="is parked in sequence 'b'"):
        finish(worker(source, sink=other), source)
    ask(store)
    retry(worker(source, sink=other, only_retry=True), store)  # order does not depend on the name here
    finish(worker(source, sink=other), source)
    assert orders(store) == {"a": 6, "b": 10, "c": 1}


@pytest.mark.parametrize(
    "key", [b"a", b"", None, b"a\x00b", "\u202e".encode(), b"\xff", b"(no key)", "é 1".encode(), b" "]
)
@pytest.mark.parametrize("sequence_by", [by_key, lambda key, _: key[:1].hex() if key else None])
def test_the_short_way_names_what_by_key_names(key: bytes | None, sequence_by: SequenceBy) -> None:
    """The event at 0 is parked, and the one at 1 has its key: it waits, however its sequence's name is found. # I8"""
    source, store = MemoryLog(log), Memory()
    for cents in (-1, 5):
        appended = source.append(OrderPlaced(order="a", cents=cents))
        source.records[0][-1] = appended._replace(key=key)
    parked(source, store, sequence_by=sequence_by)
    assert [entry.offset for entry in store.parked(0)] == [0, 1]
    assert {entry.sequence for entry in store.parked(0)} == {sequence_by(key, []) or NO_KEY}
