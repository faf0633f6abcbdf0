"""What doctor says of facts, without servers: a sound set-up gives notes only, and what one broker cannot show."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import typer

from logsync.cli import doctor as command
from logsync.cli.exits import Exit
from logsync.core.book import Book
from logsync.core.inspection import Finding, Inspection, Severity, noting
from logsync.core.parked import Parking, SequenceSummary
from logsync.core.position import LogIdentity, Position
from logsync.core.sources import Sources, State
from logsync.errors import ConfigError, LogIdentityError, LogUnavailable, StoreUnavailable
from logsync.log.facts import TopicFacts, judge_topic
from logsync.log.lookup import Span
from logsync.ops.doctor import diagnose, judge_book, judge_parked, judge_sources
from logsync.settings import Settings
from logsync.stores.opensearch.inspect import judge_cluster, judge_index
from logsync.stores.postgres.inspect import judge as judge_postgres
from logsync.stores.redis.inspect import judge as judge_redis

from .shop import make_sink

LOG = LogIdentity("cluster", "test.shop", "id-1", 1)
TOPIC = TopicFacts(LOG, 3, 3, 2, "delete", -1, -1, "CreateTime", {0: (0, 9)})
POSTGRES = {"server_version": "18.6", "fsync": "on", "full_page_writes": "on", "synchronous_commit": "remote_apply"}
REDIS = {"redis_version": "8.2.3", "aof_enabled": "1", "appendfsync": "always", "role": "master"}
INDEX = {
    "index.translog.durability": "REQUEST",
    "index.refresh_interval": "30s",
    "index.number_of_replicas": "1",
}


def test_a_sound_set_up_gives_notes_only() -> None:
    cluster = judge_cluster({"version": {"number": "3.3.2"}}, {"action.auto_create_index": "+.opendistro*,-*"})
    found = [*judge_topic(TOPIC), *judge_postgres(POSTGRES), *judge_redis(REDIS), *cluster]
    assert [(finding.severity, finding.check) for finding in found] == [
        (Severity.NOTE, f"{name}.version") for name in ("postgres", "redis", "opensearch")
    ]
    assert judge_index("things--e1", INDEX, "green") == []


def test_replicas_that_fell_behind_are_found_before_appends_are_refused() -> None:
    (behind,), (refused,) = (judge_topic(replace(TOPIC, in_sync=number)) for number in (2, 1))
    assert (behind.severity, behind.found) == (Severity.WARNING, "test.shop has 2 of 3 replicas in sync")
    assert (refused.severity, refused.check) == (Severity.ERROR, "topic.in_sync")


def test_finite_retention_is_an_error_until_it_is_accepted_by_name() -> None:
    week = replace(TOPIC, retention_ms=604_800_000)
    for accepted, severity in ((frozenset(), Severity.ERROR), (frozenset({LOG.topic}), Severity.WARNING)):
        (found,) = judge_topic(week, accepted)
        assert (found.severity, found.check) == (severity, "topic.retention")


def test_what_the_user_may_not_read_is_said_and_is_no_fault() -> None:
    unread = [finding for finding in judge_cluster({}, {}) if "may not read" in finding.found]
    assert [finding.check for finding in unread] == ["opensearch.version", "opensearch.auto_create_index"]
    assert all(finding.severity is Severity.NOTE for finding in unread)
    assert judge_index("things--e1", INDEX, None) == []


def test_a_book_that_is_being_wiped_and_one_that_no_worker_has_begun() -> None:
    sink, spans = make_sink(), {0: Span(0, 9)}
    book = Book(sink="db", environment="default", log=LOG, handled=sink.handled)
    assert judge_book(sink, Inspection([], book, {0: Position(0, 4)}), LOG, spans, "default") == []
    wiping = judge_book(sink, Inspection([], book.next(state="wiping"), {}), LOG, spans, "default")
    assert [finding.check for finding in wiping] == ["sink.book"]
    assert "logsync rebuild db --yes" in wiping[0].fix
    new = judge_book(sink, Inspection([], None, {}), LOG, spans, "default")
    assert [(finding.severity, finding.fix) for finding in new] == [(Severity.NOTE, "`logsync consume db`")]
    trimmed = judge_book(sink, Inspection([], None, {}), LOG, {0: Span(5, 9)}, "default")
    assert [(finding.severity, finding.check) for finding in trimmed] == [(Severity.ERROR, "sink.begin")]


def test_one_cause_that_stops_several_questions_is_said_once_and_what_follows_goes_on() -> None:
    found: list[Finding] = []
    for error in (StoreUnavailable("down"), StoreUnavailable("down"), ConfigError("x", fix="y"), LogUnavailable("z")):
        with noting(found, "redis.server"):
            raise error
    with noting(found, "sink.log"):
        raise LogIdentityError("another log", fix="rebuild")
    assert [(finding.found, finding.fix) for finding in found] == [
        ("down", "start the server, or correct LOGSYNC_REDIS"),
        ("x", "y"),
        ("z", ""),
        ("another log", "rebuild"),
    ]
    assert len({finding.why for finding in found}) == 3
    with pytest.raises(KeyError), noting(found, "a bug"):
        raise KeyError("a bug is no finding")


@pytest.mark.parametrize("severity", Severity)
def test_the_exit_code_is_that_of_the_worst_finding(
    severity: Severity, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    findings = [Finding(severity, "x", "\x1b[2Jbad", "reasons", "mend"), Finding(Severity.NOTE, "y", "a fact")]
    monkeypatch.setattr("logsync.ops.doctor.diagnose", lambda sinks, settings: findings)
    monkeypatch.setattr(command, "load_sink", lambda name: make_sink())
    with pytest.raises(typer.Exit) as caught:
        command.doctor(["db"])
    codes = {Severity.NOTE: Exit.OK, Severity.WARNING: Exit.FOUND_WARNING, Severity.ERROR: Exit.FOUND_ERROR}
    assert caught.value.exit_code == codes[severity]
    shown = capsys.readouterr()
    mend = "next: mend" if severity is Severity.NOTE else "to mend it: mend"
    for words in (severity.name.lower(), "bad", "why: reasons", mend, "a fact"):
        assert words in shown.out
    assert "\x1b[2J" not in shown.out
    assert "looked at db" in shown.err


@pytest.mark.parametrize(
    ("limits", "severity"),
    [
        (Parking(), Severity.WARNING),
        (Parking(sequences=2), Severity.ERROR),
        (Parking(events=7), Severity.ERROR),
        (Parking(age=timedelta(hours=1)), Severity.ERROR),
    ],
)
def test_what_is_parked_is_a_warning_and_an_error_where_a_worker_halts(limits: Parking, severity: Severity) -> None:
    sink = make_sink(on_error="park", parking=limits)
    since = datetime(2026, 1, 1, tzinfo=UTC)
    waiting = {
        0: {"a": SequenceSummary(3, 7, since, "HandlerError"), "b": SequenceSummary(5, 1, since, "DecodeError")},
        1: {},
    }
    (found,) = judge_parked(sink, waiting, since + timedelta(hours=2))
    assert (found.severity, found.check) == (severity, "sink.parked")
    assert "2 sequences with 8 events" in found.found
    assert "HandlerError 1" in found.found
    assert judge_parked(sink, {0: {}}, since) == []


def test_a_guess_about_a_source_is_a_warning() -> None:
    sink = make_sink()
    sound, guess = State(1, "f" * 16, 3, "p"), State(1, "f" * 16, 3, "p", exact=False)
    for states, names in (({}, []), ({"shop": sound}, []), ({"shop": sound, "bank": guess}, ["bank"])):
        at = Position(0, 9, sources=Sources(9, states).dump(9))
        assert [finding.found.split()[5] for finding in judge_sources(sink, at)] == names


@pytest.mark.parametrize("brokers", [1, 2])
def test_a_cluster_for_development_is_noted_calmly_and_not_warned_of(brokers: int) -> None:
    (note,) = judge_topic(replace(TOPIC, brokers=brokers, replication=brokers, in_sync=brokers, min_insync_replicas=1))
    assert (note.severity, note.check, note.fix) == (Severity.NOTE, "topic.brokers", "")
    assert "fit for development" in note.why
    warned = judge_topic(replace(TOPIC, replication=brokers, in_sync=brokers, min_insync_replicas=1))
    assert [each.check for each in warned] == ["topic.replication", "topic.min_insync_replicas"], "three would be there"


def test_where_no_sink_could_be_loaded_there_is_still_an_answer() -> None:
    """The findings of loading are shown with it; it once ended as a bug in logsync."""
    assert [found.check for found in diagnose([], Settings(_env_file=None))] == ["logsync.version"]
