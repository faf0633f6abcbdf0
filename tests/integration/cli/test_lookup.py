"""Looking into the log: what is found, where it is searched, and that no group notices."""

from __future__ import annotations

import time
import uuid

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from logsync.core.event import Record
from logsync.errors import ConfigError
from logsync.log.lookup import Lookup, Span
from logsync.settings import Settings
from tests.waiting import PATIENCE

from .conftest import Topic


def quiet(done: int, total: int) -> None: ...


def uuid7(milliseconds: int) -> str:
    return str(uuid.UUID(int=(milliseconds << 80) | (7 << 76) | (2 << 62) | uuid.uuid4().int % 2**62))


def test_a_scan_ends_at_the_logs_end_also_when_the_end_holds_no_record(settings: Settings, topic: Topic) -> None:
    producer = Producer({"bootstrap.servers": topic.servers, "transactional.id": topic.name})
    producer.init_transactions(20)
    for commit in (True, False):
        producer.begin_transaction()
        for number in range(3):
            producer.produce(topic.name, f"{commit}{number}".encode())
        producer.flush(20)
        producer.commit_transaction(20) if commit else producer.abort_transaction(20)
    told: list[tuple[int, int]] = []
    with Lookup(settings, topic.name) as lookup:
        found = list(lookup.scan(progress=lambda done, total: told.append((done, total))))
        assert lookup.spans() == {0: Span(0, 8)}  # 3 committed, marker, 3 aborted, marker
        assert [record.value for record in found] == [b"True0", b"True1", b"True2"]
        assert told[-1] == (8, 8)
        assert lookup.first_at(0, 3) is None
        assert lookup.first_at(0, 8) is None


def test_first_at_is_the_record_itself_with_all_its_bytes(settings: Settings, topic: Topic) -> None:
    topic.send(b"\x00\xff", headers=[("h", b"1"), ("h", b"2")], key=None, at=1_700_000_000_000)
    topic.send(None, headers=[], key=b"gone")
    with Lookup(settings, topic.name) as lookup:
        first = lookup.first_at(0, 0)
        assert isinstance(first, Record)
        assert first[:5] == (0, 0, None, b"\x00\xff", [("h", b"1"), ("h", b"2")])
        assert first.timestamp == 1_700_000_000_000
        second = lookup.first_at(0, 1)
        assert second is not None
        assert (second.key, second.value, second.headers) == (b"gone", None, [])
        topic.delete_before(1)
        assert lookup.first_at(0, 0) == second
        assert lookup.at(0, 0) is None


def test_an_event_is_found_by_its_id_near_its_time_without_reading_the_whole_log(
    settings: Settings, topic: Topic
) -> None:
    now = int(time.time() * 1000)
    old, wanted = now - 86_400_000, uuid7(now - 3_600_000)
    for number in range(20):
        topic.event("thing.made", b"{}", id=f"old-{number}", at=old + number)
    topic.event("thing.made", b"{}", id=wanted, at=now - 3_600_000)
    topic.event("thing.made", b"{}", id="new", at=now)
    totals: set[int] = set()
    with Lookup(settings, topic.name) as lookup:
        found = lookup.find(wanted, progress=lambda done, total: totals.add(total))
        assert [(record.offset, dict(record.headers)["ce_id"]) for record in found] == [(20, wanted.encode())]
        assert totals == {1}


def test_an_event_whose_record_has_another_time_is_found_all_the_same(settings: Settings, topic: Topic) -> None:
    now = int(time.time() * 1000)
    wanted = uuid7(now - 86_400_000)
    topic.event("thing.made", b"{}", id="other", at=now - 86_400_000)
    topic.event("thing.made", b"{}", id=wanted, at=now)
    with Lookup(settings, topic.name) as lookup:
        assert [record.offset for record in lookup.find(wanted, progress=quiet)] == [1]
        assert lookup.find(uuid7(now), progress=quiet) == []
        assert [record.offset for record in lookup.find("other", progress=quiet)] == [0]


def test_a_scan_reads_every_partition_in_its_own_order(settings: Settings, env: dict[str, str], unique: str) -> None:
    topic = Topic(env["LOGSYNC_KAFKA"], unique, partitions=3).create()
    for number in range(9):
        topic.send(str(number).encode(), headers=[], partition=number % 3)
    with Lookup(settings, unique) as lookup:
        assert [(r.partition, r.value) for r in lookup.scan(progress=quiet)] == [
            (p, str(number).encode()) for p in range(3) for number in range(p, 9, 3)
        ]
        with pytest.raises(ConfigError, match="no partition 3; it has 0, 1, 2"):
            lookup.first_at(3, 0)


def test_a_lookup_is_no_member_of_a_group_and_commits_nothing(settings: Settings, topic: Topic) -> None:
    topic.send(b"x", headers=[])
    with Lookup(settings, topic.name) as lookup:
        assert len(list(lookup.scan(progress=quiet))) == 1
        admin = AdminClient({"bootstrap.servers": topic.servers})
        listed = admin.list_consumer_groups().result(PATIENCE)
        assert not [found for found in listed.valid if "lookup" in found.group_id]


def test_a_topic_that_is_not_there_is_named_with_the_command_that_makes_it(settings: Settings, unique: str) -> None:
    with Lookup(settings, unique) as lookup, pytest.raises(ConfigError, match=f"logsync topic create {unique}"):
        lookup.spans()
