"""What doctor finds about a log and a position in it: each finding is provoked, and nothing else found with it."""

from __future__ import annotations

import json
import time

from confluent_kafka.admin import AdminClient

from tests.waiting import PATIENCE

from ..conftest import Deploy, Topic
from .clinic import Clinic, alter, execute, trim

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
    alter(two, min_insync_replicas="2")
    db.finds("topic.in_sync", "error", "every append is refused")


def test_a_position_that_the_log_does_not_reach_back_to(db: Clinic, two: Topic) -> None:
    for number in range(4):
        two.event("thing.made", b'{"name": "c"}', id=f"later {number}")
    trim(two, 4)
    db.finds("sink.position", "error", "the log begins at 4", "logsync rebuild db --from-log-start --yes")


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
