"""What doctor says of sources, without servers: a sound one gives notes only, and each trouble is named once."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer

from logsync.cli import doctor as command
from logsync.cli.exits import Exit
from logsync.core.inspection import Finding, Severity
from logsync.errors import ConfigError, StoreUnavailable
from logsync.ops.sources import diagnose_sources, judge_look
from logsync.settings import Settings
from logsync.sources import Source
from logsync.sources.managing import Look
from logsync.sources.postgres import PostgresLog
from logsync.sources.postgres.inspect import Facts, judge

from .shop import log

NOW = datetime(2026, 12, 1, tzinfo=UTC)
SOUND = Facts("reserved", 1000, 10_000, 0, True, "standby", 1)


def found(findings: list[Finding]) -> list[tuple[str, Severity]]:
    return [(finding.check, finding.severity) for finding in findings]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (SOUND, []),
        (SOUND._replace(limit=None), []),
        (SOUND._replace(failover=None, waits_for=None), []),  # before Postgres 17
        (SOUND._replace(failover=False, standbys=0), []),
        (SOUND._replace(retained=5001), [("source.slot", Severity.WARNING)]),
        (SOUND._replace(wal_status="unreserved", retained=9999), [("source.slot", Severity.ERROR)]),
        (SOUND._replace(idle=600), [("source.idle_timeout", Severity.WARNING)]),
        (SOUND._replace(failover=False), [("source.failover", Severity.WARNING)]),
        (SOUND._replace(waits_for=""), [("source.failover", Severity.WARNING)]),
    ],
)
def test_a_slot_is_judged_by_what_it_will_come_to(seen: Facts, expected: list[tuple[str, Severity]]) -> None:
    findings = judge("slot", seen)
    bad = [finding for finding in findings if finding.severity is not Severity.NOTE]
    assert found(bad) == expected
    assert all(finding.why and finding.fix for finding in bad)
    assert findings  # how much is kept is told in any case


def test_a_relay_that_runs_is_well_and_one_that_does_not_or_cannot_is_told() -> None:
    well = Look(held_by="somebody")
    assert judge_look("shop", well, NOW) == []
    assert found(judge_look("shop", Look(), NOW)) == [("source.relay", Severity.WARNING)]
    (broken,) = judge_look("shop", Look(error=ConfigError("the slot is gone", fix="adopt")), NOW)
    assert (broken.check, broken.severity, broken.found, broken.fix) == (
        "source.relay", Severity.ERROR, "the slot is gone", "adopt",
    )  # fmt: skip
    late = replace(well, waiting=3, oldest=NOW - timedelta(seconds=61))
    assert found(judge_look("shop", late, NOW)) == [("source.lag", Severity.WARNING)]
    assert judge_look("shop", replace(late, oldest=NOW - timedelta(seconds=59)), NOW) == []


def test_a_database_that_does_not_answer_is_a_finding_and_commands_name_the_source_as_people_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def look(*_: object) -> Look:
        raise StoreUnavailable("down", fix="`logsync source status SOURCE`")

    monkeypatch.setattr("logsync.sources.postgres.managing.PostgresManager.look", look)
    source = Source("shop-db", log, PostgresLog("postgresql://nowhere.invalid/x", outbox=True))
    source.address = "shop"
    (finding,) = diagnose_sources([source], Settings())
    assert (finding.severity, finding.about, finding.fix) == (
        Severity.ERROR, "shop-db", "`logsync source status shop`",
    )  # fmt: skip
    assert finding.outage


def test_doctor_looks_at_the_sources_that_are_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "shop_of_doctor.py").write_text(
        "from tests.unit.shop import log\nfrom logsync.sources import Source\n"
        "from logsync.sources.postgres import PostgresLog\n"
        "source = Source('shop-db', log, PostgresLog('postgresql://nowhere.invalid/x', outbox=True))\n"
    )
    (tmp_path / "sources" / "broken_of_doctor.py").write_text("raise SystemExit\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("logsync.sources.postgres.managing.PostgresManager.look", lambda *_: Look(held_by="one"))
    with pytest.raises(typer.Exit) as ended:
        command.doctor()
    printed = capsys.readouterr()
    assert ended.value.exit_code == Exit.FOUND_ERROR
    assert "broken_of_doctor" in printed.out
    assert "looked at shop-db" in printed.out + printed.err
    with pytest.raises(typer.Exit) as ended:
        command.doctor(source=["shop_of_doctor"])
    assert ended.value.exit_code == Exit.OK
