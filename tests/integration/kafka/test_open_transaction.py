"""A transaction of some writer that does not end: nobody may say that all is well behind it."""

from __future__ import annotations

import threading

import pytest
from confluent_kafka import Producer

from logsync.core.inspection import Severity
from logsync.ops.doctor import diagnose
from logsync.ops.status import SinkState, survey
from logsync.run import run_worker
from logsync.stores.memory import Memory, Server
from tests.waiting import PATIENCE

from .conftest import Open, Shop
from .test_unreadable import cents, paid, send, sink_of


@pytest.fixture
def shop(open_shop: Open) -> Shop:
    return open_shop()


@pytest.fixture
def held(shop: Shop) -> Producer:
    """One event, then one in a transaction that is open, then two of somebody else."""
    send(shop, paid(0))
    writer = Producer({
        "bootstrap.servers": shop.settings.kafka, "transactional.id": shop.log.topic, "transaction.timeout.ms": 600_000,
    })  # fmt: skip
    writer.init_transactions(30)
    writer.begin_transaction()
    writer.produce(shop.log.topic, b"{}", b"x", headers=[("ce_id", b"the-first")])
    assert writer.flush(30) == 0
    send(shop, paid(2), paid(3))
    return writer


def test_until_the_end_waits_for_a_transaction_that_is_open_and_status_names_it(shop: Shop, held: Producer) -> None:
    server = Server()
    store = Memory(server)
    seen = threading.Event()
    done = threading.Event()

    def work() -> None:
        run_worker(sink_of(shop, store), shop.settings, until_end=True, on_progress=progress)
        done.set()

    def progress(at: int, _: int) -> None:
        if at == 1:
            seen.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert seen.wait(PATIENCE)
    assert not done.wait(3)
    assert cents(store) == 1

    (row,) = survey(sink_of(shop, Memory(server)), shop.settings)
    assert (row.state, row.position, row.end, row.lag) == (SinkState.HELD, 1, 4, 3)
    named = f"--topic {shop.log.topic} --partition 0 --start-offset 1"
    for part in (
        "3 offsets stand behind a transaction",
        "event is at offset 1",
        "the-first",
        "transaction.timeout",
        named,
    ):
        assert part in row.detail
    (finding,) = [each for each in diagnose([sink_of(shop, Memory(server))], shop.settings)
                  if each.check == "topic.transaction"]  # fmt: skip
    assert finding.severity in (Severity.WARNING, Severity.ERROR)
    assert "the-first" in finding.found

    held.abort_transaction(30)
    assert done.wait(PATIENCE)
    thread.join()
    assert cents(store) == 3
    (row,) = survey(sink_of(shop, Memory(server)), shop.settings)
    assert row.state is not SinkState.HELD
