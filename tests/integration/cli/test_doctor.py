"""`logsync doctor`: every finding is provoked on a real server, and nothing else is found with it.

The stack is shared: what a test changes on a server it puts back, whatever happens.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import Request, urlopen

import psycopg
import pytest
import redis
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from devstack import Stack
from devstack import postgres as devstack_postgres
from logsync.cli.exits import Exit
from tests.waiting import PATIENCE

from .conftest import Deploy, Shell, Topic

pytestmark = pytest.mark.servers("kafka", "postgres", "redis", "opensearch")

DEAD = "127.0.0.1:1"
FRAIL = frozenset({"topic.replication", "topic.min_insync_replicas"})
"""What is always found on a stack of one broker; it is true."""
Found = dict[str, dict[str, Any]]


def doctor(shell: Shell, *sinks: str) -> Found:
    """What was found, by check; notes left out."""
    answer = shell("doctor", *sinks, "--json", code=None)
    found = {row["check"]: row for row in json.loads(answer.stdout)}
    worst = {row["severity"] for row in found.values()}
    code = Exit.FOUND_ERROR if "error" in worst else Exit.FOUND_WARNING if "warning" in worst else Exit.OK
    assert answer.returncode == code
    assert all(row["found"] and (row["severity"] == "note" or (row["why"] and row["fix"])) for row in found.values())
    return {check: row for check, row in found.items() if row["severity"] != "note"}


class Clinic:
    """A sink whose worker has applied two events, and a way to see what one change adds to what is found anyway."""

    def __init__(self, shell: Shell, module: str, healthy: frozenset[str], *, name: str = "") -> None:
        self.shell, self.module, self.name = shell, module, name or module
        shell("consume", module, "--until-end")
        self.healthy = healthy

    def finds(self, check: str, severity: str, *words: str) -> None:
        found = doctor(self.shell, self.module)
        assert set(found) == self.healthy | {check}
        assert found[check]["severity"] == severity
        for word in words:
            assert word in str(found[check])

    def is_well(self) -> None:
        assert set(doctor(self.shell, self.module)) == self.healthy


@pytest.fixture
def two(topic: Topic, deploy: Deploy) -> Topic:
    topic.event("thing.made", b'{"name": "a", "size": 1}', id="one")
    topic.event("thing.made", b'{"name": "b", "size": 2}', id="two")
    return topic


@pytest.fixture
def db(shell: Shell, two: Topic) -> Clinic:
    return Clinic(shell, "db", FRAIL)


OTHERS = """
from logsync import Event, Sink
from sinks.db import ThingMade, log
{imports}

sink = Sink("{name}", log, {store})


@sink.on(ThingMade)
def thing_made(event: Event[ThingMade]):
    yield {write}
"""


@pytest.fixture
def cache(shell: Shell, two: Topic, unique: str) -> Clinic:
    imports, write = "from logsync.stores.redis import Redis, Set", "Set(event.data.name, event.data.size)"
    text = OTHERS.format(imports=imports, name=unique, store=f"Redis(prefix='{unique}:')", write=write)
    (shell.folder / "sinks/cache.py").write_text(text)
    return Clinic(shell, "cache", FRAIL, name=unique)


@pytest.fixture
def search(shell: Shell, two: Topic, unique: str) -> Clinic:
    imports = "from logsync.stores.opensearch import IndexDoc, OpenSearch"
    store = f"OpenSearch(indices={{'{unique}': {{'settings': {{'number_of_replicas': 0}}}}}})"
    write = f"IndexDoc('{unique}', event.data.name, {{'size': event.data.size}})"
    (shell.folder / "sinks/search.py").write_text(OTHERS.format(imports=imports, name=unique, store=store, write=write))
    return Clinic(
        shell, "search", FRAIL | {"opensearch.number_of_replicas"}, name=unique
    )  # one node has no room for a replica


def test_a_sound_sink_has_nothing_to_find(db: Clinic, cache: Clinic, search: Clinic) -> None:
    for clinic in (db, cache, search):
        clinic.is_well()


# The topic


def alter(topic: Topic, **settings: str) -> None:
    admin = AdminClient({"bootstrap.servers": topic.servers})
    entries = [
        ConfigEntry(name.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
        for name, value in settings.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, topic.name, incremental_configs=entries)
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(PATIENCE)


LOSING = [
    ({"retention_ms": "604800000"}, {"retention_ms": "-1"}, "topic.retention", "error"),
    ({"retention_bytes": "1000000000"}, {"retention_bytes": "-1"}, "topic.retention", "error"),
    ({"cleanup_policy": "compact"}, {"cleanup_policy": "delete"}, "topic.cleanup_policy", "error"),
    (
        {"unclean_leader_election_enable": "true"},
        {"unclean_leader_election_enable": "false"},
        "topic.unclean_election",
        "warning",
    ),
]


def test_a_topic_that_loses_events(db: Clinic, two: Topic) -> None:
    for settings, sound, check, severity in LOSING:
        alter(two, **settings)
        db.finds(check, severity, two.name, "kafka-configs")
        alter(two, **sound)
    db.is_well()


def test_retention_that_was_accepted_by_name_is_a_warning(db: Clinic, two: Topic) -> None:
    alter(two, retention_ms="604800000")
    db.shell.env["LOGSYNC_ACCEPT_FINITE_RETENTION"] = json.dumps([two.name])
    db.finds("topic.retention", "warning", "accepted by name")


def test_a_topic_that_takes_no_append(db: Clinic, two: Topic) -> None:
    db.healthy = FRAIL - {"topic.min_insync_replicas"}
    alter(two, min_insync_replicas="2")
    db.finds("topic.in_sync", "error", "every append is refused")


# Whether what the store remembers fits the log


def test_a_position_that_the_log_does_not_reach_back_to(db: Clinic, two: Topic) -> None:
    for number in range(4):
        two.event("thing.made", b'{"name": "c"}', id=f"later {number}")
    trim(two, 4)
    db.finds("sink.position", "error", "the log begins at 4", "logsync rebuild db --from-log-start --yes")


def trim(topic: Topic, before: int) -> None:
    admin = AdminClient({"bootstrap.servers": topic.servers})
    for future in admin.delete_records([TopicPartition(topic.name, 0, before)]).values():
        future.result(PATIENCE)


def execute(shell: Shell, statement: str, *values: object) -> None:
    with psycopg.connect(shell.env["LOGSYNC_POSTGRES"], autocommit=True) as connection:
        connection.execute(statement.encode(), values)


def test_a_position_beyond_the_log(db: Clinic) -> None:
    execute(db.shell, "UPDATE logsync.position SET next_offset = 9")
    db.finds("sink.position", "error", "the log ends at 2", "logsync rebuild db --yes")


def test_a_log_that_holds_another_event_where_the_last_one_was(db: Clinic) -> None:
    execute(db.shell, "UPDATE logsync.position SET last_id = 'somebody'")
    db.finds("sink.position", "error", "the log now holds two", "logsync rebuild db --yes")


def test_a_book_of_another_log(db: Clinic, two: Topic) -> None:
    two.delete()
    deadline = time.monotonic() + PATIENCE
    while two.name in AdminClient({"bootstrap.servers": two.servers}).list_topics(timeout=10).topics:
        assert time.monotonic() < deadline
    two.create()
    db.finds("sink.book", "error", "topic_id was", "LOGSYNC_KAFKA")
    db.shell.env["LOGSYNC_ENVIRONMENT"] = "staging"
    db.healthy = db.healthy | {"sink.book"}
    db.finds("sink.log", "error", "topic_id was")  # one fault does not hide the other


def test_a_store_of_another_environment(db: Clinic) -> None:
    before = db.shell.env["LOGSYNC_ENVIRONMENT"]
    db.shell.env["LOGSYNC_ENVIRONMENT"] = "staging"
    db.finds("sink.book", "error", f"set LOGSYNC_ENVIRONMENT={before}")


def test_a_handler_that_came_too_late(db: Clinic, two: Topic, deploy: Deploy) -> None:
    two.event("thing.lost", b'{"name": "a"}')
    db.shell("consume", "db", "--until-end")
    db.is_well()
    deploy(more="@sink.on(ThingLost)\ndef thing_lost(event: Event[ThingLost]):\n    return None\n")
    db.finds("sink.book", "error", "now handles thing.lost", "--accept-from-now")


def test_a_position_that_was_not_moved_to_the_end(db: Clinic) -> None:
    execute(db.shell, "UPDATE logsync.position SET epoch = 7")
    db.finds("sink.epoch", "error", "interrupted", "logsync rebuild db --yes")


def test_a_position_that_is_lost(db: Clinic) -> None:
    db.shell("position", "forget", "db", "--yes")
    db.finds("sink.position", "error", "no position for partition 0", "logsync rebuild db --yes")


def test_content_without_a_book(db: Clinic) -> None:
    execute(db.shell, "DELETE FROM logsync.position")
    execute(db.shell, "DELETE FROM logsync.book")
    db.finds("sink.begin", "error", "holds data", "logsync rebuild db --yes")


def test_a_store_that_went_back_behind_kafkas_bookmark(db: Clinic) -> None:
    execute(db.shell, "UPDATE logsync.position SET next_offset = 1, last_offset = 0, last_id = 'one'")
    db.finds("sink.committed", "warning", "bookmark is 2", "position 1", "logsync consume db")


def test_lag_once_an_event_waits_for_more_than_a_minute(db: Clinic, two: Topic) -> None:
    two.event("thing.made", b'{"name": "c"}')
    db.is_well()  # behind, as any worker is for a moment
    two.event("thing.made", b'{"name": "c"}')
    db.shell("consume", "db", "--until-end")
    two.event("thing.made", b'{"name": "d"}', at=int(time.time() * 1000) - 7_200_000)
    db.finds("sink.lag", "warning", "1 offsets behind", "logsync consume db")


def test_several_partitions_for_a_store_that_takes_one(search: Clinic, shell: Shell, deploy: Deploy) -> None:
    wide = Topic(shell.env["LOGSYNC_KAFKA"], deploy.topic + "wide", partitions=2).create()
    shell.env["LOGSYNC_ENVIRONMENT"] += "wide"
    deploy(topic=wide.name)
    found = doctor(shell, "search")
    assert found["topic.partitions"]["severity"] == "error"
    assert "use a topic with 1 partition" in found["topic.partitions"]["fix"]


# Postgres


@pytest.fixture
def system(env: dict[str, str]) -> Iterator[Callable[[str], None]]:
    """Sets one thing for the whole server, and puts everything back."""

    def run(statement: str) -> None:
        with psycopg.connect(env["LOGSYNC_POSTGRES"], autocommit=True) as connection:
            connection.execute(statement.encode())
            connection.execute("SELECT pg_reload_conf()")

    yield run
    run("ALTER SYSTEM RESET ALL")


def test_commits_that_are_not_waited_for(db: Clinic, unique: str) -> None:
    execute(db.shell, f"ALTER DATABASE {unique} SET synchronous_commit = off")
    db.finds("postgres.synchronous_commit", "warning", "ALTER DATABASE")


def test_pages_that_may_be_torn(db: Clinic, system: Callable[[str], None]) -> None:
    system("ALTER SYSTEM SET full_page_writes = off")
    eventually(lambda: "postgres.full_page_writes" in doctor(db.shell, "db"))
    db.finds("postgres.full_page_writes", "error", "ALTER SYSTEM SET full_page_writes = on")


def eventually(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_postgres_that_does_not_wait_for_its_disk(db: Clinic, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        with monkeypatch.context() as patch:
            patch.setitem(devstack_postgres.SETTINGS, "fsync", "off")
            stack.restart("postgres")
        db.finds("postgres.fsync", "error", "ALTER SYSTEM SET fsync = on")
    finally:
        stack.restart("postgres")
    db.is_well()


def test_a_standby(db: Clinic, stack: Stack) -> None:
    data = stack.servers["postgres"].data
    stack.stop("postgres")
    try:
        (data / "standby.signal").touch()
        os.chmod(data / "standby.signal", 0o666)
        stack.start("postgres")
        db.finds("postgres.server", "error", "standby")
    finally:
        stack.stop("postgres")
        (data / "standby.signal").unlink(missing_ok=True)
        stack.start("postgres")
    db.is_well()


# Redis


@contextmanager
def configured(plain: redis.Redis, **settings: str) -> Iterator[None]:
    names = {name.replace("_", "-"): value for name, value in settings.items()}
    before = {name: plain.config_get(name)[name] for name in names}
    try:
        for name, value in names.items():
            plain.config_set(name, value)
        yield
    finally:
        for name, value in before.items():
            plain.config_set(name, value)


@pytest.fixture
def plain(env: dict[str, str]) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(env["LOGSYNC_REDIS"], decode_responses=True) as client:
        yield client


FORGETTING = [
    ({"maxmemory_policy": "allkeys-lru"}, "redis.maxmemory_policy", "error", "maxmemory-policy noeviction"),
    ({"appendonly": "no"}, "redis.appendonly", "warning", "CONFIG SET appendonly yes"),
    ({"appendfsync": "no"}, "redis.appendfsync", "warning", "CONFIG SET appendfsync everysec"),
]


def test_a_redis_that_forgets(cache: Clinic, plain: redis.Redis) -> None:
    for settings, check, severity, fix in FORGETTING:
        with configured(plain, **settings):
            cache.finds(check, severity, fix)
    cache.is_well()


def test_evicted_keys(cache: Clinic, plain: redis.Redis) -> None:
    def fill(numbers: range) -> None:
        with plain.pipeline(transaction=False) as pipeline:
            for number in numbers:
                pipeline.set(f"{cache.name}-other:{number}", "x" * 1000, ex=600)
            pipeline.execute()

    fill(range(2000))
    # Only keys that expire are evicted: none of the sink's, but who could tell that afterwards?
    with configured(plain, maxmemory_policy="volatile-random", maxmemory="0"):
        plain.config_set("maxmemory", int(plain.info("memory")["used_memory"]) - 500_000)
        before = plain.info("stats")["evicted_keys"]
        fill(range(2000, 2001))
        eventually(lambda: plain.info("stats")["evicted_keys"] > before)
    plain.delete(*plain.scan_iter(f"{cache.name}-other:*", count=1000))
    cache.finds("redis.content", "error", "evicted", "logsync rebuild")


def test_a_script_that_died_half_way(cache: Clinic, plain: redis.Redis) -> None:
    plain.hincrby(f"logsync:{cache.name}:positions", "begun", 1)
    cache.finds("redis.content", "error", "half-way", "logsync rebuild")


def test_a_replica(cache: Clinic, plain: redis.Redis) -> None:
    try:
        plain.replicaof("127.0.0.1", "1")
        cache.finds("redis.role", "error", "point LOGSYNC_REDIS at the primary")
    finally:
        plain.replicaof("NO", "ONE")
    cache.is_well()


def test_a_redis_user_with_the_least_rights_is_told_what_was_not_looked_at(
    cache: Clinic, plain: redis.Redis, unique: str
) -> None:
    rights = ["+@read", "+@write", "+@scripting", "+@connection", "+info", "+ping"]
    keys = [f"{unique}:*", f"logsync:{unique}:*", "logsync:prefixes"]
    plain.acl_setuser(unique, enabled=True, passwords=["+hunter2"], keys=keys, commands=rights)
    try:
        address = cache.shell.env["LOGSYNC_REDIS"]
        cache.shell.env["LOGSYNC_REDIS"] = address.replace("redis://", f"redis://{unique}:hunter2@")
        cache.is_well()
        shown = cache.shell("doctor", "cache", code=Exit.FOUND_WARNING).stdout
        assert "may not read appendfsync" in shown
    finally:
        plain.acl_deluser(unique)


# OpenSearch


def put(shell: Shell, path: str, body: dict[str, Any]) -> None:
    url = f"{shell.env['LOGSYNC_OPENSEARCH']}/{path}"
    headers = {"Content-Type": "application/json"}
    with urlopen(Request(url, json.dumps(body).encode(), headers, method="PUT"), timeout=30):
        pass


LOOSE = [
    ("index.translog.durability", "async", "request", "opensearch.durability", "error"),
    ("index.refresh_interval", "-1", "1s", "opensearch.refresh_interval", "warning"),
]


def test_an_index_that_loses_or_hides(search: Clinic, unique: str) -> None:
    path = f"{unique}--e1/_settings"
    for setting, value, sound, check, severity in LOOSE:
        put(search.shell, path, {setting: value})
        search.finds(check, severity, "curl -X PUT", path, setting)
        put(search.shell, path, {setting: sound})
    search.is_well()


def test_replicas_that_are_missing_are_told_from_those_that_nobody_asked_for(search: Clinic, unique: str) -> None:
    assert "has no replica" in doctor(search.shell, "search")["opensearch.number_of_replicas"]["found"]
    put(search.shell, f"{unique}--e1/_settings", {"index.number_of_replicas": 1})
    assert "replicas are missing" in doctor(search.shell, "search")["opensearch.number_of_replicas"]["found"]


def test_indices_that_make_themselves(search: Clinic) -> None:
    try:
        put(search.shell, "_cluster/settings", {"persistent": {"action.auto_create_index": "true"}})
        search.finds("opensearch.auto_create_index", "warning", "_cluster/settings")
    finally:
        put(search.shell, "_cluster/settings", {"persistent": {"action.auto_create_index": None}})
    search.is_well()


def test_a_name_that_leads_to_the_index_of_somebody_else(search: Clinic, unique: str) -> None:
    put(search.shell, unique + "foreign", {"aliases": {unique: {}}})
    search.finds("opensearch.names", "error", f"{unique}foreign", "another index name")


def test_an_index_that_was_deleted(search: Clinic, unique: str) -> None:
    with urlopen(Request(f"{search.shell.env['LOGSYNC_OPENSEARCH']}/{unique}--e1", method="DELETE"), timeout=30):
        pass
    found = doctor(search.shell, "search")
    assert set(found) == FRAIL | {"opensearch.index", "sink.position"}
    assert "logsync rebuild" in found["opensearch.index"]["fix"]


# All of it at once


def test_a_server_that_is_down_is_a_finding_and_the_others_are_looked_at(
    db: Clinic, cache: Clinic, search: Clinic
) -> None:
    variables = {
        "LOGSYNC_POSTGRES": (f"postgresql://somebody:hunter2@{DEAD}/shop", "db", "postgres.server"),
        "LOGSYNC_REDIS": (f"redis://somebody:hunter2@{DEAD}/0", "cache", "redis.server"),
        "LOGSYNC_OPENSEARCH": (f"http://somebody:hunter2@{DEAD}", "search", "opensearch.server"),
        "LOGSYNC_KAFKA": (DEAD, "db", "topic.kafka"),
    }
    shell, healthy = db.shell, dict(db.shell.env)
    (shell.folder / "sinks/broken.py").write_text("1 / 0")
    for variable, (address, sink, check) in variables.items():
        shell.env.update({**healthy, variable: address})
        answer = shell("doctor", "--json", code=Exit.FOUND_ERROR)
        errors = {row["check"]: row for row in json.loads(answer.stdout) if row["severity"] == "error"}
        assert set(errors) == {check, "sink.load"}, variable
        assert "hunter2" not in answer.stdout + answer.stderr
        versions = {row["check"] for row in json.loads(answer.stdout) if row["check"].endswith(".version")}
        assert versions == {f"{name}.version" for name in ("logsync", "topic", "postgres", "redis", "opensearch")} - {
            check.split(".")[0] + ".version"
        }
        text = shell("doctor", sink, code=Exit.FOUND_ERROR)
        assert "why:" in text.stdout
        assert "to mend it:" in text.stdout
        assert "hunter2" not in text.stdout + text.stderr


def test_settings_that_keep_a_worker_from_joining_its_group_do_not_hide_the_store(db: Clinic) -> None:
    db.shell.env["LOGSYNC_KAFKA_OPTIONS"] = '{"max.poll.interval.ms": "20000"}'
    db.finds("topic.kafka", "error", "LOGSYNC_STORE_TIMEOUT")
    assert "Postgres 18" in db.shell("doctor", "db", code=Exit.FOUND_ERROR).stdout


def test_doctor_leaves_nothing_behind(shell: Shell, two: Topic, unique: str, plain: redis.Redis) -> None:
    """A sink that no worker ever resumed: doctor says so, and makes neither book nor schema, index nor group."""
    texts = {
        "cache": OTHERS.format(
            imports="from logsync.stores.redis import Redis, Set", name=unique, store=f"Redis(prefix='{unique}:')",
            write="Set('a', 1)",
        ),
        "search": OTHERS.format(
            imports="from logsync.stores.opensearch import IndexDoc, OpenSearch", name=unique,
            store=f"OpenSearch('{shell.env['LOGSYNC_OPENSEARCH']}?prefix={unique}-', indices={{'{unique}': {{}}}})",
            write=f"IndexDoc('{unique}', 'a', {{}})",
        ),
    }  # fmt: skip
    for name, text in texts.items():
        (shell.folder / f"sinks/{name}.py").write_text(text)
    rows = json.loads(shell("doctor", "--json", code=Exit.FOUND_WARNING).stdout)
    began = {row["about"]: row for row in rows if row["check"] == "sink.begin"}
    assert set(began) == {"db", unique}
    assert all(row["severity"] == "note" for row in began.values())
    with psycopg.connect(shell.env["LOGSYNC_POSTGRES"]) as connection:
        made = connection.execute(
            "SELECT count(*) FROM pg_class WHERE relnamespace::regnamespace::text IN ('public', 'logsync')"
        )
        assert made.fetchone() == (0,)
    assert list(plain.scan_iter(f"*{unique}*", count=1000)) == []
    with urlopen(
        f"{shell.env['LOGSYNC_OPENSEARCH']}/_cat/indices/*{unique}*?expand_wildcards=all", timeout=30
    ) as indices:
        assert indices.read() == b""
    admin = AdminClient({"bootstrap.servers": two.servers})
    groups = admin.list_consumer_groups(request_timeout=20).result().valid
    assert [group.group_id for group in groups if unique in group.group_id] == []
