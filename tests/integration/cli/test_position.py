"""position set and adopt as a person runs them, and: commands that only look create nothing anywhere."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
import redis
from confluent_kafka import Producer

from logsync.cli.exits import Exit

from .conftest import Deploy, Shell, Topic

BECAUSE = ("--reason", "a test")
STORES = """
from logsync.stores.opensearch import OpenSearch
from logsync.stores.redis import Redis
from sinks.db import ThingMade, log
from logsync import Sink

cache = Sink("{topic}-cache", log, Redis(prefix="{topic}:"))
search = Sink("{topic}-search", log, OpenSearch(indices={{"{topic}": {{}}}}))
"""


def shown(shell: Shell, sink: str = "db") -> dict[str, object]:
    found: dict[str, object] = json.loads(shell("position", "show", sink, "--json").stdout)
    return found


def at(shell: Shell) -> dict[str, object]:
    ((position),) = shown(shell)["positions"]  # type: ignore[misc]
    return dict(position)


def rows(shell: Shell, deploy: Deploy) -> dict[str, int]:
    with psycopg.connect(shell.env["LOGSYNC_POSTGRES"]) as connection:
        return dict(connection.execute(f"SELECT name, size FROM {deploy.table}".encode()).fetchall())


@pytest.fixture
def counted(topic: Topic, deploy: Deploy, shell: Shell) -> Topic:
    """A sink that counts, and has applied five events: a, b, c, d, e."""
    deploy(body="yield Increment(TABLE, key={'name': event.data.name}, by={'size': 1})")
    for name in "abcde":
        topic.event("thing.made", b'{"name": "%s"}' % name.encode(), id=f"id-{name}")
    shell("consume", "db", "--until-end")
    return topic


def test_set_shows_first_then_moves_and_the_content_is_what_it_said(
    shell: Shell, counted: Topic, deploy: Deploy
) -> None:
    before = shown(shell)
    said = shell("position", "set", "db", "0", "3", *BECAUSE, code=Exit.REFUSED).stderr
    for words in ("next offset 5 -> 3", "after event id-c", "applied AGAIN", "nothing was changed"):
        assert words in said
    assert "has effects" not in said
    assert shown(shell) == before
    shell("position", "set", "db", "0", "3", *BECAUSE, "--from", "5", "--yes")
    assert {name: at(shell)[name] for name in ("next_offset", "last_offset", "last_id")} == {
        "next_offset": 3, "last_offset": 2, "last_id": "id-c",
    }  # fmt: skip
    (entry,) = shown(shell)["book"]["audit"]  # type: ignore[index]
    assert (entry["action"], entry["detail"]["reason"]) == ("position-set", "a test")
    assert "AGAIN" in entry["detail"]["breaks"][0]
    shell("consume", "db", "--until-end")
    assert rows(shell, deploy) == {"a": 1, "b": 1, "c": 1, "d": 2, "e": 2}
    assert "missing" not in shell("position", "show", "db").stdout


def test_set_does_nothing_from_another_offset_than_was_shown(shell: Shell, counted: Topic, deploy: Deploy) -> None:
    """Between looking and setting a worker applies two more: going back over them would double what they add."""
    said = shell("position", "set", "db", "0", "4", *BECAUSE, "--yes", code=Exit.REFUSED).stderr
    assert "`logsync position set db 0 4 --from 5 --reason 'a test' --yes` does this" in said
    for name in "fg":
        counted.event("thing.made", b'{"name": "%s"}' % name.encode(), id=f"id-{name}")
    shell("consume", "db", "--until-end")
    before = shown(shell)
    said = shell("position", "set", "db", "0", "4", *BECAUSE, "--from", "5", "--yes", code=Exit.CONFLICT).stderr
    assert "has moved since it was shown: expected 5, found 7" in said
    shell("position", "set", "db", "0", "4", *BECAUSE, "--from", "none", "--yes", code=Exit.CONFLICT)
    shell("position", "set", "db", "0", "4", *BECAUSE, "--from", "seven", "--yes", code=Exit.USAGE)
    shell("position", "set", "db", "0", "4", *BECAUSE, "--from", "7", code=Exit.REFUSED)
    assert shown(shell) == before
    assert rows(shell, deploy) == dict.fromkeys("abcdefg", 1)


def test_set_past_a_gap_that_retention_left_is_the_way_to_accept_it(
    shell: Shell, counted: Topic, deploy: Deploy
) -> None:
    for name in "fgh":
        counted.event("thing.made", b'{"name": "%s"}' % name.encode(), id=f"id-{name}")
    counted.delete_before(7)
    shell("consume", "db", "--until-end", code=Exit.LOG)
    assert (
        "holds 7 to before 8"
        in shell("position", "set", "db", "0", "6", *BECAUSE, "--from", "5", "--yes", code=Exit.LOG).stderr
    )
    assert (
        "holds 7 to before 8"
        in shell("position", "set", "db", "0", "9", *BECAUSE, "--from", "5", "--yes", code=Exit.LOG).stderr
    )
    assert at(shell)["next_offset"] == 5
    assert "missing from db" in shell("position", "set", "db", "0", "7", *BECAUSE, "--from", "5", "--yes").stderr
    assert at(shell)["last_id"] is None  # the record before it is gone
    shell("consume", "db", "--until-end")
    assert rows(shell, deploy) == dict.fromkeys("abcdeh", 1)


def test_set_keeps_the_id_of_the_last_record_before_a_hole_in_the_offsets(shell: Shell, counted: Topic) -> None:
    producer = Producer({"bootstrap.servers": counted.servers, "transactional.id": counted.name})
    producer.init_transactions(20)
    for _ in range(15):  # aborted: 15 records and 15 markers that no reader sees
        producer.begin_transaction()
        producer.produce(counted.name, b"{}", b"k")
        producer.flush(20)
        producer.abort_transaction(20)
    shell("position", "set", "db", "0", "33", *BECAUSE, "--from", "5", "--yes")
    assert (at(shell)["next_offset"], at(shell)["last_offset"], at(shell)["last_id"]) == (33, 4, "id-e")
    counted.event("thing.made", b'{"name": "f"}')
    shell("consume", "db", "--until-end")
    assert shell("status", "db", "--fail-behind", "0")


def test_set_after_the_last_applied_event_went_says_that_the_content_is_ahead(shell: Shell, counted: Topic) -> None:
    with psycopg.connect(shell.env["LOGSYNC_POSTGRES"]) as connection:
        connection.execute("UPDATE logsync.position SET last_id = 'an event that the log lost'")
    assert "grew again" in shell("consume", "db", "--until-end", code=Exit.LOG).stderr
    assert (
        "has effects that the log has not"
        in shell("position", "set", "db", "0", "4", *BECAUSE, "--from", "5", "--yes").stderr
    )
    shell("consume", "db", "--until-end")


def test_forgotten_positions_can_be_set_again(shell: Shell, counted: Topic, deploy: Deploy) -> None:
    shell("position", "forget", "db", "--yes")
    shell("consume", "db", "--until-end", code=Exit.CONFIG)
    assert "on your word" in shell("position", "set", "db", "0", "5", *BECAUSE, "--from", "none", "--yes").stderr
    shell("consume", "db", "--until-end")
    assert rows(shell, deploy) == dict.fromkeys("abcde", 1)


def test_set_and_adopt_want_a_sink_that_began_and_the_log_that_they_are_for(
    shell: Shell, topic: Topic, deploy: Deploy
) -> None:
    for words in (("set", "db", "0", "0", *BECAUSE), ("adopt", "db")):
        assert "no position in this store yet" in shell("position", *words, "--yes", code=Exit.CONFIG).stderr
    shell("consume", "db", "--until-end")
    assert "nothing to adopt" in shell("position", "adopt", "db", "--yes", code=Exit.CONFIG).stderr
    assert "no partition 3" in shell("position", "set", "db", "3", "0", *BECAUSE, "--yes", code=Exit.CONFIG).stderr
    Topic(topic.servers, f"{topic.name}-b").create()
    deploy(topic=f"{topic.name}-b")
    assert "position adopt" in shell("position", "set", "db", "0", "0", *BECAUSE, "--yes", code=Exit.LOG).stderr


def test_a_second_program_with_the_same_name_and_another_topic_is_refused(
    shell: Shell, counted: Topic, deploy: Deploy
) -> None:  # P3
    other = Topic(counted.servers, f"{counted.name}-b").create()
    other.event("thing.made", b'{"name": "z"}')
    before = rows(shell, deploy)
    deploy(topic=other.name, module="second")
    said = shell("consume", "second", "--until-end", code=Exit.LOG).stderr
    assert "its position belongs to another log" in said
    assert rows(shell, deploy) == before
    assert at(shell)["next_offset"] == 5


@pytest.fixture
def three(shell: Shell, topic: Topic, deploy: Deploy) -> list[str]:
    """One sink per store; none of them ever ran."""
    topic.event("thing.made", b'{"name": "a"}')
    (shell.folder / "sinks/more.py").write_text(STORES.format(topic=topic.name))
    return ["db", "sinks.more:cache", "sinks.more:search"]


def everything(shell: Shell, name: str) -> list[object]:
    """What stands in the three stores under names of this test, and in Postgres under any."""
    with psycopg.connect(shell.env["LOGSYNC_POSTGRES"]) as connection:
        tables = connection.execute(
            "SELECT oid::regclass::text FROM pg_class WHERE relnamespace::regnamespace::text IN ('public', 'logsync')"
        ).fetchall()
        schemas = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname = 'logsync'").fetchall()
    keys = list(redis.Redis.from_url(shell.env["LOGSYNC_REDIS"]).scan_iter(f"*{name}*"))
    answer = httpx.get(f"{shell.env['LOGSYNC_OPENSEARCH']}/_alias", params={"expand_wildcards": "all"}).json()
    indices = [index for index, found in answer.items() if name in index or name in str(found)]
    books = httpx.get(f"{shell.env['LOGSYNC_OPENSEARCH']}/logsync-books/_search", params={"q": f'sink:"{name}"'})
    return [tables, schemas, keys, indices, books.json().get("hits", {}).get("total", {}).get("value", 0)]


@pytest.mark.servers("kafka", "postgres", "redis", "opensearch")
def test_looking_creates_nothing_in_a_store_that_never_saw_the_sink(
    shell: Shell, topic: Topic, three: list[str]
) -> None:
    assert everything(shell, topic.name) == [[], [], [], [], 0]
    assert {row["state"] for row in json.loads(shell("status", *three, "--json").stdout)} == {"no position"}
    for sink in three:
        assert "the sink has no position" in shell("show", "0:0", "--sink", sink).stdout
        assert shown(shell, sink) == {"book": None, "positions": []}
        assert "no book" in shell("position", "show", sink).stdout
        shell("position", "set", sink, "0", "1", *BECAUSE, code=Exit.CONFIG)
        shell("position", "adopt", sink, code=Exit.CONFIG)
        shell("position", "forget", sink, code=Exit.REFUSED)
    assert everything(shell, topic.name) == [[], [], [], [], 0]
    for sink in three:  # and what they did not create is created by a worker
        shell("consume", sink, "--until-end")
    assert all(everything(shell, topic.name)[index] for index in (0, 1, 2, 3))
    assert {row["state"] for row in json.loads(shell("status", *three, "--json").stdout)} == {"ok"}


@pytest.mark.servers("kafka", "postgres", "redis", "opensearch")
def test_looking_does_not_change_what_a_newer_declaration_would(shell: Shell, topic: Topic, three: list[str]) -> None:
    """A status run from a newer checkout must not migrate what the running worker's checkout made."""
    shell("consume", three[2], "--until-end")
    index = f"{shell.env['LOGSYNC_OPENSEARCH']}/{topic.name}--e1"
    newer = STORES.replace(
        '"{topic}": {{}}', '"{topic}": {{"mappings": {{"properties": {{"size": {{"type": "long"}}}}}}}}'
    )
    (shell.folder / "sinks/more.py").write_text(newer.format(topic=topic.name))
    before = httpx.get(index).json()
    shell("status", three[2])
    shell("position", "show", three[2])
    assert httpx.get(index).json() == before
    shell("consume", three[2], "--until-end")
    assert httpx.get(index).json() != before


@pytest.mark.servers("kafka", "postgres", "redis", "opensearch")
def test_schema_print_knows_the_sink_and_the_prefix_of_the_address(
    shell: Shell, topic: Topic, three: list[str]
) -> None:
    address = urlsplit(shell.env["LOGSYNC_OPENSEARCH"])
    shell.env["LOGSYNC_OPENSEARCH"] = address._replace(netloc="127.0.0.1:1", query="prefix=staging-").geturl()
    printed = shell("schema", "print", three[2]).stdout
    assert f"$OPENSEARCH/staging-{topic.name}--e1" in printed
    assert "$OPENSEARCH/staging-logsync-books" in printed
    assert f'"sink": "{topic.name}-search"' in printed
    assert '"prefix": "staging-"' in printed
