"""Writes for Redis as Hypothesis draws them: few keys, few members, and numbers at every edge."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from logsync.core.write import Write
from logsync.writes import keys

KINDS = ("string", "hash", "set", "zset")
NAMES = ("a", "b", "c")
FAR = st.sampled_from([datetime(2090, 1, day, tzinfo=UTC) for day in (1, 2, 3)])
NUMBERS = st.sampled_from([0, 1, -1, 7, -7, 2**62, -(2**62), 2**63 - 1, -(2**63) + 1])
SCORES = st.sampled_from([0, 1, -1, 5, 2**52, -(2**52), 2**53, -(2**53)])
VALUES = st.one_of(
    st.sampled_from(["", "x", "1", "01", "+1", "-0", " 1", "9223372036854775807", "-9223372036854775808", b"\xff"]),
    NUMBERS,
)
NAME = st.sampled_from(NAMES)
SOME = st.lists(NAME, min_size=0, max_size=2).map(tuple)


def dicts(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.lists(st.tuples(NAME, values), max_size=2).map(dict)


def of_type(kind: str, key: str) -> st.SearchStrategy[Write]:
    """Writes of one type, and those that any key takes: random types alone would be refused almost always."""
    same = st.just(key)
    kinds: dict[str, list[st.SearchStrategy[Write]]] = {
        "string": [st.builds(keys.Set, same, VALUES, st.none() | FAR), st.builds(keys.Incr, same, NUMBERS)],
        "hash": [
            st.builds(keys.HSet, same, dicts(VALUES)),
            st.builds(keys.HIncr, same, dicts(NUMBERS)),
            st.builds(keys.HDel, same, SOME),
        ],
        "set": [st.builds(keys.SAdd, same, SOME), st.builds(keys.SRem, same, SOME)],
        "zset": [
            st.builds(keys.ZAdd, same, dicts(SCORES)),
            st.builds(keys.ZIncr, same, dicts(SCORES)),
            st.builds(keys.ZRem, same, SOME),
        ],
    }
    return st.one_of(*kinds[kind], st.builds(keys.Del, same), st.builds(keys.ExpireAt, same, FAR))


RUNS = st.sampled_from([st.lists(of_type(kind, key), max_size=8) for kind in KINDS for key in ("k", "l")]).flatmap(
    lambda run: run
)
MIXED = st.lists(st.one_of([of_type(kind, key) for kind in KINDS for key in ("k", "l")]), max_size=6)
HISTORY = st.one_of(RUNS, RUNS, MIXED, st.tuples(RUNS, RUNS).map(lambda runs: runs[0] + runs[1]))
