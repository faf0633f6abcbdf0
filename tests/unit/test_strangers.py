"""What strangers put into a topic, through a whole worker in memory: halted at by name, parked, or counted; no more."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import UTC, datetime

import pytest

from logsync.core.book import MOST_TYPES
from logsync.core.cloudevents import RETRY_FROM
from logsync.core.event import Fault, Record
from logsync.errors import ConfigError, HandlerError, Unreadable
from logsync.observe.health import ObservedWorker
from logsync.observe.logs import _Human
from logsync.observe.metrics import metrics
from logsync.ops.records import describe, skip
from logsync.stores.memory import Memory
from logsync.testing import MemoryLog
from tests.unit.shop import OrderPlaced, PageSeen, log, make_sink
from tests.unit.test_worker import finish, three, worker

LOST = Fault("a batch that is damaged", 3)


def damaged(source: MemoryLog, fault: Fault = LOST) -> Record:
    """The next offset of ``source`` cannot be read."""
    record = Record(0, len(source.records[0]), None, None, [], fault=fault)
    source.records[0].append(record)
    return record


def test_what_cannot_be_read_halts_a_sink_that_parks_everything() -> None:
    """Nobody knows its keys: events of these would overtake it."""
    source, store = three(), Memory()
    damaged(source)
    source.append(OrderPlaced(order="z", cents=1))
    with pytest.raises(Unreadable) as caught:
        finish(worker(source, store, sink=make_sink(store, on_error="park")), source)
    assert caught.value.offset == store.positions()[0].next_offset == 3
    assert "receive.message.max.bytes" in caught.value.fix
    assert "logsync skip db 0 3" in caught.value.fix


def test_what_cannot_be_read_does_not_join_the_records_that_wait_without_a_key() -> None:
    source, store = three(), Memory()
    source.append_raw(None, b"{", [("ce_specversion", b"1.0"), ("ce_id", b"i"), ("ce_type", b"order.placed")])
    damaged(source, Fault("a batch that is damaged", 4))
    with pytest.raises(Unreadable):
        finish(worker(source, store, sink=make_sink(store, on_error="park")), source)
    assert [entry.offset for entry in store.parked(0)] == [3]


def test_a_retry_waits_for_a_person_where_its_original_may_stand_in_what_cannot_be_read_any_more() -> None:  # A1
    source, store = three(), Memory()
    finish(worker(source, store), source)
    source.append(OrderPlaced(order="c", cents=2))
    original = source.records[0][1]
    source.append_raw(original.key, original.value, [*original.headers, (RETRY_FROM, b"1")])
    source.records[0][1] = Record(0, 1, None, None, [], fault=Fault("a batch that is damaged", 1))
    with pytest.raises(Unreadable, match="at offset 1 is a batch that is damaged") as caught:
        finish(worker(source, store), source)
    assert caught.value.offset == store.positions()[0].next_offset == 4  # all that came before it is applied
    assert "logsync skip db 0 4" in caught.value.fix
    retried = source.records[0][4]
    skip(store, retried, sink="db", reason="applied before", now=datetime(2026, 1, 1, tzinfo=UTC))
    finish(worker(source, store), source)
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 20}


def test_a_retry_is_applied_where_all_that_cannot_be_read_was_skipped_before_it_was_applied() -> None:  # A1
    source, store = three(), Memory()
    original = source.records[0][1]
    source.records[0][1] = lost = Record(0, 1, None, None, [], fault=Fault("a batch that is damaged", 1))
    source.append_raw(original.key, original.value, [*original.headers, (RETRY_FROM, b"1")])
    with pytest.raises(Unreadable):
        finish(worker(source, store), source)
    skip(store, lost, sink="db", reason="disk", now=datetime(2026, 1, 1, tzinfo=UTC))
    finish(worker(source, store), source)
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 18}


def test_all_of_a_damaged_batch_is_skipped_by_one_command() -> None:
    source, store = three(), Memory()
    lost = damaged(source, Fault("a batch that is damaged", 5))
    for _ in range(2):
        source.append_marker()  # the rest of that batch: no reader sees it
    source.append(OrderPlaced(order="z", cents=1))
    with pytest.raises(Unreadable):
        finish(worker(source, store), source)
    book = skip(store, lost, sink="db", reason="disk", now=datetime(2026, 1, 1, tzinfo=UTC))
    assert str(book.skips_of(0)) == "3-5"
    assert book.audit[-1].detail["last"] == 5
    finish(worker(source, store), source)
    assert store.content.row("orders", order="z") == {"order": "z", "cents": 1}


def test_a_record_whose_headers_cannot_be_told_is_parked_in_its_own_sequence() -> None:
    source, store = three(), Memory()
    source.records[0].append(Record(0, 3, b"odd", b"{}", [], fault=Fault("a header with the name b'\\xff'")))
    source.append(OrderPlaced(order="z", cents=1))
    finish(worker(source, store, sink=make_sink(store, on_error="park")), source)
    assert [(entry.offset, entry.sequence, entry.error) for entry in store.parked(0)] == [(3, "odd", "DecodeError")]
    assert store.content.row("orders", order="z") is not None


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"[" * 100_000, "[" * 100_000),
        (b'{"a": ' * 970 + b"1" + b"}" * 970, '{"a": ' * 970 + "1" + "}" * 970),
        (b'{"a": NaN}', '{"a": NaN}'),
        (b'{"a": 1e400}', '{"a": 1e400}'),
        (b"9" * 5000, "9" * 5000),
        (b'"\\ud800"', "\ud800"),
        (b"\xff\x00", "\\xff\x00"),
        (b"", ""),
        (None, None),
    ],
)
def test_every_value_can_be_described(value: bytes | None, shown: object) -> None:
    assert describe(Record(0, 0, b"k", value, [("h", b"1")], 0, 2**63 - 1), log)["value"] == shown


def test_headers_of_one_name_are_all_shown() -> None:
    found = describe(Record(0, 0, b"k", b"", [("h", b"1"), ("h", None), ("i", b"\xff"), ("h", b"3")], 0, 0), log)
    assert found["headers"] == {"h": ["1", None, "3"], "i": "\\xff"}


def test_a_message_has_no_more_of_a_stranger_than_a_person_can_read() -> None:
    source, store = three(), Memory()
    source.append_raw(
        b"k", b"{}",
        [("ce_specversion", b"1.0"), ("ce_id", b"i" * 10_000), ("ce_type", b"\x1b[2J" * 100_000),
         *((f"h{n}\n" * 1_000, b"") for n in range(1_000))],
    )  # fmt: skip
    with pytest.raises(Exception, match="type registered") as caught:
        finish(worker(source, store), source)
    assert not isinstance(caught.value, HandlerError)
    assert len(str(caught.value)) < 2_000
    assert "\x1b" not in str(caught.value)


def strangers(source: MemoryLog, names: Iterable[str]) -> None:
    for name in names:
        headers: list[tuple[str, bytes | None]] = [
            ("ce_specversion", b"1.0"), ("ce_id", b"i"), ("ce_type", name.encode())
        ]  # fmt: skip
        source.append_raw(b"k", b"x", headers)


def test_a_book_names_no_more_strangers_than_it_says_and_refuses_what_it_cannot_tell() -> None:  # T2
    source, store = three(), Memory()
    strangers(source, (f"spam.{n}" for n in range(3 * MOST_TYPES)))
    strangers(source, ["x" * 100_000, "line\nend", "\x1b[2J", " ", "order shipped"])  # no event can have such a name
    finish(worker(source, store, sink=make_sink(store, unknown="skip")), source)
    book = store.read_book()
    assert book is not None
    assert len(book.skipped) == MOST_TYPES
    assert book.more_skipped
    assert len(book.dump()) < 5_000
    later = make_sink(store, unknown="skip")
    later.on(PageSeen)(lambda _: None)
    with pytest.raises(ConfigError, match=r"now handles page\.seen, but more types were skipped than the book names"):
        finish(worker(source, store, sink=later), source)
    finish(worker(source, store, sink=later, accept_from_now=True), source)
    finish(worker(source, store, sink=later), source)


def test_a_full_book_still_names_the_types_of_the_log_and_what_others_handle() -> None:  # T2
    full = frozenset(f"spam.{n}" for n in range(MOST_TYPES))
    source, store = three(), Memory()
    finish(worker(source, store), source)
    book = store.read_book()
    assert book is not None
    book = book.next(skipped=full, more_skipped=True, handled=frozenset({"of.a.newer.worker"}))
    assert book.passing_over({"spam.3", "yet.another"}, {"page.seen"}) is None
    noted = book.passing_over({"page.seen", "of.a.newer.worker", "yet.another"}, {"page.seen"})
    assert noted is not None
    assert noted.skipped == full | {"page.seen", "of.a.newer.worker"}


def test_types_of_strangers_make_one_series_and_forge_none() -> None:
    source, store = three(), Memory()
    strangers(source, ['q"} 1\nlogsync_lag{sink="forged"} 0\n', *(f"spam.{n}" for n in range(50))])
    source.append(PageSeen(page="p"))
    made = finish(worker(source, store, sink=make_sink(store, unknown="skip")), source)
    assert made.status.skipped == {"unknown": 51, "unhandled:page.seen": 1}
    made.status.skipped['a"} 1\nlogsync_lag{sink="forged"} 0\n\\'] += 1
    shown = metrics(ObservedWorker("db", made.status), 0.0)
    assert '\nlogsync_lag{sink="forged"}' not in shown
    assert 'rule="a\\"} 1\\nlogsync_lag{sink=\\"forged\\"} 0\\n\\\\"} 1' in shown


def test_very_many_parked_events_are_a_line_a_second(caplog: pytest.LogCaptureFixture) -> None:
    source, store = MemoryLog(log), Memory()
    for _ in range(500):
        source.append(OrderPlaced(order="bad", cents=-1))
        source.append(OrderPlaced(order="worse", cents=-1))
    sink = make_sink(store, on_error="park", sequence_by=lambda _key, _headers: next(names))
    names = (str(n) for n in range(10**6))
    made = worker(source, store, sink=sink)
    made._parked_lines._clock = lambda: 0.0
    with made:
        made.reader.at_most = 7  # type: ignore[attr-defined]
        finish(made, source)
    told = [record for record in caplog.records if record.getMessage() == "parked"]
    assert len(told) == 2
    assert sum(getattr(record, "events", 1) for record in told) == 1000
    assert told[1].errors == f"HandlerError {told[1].events}"  # type: ignore[attr-defined]
    assert told[1].also == "0:8, 0:9"  # type: ignore[attr-defined]


def test_a_log_line_for_people_is_one_line_whatever_an_event_is_called() -> None:
    entry = logging.LogRecord("logsync.worker", logging.WARNING, "", 0, "parked\x9b", (), None)
    entry.event, entry.why = "x\n00:00:00.000 info    FORGED\x1b[2J", {"k": "\u202e"}
    line = _Human().format(entry)
    assert line.isprintable()
    assert "x\\n00:00:00.000 info    FORGED\\x1b[2J" in line
