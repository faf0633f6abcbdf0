"""What the Redis store decides without a server."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime

import pytest

from logsync.core.write import Write
from logsync.errors import ConfigError
from logsync.settings import Settings
from logsync.stores.redis import (
    Del,
    ExpireAt,
    HDel,
    HIncr,
    HSet,
    Incr,
    Redis,
    SAdd,
    Set,
    SRem,
    ZAdd,
    ZIncr,
    ZRem,
)
from logsync.stores.redis.compile import RedisRefusal, compile_writes


class Odd(str):
    """Text, but nobody knows what it is equal to."""

    __slots__ = ()


BAD: list[Write] = [
    Set("k", True),
    Set("k", 0.5),  # type: ignore[arg-type]
    Set("k", None),  # type: ignore[arg-type]
    Set("k", "\ud800"),
    Set("k", 1, datetime(2026, 1, 1)),  # noqa: DTZ001 - what is refused
    Set(7, 1),  # type: ignore[arg-type]
    Set("\ud800", 1),
    Incr("k", True),
    Incr("k", 0.5),  # type: ignore[arg-type]
    Incr("k", 2**63),
    HSet("k", {"a": True}),
    HSet("k", {1: "a"}),  # type: ignore[dict-item]
    HSet("k", ["a"]),  # type: ignore[arg-type]
    HIncr("k", {"a": "1"}),  # type: ignore[dict-item]
    HDel("k", "field"),  # type: ignore[arg-type]
    SAdd("k", "member"),  # type: ignore[arg-type]
    SAdd("k", (0.5,)),  # type: ignore[arg-type]
    SRem("k", (None,)),  # type: ignore[arg-type]
    ZAdd("k", {"a": 0.5}),  # type: ignore[dict-item]
    ZAdd("k", {"a": 2**53 + 1}),
    ZIncr("k", {"a": -(2**53) - 1}),
    ZRem("k", (b"a",)),  # type: ignore[arg-type]
    ExpireAt("k", datetime(2026, 1, 1)),  # noqa: DTZ001 - what is refused
    ExpireAt("k", 3600),  # type: ignore[arg-type]
    HSet(5, {"a": 1}),  # type: ignore[arg-type]
    HSet(Odd("k"), {"a": 1}),
    Incr(Odd("k")),
]


@pytest.mark.parametrize("bad", BAD, ids=repr)
def test_a_value_with_no_one_spelling_is_refused_and_named(bad: Write) -> None:
    with pytest.raises(RedisRefusal) as caught:
        compile_writes([Set("a", 1), bad, Set("b", 1)], "p:")
    text = str(caught.value)
    assert text.startswith(f"{type(bad).__name__}(key=")
    assert ("'k'" in text) is ((type(bad.key) is str and bad.key == "k") or isinstance(bad.key, Odd))  # type: ignore[attr-defined]


SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("writes", "words"),
    [
        ([HSet("k", {"a": 0.5, "b": SECRET})], "'a': float"),  # type: ignore[dict-item]
        ([SAdd("k", (SECRET, 0.5))], "(str, float)"),  # type: ignore[arg-type]
        ([ZAdd("k", {SECRET: 0.5})], "{float}"),  # type: ignore[dict-item]
        ([Set("k", SECRET), Incr("k")], "found what is none"),
        ([HSet("k", {"a": SECRET}), HIncr("k", {"a": 1})], "found what is none"),
        ([SAdd("k", SECRET)], "members=str"),  # type: ignore[arg-type]
        ([Incr("k", SECRET)], "by=str"),  # type: ignore[arg-type]
        ([HSet("k", {str(n): SECRET for n in range(500)} | {"x": None})], "..."),  # type: ignore[dict-item]
    ],
)
def test_a_refusal_shows_types_and_names_and_no_value(writes: list[Write], words: str) -> None:
    with pytest.raises(RedisRefusal) as caught:
        compile_writes(writes, "p:")
    assert words in str(caught.value)
    assert SECRET not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_writes_that_name_nothing_do_nothing() -> None:
    empty = [HSet("k", {}), HIncr("k", {}), HDel("k", ()), SAdd("k", ()), SRem("k", ()), ZAdd("k", {}), ZIncr("k", {})]
    assert compile_writes([*empty, ZRem("k", ())], "p:") == ([], [])


def test_the_many_writes_of_one_key_become_one_command() -> None:
    writes: list[Write] = [HIncr("card", {"n": 1, "cents": n}) for n in range(1000)]
    program = compile_writes(writes, "shop:")
    assert program.keys == [b"shop:card"]
    assert program.args == [b"HINCRBY", b"1", b"4", b"1", b"1", b"n", b"cents", b"1000", b"499500"]


def test_one_write_that_a_handler_returns_again_and_again_counts_each_time() -> None:
    paid = Incr("orders")
    assert compile_writes([paid, paid, paid], "shop:").args[-1] == b"3"


def test_a_deleted_key_needs_no_more_than_its_deletion() -> None:
    assert compile_writes([Set("k", 1), Del("k")], "p:").args == [b"DEL", b"0", b"0", b"1", b"1"]


@pytest.mark.parametrize("prefix", ["", "l", "logsync", "logsync:", "logsync:cache:"])
def test_a_prefix_that_could_meet_the_bookkeeping_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigError, match="prefix"):
        Redis(prefix=prefix)


@pytest.mark.parametrize("url", ["localhost:6379", "http://x", "redis://user:pa/ss@host", "redis://host:port"])
def test_an_address_that_is_none_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigError, match="LOGSYNC_REDIS") as caught:
        Redis(url, prefix="p:").open("cache", Settings(_env_file=None))
    assert "pa" not in str(caught.value).replace("password", "")


def test_importing_a_sink_needs_no_client_library_and_opening_it_names_what_to_install() -> None:
    program = """
import sys
sys.modules["redis"] = None
import logsync.stores.redis as ours
from logsync.errors import ConfigError
from logsync.settings import Settings
store = ours.Redis(prefix="p:")
try:
    store.open("cache", Settings(_env_file=None))
except ConfigError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "pip install 'logsync[redis]'" in done.stdout


def test_every_name_that_the_package_exports_is_there() -> None:
    import logsync.stores.redis as ours

    assert set(ours.__all__) <= set(vars(ours))
    assert {kind.__name__ for kind in Redis(prefix="p:").accepts} == set(ours.__all__) - {"Redis"}
