"""The judge: of the records of a source those count that a reader meets as the next ones of the present writer. # U1"""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from logsync import Log, Sink
from logsync.core.codec import Encoded
from logsync.core.event import Fault, Record, Undecodable
from logsync.core.position import Position
from logsync.core.sources import BARRIER, MOST, Mark, Sources, State, at_start, carried, fold
from logsync.settings import Settings
from logsync.stores.memory import Memory
from logsync.testing import MemoryLog, MemoryReader
from logsync.worker import Worker

from .shop import OrderPlaced, make_sink
from .shop import log as shop

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
A, B = "a" * 16, "b" * 16


def barrier(term: int, writer: str = A, source: str = "shop") -> Mark:
    return Mark(source, term, writer, 0, "")


def fact(term: int, number: int, writer: str = A, at: str = "", source: str = "shop") -> Mark:
    return Mark(source, term, writer, number, at or f"place-{number}")


def judged(*marks: Mark | None, whole: bool = True) -> tuple[list[int], Sources]:
    """The offsets of what counts, from 0, and what is known afterwards."""
    before = Sources(0, {}, whole)
    after, passed = fold(before, list(enumerate(marks)), len(marks))
    return [offset for offset, mark in enumerate(marks) if mark is not None and offset not in passed], after


def test_the_next_record_of_the_present_writer_counts() -> None:
    taken, after = judged(barrier(1), fact(1, 1), fact(1, 2))
    assert taken == [1, 2]
    assert after.states == {"shop": State(1, A, 2, "place-2")}


def test_what_is_sent_again_counts_once() -> None:
    assert judged(barrier(1), fact(1, 1), fact(1, 1), fact(1, 2), fact(1, 1))[0] == [1, 3]


def test_a_record_behind_a_hole_does_not_count_until_the_hole_is_filled() -> None:
    assert judged(barrier(1), fact(1, 1), fact(1, 3), fact(1, 2), fact(1, 3))[0] == [1, 3, 4]


def test_a_greater_term_ends_the_writer_before_it() -> None:
    taken, after = judged(barrier(1), fact(1, 1), barrier(2, B), fact(1, 2), fact(2, 1, B))
    assert taken == [1, 4]
    assert after.states["shop"].term == 2


@pytest.mark.parametrize("term", [1, 2])
def test_a_late_barrier_of_no_greater_term_changes_nothing(term: int) -> None:
    assert judged(barrier(2, B), fact(2, 1, B), barrier(term), fact(2, 2, B))[0] == [1, 3]


def test_the_place_of_the_last_fact_stays_when_a_new_writer_begins() -> None:
    _, after = judged(barrier(1), fact(1, 1), barrier(2, B))
    assert after.states["shop"] == State(2, B, 0, "place-1")


def test_a_writer_of_the_same_term_is_another() -> None:
    assert judged(barrier(1), fact(1, 1, B), fact(1, 1))[0] == [2]


def test_sources_do_not_see_each_other() -> None:
    taken, _ = judged(barrier(1), barrier(1, B, "bank"), fact(1, 1), fact(1, 1, B, source="bank"), fact(1, 2))
    assert taken == [2, 3, 4]


def test_without_a_barrier_nothing_counts_in_a_whole_log() -> None:
    assert judged(fact(1, 1), fact(1, 2))[0] == []


def test_in_a_log_without_its_head_a_greater_term_is_taken_on_sight_and_that_is_kept() -> None:
    taken, after = judged(fact(3, 7), fact(3, 8), fact(2, 9, B), whole=False)
    assert taken == [0, 1]
    assert after.states["shop"] == State(3, A, 8, "place-8", exact=False)


def test_behind_what_cannot_be_read_the_writer_goes_on_and_that_is_kept() -> None:
    taken, after = judged(barrier(1), fact(1, 1), None, fact(1, 4), fact(1, 6), fact(1, 1), fact(1, 5))
    assert taken == [1, 3, 6]
    assert after.states["shop"] == State(1, A, 5, "place-5", exact=False)


def test_one_source_too_many_is_not_taken() -> None:
    marks = [barrier(1, A, f"s{number}") for number in range(MOST + 1)]
    taken, after = judged(*marks, fact(1, 1, source=f"s{MOST}"), fact(1, 1, source="s0"))
    assert taken == [MOST + 2]
    assert len(after.states) == MOST


def test_what_is_known_travels_with_a_position_and_names_its_offset() -> None:
    _, after = judged(barrier(1), fact(1, 1, at='\x7e!"\\'), None)
    text = after.dump(3)
    assert text is not None
    assert text.isascii()
    assert Sources.read(text, 99) == after
    assert at_start(0).dump(0) is None
    assert Sources.read(None, 7) == Sources(7, {})
    assert Sources.read(at_start(5).dump(5), 5) == Sources(5, {}, whole=False)


def test_a_position_that_is_moved_by_hand_says_from_where_the_rest_is_to_be_read() -> None:
    assert carried(None, 10, 5) is None
    assert Sources.read(carried(None, 10, 15), 15).next_offset == 10
    known = Sources(10, {"shop": State(1, A, 2, "x")}).dump(10)
    assert Sources.read(carried(known, 10, 5), 5).next_offset == 10


# The records


def of_source(mark: Mark, event: OrderPlaced | None = None) -> Encoded:
    codec = shop.codec
    if mark.number == 0:
        return codec.barrier(shop, mark, event_id=f"barrier-{mark.term}", time=NOON)
    placed = event or OrderPlaced(order=f"o{mark.number}", cents=mark.number)
    plain = codec.encode(shop, placed, event_id=f"{mark.source}-{mark.at}", time=NOON)
    return codec.marked(plain, mark)


def record(mark: Mark, offset: int = 0) -> Record:
    coded = of_source(mark)
    return Record(0, offset, coded.key, coded.value, coded.headers)


@pytest.mark.parametrize("mark", [barrier(7, B, "a.b-c_9"), fact(10**18 - 1, 10**18 - 1, at="!~"), fact(1, 1)])
def test_a_mark_comes_back_from_its_record(mark: Mark) -> None:
    assert shop.codec.marks([record(mark, 5)]) == [(5, mark)]


def test_marks_are_found_wherever_others_have_put_their_headers() -> None:
    found = record(fact(1, 1))
    moved = found._replace(headers=[*reversed(found.headers), ("traceparent", b"x"), ("x", None)])
    assert shop.codec.marks([moved]) == [(0, fact(1, 1))]


def test_a_plain_record_has_none_and_a_place_that_cannot_be_read_is_told() -> None:
    plain = shop.codec.encode(shop, OrderPlaced(order="o", cents=1), event_id="e", time=NOON)
    broken = Record(0, 1, None, None, [], fault=Fault("damaged", 4))
    odd = Record(0, 2, None, None, [], fault=Fault("a name that is not UTF-8"))
    records = [Record(0, 0, plain.key, plain.value, plain.headers), broken, odd]
    assert shop.codec.marks(records) == [(1, None)]


@pytest.mark.parametrize(
    "text",
    [b"", b"shop", b"shop 1 aaaaaaaaaaaaaaaa", b"shop 0 aaaaaaaaaaaaaaaa 1", b"shop 1 aaaaaaaaaaaaaaaa 01",
     b"shop 1 AAAAAAAAAAAAAAAA 1", b"shop 1 aaaaaaaaaaaaaaaa 1 ", b"sh op 1 aaaaaaaaaaaaaaaa 1",
     b"shop 1000000000000000000 aaaaaaaaaaaaaaaa 1", b"\xff 1 aaaaaaaaaaaaaaaa 1", b"shop 1 aaaaaaaaaaaaaaaa -1", None],
)  # fmt: skip
@pytest.mark.parametrize("more", [0, 2])
def test_a_mark_that_cannot_be_read_makes_a_record_undecodable_and_concerns_no_source(
    text: bytes | None, more: int
) -> None:
    good = record(fact(1, 1))
    headers = [*good.headers[:-1], ("logsync-source", text), *[("x", b"y")] * more]
    bad = good._replace(headers=headers)
    assert shop.codec.marks([bad]) == []
    found = shop.codec.decoder(shop, ["order.placed"])(bad)
    assert isinstance(found, Undecodable)
    assert not found.unknown_type
    assert "logsync-source" in found.found


def test_an_event_of_a_source_decodes_like_any_other() -> None:
    decode = shop.codec.decoder(shop, ["order.placed"])
    coded = shop.codec.encode(shop, OrderPlaced(order="o1", cents=1), event_id="shop-p", time=NOON)
    plain = decode(Record(0, 3, coded.key, coded.value, coded.headers))
    marked = shop.codec.marked(coded, fact(1, 1, at="p"))
    found = decode(Record(0, 3, marked.key, marked.value, marked.headers))
    assert found == plain._replace(headers=marked.headers)


# The worker


def put(source: MemoryLog, *marks: Mark) -> None:
    for mark in marks:
        coded = of_source(mark)
        source.append_raw(coded.key, coded.value, list(coded.headers))


def cents(store: Memory) -> object:
    row = store.content.row("totals", name="cents")
    return row and row["n"]


def run(sink: Sink, source: MemoryLog, at_most: int = 1_000, **options: bool) -> Worker:
    worker = Worker(sink, MemoryReader(source, at_most=at_most), Settings.model_construct(), **options)
    while worker.status.positions != {0: len(source.records[0])}:
        worker.step()
    return worker


HISTORY = (
    barrier(1), fact(1, 1), fact(1, 2), fact(1, 4), fact(1, 3), fact(1, 3), fact(1, 4),
    barrier(2, B), fact(1, 5), fact(2, 1, B), fact(2, 1, B), fact(2, 2, B), barrier(1), fact(1, 6),
)  # fmt: skip
TAKEN = 1 + 2 + 3 + 4 + 1 + 2


@pytest.mark.parametrize("at_most", [1, 2, 3, 5, 100])
def test_a_sink_applies_what_counts_however_the_log_is_cut(at_most: int) -> None:
    source, store = MemoryLog(shop), Memory()
    put(source, *HISTORY)
    worker = run(make_sink(store), source, at_most)
    assert cents(store) == TAKEN
    assert worker.status.applied == 6
    assert worker.status.skipped == {"repeat:order.placed": 5, "barrier": 3}
    assert store.read_book().skipped == frozenset()  # type: ignore[union-attr]


@pytest.mark.parametrize("cut", range(1, len(HISTORY)))
def test_what_is_known_survives_the_worker(cut: int) -> None:
    source, store = MemoryLog(shop), Memory()
    put(source, *HISTORY[:cut])
    run(make_sink(store), source)
    put(source, *HISTORY[cut:])
    run(make_sink(store), source)
    assert cents(store) == TAKEN


@pytest.mark.parametrize("cut", range(len(HISTORY)))
@pytest.mark.parametrize("target", [0, 3, 8, 14])
def test_where_a_position_is_moved_by_hand_the_log_tells_what_is_lacking(cut: int, target: int) -> None:
    source, store = MemoryLog(shop), Memory()
    put(source, *HISTORY[:cut])
    sink = make_sink(store)
    run(sink, source)
    put(source, *HISTORY[cut:])
    at = store.positions()[0]
    moved = at._replace(next_offset=target, epoch=at.epoch, last_offset=None, last_id=None)
    moved = moved._replace(sources=carried(at.sources, at.next_offset, target))
    store.write_book(store.read_book().next(), positions=[moved])  # type: ignore[union-attr]
    put(source, fact(2, 3, B))
    run(sink, source)
    whole, _ = fold(at_start(0), shop.codec.marks(source.records[0]), len(HISTORY) + 1)
    assert Sources.read(store.positions()[0].sources, len(HISTORY) + 1) == whole


def test_a_sink_that_begins_in_a_log_without_its_head_says_that_it_guesses() -> None:
    source, store = MemoryLog(shop), Memory()
    put(source, *HISTORY)
    source.starts[0] = 10
    run(make_sink(store), source, from_log_start=True)
    known = Sources.read(store.positions()[0].sources, len(HISTORY))
    assert not known.whole
    assert known.states["shop"] == State(2, B, 2, "place-2", exact=False)
    assert cents(store) == 1 + 2


def test_a_record_that_halts_a_sink_counts_as_well() -> None:
    source, store = MemoryLog(shop), Memory()
    put(source, barrier(1), fact(1, 1))
    coded = of_source(fact(1, 2))
    source.append_raw(coded.key, b"{", list(coded.headers))
    put(source, fact(1, 3))
    sink = make_sink(store)
    worker = Worker(sink, MemoryReader(source), Settings.model_construct())
    with pytest.raises(Exception, match="offset 2"):
        worker.run()
    at = store.positions()[0]
    assert at.next_offset == 2
    assert Sources.read(at.sources, 2).states["shop"].number == 1


def test_the_barrier_is_an_event_that_others_can_read() -> None:
    coded = of_source(barrier(3))
    named = dict(coded.headers)
    assert named["ce_type"] == BARRIER.encode()
    assert coded.key == b"shop"
    assert coded.value == b"{}"
    assert set(named) >= {"ce_specversion", "ce_id", "ce_source", "ce_time", "content-type"}


def test_the_names_of_logsync_s_own_events_are_taken() -> None:
    with pytest.raises(Exception, match="cannot name an event"):
        Log("t").event(BARRIER, key="k")(OrderPlaced)


def test_a_position_keeps_what_it_knows_when_it_moves() -> None:
    at = Position(0, 5, sources="x")
    assert at.at(7).sources == at.released().sources == "x"
