"""The commands as a person runs them, as processes, over real Kafka and Postgres."""

from __future__ import annotations

import json
import time

import pytest

from logsync.cli.exits import Exit

from .conftest import Deploy, Shell, Topic

DEAD = "127.0.0.1:1"


@pytest.fixture
def three(topic: Topic, deploy: Deploy) -> Topic:
    """Three good events of two keys; the second is a day old."""
    day_ago = int(time.time() * 1000) - 86_400_000
    topic.event("thing.made", b'{"name": "a", "size": 1}', id="one", key=b"a")
    topic.event("thing.made", b'{"name": "b", "size": 2}', id="two", key=b"b", at=day_ago)
    topic.event("thing.made", b'{"name": "a", "size": 3}', id="three", key=b"a")
    return topic


def status(shell: Shell, *more: str) -> dict[str, object]:
    rows = json.loads(shell("status", "--json", *more).stdout)
    assert len(rows) == 1
    return dict(rows[0])


def test_status_goes_from_no_position_over_behind_to_ok(shell: Shell, three: Topic) -> None:
    before = status(shell)
    assert (before["state"], before["position"], before["end"]) == ("no position", None, 3)
    shell("consume", "db", "--until-end")
    caught_up = status(shell)
    assert (caught_up["state"], caught_up["position"], caught_up["committed"]) == ("ok", 3, 3)
    assert (caught_up["lag"], caught_up["lag_seconds"]) == (0, 0)
    old = int(time.time() * 1000) - 7200_000
    three.event("thing.made", b'{"name": "c"}', at=old)
    three.event("thing.made", b'{"name": "d"}')
    behind = status(shell)
    assert (behind["state"], behind["position"], behind["end"], behind["lag"]) == ("behind", 3, 5, 2)
    assert float(str(behind["lag_seconds"])) >= 7200
    shell("status", "--fail-behind", "2")
    shell("status", "--fail-behind", "1", code=Exit.BEHIND)
    assert "behind" in shell("status", "db").stdout


def test_status_shows_what_does_not_answer_as_a_row_and_no_secret(shell: Shell, three: Topic) -> None:
    shell.env["LOGSYNC_POSTGRES"] = f"postgresql://somebody:hunter2@{DEAD}/shop"
    (shell.folder / "sinks/broken.py").write_text("1 / 0")
    answer = shell("status", "--json", code=Exit.CONFIG)
    rows = {row["sink"]: row for row in json.loads(answer.stdout)}
    assert (rows["db"]["state"], rows["db"]["end"]) == ("store unreachable", 3)
    assert rows["broken"]["state"] == "misconfigured"
    assert "ZeroDivisionError" in rows["broken"]["detail"]
    assert "hunter2" not in answer.stdout + answer.stderr + shell("status", "db", code=Exit.UNAVAILABLE).stdout


def test_status_shows_a_log_that_does_not_answer_beside_the_stores_position(shell: Shell, three: Topic) -> None:
    shell("consume", "db", "--until-end")
    shell.env["LOGSYNC_KAFKA"] = DEAD
    (row,) = json.loads(shell("status", "db", "--json", code=Exit.UNAVAILABLE).stdout)
    assert (row["state"], row["position"], row["end"]) == ("log unreachable", 3, None)


def test_show_tells_a_record_and_how_far_the_sink_is_from_it(shell: Shell, three: Topic) -> None:
    shell("consume", "db", "--until-end")
    three.event("thing.lost", b'{"name": "c"}')
    shown = shell("show", "0:1", "--sink", "db").stdout
    for words in ("two", "thing.made", "decodes as an event", "behind the position", '"size": 2', "ce_specversion"):
        assert words in shown
    fact = json.loads(shell("show", "3", "--sink", "db", "--json").stdout)[0]
    assert (fact["sink"]["is"], fact["sink"]["handled"]) == ("the next record to apply", False)
    assert fact["value"] == {"name": "c"}
    assert json.loads(shell("show", "three", "--log", "sinks.db:log", "--json").stdout)[0]["offset"] == 2


def test_show_finds_an_id_that_looks_like_an_offset_when_it_is_told_so(shell: Shell, three: Topic) -> None:
    offset = three.event("thing.made", b'{"name": "d"}', id="12345")
    assert "say --id" in shell("show", "12345", code=Exit.NOT_FOUND).stderr
    assert json.loads(shell("show", "12345", "--id", "--json").stdout)[0]["offset"] == offset


def test_show_says_why_a_record_cannot_be_decoded(shell: Shell, three: Topic) -> None:
    offset = three.event("thing.made", b'\x1b[2J{"size": "large"}')
    shown = shell("show", str(offset)).stdout
    assert "cannot be decoded" in shown
    assert "expected JSON that thing.made version 1 accepts" in shown
    assert "\x1b" not in shown


def test_show_of_what_is_not_there_says_what_the_log_holds(shell: Shell, three: Topic) -> None:
    assert "holds 0 to before 3" in shell("show", "0:7", code=Exit.NOT_FOUND).stderr
    assert "partitions 0 to 0" in shell("show", "4:0", code=Exit.NOT_FOUND).stderr
    assert "no event with the id 'nobody'" in shell("show", "nobody", code=Exit.NOT_FOUND).stderr


def test_history_lists_one_key_in_log_order(shell: Shell, three: Topic) -> None:
    lines = [json.loads(line) for line in shell("history", "a", "--json").stdout.splitlines()]
    assert [(line["id"], line["value"]["size"]) for line in lines] == [("one", 1), ("three", 3)]
    last = shell("history", "a", "--limit", "1").stdout
    assert "three" in last
    assert "one" not in last
    shell("history", "nobody", code=Exit.NOT_FOUND)


def test_rebuild_says_first_what_it_does_and_then_makes_the_store_equal_to_the_log(shell: Shell, three: Topic) -> None:
    shell("consume", "db", "--until-end")
    said = shell("rebuild", "db", code=Exit.REFUSED).stderr
    for words in ("some content", "position 0:3", "deletes ALL content of db", "replays 3 offsets as epoch 2", "--yes"):
        assert words in said
    assert status(shell)["state"] == "ok"
    shell("rebuild", "db", "--yes", "--no-replay")
    emptied = status(shell)
    assert (emptied["state"], emptied["position"]) == ("behind", 0)
    shell("rebuild", "db", "--yes")
    assert (status(shell)["state"], status(shell)["position"]) == ("ok", 3)
    remembered = json.loads(shell("position", "show", "db", "--json").stdout)
    assert (remembered["book"]["epoch"], remembered["positions"][0]["epoch"]) == (3, 3)
    assert [entry["action"] for entry in remembered["book"]["audit"]] == ["rebuild", "rebuild"]
    assert "epoch 3" in shell("position", "show", "db").stdout


def test_skip_wants_a_reason_a_record_and_a_yes(shell: Shell, three: Topic) -> None:
    reason = ("--reason", "noise")
    shell("skip", "db", "0", "1", *reason, "--yes", code=Exit.CONFIG)  # no worker ever resumed
    shell("consume", "db", "--until-end")
    shell("skip", "db", "0", "3", *reason, "--yes", code=Exit.NOT_FOUND)
    assert "next offset is 3" in shell("skip", "db", "0", "1", *reason, "--yes", code=Exit.CONFIG).stderr
    three.event("thing.made", b'{"name": "c"}')
    assert "its effect will be missing" in shell("skip", "db", "0", "3", *reason, code=Exit.REFUSED).stderr
    shell("skip", "db", "0", "3", *reason, "--yes")
    shell("consume", "db", "--until-end")
    assert "0:3" in shell("position", "show", "db").stdout
    assert status(shell)["state"] == "ok"


def test_forget_wants_a_yes_and_status_says_that_the_position_is_gone(shell: Shell, three: Topic) -> None:
    shell("consume", "db", "--until-end")
    shell("position", "forget", "db", code=Exit.REFUSED)
    assert status(shell)["state"] == "ok"
    shell("position", "forget", "db", "--yes")
    (lost,) = json.loads(shell("status", "--json", code=Exit.CONFIG).stdout)
    assert lost["state"] == "position lost"
    assert "logsync rebuild db --yes" in lost["detail"]


def test_schema_print_opens_no_connection_and_apply_makes_what_it_prints(
    shell: Shell, deploy: Deploy, env: dict[str, str]
) -> None:
    shell("schema", "apply", "db")
    shell.env.update(LOGSYNC_POSTGRES=f"postgresql://nobody@{DEAD}/none", LOGSYNC_KAFKA=DEAD)
    printed = shell("schema", "print", "db").stdout
    assert deploy.table in printed
    assert "logsync.position" in printed


def test_topic_create_makes_what_consume_accepts_and_describe_shows_it(
    shell: Shell, unique: str, deploy: Deploy, env: dict[str, str]
) -> None:
    deploy(topic=unique)
    shell("topic", "create", "--log", "sinks.db:log")
    described = json.loads(shell("topic", "describe", unique, "--json").stdout)
    assert unique in str(described)
    assert unique in shell("topic", "describe", "--log", "sinks.db:log").stdout
    shell("consume", "db", "--until-end")
    assert status(shell)["state"] == "ok"
    shell("topic", "create", code=Exit.CONFIG)
    shell("topic", "create", unique, "--log", "sinks.db:log", code=Exit.CONFIG)
