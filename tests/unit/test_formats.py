"""Everything that is stored carries the number of its format: newer is refused, older is brought up to date."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from logsync import ConfigError, Receipt
from logsync.core.book import Book
from logsync.core.event import Record
from logsync.core.formats import UPGRADES, number
from logsync.core.offsets import Offsets
from logsync.core.parked import Parked
from logsync.core.position import LogIdentity, Position
from logsync.sources.contract import Ledger
from logsync.sources.postgres.ledger import Made, dump_ledger, dump_made, read_ledger, read_made

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BOOK = Book(sink="db", environment="default", log=LogIdentity("c", "t", "i", 1))
PARKED = Parked(0, 3, "a", "id", "t", "HandlerError", "no", NOON, NOON, 1, Record(0, 3, b"a", b"{}", []))
POSITION = Position(0, 7, 2, 6, "id", 4, 1)
RECEIPT = Receipt("id", "orders", 2, 9, "i", "order.placed", 4)
MADE = Made("7", 1, "f", True, ("paid",), ())
LEDGER = Ledger(LogIdentity("c", "t", "i", 1), "0000-a", {0: (5, None), 1: (6, "{}")}, 3, 1)

Case = tuple[str, str, Callable[[str], object], object, type[Exception]]
CASES: list[Case] = [
    ("book", BOOK.dump(), lambda text: Book.read(text, "the store"), BOOK, ConfigError),
    ("parked event", PARKED.to_json(), Parked.from_json, PARKED, ConfigError),
    ("position", json.dumps(POSITION.to_dict()), lambda text: Position.from_dict(json.loads(text)),
     POSITION, ConfigError),
    ("receipt", RECEIPT.dump(), Receipt.load, RECEIPT, ValueError),
    ("source", dump_made(MADE), lambda text: read_made(json.loads(text)), MADE, ConfigError),
    ("ledger", dump_ledger(LEDGER), lambda text: read_ledger(json.loads(text)), LEDGER, ConfigError),
]  # fmt: skip
EACH = pytest.mark.parametrize(("kind", "text", "read", "value", "error"), CASES, ids=[case[0] for case in CASES])


@EACH
def test_what_is_written_has_a_number_and_is_read_back(
    kind: str, text: str, read: Callable[[str], object], value: object, error: type[Exception]
) -> None:
    assert json.loads(text)["format"] == number(kind)
    assert read(text) == value


@EACH
@pytest.mark.parametrize("found", [99, -1, "1", None, 1.0, True])
def test_another_number_is_refused_and_nothing_is_half_read(
    kind: str, text: str, read: Callable[[str], object], value: object, error: type[Exception], found: object
) -> None:
    newer = json.dumps({**json.loads(text), "format": found, "something_new": 1})
    with pytest.raises(error, match=f"{kind} of format {found!r}"):
        read(newer)


def test_every_kind_has_its_case() -> None:
    assert {case[0] for case in CASES} == UPGRADES.keys()


def without_number(text: str, **changes: object) -> str:
    fields = {**json.loads(text), **changes}
    del fields["format"]
    return json.dumps(fields)


def test_a_book_from_before_the_numbers_keeps_its_skips() -> None:
    skip = {"partition": 0, "offset": 5, "reason": "noise", "at": NOON.isoformat()}
    found = Book.read(without_number(BOOK.dump(), skips=[skip]), "the store")
    assert found.skips_of(0) == Offsets([5])


def test_a_position_from_before_the_numbers_keeps_its_count_of_releases() -> None:
    fields = {**POSITION._asdict(), "drains": 1}
    del fields["releases"]
    assert Position.from_dict(fields) == POSITION


def test_a_receipt_from_before_it_said_which_topic_and_type_is_read() -> None:
    older = {"format": 1, "event_id": "id", "topic": "orders", "partition": 2, "offset": 9}
    assert Receipt.load(json.dumps(older)) == Receipt("id", "orders", 2, 9, "", "")


def test_a_parked_event_from_before_the_numbers_is_read() -> None:
    assert Parked.from_json(without_number(PARKED.to_json())) == PARKED


def test_a_receipt_from_before_it_said_that_it_was_retried_is_read() -> None:
    older = {**json.loads(RECEIPT.dump()), "format": 2}
    del older["since"]
    assert Receipt.load(json.dumps(older)) == RECEIPT._replace(since=None)


@pytest.mark.parametrize(
    "text",
    [
        "", "{}", "[]", "1", '{"format":1}', "[" * 100_000, RECEIPT.dump().replace("9", '"9"'),
        *[RECEIPT._replace(partition=n).dump() for n in (-1, 1 << 31, 10**30, True)],
        *[RECEIPT._replace(offset=n, since=None).dump() for n in (-1, (1 << 63) - 1, 10**30)],
        *[RECEIPT._replace(since=n).dump() for n in (-1, (1 << 63) - 1, 10**30)],
    ],
)  # fmt: skip
def test_what_is_no_receipt_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"receipt|Receipt|Expecting"):
        Receipt.load(text)
