"""What people do to a source with `logsync source`, over a real Postgres and a real Kafka."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.integration.worker.harness import until

from .conftest import Shop
from .test_relay import App, Relayed, relayed

pytestmark = pytest.mark.servers("kafka", "postgres")
__all__ = ["relayed"]
NAME = "tests.integration.sources.declared:source"


def command(relayed: Relayed, *arguments: str, code: int = 0) -> str:
    ran = subprocess.run(
        [sys.executable, "-m", "logsync.cli", "source", arguments[0], NAME, *arguments[1:]],
        env=relayed.env, cwd=relayed.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == code, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def status(relayed: Relayed, code: int = 0) -> dict[str, object]:
    found: dict[str, object] = json.loads(command(relayed, "status", "--json", code=code))
    return found


def some(relayed: Relayed, seed: int, count: int = 30) -> App:
    """Facts of an app that has ended."""
    app = App(relayed, seed)
    app.start()
    until(lambda: app.count >= count, "facts")
    app.ends.set()
    app.join()
    return app


def test_status_tells_who_relays_what_waits_and_what_is_kept(relayed: Relayed) -> None:
    some(relayed, 1)
    before = status(relayed)
    assert before["state"] == "no relay runs"
    assert before["outbox_rows"] == relayed.shop.left() > 0  # type: ignore[operator]
    relay = relayed.start()
    relay.sees("relaying")
    found = status(relayed)
    assert found["state"] == "relaying"
    assert found["topic"] == relayed.topic
    relay.terminate()
    relayed.start("--until-end").ends(0)
    assert status(relayed)["outbox_rows"] == 0


def test_what_is_created_again_is_kept_and_what_is_dropped_is_gone(relayed: Relayed) -> None:
    assert "replication slot" in command(relayed, "create")
    assert "forgets what is not in the log" in command(relayed, "drop", code=7)
    command(relayed, "drop", "--yes")
    assert "never created" in str(status(relayed, 3)["trouble"])
    assert "never created" in relayed.start().ends(3)


def test_rows_that_stood_there_before_are_seeded_once_beside_a_relay(relayed: Relayed) -> None:
    relayed.shop.db.execute("INSERT INTO customers SELECT n, 'n' || n FROM generate_series(1, 25) AS n")
    command(relayed, "drop", "--yes")
    command(relayed, "create")
    relay = relayed.start()
    assert "customers: 25 rows" in command(relayed, "seed", "--chunk", "10")
    assert "customers: 25 rows" in command(relayed, "seed", "customers")
    relayed.relayed(25)
    relay.terminate()
    assert relayed.start("--until-end").ends(0)
    assert relayed.counted() == {f"customer.changed {n}": [(n, f"n{n}", None)] for n in range(1, 26)}
    assert "expected tables whose changes" in command(relayed, "seed", "payments", code=3)


def test_events_that_stood_in_the_outbox_before_the_slot_are_relayed_once(relayed: Relayed) -> None:
    app = some(relayed, 1)
    command(relayed, "drop", "--yes")
    waiting = relayed.shop.left()
    assert waiting
    assert f"{waiting} events that stood in the outbox before" in command(relayed, "create")
    assert "before" not in command(relayed, "create")  # those are told by now
    later = App(relayed, 2)
    later.start()
    until(lambda: later.count > 30, "facts")
    assert "before" not in command(relayed, "create")
    later.ends.set()
    later.join()
    assert relayed.start("--until-end").ends(0)
    counted = relayed.counted()
    orders = {key: facts for key, facts in {**app.facts, **later.facts}.items() if key.startswith("order.placed")}
    assert {key: facts for key, facts in counted.items() if key.startswith("order.placed")} == orders
    assert relayed.shop.left() == 0


def test_a_restored_outbox_doubles_nothing_when_its_database_is_adopted(relayed: Relayed) -> None:
    app = some(relayed, 1)
    kept = relayed.shop.db.execute("SELECT kept FROM logsync.source").fetchone()
    relayed.shop.db.execute("CREATE TABLE copy AS TABLE logsync.outbox")
    relayed.start("--until-end").ends(0)
    with relayed.shop.db.transaction():  # as an older copy of the database would have it
        relayed.shop.db.execute("INSERT INTO logsync.outbox SELECT * FROM copy")
        relayed.shop.db.execute(
            "UPDATE logsync.source SET kept = %s", kept and [json.dumps(kept[0]) if kept[0] else None]
        )
    command(relayed, "adopt", "--reason", "restored", "--yes")
    assert relayed.start("--until-end").ends(0)
    assert relayed.counted() == app.facts
    assert relayed.shop.left() == 0


def test_a_fact_that_cannot_be_mapped_halts_and_is_skipped_on_record(relayed: Relayed) -> None:
    relayed.shop.db.execute("INSERT INTO payments (account, amount) VALUES ('', 1), ('a', 2)")
    output = relayed.start().ends(4)
    assert "empty key" in output
    at = output.split("source skip")[1].split()[1]
    command(relayed, "skip", at, "--reason", "no account", code=7)
    command(relayed, "skip", at, "--reason", "no account", "--yes")
    assert relayed.start("--until-end").ends(0)
    assert sum(map(len, relayed.counted().values())) == 1
    found = status(relayed)
    assert found["skipped"] == {at: "no account"}
    assert "no account" in json.dumps(found["audit"])


def test_a_log_that_was_made_anew_halts_and_is_adopted_with_what_comes_from_then_on(
    relayed: Relayed, shop: Shop
) -> None:
    app = some(relayed, 1)
    relayed.start("--until-end").ends(0)
    assert relayed.counted() == app.facts
    relayed.env["SOURCE_TOPIC"] = relayed.topic = f"{relayed.topic}-2"
    from logsync.log.topic import create_topic

    create_topic(shop.settings, relayed.topic, partitions=2)
    assert "source adopt" in relayed.start().ends(5)
    command(relayed, "adopt", "--reason", "a new cluster", code=7)
    command(relayed, "adopt", "--reason", "a new cluster", "--yes")
    later = some(relayed, 2)
    relayed.start("--until-end").ends(0)
    assert relayed.counted() == later.facts
    later = some(relayed, 3)
    relayed.start("--until-end").ends(0)
    assert len(relayed.counted()) > len(later.facts)
    assert relayed.shop.left() == 0


def test_doctor_looks_at_a_source_as_at_a_sink(relayed: Relayed) -> None:
    def doctor(code: int) -> dict[str, dict[str, str]]:
        ran = subprocess.run(
            [sys.executable, "-m", "logsync.cli", "doctor", "--source", NAME, "--json"],
            env=relayed.env, cwd=relayed.folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ran.returncode == code, ran.stdout + ran.stderr
        return {found["check"]: found for found in json.loads(ran.stdout)}

    assert doctor(10)["source.relay"]["fix"] == f"`logsync relay {NAME}`"
    relay = relayed.start()
    relay.sees("relaying")
    assert "bytes are kept" in doctor(0)["source.slot"]["found"]
    relay.terminate()
    relayed.shop.db.execute(
        "SELECT pg_replication_slot_advance(%s, pg_current_wal_flush_lsn())", (f"logsync_{relayed.shop.name}",)
    )
    found = doctor(11)["source.relay"]
    assert "advanced by hand" in found["found"]
    assert f"source adopt {NAME} --reason" in found["fix"]
    assert f"source adopt {NAME} --reason" in relayed.start().ends(3)
    assert f"source adopt {NAME} --reason" in str(status(relayed, 3)["trouble"])
