"""The log or its bookmarks change under a sink. Rows of the table in docs/operate.md; test_log_moved has more."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions

from logsync.core.book import AuditEntry
from logsync.core.plan import Plan
from logsync.core.position import Position
from logsync.errors import PositionConflict
from logsync.ops.positions import Move, carry_out
from tests.waiting import PATIENCE

from . import sinks
from .harness import KINDS, Case, Process, named, until
from .sinks import ItemLooked, ItemPut

EXIT_CONFIG, EXIT_LOG, EXIT_REFUSED = 3, 5, 7


def command(case: Case, *words: str) -> Process:
    return case._spawn(["logsync.cli", *words])


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_more_partitions_halt_every_sink(case: Case, running: bool) -> None:  # I6
    case.append_mix(30)
    workers = {kind: case.start(kind) for kind in KINDS}
    case.catches_up()
    if not running:
        for worker in workers.values():
            worker.terminate()
    case.admin.create_partitions([NewPartitions(case.name, 2)])[case.name].result(PATIENCE)
    if not running:
        workers = {kind: case.start(kind) for kind in KINDS}
    for kind, worker in workers.items():
        output = worker.ends(EXIT_CONFIG if kind == "search" and not running else EXIT_LOG)
        assert "partition" in output
        assert case.positions(kind) == {0: 30}
    case.partitions = 2
    case.admin = AdminClient({"bootstrap.servers": case.servers, "log_level": 0})  # the old one knows one partition
    case.env[sinks.ORDER] = "per-key"
    case.append_mix(60)
    for rebuild in [case.rebuild(kind) for kind in ("db", "cache")]:
        rebuild.ends(0)
    case.is_the_fold("db", "cache")


@pytest.mark.parametrize("bookmark", [0, 10, 45, None], ids=["reset", "back", "ahead", "deleted"])
def test_what_happens_to_the_groups_offsets_changes_nothing(case: Case, bookmark: int | None) -> None:
    case.append_mix(30)
    case.finish()
    case.append_mix(30)
    for kind in KINDS:
        group = case.group(kind)
        until(lambda kind=kind: not case.members(kind), "the group is empty")  # type: ignore[misc]
        if bookmark is None:
            case.admin.delete_consumer_groups([group])[group].result(PATIENCE)
        else:
            moved = ConsumerGroupTopicPartitions(group, [TopicPartition(case.name, 0, bookmark)])
            case.admin.alter_consumer_group_offsets([moved])[group].result(PATIENCE)
    case.finish()
    case.is_the_fold()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"last_id": "an event that the log lost"}, "lost its tail and grew again"),
        ({"next_offset": 70, "last_offset": 69}, "it lost 10 offsets at its end"),
    ],
    ids=["regrown", "shorter"],
)
def test_a_log_without_the_last_applied_event_is_refused(case: Case, change: dict[str, object], words: str) -> None:
    """A tail cannot be lost on purpose; a position that saw another one can be written."""  # L2
    case.append_mix(30)
    case.finish()
    case.append_mix(30)
    for kind in KINDS:
        store = case._store(kind)
        book, at = store.read_book(), store.positions()[0]
        assert book is not None
        store.write_book(book.next(), positions=[at._replace(**change)])  # type: ignore[arg-type]
    before = {kind: (case.content(kind), case.positions(kind)) for kind in KINDS}
    for kind, worker in {kind: case.start(kind) for kind in KINDS}.items():
        output = worker.ends(EXIT_LOG)
        assert words in output
        assert f"logsync rebuild {named(kind)} --yes" in output
        assert (case.content(kind), case.positions(kind)) == before[kind]
    for rebuild in [case.rebuild(kind) for kind in KINDS]:
        rebuild.ends(0)
    case.is_the_fold()


def read_all(case: Case) -> list[Message]:
    consumer = Consumer(
        {"bootstrap.servers": case.servers, "group.id": "copy", "auto.offset.reset": "earliest", "log_level": 0}
    )
    consumer.assign([TopicPartition(case.name, 0, 0)])
    end, found = case.ends()[0], list[Message]()
    until(lambda: found.extend(consumer.consume(1000, 0.2)) or len(found) >= end, "all records")  # type: ignore[func-returns-value]
    consumer.close()
    return found


def move_the_log(case: Case, *, after: int) -> None:
    """The same records in another topic, behind ``after`` others that change no content."""
    records = read_all(case)
    case.delete_topic()
    case.create_topic()
    case.append(*[ItemLooked(k="earlier")] * after)
    producer = Producer({"bootstrap.servers": case.servers, "enable.idempotence": True, "log_level": 0})
    for record in records:
        producer.produce(case.name, record.value(), record.key(), headers=record.headers())
    assert producer.flush(60) == 0


@pytest.mark.parametrize("after", [0, 7], ids=["same offsets", "other offsets"])
def test_a_log_that_moved_is_adopted_where_that_is_sound_and_rebuilt_where_not(case: Case, after: int) -> None:  # L3
    case.append_mix(100)
    case.finish()
    case.append(ItemPut(k="new", n=1), event_id="twice")
    case.append(ItemPut(k="new", n=1), event_id="twice", headers=[("logsync-retry-from", b"100")])  # A1
    case.append_mix(50)
    move_the_log(case, after=after)
    for worker in [case.start(kind) for kind in KINDS]:
        assert "topic_id was" in worker.ends(EXIT_LOG)
    for kind in ("db", "cache"):
        said = command(case, "position", "adopt", named(kind)).ends(EXIT_REFUSED)
        assert f"next offset 100 -> {100 + after}" in said
        assert case.positions(kind) == {0: 100}
        assert "topic_id was" in case.start(kind).ends(EXIT_LOG)
        command(case, "position", "adopt", named(kind), "--yes").ends(0)
        assert case.positions(kind) == {0: 100 + after}
        assert "position-adopt" in command(case, "position", "show", named(kind)).ends(0)
    refused = command(case, "position", "adopt", named("search"), "--yes").ends(EXIT_CONFIG)
    assert f"logsync rebuild {named('search')} --yes" in refused
    case.rebuild("search").ends(0)
    case.finish("db", "cache")
    case.is_the_fold()


def test_a_log_that_lacks_the_last_applied_event_is_not_adopted(case: Case) -> None:
    case.append_mix(50)
    case.finish("db", "cache")
    case.delete_topic()
    case.create_topic()
    case.append_mix(80)
    for kind in ("db", "cache"):
        said = command(case, "position", "adopt", named(kind), "--yes").ends(EXIT_LOG)
        assert "does not hold the last applied event" in said
        assert case.positions(kind) == {0: 50}


def test_a_position_set_back_under_running_workers_doubles_what_it_says_and_nothing_in_opensearch(case: Case) -> None:
    case.append_mix(20)
    case.append(*[ItemPut(k="counted", n=1)] * 5)
    workers = {kind: case.start(kind) for kind in KINDS}
    case.catches_up()
    for kind in KINDS:
        since = ("--from", str(case.stored(kind)[0].next_offset))
        said = command(case, "position", "set", named(kind), "0", "20", *since, "--reason", "a test", "--yes").ends(0)
        assert ("AGAIN" in said) == (kind != "search")
    for kind in ("db", "cache"):
        until(lambda kind=kind: case.stored(kind)[0].epoch == 2, "the epoch of the move")  # type: ignore[misc]
    case.append(ItemPut(k="after", n=1))
    case.catches_up()
    for worker in workers.values():
        worker.terminate()
    case.is_the_fold("search")
    once = case.expected()
    for kind in ("db", "cache"):
        found = case.content(kind)
        assert found["items"] == once["items"]
        assert found["tally"]["puts:counted"] == 2 * once["tally"]["puts:counted"] == 10
        assert found["tally"]["puts:after"] == 1
        assert "a test" in command(case, "position", "show", named(kind)).ends(0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_move_is_refused_once_a_worker_has_moved_the_position_since_it_was_shown(case: Case, kind: str) -> None:
    case.append_mix(20)
    case.finish(kind)
    store = case._store(kind)
    book, stored = store.read_book(), store.positions()
    assert book is not None
    audit = AuditEntry(at=datetime.now(UTC), action="position-set")
    move = Move(case.sinks[kind], book, stored, {0: Position(0, 5)}, (), audit)
    case.append_mix(20)
    case.finish(kind)
    before = case._store(kind).read_book()
    with pytest.raises(PositionConflict):
        carry_out(move, store)
    assert case._store(kind).read_book() == before
    case.is_the_fold(kind)


def test_a_position_that_is_moved_from_outside_the_group_again_and_again_halts_its_worker(case: Case) -> None:  # P3
    """Two programs that share a name and no group: one finds that the other has moved its position."""
    case.append_mix(10)
    worker = case.start("db")
    case.catches_up("db")

    def interfere() -> bool:
        """What the other program does while the worker is idle: the position is not where the worker left it."""
        at = case.stored("db")[0]
        if at.next_offset == case.ends()[0]:
            with suppress(PositionConflict):
                case._store("db").apply(Plan(at, at._replace(next_offset=at.next_offset - 1)))
            case.append(ItemPut(k="next", n=1))
        return not worker.running

    until(interfere, "the end of the worker")
    assert "two programs use this sink name" in worker.ends(EXIT_CONFIG)
