"""Faults of a worker: its process, its clock, and what its group remembers."""

from __future__ import annotations

import signal
from pathlib import Path
from random import Random

import httpx
from confluent_kafka import Consumer, TopicPartition

from logsync import Tombstone
from tests.integration.worker.harness import Process, until
from tests.waiting import PATIENCE

from .fault import NotHere, Steps, elsewhere, fault
from .fold import TOPIC
from .plain import index_setting
from .world import WAITING, Lane


@fault("worker", "killed with -9 (as by the OOM killer), started again", "its successor gets the partition "
       "when the dead one's session has ended, and begins where the store is", ci="db")  # fmt: skip
def worker_killed(lane: Lane, chance: Random) -> Steps:
    lane.worker.signal(signal.SIGKILL)
    lane.worker.ends(-signal.SIGKILL)
    yield
    yield
    lane.start()


@fault("worker", "SIGTERM, started again", "drains, leaves its group at once, exit code 0", ci="search")
def worker_terminated(lane: Lane, chance: Random) -> Steps:
    lane.worker.terminate()
    yield
    yield
    lane.start()


@fault("worker", "replaced three times under load, each new one started before the old one is stopped", "the partition "
       "is handed over, and nothing is applied by both", ci="cache")  # fmt: skip
def replaced(lane: Lane, chance: Random) -> Steps:
    for _ in range(3):
        old = lane.worker
        lane.start()
        lane.world.grows(chance.randrange(20, 120))
        old.terminate()
    yield


@fault("worker", "stopped in the middle of an apply for longer than its session, then continued", ci="db search",
       proxied=True,
       db="another takes over when the server has ended the stale transaction; what comes late changes nothing",
       cache="another takes over; the script that comes late finds another position and writes nothing",
       search="another takes over and deletes what the stale one holds: it stays so (gc_deletes=1s)")  # fmt: skip
def zombie(lane: Lane, chance: Random) -> Steps:
    """Its request hangs in the network while it stands still, and arrives after another worker has gone further."""
    stale, start = lane.worker, _stalls(lane, chance)
    try:
        lane.start()
        _goes_further(lane, start)
        yield
    finally:
        lane.proxy.release()
        stale.go_on()
    yield
    yield
    _notices(stale)
    stale.terminate()


@fault("worker", "two of them stopped in the middle of an apply, each for longer than its session; both "
       "continued", ci="cache", proxied=True,
       db="a third takes over when the server has ended both transactions; what comes late changes nothing",
       cache="a third takes over; both scripts that come late find another position and write nothing",
       search="a third takes over and deletes what the other two hold: it stays so (gc_deletes=1s)")  # fmt: skip
def two_zombies(lane: Lane, chance: Random) -> Steps:
    stale, start, second = [lane.worker], _stalls(lane, chance), lane.new_proxy()
    second.hold(_WRITES[lane.kind], after=chance.randrange(2))
    try:
        stale.append(lane.start(env=lane.through(second)))
        assert second.held.wait(PATIENCE), f"no request to hold\n{lane.worker.output[-3000:]}"
        stale[1].pause()
        lane.start()
        _goes_further(lane, start)
        yield
    finally:
        for proxy in (lane.proxy, second):
            proxy.release()
        for worker in chance.sample(stale, len(stale)):
            worker.go_on()
    yield
    yield
    for worker in stale:
        _notices(worker)
        worker.terminate()


def _notices(stale: Process) -> None:
    """Its call is long overdue, or answered just now after all; then it learns from Kafka that it was too late."""
    until(
        lambda: WAITING in stale.output or "partitions lost" in stale.output,
        lambda: f"{stale.name} notices:\n{stale.output}",
    )


def _stalls(lane: Lane, chance: Random) -> int:
    """Stop the lane's worker in the middle of an apply. Returns the position from which it applies."""
    stale = lane.worker
    if lane.kind == "search":
        index_setting(lane, "index.gc_deletes", "1s")
    stale.pause()
    lane.world.grows(120)  # so that its next plans are full ones
    start = lane.position() or 0
    lane.proxy.hold(_WRITES[lane.kind], after=chance.randrange(2))
    stale.go_on()
    assert lane.proxy.held.wait(PATIENCE), "no request to hold"
    stale.pause()
    return start


def _goes_further(lane: Lane, start: int) -> None:
    """The lane's worker deletes what the plan from ``start`` on writes, and that for longer than gc_deletes."""
    facts = lane.world.tail.up_to(lane.world.tail.end())[start : start + 100]
    products = {str(fact.data["product_id"]) for fact in facts if fact.type == "product.listed"}
    products |= {str(line["product_id"]) for fact in facts for line in fact.data.get("lines", ())}
    lane.world.append(*(Tombstone(key=f"product:{product}", of="product.listed") for product in products))
    lane.catches_up()
    lane.world.grows(120)
    if lane.kind == "search":
        httpx.post(f"{lane.url}/products/_refresh").raise_for_status()  # forgets deletes that are old enough


# What stands in the request that writes: the script's call, the documents, the beginning of the transaction.
_WRITES = {"db": b"UPDATE logsync.position", "cache": b"EVALSHA", "search": b"/_bulk"}


@fault("worker", "down, and meanwhile its group's offsets are set to the log's end", "begins where the store is, "
       "and mends the bookmark; nothing is skipped", ci="cache", back="db cache search")  # fmt: skip
def offsets_moved(lane: Lane, chance: Random) -> Steps:
    lane.worker.terminate()
    lane.world.grows(50)
    config = {"bootstrap.servers": lane.world.kafka.servers, "group.id": lane.group, "log_level": 0}
    consumer = Consumer(config)
    ahead = TopicPartition(TOPIC, 0, lane.world.tail.end())
    consumer.commit(offsets=[ahead], asynchronous=False)
    consumer.close()
    assert (lane.position() or 0) < ahead.offset
    yield
    yield
    lane.start()


@fault("worker", "its clock jumps 7 hours ahead under load; killed, and started again with the right one",
       "nothing changes: bounds and pauses are counted by a clock that only goes forward", ci="search")  # fmt: skip
def clock_jumps(lane: Lane, chance: Random) -> Steps:
    """The wall clock alone, as a person or NTP sets it.

    It has to be killed: under libfaketime Kafka's client sleeps for those hours as soon as no event wakes it, because
    the deadlines of its waits are not translated.
    """
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        raise NotHere("needs Debian's package faketime (apt-get install faketime)")
    clock = lane.world.folder / f"clock-{lane.kind}"
    clock.write_text("+0")
    lane.worker.terminate()
    fake = {"LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1"}
    jumping = lane.start(env={**fake, "FAKETIME_DONT_FAKE_MONOTONIC": "1"})
    lane.catches_up()
    (ahead := clock.with_suffix(".new")).write_text("+7h")
    ahead.replace(clock)
    lane.world.grows(chance.randrange(60, 200))
    lane.catches_up()
    yield
    yield
    jumping.kill()
    lane.start()


_AFTER = "integration/reading/test_after.py"
_FIRST = {"db": "is the one that goes first", "cache": "comes after nobody here"}
elsewhere("worker", "of the sink that goes first (`after=[db]`): killed, frozen, or its server is", cannot=_FIRST,
          search=("no hit without its row, whatever is killed of either; waits, and goes on by itself",
                  f"{_AFTER}::test_no_hit_leads_to_a_missing_row_whatever_is_killed"))  # fmt: skip
elsewhere("worker", "of the sink that goes first: not running", cannot=_FIRST,
          search=("waits at its position; `logsync status` and `/ready` say for whom",
                  f"{_AFTER}::test_it_waits_for_a_sink_that_does_not_run_and_status_says_for_whom"))  # fmt: skip
elsewhere("content", "of the sink that goes first: wiped by a rebuild", cannot=_FIRST,
          search=("waits until the rebuild is back where it is",
                  f"{_AFTER}::test_it_waits_while_the_other_is_rebuilt_and_goes_on_when_it_is_back"))  # fmt: skip
