"""In a MULTI of the app's own the answer is about the very values that the MULTI reads, on a primary and a replica."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import redis
from pydantic import SecretStr
from redis import asyncio as aio

from logsync import Sink
from logsync.core.book import Skip
from logsync.core.offsets import Offsets
from logsync.errors import ConfigError, LogIdentityError
from logsync.reading import Seen, State, Views, redis_question
from logsync.settings import Settings
from logsync.stores.memory import Memory
from logsync.stores.redis import Redis
from tests.faults.proxy import Proxy
from tests.integration.worker.harness import until
from tests.integration.worker.own_redis import OwnRedis
from tests.unit.shop import OrderPlaced, log, make_sink
from tests.waiting import PATIENCE

from .cache import Cache, nothing
from .followed import ENVIRONMENT, NOON, receipt, waiting

pytestmark = pytest.mark.servers("redis")


@pytest.mark.parametrize("decoded", [False, True])
def test_the_answer_is_about_the_value_beside_it(cache: Cache, settings: Settings, decoded: bool) -> None:
    plain = redis.Redis.from_url(settings.redis.get_secret_value(), decode_responses=decoded)
    assert cache.asked(plain, receipt(0)) == (
        Seen(State.NOT_STARTED, cache.sink.name, "the store has never seen this sink"), None
    )  # fmt: skip
    cache.begin()
    assert cache.asked(plain, receipt(2)) == (Seen(State.BEHIND, cache.sink.name, events=3), None)
    cache.apply(5, waiting(3))
    seen, value = cache.asked(plain, receipt(2))
    assert (seen, int(value)) == (Seen(State.APPLIED, cache.sink.name), 5)
    assert cache.asked(plain, receipt(3))[0].state is State.PARKED
    again = receipt(4, event_id="event-3", since=1)
    assert cache.asked(plain, again)[0].state is State.PARKED, "its first attempt"
    cache.write(skips=(Skip(partition=1, offsets=Offsets([4]), reason="noise", at=NOON),))
    assert cache.asked(plain, receipt(4))[0].state is State.PASSED_OVER
    assert cache.asked(plain, receipt(4, type="page.seen"))[0].why == "page.seen has no handler"
    with pytest.raises(LogIdentityError):
        cache.asked(plain, receipt(4, topic_id="made again"))
    with pytest.raises(ConfigError, match="environment"):
        cache.asked(plain, receipt(4), environment="staging")
    cache.write(epoch=2, rebuilt_to={1: 5})
    assert cache.asked(plain, receipt(2))[0].state is State.REBUILDING


def test_a_client_of_asyncio_asks_the_same(cache: Cache, settings: Settings) -> None:
    cache.begin()
    cache.apply(1)
    question = redis_question([receipt(0), receipt(4)], cache.sink, environment=ENVIRONMENT)

    async def ask() -> Seen:
        async with aio.Redis.from_url(settings.redis.get_secret_value()) as plain:
            return question.seen(await plain.execute_command(*question.command))

    assert asyncio.run(ask()) == Seen(State.BEHIND, cache.sink.name, events=4)
    assert asyncio.run(ask()) == Seen(State.BEHIND, cache.sink.name, events=4), "it may be asked again"


def test_a_user_who_may_only_read_may_ask(cache: Cache, settings: Settings) -> None:
    cache.begin()
    cache.apply(1)
    url = settings.redis.get_secret_value()
    plain = redis.Redis.from_url(url)
    rights = f"~{cache.prefix}* %R~logsync:{cache.sink.name}:* %R~logsync:{cache.prefix}prefixes"
    plain.execute_command("ACL", "SETUSER", cache.sink.name, "on", ">secret", *rights.split(), "+@read", "+eval_ro",
                          "+multi", "+exec", "+@connection")  # fmt: skip
    try:
        web = redis.Redis.from_url(url, username=cache.sink.name, password="secret")
        assert cache.asked(web, receipt(0))[0].state is State.APPLIED
    finally:
        plain.execute_command("ACL", "DELUSER", cache.sink.name)


def test_what_is_not_this_sink_s_is_refused(cache: Cache, settings: Settings) -> None:
    cache.begin()
    plain = redis.Redis.from_url(settings.redis.get_secret_value())
    cache.sink.store = Redis("redis://x", prefix=f"{cache.prefix}moved:")
    with pytest.raises(ConfigError, match="prefix"):
        cache.asked(plain, receipt(0))
    with pytest.raises(ConfigError, match="of kind memory"):
        redis_question(receipt(0), make_sink(Memory()), environment=ENVIRONMENT)


def test_a_replica_that_is_behind_says_so_and_applied_once_it_has_caught_up(
    cache: Cache, settings: Settings, tmp_path: Path
) -> None:
    url = settings.redis.get_secret_value()
    primary = redis.Redis.from_url(url)
    proxy = Proxy("127.0.0.1", primary.connection_pool.connection_kwargs["port"])
    replica = OwnRedis(tmp_path / "replica")
    cache.begin()
    cache.apply(2)
    held = Settings(_env_file=None, redis=SecretStr(replica.url), environment=ENVIRONMENT)
    sink = Sink(cache.sink.name, log, Redis(prefix=cache.prefix))
    sink.on(OrderPlaced)(nothing)  # type: ignore[arg-type]
    try:
        replica.plain.replicaof("127.0.0.1", proxy.port)
        until(lambda: caught_up(primary, replica.plain), "the replica to catch up")
        with Views(sink, settings=held) as views:
            assert cache.asked(replica.plain, receipt(1)) == (Seen(State.APPLIED, sink.name), b"2")
            assert views.wait(receipt(1), sink.name, timeout=PATIENCE).state is State.APPLIED
            proxy.swallow()
            cache.apply(7)
            assert cache.asked(primary, receipt(5)) == (Seen(State.APPLIED, sink.name), b"7")
            assert cache.asked(replica.plain, receipt(5)) == (Seen(State.BEHIND, sink.name, events=4), b"2")
            assert views.wait(receipt(5), sink.name, timeout=0.1).state is State.BEHIND
            proxy.pass_again()
            assert views.wait(receipt(5), sink.name, timeout=PATIENCE).state is State.APPLIED
            assert cache.asked(replica.plain, receipt(5)) == (Seen(State.APPLIED, sink.name), b"7")
    finally:
        replica.kill()


def caught_up(primary: redis.Redis, replica: redis.Redis) -> bool:
    told = replica.info("replication")
    return told["master_link_status"] == "up" and bool(
        told["slave_repl_offset"] >= primary.info("replication")["master_repl_offset"]
    )
