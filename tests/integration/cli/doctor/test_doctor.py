"""`logsync doctor` as a whole: a sound set-up, a server that is down, and that it leaves nothing behind."""

from __future__ import annotations

import json
from urllib.request import urlopen

import psycopg
import pytest
import redis
from confluent_kafka.admin import AdminClient

from logsync.cli.exits import Exit

from ..conftest import Shell, Topic
from .clinic import DEAD, OTHERS, Clinic

pytestmark = pytest.mark.servers("kafka", "postgres", "redis", "opensearch")


def test_a_sound_sink_has_nothing_to_find(db: Clinic, cache: Clinic, search: Clinic) -> None:
    for clinic in (db, cache, search):
        clinic.is_well()


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
    rows = json.loads(shell("doctor", "--json", code=Exit.OK).stdout)
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
