"""Faults of Kafka and of the network before it. They are everybody's: nothing else is claimed meanwhile."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from random import Random

from tests.integration.worker.harness import until

from .fault import NotHere, Steps, elsewhere, fault, outage
from .plain import mount, unmount
from .world import Lane


@fault("Kafka", "killed with -9, started again", "the worker waits; appends of unknown outcome are retried "
       "by the writer and count once", ci="cache")  # fmt: skip
def kafka_killed(lane: Lane, chance: Random) -> Steps:
    kafka = lane.world.kafka
    return outage(lane, kafka.nodes[1].kill, lambda: kafka.run(1))


@fault("Kafka", "stands still (SIGSTOP), goes on", "as above")
def kafka_paused(lane: Lane, chance: Random) -> Steps:
    broker = lane.world.kafka.nodes[1]
    return outage(lane, broker.pause, broker.resume)


@fault("Kafka", "the network to it 0.1 s slower, both ways", "worker and writer go on")
def kafka_slow(lane: Lane, chance: Random) -> Steps:
    before, proxy = lane.position() or 0, lane.world.kafka_proxy
    proxy.delay = 0.1
    try:
        until(lambda: (lane.position() or 0) > before + 30, "the position moves all the same")
        yield
    finally:
        proxy.pass_again()


@fault("Kafka", "connections to it cut, new ones refused", "the worker waits; appends fail within their bound, "
       "and count once when they are retried", ci="db")  # fmt: skip
def kafka_cut(lane: Lane, chance: Random) -> Steps:
    proxy = lane.world.kafka_proxy
    return outage(lane, proxy.refuse, proxy.pass_again)


@fault("Kafka", "half open: every byte to or from it is swallowed", "as above", ci="search")  # fmt: skip
def kafka_half_open(lane: Lane, chance: Random) -> Steps:
    proxy = lane.world.kafka_proxy
    return outage(lane, proxy.swallow, proxy.pass_again)


@fault("Kafka", "its answers lost in their middle, again and again", "the worker reads again what it did not get "
       "whole; appends of unknown outcome are retried and count once", ci="db")  # fmt: skip
def kafka_answers_lost(lane: Lane, chance: Random) -> Steps:
    proxy = lane.world.kafka_proxy
    proxy.lose(lambda: chance.randrange(10))
    goal = proxy.lost + 12
    try:
        until(lambda: proxy.lost >= goal, "answers lost")
        yield
    finally:
        proxy.pass_again()


@fault("Kafka", "its disk is full: it ends; started again when there is room", "the worker waits; appends fail within "
       "their bound; every acknowledged event is there")  # fmt: skip
def kafka_disk_full(lane: Lane, chance: Random) -> Steps:
    """Its data stand on a small file system meanwhile, which shrinks to what they take."""
    kafka, broker = lane.world.kafka, lane.world.kafka.nodes[1]
    data, aside = broker.folder / "data", broker.folder / "aside"
    lane.worker.terminate()
    broker.kill()
    data.rename(aside)
    data.mkdir()
    try:
        try:
            mount("-t", "tmpfs", "-o", f"size={_ROOM}", "tmpfs", str(data))
        except NotHere:
            data.rmdir()
            aside.rename(data)
            raise
        try:
            _copy(aside, data)
            kafka.run(1)
            lane.start()
            lane.catches_up()
            lane.quiet()
            until(lambda: _shrunk(data), "a file system without room")
            until(lambda: not broker.running, "the end of a broker that cannot write")
            assert "No space left on device" in broker.log.read_text(errors="replace")
            lane.waits()
            yield
            mount("-o", f"remount,size={_ROOM}", str(data))
            kafka.run(1)
            yield
            yield
        finally:
            broker.kill()
            shutil.rmtree(aside)
            _copy(data, aside)
            unmount(data)
            data.rmdir()
            aside.rename(data)
    finally:
        kafka.run(1)
    lane.catches_up()


_ROOM = 1 << 30


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", "--sparse=always", f"{source}/.", f"{target}/"], check=True)


def _shrunk(place: Path) -> bool:
    """False if somebody wrote between the look and the change: no file system gets smaller than what it holds."""
    now = os.statvfs(place)
    with suppress(NotHere):
        mount("-o", f"remount,size={(now.f_blocks - now.f_bfree) * now.f_frsize}", str(place))
        return True
    return False


_CLUSTER = "integration/kafka/test_cluster.py"
_UNCLEAN = (
    "halts: what was applied is not in the log any more; `logsync rebuild` mends it",
    "integration/kafka/test_unclean.py::"
    "test_every_worker_halts_when_the_log_has_lost_what_it_applied_and_a_rebuild_mends_it",
)
_SAME = dict.fromkeys(("cache", "search"), "the worker's client follows the leader, whatever the store")
elsewhere("Kafka", "a broker that missed acknowledged events becomes the leader (unclean election)",
          db=_UNCLEAN, cache=_UNCLEAN, search=_UNCLEAN)  # fmt: skip
elsewhere("Kafka", "the leader of three brokers killed under load, one after the other",
          db=("appends and worker go on",
              f"{_CLUSTER}::test_appends_go_on_while_the_broker_that_leads_the_partition_is_dead"), cannot=_SAME,
          )  # fmt: skip
elsewhere("Kafka", "the controller of three brokers killed under load",
          db=("nobody notices", f"{_CLUSTER}::test_a_dead_controller_is_replaced_and_nobody_notices"), cannot=_SAME,
          )  # fmt: skip
elsewhere("Kafka", "two of three brokers killed under load",
          db=("appends fail within their bound; their retries double nothing",
              f"{_CLUSTER}::test_with_two_brokers_dead_appends_fail_in_time_and_their_retries_double_nothing"),
          cannot=_SAME)  # fmt: skip
